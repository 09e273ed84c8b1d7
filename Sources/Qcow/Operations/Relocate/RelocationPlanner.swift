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

  private var l1Clusters: UInt64 { geometry.clustersCovering(UInt64(image.tables.l1.count) * 8) }

  /// The places for a layout.
  func places(_ layout: TargetLayout, _ scope: RelocationScope) throws(ImageError) -> RelocationPlaces {
    let rule: RelocationPlaces.Rule
    let wanted: UInt64?
    switch layout {
    case .packed(let base): (rule, wanted) = (.packed, base)
    case .shifted(let by): (rule, wanted) = (.shifted, by)
    }
    if scope == .dataOnly {
      guard let wanted else { throw ImageError(.option, "no shift to put the clusters at") }
      return try dataPlaces(rule, base: wanted)
    }
    if let wanted {
      guard let places = try places(rule, base: wanted) else {
        throw ImageError(
          .noSpace, "the tables do not fit in front of host cluster \(wanted), where the data should begin")
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
  private func bases(_ rule: RelocationPlaces.Rule) throws(ImageError) -> (UInt64, UInt64) {
    var smallest: UInt64 = 1
    while true {
      let needed = try metadata(rule, base: smallest).end
      guard needed > smallest else { break }
      smallest = needed
    }
    let slack = min(inventory.dataClusters / 16 + 64, 1 << 20)
    var votes = [UInt64](repeating: 0, count: Int(slack) + 1)
    try image.l2.walkEntries { (guest, entry) throws(ImageError) in
      guard case .data(let host, let rank) = entry else { return }
      let (base, overflow) = host.subtractingReportingOverflow(rule == .packed ? rank : guest)
      guard !overflow, base >= smallest, base - smallest <= slack else { return }
      votes[Int(base - smallest)] += 1
    }
    var best = 0
    for gap in votes.indices where Int(votes[gap]) - gap > Int(votes[best]) - best { best = gap }
    return (smallest, smallest + UInt64(best))
  }

  // MARK: Tables in front

  private struct Metadata {
    var blocks: [Bool]
    var tableClusters: UInt64
    /// Behind the last cluster that header and tables need.
    var end: UInt64
    var dataEnd: UInt64
    var streamsEnd: UInt64
  }

  /// What lies in front of `base`, and where the rest ends.
  private func metadata(_ rule: RelocationPlaces.Rule, base: UInt64) throws(ImageError) -> Metadata {
    let data = try dataRange(rule, base: base)
    var streams = StreamPlaces(geometry, from: HostCluster(data.upperBound))
    for length in inventory.streamLengths { _ = streams.next(ByteCount(UInt64(length))) }
    let end = streams.endCluster
    guard end < geometry.hostClusterLimit,
      inventory.streamLengths.isEmpty || streams.end.value <= geometry.compressedOffsetLimit
    else { throw ImageError(.noSpace, "the image would reach behind what its entries can address") }
    let perBlock = geometry.refcountsPerBlock
    let blockCount = ceil(max(end, base), perBlock)
    let tableClusters = max(1, ceil(blockCount, geometry.tableEntriesPerCluster))
    guard tableClusters * geometry.clusterSize <= 8 << 20 else {
      throw ImageError(.noSpace, "the refcount table would need more than 8 MiB")
    }
    var marks = [Bool](repeating: false, count: Int(tableClusters * geometry.tableEntriesPerCluster))
    func mark(_ range: Range<UInt64>) {
      guard !range.isEmpty else { return }
      for index in range.lowerBound / perBlock...(range.upperBound - 1) / perBlock where index < marks.count {
        marks[Int(index)] = true
      }
    }
    mark(data.upperBound..<end)
    if rule == .packed {
      mark(data)
    } else {
      try image.l2.walkEntries { (guest, entry) throws(ImageError) in
        guard case .data = entry else { return }
        let index = (guest + base) / perBlock
        if index < marks.count { marks[Int(index)] = true }
      }
    }
    // Blocks for the tables themselves, which are among them.
    var front: UInt64 = 1
    while true {
      mark(0..<front)
      let blocks = UInt64(marks.count { $0 })
      let needed = 1 + tableClusters + l1Clusters + inventory.l2Tables + blocks
      guard needed > front else { break }
      front = needed
      guard front < UInt64(marks.count) * perBlock else { break }
    }
    return Metadata(
      blocks: marks, tableClusters: tableClusters, end: front, dataEnd: data.upperBound, streamsEnd: end)
  }

  private func dataRange(_ rule: RelocationPlaces.Rule, base: UInt64) throws(ImageError) -> Range<UInt64> {
    let count = inventory.dataClusters
    guard count > 0 else { return base..<base }
    let limit = geometry.hostClusterLimit
    let first = rule == .packed ? base : base &+ inventory.firstGuest
    let end = rule == .packed ? base &+ count : base &+ inventory.lastGuest &+ 1
    guard base < limit, end <= limit else {
      throw ImageError(.noSpace, "the image would reach behind host offset 2^56")
    }
    return first..<end
  }

  /// Everything in its place for a base; nil if the tables do not fit in front of it.
  private func places(_ rule: RelocationPlaces.Rule, base: UInt64) throws(ImageError) -> RelocationPlaces? {
    let metadata = try metadata(rule, base: base)
    let data = try dataRange(rule, base: base)
    guard metadata.end <= data.lowerBound, metadata.end <= max(base, data.lowerBound) else { return nil }
    let tables = tablePlaces(metadata.tableClusters, end: metadata.end)
    return RelocationPlaces(
      rule: rule, base: base, refcountTable: tables.refcount, l1Table: tables.l1,
      metadataEnd: metadata.end, data: data, end: metadata.streamsEnd, blocks: metadata.blocks)
  }

  private func dataPlaces(_ rule: RelocationPlaces.Rule, base: UInt64) throws(ImageError) -> RelocationPlaces
  {
    let data = try dataRange(rule, base: base)
    guard data.isEmpty || data.lowerBound > 0 else {
      throw ImageError(.noSpace, "the first cluster of the disk would lie on the header")
    }
    let table = geometry.cluster(of: image.tables.refcountTablePlace).value
    let l1 = geometry.cluster(of: image.tables.l1Place).value
    return RelocationPlaces(
      rule: rule, base: base,
      refcountTable: table..<table + UInt64(image.header.refcountTableClusters),
      l1Table: l1..<l1 + l1Clusters,
      metadataEnd: 0, data: data,
      end: max(data.upperBound, rule == .packed ? base : base &+ geometry.clusterCount), blocks: [])
  }

  /// The two tables of several clusters stay if they lie in front of `end` and leave room for each other.
  private func tablePlaces(_ tableClusters: UInt64, end: UInt64) -> (
    refcount: Range<UInt64>, l1: Range<UInt64>
  ) {
    let canonical = (1..<1 + tableClusters, 1 + tableClusters..<1 + tableClusters + l1Clusters)
    let tableStart = geometry.cluster(of: image.tables.refcountTablePlace).value
    let l1Start = geometry.cluster(of: image.tables.l1Place).value
    let tableStays =
      UInt64(image.header.refcountTableClusters) == tableClusters && tableStart >= 1
      && tableStart <= end - tableClusters
    let l1Stays = l1Clusters > 0 && l1Start >= 1 && l1Start <= end - l1Clusters
    let table = tableStart..<tableStart + tableClusters
    let l1 = l1Start..<l1Start + l1Clusters
    func gap(_ count: UInt64, beside other: Range<UInt64>) -> Range<UInt64>? {
      if other.lowerBound - 1 >= count { return 1..<1 + count }
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
