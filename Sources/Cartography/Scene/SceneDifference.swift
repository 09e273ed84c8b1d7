// What is different about two scenes: guest clusters that are mapped otherwise, host clusters that are used
// otherwise, table entries and header fields. Of two moments of one history only what changed between them
// is looked at; of any two images all tables are, in slices.

import Qcow
import QcowFormat
import Storage

/// The places at which two scenes differ.
package struct SceneDifference: Equatable, Sendable {
  /// A header field with its values in words; a field that one of them lacks is empty there.
  package struct Field: Equatable, Sendable {
    package var name: String
    package var before: String
    package var after: String
  }

  /// Guest clusters whose L2 entries differ, sorted.
  package internal(set) var guest: [Range<UInt64>] = []
  /// Those of them whose entry says nothing in the first scene, and in the second.
  package internal(set) var guestAppeared: [Range<UInt64>] = []
  package internal(set) var guestWent: [Range<UInt64>] = []
  /// Host clusters that have another refcount, are another structure, or are used by another entry, sorted.
  package internal(set) var host: [Range<UInt64>] = []
  /// Those of them whose refcount is 0 in the first scene, and in the second.
  package internal(set) var hostAppeared: [Range<UInt64>] = []
  package internal(set) var hostWent: [Range<UInt64>] = []
  /// L1 entries that differ, sorted.
  package internal(set) var l1: [Int] = []
  /// Entries of the refcount table that differ, sorted.
  package internal(set) var refcountTable: [Int] = []
  package internal(set) var header: [Field] = []
  /// Why there may be more; nil if this is all.
  package internal(set) var partialReason: String?

  /// Forgets what is different about the headers.
  package mutating func leaveOutHeader() { header = [] }

  package var isEmpty: Bool {
    guest.isEmpty && host.isEmpty && l1.isEmpty && refcountTable.isEmpty && header.isEmpty
      && partialReason == nil
  }
}

/// The comparison of two scenes.
package final class SceneComparison: Work {
  /// More places than this are not kept.
  private static let limit = 1 << 20

  /// What was found so far; all of it when the work is done.
  package private(set) var difference = SceneDifference()
  private let before: Image
  private let after: Image
  /// Pages that may differ; nil if all may.
  private let pages: [UInt64]?

  private enum Phase { case structures, tables, refcounts, done }
  private var phase = Phase.structures
  /// The next L1 entry, or entry of the refcount table, and where in its table reading goes on.
  private var index = 0
  private var at: UInt64 = 0
  private var guest: [Range<UInt64>] = []
  private var host: [Range<UInt64>] = []
  private var guestAppeared: [Range<UInt64>] = []
  private var guestWent: [Range<UInt64>] = []
  private var hostAppeared: [Range<UInt64>] = []
  private var hostWent: [Range<UInt64>] = []

  /// Starts; ``step(budgetNanoseconds:)`` compares. Both images must have been flushed.
  package init(_ before: Scene, _ after: Scene) {
    self.before = before.image
    self.after = after.image
    let layers = [before.storage, after.storage].compactMap { ($0 as? any PagedStorage)?.layer }
    pages = layers.count == 2 ? layers[1].changedPages(since: layers[0]) : nil
  }

  package var progress: Double {
    switch phase {
    case .structures: 0
    case .tables: 0.8 * Double(index) / Double(max(1, l1Count))
    case .refcounts: 0.8 + 0.2 * Double(index) / Double(max(1, blockCount))
    case .done: 1
    }
  }

  private var geometry: Geometry { after.geometry }
  private var l1Count: Int { max(before.l1Count, after.l1Count) }
  private var blockCount: Int { max(before.refcountTableCount, after.refcountTableCount) }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while phase != .done {
      switch phase {
      case .structures: compareStructures()
      case .tables: compareTables()
      case .refcounts: compareRefcounts()
      case .done: break
      }
      if clock.now >= end { break }
    }
    return phase == .done
  }

  // MARK: Header and structures

  private func compareStructures() {
    compareHeaders()
    let (old, new) = (before.geometry, after.geometry)
    guard old.clusterBits == new.clusterBits, old.l2EntrySize == new.l2EntrySize,
      old.refcountOrder == new.refcountOrder
    else {
      difference.partialReason = "the images have different geometries"
      phase = .done
      return
    }
    let found = (Set(Structures(before).found), Set(Structures(after).found))
    keep(found.0.subtracting(found.1), butNot: found.1.subtracting(found.0))
    keep(found.1.subtracting(found.0), butNot: found.0.subtracting(found.1))
    phase = .tables
  }

  /// Clusters of structures that are no such structure in the other scene.
  private func keep(_ some: Set<StructureRange>, butNot others: Set<StructureRange>) {
    struct Kind: Hashable {
      let state: HostState
      let index: Int
    }
    let ranges = Dictionary(grouping: others) { Kind(state: $0.state, index: $0.index) }
    for one in some {
      let same = ranges[Kind(state: one.state, index: one.index)] ?? []
      for cluster in one.range where !same.contains(where: { $0.range.contains(cluster) }) {
        keep(host: cluster)
      }
    }
  }

  private func compareHeaders() {
    let old = HeaderFields(before).list
    let new = HeaderFields(after).list
    func value(_ name: String, _ list: [ByteField]) -> String { list.first { $0.name == name }?.value ?? "" }
    var seen: Set<String> = []
    for field in new + old where seen.insert(field.name).inserted {
      let (x, y) = (value(field.name, old), value(field.name, new))
      if x != y { difference.header.append(.init(name: field.name, before: x, after: y)) }
    }
  }

  // MARK: Tables

  /// L1 entries that one stride passes at most.
  private static let stride = 4096

  private func compareTables() {
    for _ in 0..<Self.stride {
      guard index < l1Count else {
        (index, at, phase) = (0, 0, .refcounts)
        return
      }
      let (old, new) = (table(before), table(after))
      if at == 0, before.l1Entry(index) != after.l1Entry(index) {
        keep(l1: index)
        if old != new { host += [old, new].compactMap { $0.map(cluster) }.map { $0..<$0 + 1 } }
      }
      if old == new, !mayDiffer(old) {
        index += 1
        continue
      }
      comparePiece(old, new)
      at += Self.pieceSize
      if at >= geometry.clusterSize { (index, at) = (index + 1, 0) }
      return
    }
  }

  private func table(_ image: Image) -> UInt64? {
    guard let table = image.l1Entry(index).table?.value, geometry.isAligned(table) else { return nil }
    return table
  }

  private func cluster(_ offset: UInt64) -> UInt64 { geometry.cluster(of: HostOffset(offset)).value }

  /// The cluster at `offset` may hold other bytes than before.
  private func mayDiffer(_ offset: UInt64?) -> Bool {
    guard let offset else { return false }
    guard let pages else { return true }
    let size = UInt64(Page.size)
    let wanted = offset / size...(offset + geometry.clusterSize - 1) / size
    var (low, high) = (0, pages.count)
    while low < high {
      let middle = (low + high) / 2
      if pages[middle] < wanted.lowerBound { low = middle + 1 } else { high = middle }
    }
    return low < pages.count && wanted.contains(pages[low])
  }

  private static let pieceSize: UInt64 = 1 << 16

  /// Bytes of a piece of a table; zeroes where there is none or it cannot be read.
  private func piece(_ table: UInt64?, _ image: Image) -> [UInt8] {
    let count = Int(min(Self.pieceSize, geometry.clusterSize - at))
    guard let table, let bytes = try? image.storage.bytes(at: table + at, count: count) else {
      return [UInt8](repeating: 0, count: count)
    }
    return bytes
  }

  private func comparePiece(_ old: UInt64?, _ new: UInt64?) {
    let (x, y) = (piece(old, before), piece(new, after))
    guard x != y else { return }
    let size = geometry.l2EntrySize
    let first = Int(at) / size
    for number in 0..<x.count / size
    where x[(number * size)..<(number * size + size)]
      != y[(number * size)..<(number * size + size)]
    {
      let guestCluster = geometry.cluster(
        of: geometry.guestOffset(l1Index: index, l2Index: first + number)
      ).value
      keep(guest: guestCluster)
      if isEmpty(x, number * size, size) { keep(guestCluster, in: &guestAppeared) }
      if isEmpty(y, number * size, size) { keep(guestCluster, in: &guestWent) }
      let uses = (users(entry(x, number * size)), users(entry(y, number * size)))
      for cluster in uses.0 where !uses.1.contains(cluster) { keep(host: cluster) }
      for cluster in uses.1 where !uses.0.contains(cluster) { keep(host: cluster) }
    }
  }

  /// An entry that says nothing.
  private func isEmpty(_ bytes: [UInt8], _ at: Int, _ size: Int) -> Bool {
    bytes[at..<at + size].allSatisfy { $0 == 0 }
  }

  private func entry(_ bytes: [UInt8], _ at: Int) -> L2Entry {
    L2Entry(
      descriptor: BigEndian.u64(bytes, at),
      bitmap: SubclusterBitmap(raw: geometry.hasExtendedL2 ? BigEndian.u64(bytes, at + 8) : 0))
  }

  /// Host clusters of the image file that an entry uses.
  private func users(_ entry: L2Entry) -> Range<UInt64> {
    if entry.isCompressed {
      let extent = geometry.compressedExtent(of: entry.descriptor)
      let first = geometry.cluster(of: extent.offset).value
      return first..<max(first, geometry.clustersCovering(extent.offset.value + extent.byteCount))
    }
    guard !geometry.hasExternalData, geometry.hasHost(entry), geometry.isAligned(entry.offsetBits) else {
      return 0..<0
    }
    let cluster = cluster(entry.offsetBits)
    return cluster..<cluster + 1
  }

  // MARK: Refcounts

  private func compareRefcounts() {
    for _ in 0..<Self.stride {
      guard index < blockCount else { return finish() }
      let (old, new) = (block(before), block(after))
      if at == 0, before.refcountTableEntry(index) != after.refcountTableEntry(index) {
        difference.refcountTable.append(index)
      }
      if old == new, !mayDiffer(old) {
        index += 1
        continue
      }
      compareCounts(piece(old, before), piece(new, after))
      at += Self.pieceSize
      if at >= geometry.clusterSize { (index, at) = (index + 1, 0) }
      return
    }
  }

  private func block(_ image: Image) -> UInt64? {
    guard let block = image.refcountTableEntry(index).block?.value, geometry.isAligned(block) else {
      return nil
    }
    return block
  }

  private func compareCounts(_ x: [UInt8], _ y: [UInt8]) {
    guard x != y else { return }
    let codec = RefcountCodec(order: geometry.refcountOrder)
    let perPiece = (x.count << 3) >> geometry.refcountOrder
    let first =
      UInt64(index) * geometry.refcountsPerBlock + (at << 3) >> UInt64(geometry.refcountOrder)
    unsafe x.withUnsafeBytes { x in
      unsafe y.withUnsafeBytes { y in
        for number in 0..<perPiece {
          let (old, new) = unsafe (codec.value(in: x, at: number), codec.value(in: y, at: number))
          guard old != new else { continue }
          let cluster = first + UInt64(number)
          keep(host: cluster)
          if old == 0 { keep(cluster, in: &hostAppeared) }
          if new == 0 { keep(cluster, in: &hostWent) }
        }
      }
    }
  }

  // MARK: Keeping

  private func keep(l1 index: Int) {
    if difference.l1.count < Self.limit { difference.l1.append(index) } else { isTooMuch() }
  }

  private func keep(guest cluster: UInt64) { keep(cluster, in: &guest) }
  private func keep(host cluster: UInt64) { keep(cluster, in: &host) }

  private func keep(_ cluster: UInt64, in list: inout [Range<UInt64>]) {
    if let last = list.last, last.upperBound == cluster {
      list[list.count - 1] = last.lowerBound..<cluster + 1
    } else if list.count < Self.limit {
      list.append(cluster..<cluster + 1)
    } else {
      isTooMuch()
    }
  }

  private func isTooMuch() { difference.partialReason = "more places differ than are kept" }

  private func finish() {
    difference.guest = Narration.merged(guest)
    difference.host = Narration.merged(host)
    difference.guestAppeared = Narration.merged(guestAppeared)
    difference.guestWent = Narration.merged(guestWent)
    difference.hostAppeared = Narration.merged(hostAppeared)
    difference.hostWent = Narration.merged(hostWent)
    phase = .done
  }
}
