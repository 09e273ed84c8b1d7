// From what an image holds to the place of everything. The number of refcount blocks depends on where
// things lie, and where they may lie on the number of tables in front; a few rounds settle it.

import QcowFormat
import Storage

struct RelocationPlanner {
  let image: Image
  let inventory: Inventory
  private var geometry: Geometry { image.geometry }

  init(_ image: Image, _ inventory: Inventory) {
    self.image = image
    self.inventory = inventory
  }

  private var l1Clusters: ClusterCount {
    ClusterCount(geometry.clustersCovering(UInt64(image.tables.l1.count) * 8))
  }

  /// The places for a layout.
  func places(_ layout: TargetLayout, _ scope: RelocationScope) throws(ImageError) -> RelocationPlaces {
    let rule: RelocationPlaces.Rule
    let wanted: HostCluster?
    switch layout {
    case .packed(let base): (rule, wanted) = (.packed, base)
    case .shifted(let by): (rule, wanted) = (.shifted, by.map { HostCluster(0) + $0 })
    }
    if scope == .dataOnly {
      guard let wanted else { throw ImageError(.option, "no shift to put the clusters at") }
      return try dataPlaces(rule, base: wanted)
    }
    if let wanted {
      guard let places = try places(rule, base: wanted) else {
        throw ImageError(
          .noSpace,
          "the tables do not fit in front of host cluster \(wanted.value), where the data should begin")
      }
      return places
    }
    let (smallest, chosen) = try bases(rule)
    if chosen > smallest, let places = try places(rule, base: chosen) { return places }
    guard let places = try places(rule, base: smallest) else {
      throw ImageError(.noSpace, "no place found for the tables")
    }
    return places
  }

  // MARK: Where the data begins

  /// The smallest base, and the one that is worth it: it leaves more clusters where they are than it
  /// leaves unused in front.
  private func bases(_ rule: RelocationPlaces.Rule) throws(ImageError) -> (HostCluster, HostCluster) {
    var smallest = HostCluster(1)
    while true {
      let needed = try metadata(rule, base: smallest).end
      guard needed > smallest else { break }
      smallest = needed
    }
    let slack = min(inventory.dataClusters.value / 16 + 64, 1 << 20)
    var votes = [UInt64](repeating: 0, count: Int(slack) + 1)
    try image.l2.walkEntries { (guest, entry) throws(ImageError) in
      guard case .data(let host, let rank) = entry else { return }
      let (base, overflow) = host.value.subtractingReportingOverflow(
        rule == .packed ? rank.value : guest.value)
      guard !overflow, base >= smallest.value, base - smallest.value <= slack else { return }
      votes[Int(base - smallest.value)] += 1
    }
    var best = 0
    for gap in votes.indices where Int(votes[gap]) - gap > Int(votes[best]) - best { best = gap }
    return (smallest, smallest + ClusterCount(best))
  }

  // MARK: Tables in front

  private struct Metadata {
    var blocks: [Bool]
    var tableClusters: ClusterCount
    /// Behind the last cluster that header and tables need.
    var end: HostCluster
    var streamsEnd: HostCluster
  }

  /// What lies in front of `base`, and where the rest ends.
  private func metadata(_ rule: RelocationPlaces.Rule, base: HostCluster) throws(ImageError) -> Metadata {
    let data = try dataRange(rule, base: base)
    var streams = StreamPlaces(geometry, from: data.upperBound)
    for length in inventory.streamLengths { _ = streams.next(ByteCount(UInt64(length))) }
    let end = streams.endCluster
    guard end.value < geometry.hostClusterLimit,
      inventory.streamLengths.isEmpty || streams.end.value <= geometry.compressedOffsetLimit
    else { throw ImageError(.noSpace, "the image would reach behind what its entries can address") }
    let perBlock = geometry.refcountsPerBlock
    let blockCount = ceil(max(end, base).value, perBlock)
    let tableClusters = ClusterCount(max(1, ceil(blockCount, geometry.tableEntriesPerCluster)))
    guard tableClusters.value * geometry.clusterSize <= 8 << 20 else {
      throw ImageError(.noSpace, "the refcount table would need more than 8 MiB")
    }
    var marks = [Bool](repeating: false, count: Int(tableClusters.value * geometry.tableEntriesPerCluster))
    func mark(_ range: Range<HostCluster>) {
      guard let last = range.last else { return }
      let indices = geometry.refcountTableIndex(of: range.lowerBound)...geometry.refcountTableIndex(of: last)
      for index in indices where index < marks.count { marks[index] = true }
    }
    mark(data.upperBound..<end)
    if rule == .packed {
      mark(data)
    } else {
      try image.l2.walkEntries { (guest, entry) throws(ImageError) in
        guard case .data = entry else { return }
        let index = geometry.refcountTableIndex(of: base + ClusterCount(guest.value))
        if index < marks.count { marks[index] = true }
      }
    }
    // Blocks for the tables themselves, which are among them.
    var front = HostCluster(1)
    while true {
      mark(HostCluster(0)..<front)
      let blocks = ClusterCount(marks.count { $0 })
      let needed = HostCluster(1) + tableClusters + l1Clusters + inventory.l2Tables + blocks
      guard needed > front else { break }
      front = needed
      guard front.value < UInt64(marks.count) * perBlock else { break }
    }
    return Metadata(blocks: marks, tableClusters: tableClusters, end: front, streamsEnd: end)
  }

  private func dataRange(_ rule: RelocationPlaces.Rule, base: HostCluster) throws(ImageError)
    -> Range<HostCluster>
  {
    let count = inventory.dataClusters
    guard count > 0 else { return base..<base }
    let limit = HostCluster(geometry.hostClusterLimit)
    let first = rule == .packed ? base : base + ClusterCount(inventory.firstGuest.value)
    let end = base + (rule == .packed ? count : ClusterCount(inventory.lastGuest.value) + 1)
    guard base < limit, end <= limit else {
      throw ImageError(.noSpace, "the image would reach behind host offset 2^56")
    }
    return first..<end
  }

  /// Everything in its place for a base; nil if the tables do not fit in front of it.
  private func places(_ rule: RelocationPlaces.Rule, base: HostCluster) throws(ImageError)
    -> RelocationPlaces?
  {
    let metadata = try metadata(rule, base: base)
    let data = try dataRange(rule, base: base)
    guard metadata.end <= data.lowerBound, metadata.end <= max(base, data.lowerBound) else { return nil }
    let tables = tablePlaces(metadata.tableClusters, end: metadata.end)
    return RelocationPlaces(
      rule: rule, base: base, refcountTable: tables.refcount, l1Table: tables.l1,
      metadataEnd: metadata.end, data: data, end: metadata.streamsEnd, blocks: metadata.blocks)
  }

  private func dataPlaces(_ rule: RelocationPlaces.Rule, base: HostCluster) throws(ImageError)
    -> RelocationPlaces
  {
    let data = try dataRange(rule, base: base)
    guard data.isEmpty || data.lowerBound > HostCluster(0) else {
      throw ImageError(.noSpace, "the first cluster of the disk would lie on the header")
    }
    let table = geometry.cluster(of: image.tables.refcountTablePlace)
    let l1 = geometry.cluster(of: image.tables.l1Place)
    return RelocationPlaces(
      rule: rule, base: base,
      refcountTable: table..<table + ClusterCount(UInt64(image.header.refcountTableClusters)),
      l1Table: l1..<l1 + l1Clusters,
      metadataEnd: HostCluster(0), data: data,
      end: max(data.upperBound, rule == .packed ? base : base + ClusterCount(geometry.clusterCount)),
      blocks: [])
  }

  /// The two tables of several clusters stay if they lie in front of `end` and leave room for each other.
  private func tablePlaces(_ tableClusters: ClusterCount, end: HostCluster) -> (
    refcount: Range<HostCluster>, l1: Range<HostCluster>
  ) {
    let front = HostCluster(1)
    let behind = front + tableClusters
    let canonical = (front..<behind, behind..<behind + l1Clusters)
    let tableStart = geometry.cluster(of: image.tables.refcountTablePlace)
    let l1Start = geometry.cluster(of: image.tables.l1Place)
    let tableStays =
      UInt64(image.header.refcountTableClusters) == tableClusters.value && tableStart >= front
      && tableStart + tableClusters <= end
    let l1Stays = l1Clusters > 0 && l1Start >= front && l1Start + l1Clusters <= end
    let table = tableStart..<tableStart + tableClusters
    let l1 = l1Start..<l1Start + l1Clusters
    func gap(_ count: ClusterCount, beside other: Range<HostCluster>) -> Range<HostCluster>? {
      if other.lowerBound - front >= count { return front..<front + count }
      return end - other.upperBound >= count ? other.upperBound..<other.upperBound + count : nil
    }
    switch (tableStays, l1Stays) {
    case (true, true): return (table, l1)
    case (true, false): return gap(l1Clusters, beside: table).map { (table, $0) } ?? canonical
    case (false, true): return gap(tableClusters, beside: l1).map { ($0, l1) } ?? canonical
    case (false, false): return canonical
    }
  }
}
