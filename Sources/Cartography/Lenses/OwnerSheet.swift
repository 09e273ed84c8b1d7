// Whose the clusters are: a letter for every set of the disk and the snapshots that clusters have, or for one snapshot
// what only it holds and what it shares with whom.

package import Qcow
import QcowFormat
import Storage

/// The owners of the cells.
package final class OwnerSheet: LensSheet {
  private let atlas: Atlas
  private let map: HolderMap
  /// That of the session, where the map shows one of its snapshots as the disk.
  private let image: Image
  private let tables: TableReader
  private let chosen: Int?
  private var queue = CellQueue()
  /// The number of every set in the legend.
  private var numbers: [UInt32: (number: Int, ofDisk: Bool)] = [:]
  package private(set) var legend: [(value: LensCell.Value, words: String)] = []

  /// Begins nothing yet; `snapshot` is the index of the one that is asked for, nil for all. `image` is the image whose
  /// disk and snapshots are meant: another than that of the atlas where this shows a snapshot of it as its disk.
  package init(_ atlas: Atlas, of image: Image, snapshot: Int?) {
    self.atlas = atlas
    self.image = image
    let map = HolderMap(image)
    self.map = map
    tables = TableReader(of: atlas.image)
    chosen = snapshot.flatMap { map.snapshots.contains($0) ? $0 : nil }
    if let chosen {
      let name = Self.name(chosen, image)
      legend = [
        (.holding(.alone), "\(name) alone"), (.holding(.withDisk), "\(name) and the disk"),
        (.holding(.withOthers), "\(name), others, not the disk"), (.holding(.none), "not \(name)"),
      ]
    }
  }

  private static func name(_ snapshot: Int, _ image: Image) -> String {
    Escaping.human(image.snapshots[snapshot].name)
  }

  package var subject: String {
    map.remark ?? chosen.map { "snapshot " + Self.name($0, image) } ?? ""
  }

  package var progress: Double { map.isDone ? queue.progress : map.progress }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard atlas.isDone else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    if !map.isDone {
      guard map.step(budgetNanoseconds: budgetNanoseconds) else { return false }
      if chosen == nil { makeLegend() }
    }
    return queue.step(until: end) { find($0) }
  }

  /// Those with the disk and those without have letters of their own, the largest first; what the disk has alone is
  /// always the first.
  private func makeLegend() {
    let sorted = map.sets.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
    let ofDisk = [1] + sorted.filter { $0 & 1 != 0 && $0 != 1 }
    let others = sorted.filter { $0 & 1 == 0 }
    for (list, isOfDisk) in [(ofDisk, true), (others, false)] {
      for (number, set) in list.enumerated() {
        numbers[set] = (number, isOfDisk)
        if set != 1 || map.sets[1] != nil {
          legend.append((.owners(number, ofDisk: isOfDisk), words(set)))
        }
      }
    }
  }

  private func words(_ set: UInt32) -> String {
    var names: [String] = []
    if set & 1 != 0 { names.append(set == 1 ? "the disk alone" : "disk") }
    let named = map.snapshots.filter { set >> UInt32($0 + 1) & 1 != 0 }
    if named.count > 2, named.count == map.snapshots.count {
      names.append("all snapshots")
    } else {
      names += named.prefix(4).map { Self.name($0, image) }
      if named.count > 4 { names.append("\(named.count - 4) more") }
    }
    return names.joined(separator: ", ") + (set & 1 == 0 && named.count == 1 ? " alone" : "")
  }

  // MARK: Cells

  private func value(_ set: UInt32) -> LensCell.Value {
    guard let chosen else {
      guard let found = numbers[set] else { return .owners(.max, ofDisk: set & 1 != 0) }
      return .owners(found.number, ofDisk: found.ofDisk)
    }
    let own: UInt32 = 1 << UInt32(chosen + 1)
    if set & own == 0 { return .holding(.none) }
    return .holding(set == own ? .alone : set & 1 != 0 ? .withDisk : .withOthers)
  }

  /// The cell with clusters of these sets, and so many of tables.
  private func cell(_ sets: [UInt32: UInt64], tables: UInt64) -> LensCell {
    var counts: [LensCell.Value: UInt64] = [:]
    for (set, count) in sets { counts[value(set), default: 0] += count }
    if tables > 0 { counts[.tables] = tables }
    let isMixed = counts.count > 1
    // What the chosen one has alone is looked for, and shown where there is any.
    if let own = counts[.holding(.alone)], own > 0 { return LensCell(.holding(.alone), isMixed: isMixed) }
    guard let most = counts.max(by: { ($0.value, "\($1.key)") < ($1.value, "\($0.key)") }) else {
      return .nothing
    }
    return LensCell(most.key, isMixed: isMixed)
  }

  private func find(_ cell: CellQueue.Cell) -> LensCell {
    switch cell {
    case .file(let clusters):
      let counts = atlas.hostCounts(clusters: clusters)
      // What is wrong with the file stands before whose it is.
      if let state = counts.dominant, state == .wrong || state == .leaked { return .nothing }
      let tables = HostState.allCases.reduce(UInt64(0)) { $0 + ($1.isMetadata ? counts[$1] : 0) }
      return self.cell(map.sets(in: clusters), tables: tables)
    case .disk(let bytes): return disk(bytes)
    case .dataFile: return .nothing
    }
  }

  private func disk(_ bytes: Range<UInt64>) -> LensCell {
    let geometry = atlas.image.geometry
    let range = bytes.clamped(to: 0..<geometry.virtualSize)
    guard !range.isEmpty else { return .nothing }
    let first = geometry.cluster(of: GuestOffset(range.lowerBound)).value
    let clusters = first..<max(first + 1, geometry.clustersCovering(range.upperBound))
    if atlas.guestCounts(clusters: clusters)[.bad] > 0 { return .nothing }
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let size = UInt64(geometry.l2EntrySize)
    let decoder = atlas.survey.entries.decoder.decoder
    var sets: [UInt32: UInt64] = [:]
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let stop = min(clusters.upperBound, (at / perTable + 1) * perTable)
      guard let table = atlas.image.l1Entry(Int(at / perTable)).table, geometry.isAligned(table.value) else {
        at = stop
        continue
      }
      let count = min(stop - at, UInt64(TableReader.pieceSize) / size)
      let place = table.value + at % perTable * size
      if let entries = unsafe tables.bytes(at: place, count: Int(count * size)) {
        for entry in 0..<Int(count) {
          let word = unsafe entries.loadUnaligned(fromByteOffset: entry * Int(size), as: UInt64.self)
          if word == 0 { continue }
          let cluster: UInt64? =
            switch decoder.reference(of: UInt64(bigEndian: word)) {
            case .none: nil
            case .cluster(let cluster): cluster
            case .compressed(let clusters): clusters.lowerBound
            }
          if let cluster { sets[map.set(of: cluster), default: 0] += 1 }
        }
      }
      at += count
    }
    return cell(sets.filter { $0.key != 0 }, tables: 0)
  }

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    map.isDone && !map.isKnown || atlas.image.hasExternalData ? .nothing : queue.answer(.disk(bytes))
  }

  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell {
    map.isDone && !map.isKnown || isData ? .nothing : queue.answer(.file(clusters))
  }
}
