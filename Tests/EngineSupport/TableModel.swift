// What the tables of an image hold, by the notes of the engine: read from the file once and then changed by
// nothing but notes. Every note must begin where the one before ended.

import QcowFormat
import Storage

import Qcow

/// Header, L1, L2 and refcount tables of an image, snapshots included, as values by their places in the file.
struct TableModel {
  private var header: [UInt8]
  private var extensions: [UInt64: [UInt8]]
  /// Extensions that notes have named since the header was looked at.
  private var namedExtensions: Set<UInt64> = []
  private let geometry: Geometry
  private let codec: RefcountCodec
  private var l1Tables: [UInt64: [UInt64]] = [:]
  private var l2Tables: [UInt64: [UInt8]] = [:]
  private var refcountTable: [UInt64] = []
  private var blocks: [UInt64: [UInt8]] = [:]
  /// Notes on blocks that the refcount table does not name yet: before and after by index.
  private var early: [UInt64: [Int: (UInt64, UInt64)]] = [:]
  /// Place and length of the L1 tables.
  private var snapshots: [(UInt64, UInt64)] = []
  /// Places of tables that have come into force since the last look.
  private var new: Set<UInt64> = []
  /// L1 tables of snapshots that have come into force.
  private var newSnapshots: Set<UInt64> = []

  /// Reads an image; nil if there is none yet.
  init?(_ storage: any Storage) {
    guard let first = try? storage.bytes(at: 0, count: Header.version3Length),
      let parsed = try? Header(parsing: first),
      let bytes = try? storage.bytes(at: 0, count: Int(parsed.geometry.clusterSize))
    else { return nil }
    header = bytes
    extensions = Self.extensions(bytes)
    geometry = parsed.geometry
    codec = RefcountCodec(order: geometry.refcountOrder)
    refcountTable = Self.words(storage, parsed.refcountTableOffset, Int(refcountTableBytes / 8))
    for raw in refcountTable where raw != 0 { blocks[raw] = cluster(storage, raw) }
    if l1Size > 0 { l1Tables[l1Place] = Self.words(storage, l1Place, l1Size) }
    readSnapshots(storage)
    for table in l1Tables.values { for raw in table { learnL2(raw, storage) } }
  }

  // MARK: Reading

  private static func words(_ storage: any Storage, _ offset: UInt64, _ count: Int) -> [UInt64] {
    guard let bytes = try? storage.bytes(at: offset, count: count * 8) else { return [] }
    return (0..<count).map { BigEndian.u64(bytes, $0 * 8) }
  }

  private func cluster(_ storage: any Storage, _ offset: UInt64) -> [UInt8] {
    (try? storage.bytes(at: offset, count: Int(geometry.clusterSize))) ?? []
  }

  private var emptyCluster: [UInt8] { [UInt8](repeating: 0, count: Int(geometry.clusterSize)) }

  private func count(_ block: UInt64, _ index: Int) -> UInt64? {
    blocks[block]?.withUnsafeBytes { codec.value(in: $0, at: index) }
  }

  private mutating func setCount(_ block: UInt64, _ index: Int, _ count: UInt64) {
    blocks[block]?.withUnsafeMutableBytes { codec.store(count, in: $0, at: index) }
  }

  private mutating func learnL2(_ raw: UInt64, _ storage: any Storage) {
    let place = raw & L1Entry.offsetMask
    if place != 0, l2Tables[place] == nil { l2Tables[place] = cluster(storage, place) }
  }

  private mutating func readSnapshots(_ storage: any Storage) {
    snapshots = Self.snapshots(storage, header)
    for (place, size) in snapshots where size > 0 {
      l1Tables[place] = Self.words(storage, place, Int(size))
    }
  }

  private static func snapshots(_ storage: any Storage, _ header: [UInt8]) -> [(UInt64, UInt64)] {
    var at = BigEndian.u64(header, 64)
    var found: [(UInt64, UInt64)] = []
    for _ in 0..<BigEndian.u32(header, 60) {
      at = (at + 7) & ~7
      guard let fixed = try? storage.bytes(at: at, count: SnapshotEntry.fixedSize) else { break }
      found.append((BigEndian.u64(fixed, 0), UInt64(BigEndian.u32(fixed, 8))))
      at += UInt64(SnapshotEntry.size(fixed: fixed))
    }
    return found
  }

  private static func extensions(_ cluster: [UInt8]) -> [UInt64: [UInt8]] {
    var found: [UInt64: [UInt8]] = [:]
    let name = Int(BigEndian.u64(cluster, 8))
    if name > 0 {
      found[HeaderField.backingName] = Array(cluster[name..<name + Int(BigEndian.u32(cluster, 16))])
    }
    var at = BigEndian.u32(cluster, 4) < 3 ? 72 : Int(BigEndian.u32(cluster, 100))
    while at <= cluster.count - 8, BigEndian.u32(cluster, at) != 0 {
      let length = Int(BigEndian.u32(cluster, at + 4))
      found[HeaderField.extensions(of: BigEndian.u32(cluster, at)), default: []] +=
        cluster[at + 8..<at + 8 + length]
      at += 8 + (length + 7) / 8 * 8
    }
    return found
  }

  private static let fields: [Int: Int] = [
    4: 4, 8: 8, 16: 4, 20: 4, 24: 8, 32: 4, 36: 4, 40: 8, 48: 8, 56: 4, 60: 4, 64: 8, 72: 8, 80: 8, 88: 8,
    96: 4, 100: 4, 104: 1,
  ]

  private func field(_ offset: Int, of cluster: [UInt8]) -> UInt64 {
    if offset >= 72 && BigEndian.u32(cluster, 4) < 3 { return 0 }
    return cluster[offset..<offset + (Self.fields[offset] ?? 0)].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private var l1Place: UInt64 { field(40, of: header) }
  private var l1Size: Int { Int(field(36, of: header)) }
  private var refcountPlace: UInt64 { field(48, of: header) }
  private var refcountTableBytes: UInt64 { field(56, of: header) * geometry.clusterSize }

  // MARK: Notes

  /// Follows a note; returns what is wrong with it.
  mutating func take(_ tag: WriteTag) -> String? {
    let index = Int(clamping: tag.index)
    guard tag.before != tag.after else { return "entry \(index) is told and does not change" }
    switch tag.target {
    case .header: return takeHeader(tag)
    case .l1Table, .inactiveL1Table:
      guard (tag.target == .l1Table) == (tag.table == l1Place) else { return "not the table it says it is" }
      return takeL1(tag, index)
    case .l2Table, .inactiveL2Table: return takeL2(tag)
    case .refcountTable: return takeRefcountTable(tag, index)
    case .refcountBlock: return takeCount(tag)
    case .snapshotTable: return takeSnapshot(tag, index)
    // Bitmaps lie in clusters of their own and are not modelled; only their flags are told.
    case .bitmaps: return nil
    case .none, .data, .compressedData, .file: return "no metadata"
    }
  }

  private func text(_ words: (UInt64, UInt64)) -> String {
    "0x\(String(words.0, radix: 16)):\(String(words.1, radix: 16))"
  }

  private mutating func takeHeader(_ tag: WriteTag) -> String? {
    guard tag.index < 1 << 32 else {
      namedExtensions.insert(tag.index)
      if tag.index == HeaderField.pin {
        let old = extensions[tag.index].map { (BigEndian.u64($0, 8), BigEndian.u64($0, 16)) } ?? (0, 0)
        if old != tag.before { return "the pin was \(text(old)), not \(text(tag.before))" }
      }
      return nil
    }
    let offset = Int(tag.index)
    guard let width = Self.fields[offset] else { return "no field at \(offset)" }
    let old = field(offset, of: header)
    guard old == tag.before.0 else { return "field \(offset) was \(old), not \(tag.before.0)" }
    let place = (l1: l1Place, size: l1Size)
    BigEndian.put(tag.after.0, width: width, into: &header, at: offset)
    if offset == 36 || offset == 40 {
      // The entries go along; new ones are empty.
      var entries = l1Tables[place.l1] ?? []
      l1Tables[place.l1] = nil
      entries += [UInt64](repeating: 0, count: max(0, l1Size - entries.count))
      l1Tables[l1Place] = entries
      new.insert(l1Place)
    }
    if offset == 48 || offset == 56 {
      refcountTable = Array(refcountTable.prefix(Int(refcountTableBytes / 8)))
      refcountTable += [UInt64](repeating: 0, count: Int(refcountTableBytes / 8) - refcountTable.count)
      new.insert(refcountPlace)
    }
    return nil
  }

  private mutating func takeL1(_ tag: WriteTag, _ index: Int) -> String? {
    guard let old = l1Tables[tag.table].flatMap({ index < $0.count ? $0[index] : nil }) else {
      return "nothing names the L1 table \(tag.table)"
    }
    guard old == tag.before.0 else { return "L1[\(index)] was \(text((old, 0))), not \(text(tag.before))" }
    l1Tables[tag.table]?[index] = tag.after.0
    let (before, after) = (tag.before.0 & L1Entry.offsetMask, tag.after.0 & L1Entry.offsetMask)
    if after != 0, l2Tables[after] == nil {
      // A table that nothing named holds what the old one holds, or nothing.
      l2Tables[after] = l2Tables[before] ?? emptyCluster
      new.insert(after)
    }
    if before != after { dropUnnamed([before]) }
    return nil
  }

  private mutating func dropUnnamed(_ tables: [UInt64]) {
    for table in tables
    where !l1Tables.values.contains(where: { $0.contains { $0 & L1Entry.offsetMask == table } }) {
      l2Tables[table] = nil
    }
  }

  private mutating func takeL2(_ tag: WriteTag) -> String? {
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let isActive =
      l1Tables[l1Place].map { table in
        tag.index / perTable < table.count
          && table[Int(tag.index / perTable)] & L1Entry.offsetMask == tag.table
      } ?? false
    guard isActive == (tag.target == .l2Table) else {
      return "guest cluster \(tag.index) is \(isActive ? "" : "not ")mapped by the table at \(tag.table)"
    }
    // A snapshot may just have gone, and the counts behind its tables follow.
    let at = Int(tag.index % perTable) * geometry.l2EntrySize
    let isWide = geometry.hasExtendedL2
    guard
      let old = l2Tables[tag.table].map({ (BigEndian.u64($0, at), isWide ? BigEndian.u64($0, at + 8) : 0) })
    else { return isActive ? "no such table" : nil }
    guard old == tag.before else { return "L2[\(tag.index)] was \(text(old)), not \(text(tag.before))" }
    BigEndian.put(tag.after.0, width: 8, into: &l2Tables[tag.table, default: []], at: at)
    if isWide { BigEndian.put(tag.after.1, width: 8, into: &l2Tables[tag.table, default: []], at: at + 8) }
    return nil
  }

  private mutating func takeCount(_ tag: WriteTag) -> String? {
    let cluster = HostCluster(tag.index)
    let index = geometry.refcountBlockIndex(of: cluster)
    guard let old = count(tag.table, index) else {
      if let told = early[tag.table]?[index], told.1 != tag.before.0 {
        return "refcount[\(tag.index)] was \(told.1), not \(tag.before.0)"
      }
      early[tag.table, default: [:]][index] = (early[tag.table]?[index]?.0 ?? tag.before.0, tag.after.0)
      return nil
    }
    let number = geometry.refcountTableIndex(of: cluster)
    guard number < refcountTable.count, refcountTable[number] == tag.table else {
      return "the block at \(tag.table) does not count cluster \(tag.index)"
    }
    guard old == tag.before.0 else { return "refcount[\(tag.index)] was \(old), not \(tag.before.0)" }
    setCount(tag.table, index, tag.after.0)
    // A place that is free again is nobody's block.
    if tag.after.0 == 0 { early[geometry.start(of: cluster).value] = nil }
    return nil
  }

  private mutating func takeRefcountTable(_ tag: WriteTag, _ index: Int) -> String? {
    guard tag.table == refcountPlace, index < refcountTable.count else { return "not the refcount table" }
    let old = refcountTable[index]
    guard old == tag.before.0 else { return "entry \(index) was \(old), not \(tag.before.0)" }
    refcountTable[index] = tag.after.0
    let place = tag.after.0
    if place != 0, blocks[place] == nil {
      blocks[place] = blocks[old] ?? emptyCluster
      new.insert(place)
      for (at, (before, after)) in early.removeValue(forKey: place) ?? [:] {
        let was = count(place, at) ?? 0
        if was != before { return "count \(at) of block \(index) was \(was), not \(before)" }
        setCount(place, at, after)
      }
    }
    if !refcountTable.contains(old) { blocks[old] = nil }
    return nil
  }

  private mutating func takeSnapshot(_ tag: WriteTag, _ index: Int) -> String? {
    guard tag.table == field(64, of: header) else { return "not the snapshot table" }
    let old = index < snapshots.count ? snapshots[index] : (0, 0)
    guard old == tag.before else { return "entry \(index) was \(text(old)), not \(text(tag.before))" }
    if index < snapshots.count { snapshots[index] = tag.after } else { snapshots.append(tag.after) }
    while snapshots.last.map({ $0 == (0, 0) }) ?? false { snapshots.removeLast() }
    if tag.after.1 > 0, l1Tables[tag.after.0] == nil { newSnapshots.insert(tag.after.0) }
    return nil
  }

  // MARK: Comparing

  /// Compares ranges of the file, and what has come into force, with the model.
  mutating func compare(_ ranges: [Range<UInt64>], _ storage: any Storage) -> [String] {
    var problems: [String] = []
    adoptSnapshots(storage, &problems)
    let size = geometry.clusterSize
    for range in ranges + new.map({ $0..<$0 + 1 }) {
      if range.lowerBound < size { compareHeader(storage, &problems) }
      for (place, entries) in l1Tables
      where range.overlaps(place..<place + max(1, UInt64(entries.count) * 8)) {
        compareWords(entries, Self.words(storage, place, entries.count), "L1 table \(place)", &problems)
      }
      if range.overlaps(refcountPlace..<refcountPlace + refcountTableBytes) {
        compareWords(
          refcountTable, Self.words(storage, refcountPlace, refcountTable.count), "refcount table", &problems)
      }
      for number in range.lowerBound / size...(range.upperBound - 1) / size {
        let place = number * size
        if let table = l2Tables[place] {
          // A cache writes parts of tables; one that has come into force is there as a whole.
          let part =
            new.contains(place)
            ? 0..<table.count
            : Int(max(place, range.lowerBound) - place)..<Int(min(place + size, range.upperBound) - place)
          compareBytes(table[part], cluster(storage, place)[part], "L2 table \(place)", &problems)
        }
        if let block = blocks[place] {
          compareBytes(block[...], cluster(storage, place)[...], "refcount block \(place)", &problems)
        }
      }
    }
    new = []
    return problems
  }

  /// A new snapshot has the active entries, whatever their COPIED flags say.
  private mutating func adoptSnapshots(_ storage: any Storage, _ problems: inout [String]) {
    for place in newSnapshots {
      guard let size = snapshots.first(where: { $0.0 == place })?.1 else { continue }
      let entries = Self.words(storage, place, Int(size))
      let active = l1Tables[l1Place] ?? []
      if !zip(entries, active).allSatisfy({ ($0 ^ $1) & ~L1Entry.copiedFlag == 0 }) {
        problems.append("the L1 table of the new snapshot at \(place) is not the active one")
      }
      l1Tables[place] = entries
    }
    newSnapshots = []
    let gone = l1Tables.keys.filter { key in key != l1Place && !snapshots.contains { $0.0 == key } }
    for place in gone {
      let tables = l1Tables[place] ?? []
      l1Tables[place] = nil
      dropUnnamed(tables.map { $0 & L1Entry.offsetMask })
    }
  }

  private mutating func compareHeader(_ storage: any Storage, _ problems: inout [String]) {
    guard let now = try? storage.bytes(at: 0, count: Int(geometry.clusterSize)) else { return }
    for offset in Self.fields.keys.sorted() where field(offset, of: header) != field(offset, of: now) {
      problems.append(
        "header field \(offset) is \(field(offset, of: now)), told was \(field(offset, of: header))")
    }
    let found = Self.extensions(now)
    let names = Set(found.keys).union(extensions.keys)
    let changed = names.filter { found[$0] != extensions[$0] }
    if changed != namedExtensions {
      problems.append("header extensions \(changed) changed, told were \(namedExtensions)")
    }
    header = now
    extensions = found
    namedExtensions = []
  }

  private func compareBytes(
    _ told: ArraySlice<UInt8>, _ found: ArraySlice<UInt8>, _ what: String, _ problems: inout [String]
  ) {
    guard told != found else { return }
    let at = told.indices.first { !found.indices.contains($0) || told[$0] != found[$0] } ?? 0
    problems.append("\(what): byte \(at) is not what was told")
  }

  private func compareWords(
    _ told: [UInt64], _ found: [UInt64], _ what: String, _ problems: inout [String]
  ) {
    guard told != found else { return }
    let at = zip(told, found).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? told.count
    problems.append(
      "\(what), word \(at): the file has \(text((found.indices.contains(at) ? found[at] : 0, 0))), told was "
        + text((told.indices.contains(at) ? told[at] : 0, 0)))
  }

  /// What another reading of the whole image has that this one does not, and the other way round.
  func differences(to other: TableModel) -> [String] {
    var problems: [String] = []
    for offset in Self.fields.keys.sorted() where field(offset, of: header) != field(offset, of: other.header)
    {
      problems.append("header field \(offset)")
    }
    if extensions != other.extensions { problems.append("header extensions") }
    if refcountTable != other.refcountTable { problems.append("refcount table") }
    func compare<Value: Equatable>(_ a: [UInt64: Value], _ b: [UInt64: Value], _ what: String) {
      for place in Set(a.keys).union(b.keys).sorted() where a[place] != b[place] {
        problems.append("\(what) \(place)")
      }
    }
    compare(l1Tables, other.l1Tables, "L1 table")
    compare(l2Tables, other.l2Tables, "L2 table")
    compare(blocks, other.blocks, "refcount block")
    return problems
  }
}
