// Data clusters go to their places by following the holes: a free place takes its cluster, the place that
// cluster leaves takes its own, and so on. Where everything is taken, some clusters get out of the way
// first, spread out, so that many such chains run at once and nearly every cluster is copied only once.

import QcowFormat
import Storage

extension Relocation {
  /// One batch of data clusters.
  func moveData() throws(ImageError) -> Bool {
    if !hasFoundOpenSlots { try findOpenSlots() }
    if try fillOpenSlots() { return true }
    guard hasFoundOpenSlots else { return true }
    // Nothing is free where something is missing: what is left lies in circles.
    return try openCircles()
  }

  /// Looks for free places whose clusters lie elsewhere, until there are enough for a batch.
  private func findOpenSlots() throws(ImageError) {
    guard ClusterCount(openSlots.count) < batch else { return }
    let more = try image.l2.walkEntries(&position) { (guest, entry) throws(ImageError) in
      guard case .data(let host, let rank) = entry else { return true }
      let slot = self.places.slot(rank: rank, guest: guest)
      guard host != slot, try self.mover.refcount(slot) == 0 else { return true }
      self.openSlots.append(slot)
      return ClusterCount(self.openSlots.count) < self.batch
    }
    if !more { hasFoundOpenSlots = true }
  }

  /// Moves the clusters of open places in; the places they leave are the next open ones.
  private func fillOpenSlots() throws(ImageError) -> Bool {
    guard !openSlots.isEmpty else { return false }
    var slots = openSlots.sorted()
    openSlots = []
    let most = Int(batch.value)
    if slots.count > most {
      openSlots = Array(slots[most...])
      slots.removeSubrange(most...)
    }
    var moves: [ClusterMove] = []
    moves.reserveCapacity(slots.count)
    var last: HostCluster?
    for slot in slots where slot != last {
      last = slot
      guard let guest = guest(of: slot), let host = try mover.host(of: guest), host != slot else { continue }
      moves.append(ClusterMove(guest: guest, from: host, to: slot))
    }
    guard !moves.isEmpty else { return !openSlots.isEmpty }
    try mover.move(moves)
    count(clusters: moves.count)
    for move in moves where places.data.contains(move.from) {
      openSlots.append(move.from)
      if let strays = strayClusters, strays > 0 { strayClusters = strays - 1 }
    }
    // Few chains mean many flushes for few bytes.
    if hasFoundOpenSlots, UInt64(openSlots.count) < min(batch.value / 4, (strayClusters?.value ?? .max) / 16)
    {
      _ = try openCircles()
    }
    return true
  }

  /// The guest cluster that belongs to a place; with a shift it may be one that is not mapped.
  private func guest(of slot: HostCluster) -> GuestCluster? {
    guard places.data.contains(slot) else { return nil }
    let number = slot - places.base
    return places.rule == .packed ? inventory.guests[number] : GuestCluster(number.value)
  }

  /// Data clusters in a row that lie in a row elsewhere, at the places of others.
  private struct Stray {
    var guest: GuestCluster
    var host: HostCluster
    var slot: HostCluster
    var count: ClusterCount = 1
    /// How far it lies from its place.
    var distance: ClusterCount { host > slot ? host - slot : slot - host }
  }

  /// Calls `body` with every run of clusters that lie where others should, in guest order, in pieces
  /// that do not reach into their own place.
  private func strays(_ body: (Stray) -> Void) throws(ImageError) {
    var stray: Stray?
    let longest = ClusterCount(max(1, batch.value / 8))
    try image.l2.walkEntries { (guest, entry) throws(ImageError) in
      guard case .data(let host, let rank) = entry else { return }
      let slot = self.places.slot(rank: rank, guest: guest)
      guard host != slot, self.places.data.contains(host) else { return }
      if let run = stray, guest == run.guest + run.count, host == run.host + run.count,
        slot == run.slot + run.count, run.count < min(run.distance, longest)
      {
        stray?.count += 1
      } else {
        if let run = stray { body(run) }
        stray = Stray(guest: guest, host: host, slot: slot)
      }
    }
    if let stray { body(stray) }
  }

  /// Moves some of the clusters that are in the way behind everything; false if there are none.
  private func openCircles() throws(ImageError) -> Bool {
    var total: ClusterCount = 0
    try strays { total += $0.count }
    strayClusters = total
    guard total > 0 else { return false }
    let budget = min(batch - min(batch - 1, ClusterCount(openSlots.count)), ClusterCount(total.value / 8 + 1))
    var picked: [ClusterMove] = []
    var seen: ClusterCount = 0
    var last: Stray?
    func pick(_ stray: Stray) {
      for i in 0..<stray.count.value where ClusterCount(picked.count) < budget {
        let i = ClusterCount(i)
        picked.append(ClusterMove(guest: stray.guest + i, from: stray.host + i, to: HostCluster(0)))
      }
    }
    try strays { stray in
      seen += stray.count
      last = stray
      // Spread evenly: as large a part of what has been seen as of the whole.
      let share = UInt64(Double(seen.value) * Double(budget.value) / Double(total.value))
      if UInt64(picked.count) + stray.count.value <= share { pick(stray) }
    }
    if picked.isEmpty, let last { pick(last) }
    mover.rewind()
    try moveBeyond(picked)
    strayClusters = total - ClusterCount(picked.count)
    openSlots += picked.map(\.from)
    return true
  }
}
