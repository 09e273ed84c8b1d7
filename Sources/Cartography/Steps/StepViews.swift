// One operation seen three times: what the guest reads before and afterwards, which entries and counts become
// others, and what is written to the files.

package import Qcow
import QcowFormat
package import Storage

/// Three views of one operation. What they show is bounded; the rest is counted or left out.
package struct StepViews {
  /// What a row of bytes holds.
  package enum Content: Equatable, Sendable {
    /// One value in all of them.
    case byte(UInt8)
    /// Several values.
    case mixed
    /// A read fails.
    case unreadable

    /// In a word: two digits where one value is in all bytes.
    package var text: String {
      switch self {
      case .byte(let value): Notation.hex(UInt64(value), width: 2)
      case .mixed: "mixed"
      case .unreadable: "error"
      }
    }
  }

  /// Bytes of the disk in a row that read alike.
  package struct GuestRun: Equatable, Sendable {
    /// Bytes from the start of the disk.
    package var range: Range<UInt64>
    package var before: Content
    package var after: Content
    package var isChange: Bool
  }

  /// An entry, a count or another field of the file that becomes another one.
  package struct Entry: Equatable, Sendable {
    /// "L1[0]", "L2 of cluster 3", "bitmap of cluster 3", "refcount[4..6]".
    package var name: String
    /// Digits as they are in the file, or a number.
    package var before: String
    package var after: String
    /// What it means afterwards, in a few words; may be empty.
    package var meaning: String
    /// Its first byte in the file; nil if it is not known.
    package var place: UInt64?
    /// Which of ``StepViews/writes`` brings it to the file; nil if none does.
    package var write: Int?
  }

  /// A write as it is told.
  package struct Write: Equatable, Sendable {
    package var file: FileNumber
    /// "write", "zero" or "punch".
    package var action: String
    /// What is written, in the words of the format.
    package var name: String
    /// Bytes from the start of the file; of an L1 table the entries alone.
    package var range: Range<UInt64>
    /// All of it reaches the disk before the next write begins.
    package var isFlushed: Bool
  }

  package private(set) var guest: [GuestRun] = []
  /// There is more of the disk than was looked at.
  package private(set) var hasMoreGuest = false
  package private(set) var entries: [Entry] = []
  package private(set) var hasMoreEntries = false
  package private(set) var writes: [Write] = []
  /// Bytes of the image file.
  package let lengthBefore: UInt64
  package let lengthAfter: UInt64

  /// Bytes of the disk that are read at most, and rows of each view.
  private static let bytesRead: UInt64 = 2 << 20
  private static let mostRows = 256
  /// Words without an entry of their own that are named at most.
  private static let mostWords = 32

  private let geometry: Geometry
  /// Words of eight bytes that writes of tables change, by the number of the write and that of the word.
  private var changed: [Int: [UInt64: ByteChange]] = [:]

  /// - Parameters:
  ///   - operation: what was done to the files.
  ///   - narration: the same as it was told.
  ///   - guest: bytes of the disk that it is about; nil if it is about the image as a whole.
  ///   - before: the image before it; nil if it cannot be opened.
  ///   - after: the image behind it.
  ///   - names: the bytes of the file as they are named behind it; nil if nobody can say.
  package init(
    _ operation: FileOperation, _ narration: Narration, guest: Range<UInt64>?, before: Image?, after: Image?,
    names: ByteMap?
  ) {
    geometry = narration.geometry
    lengthBefore = narration.numbers.lengthBefore
    lengthAfter = narration.numbers.lengthAfter
    let found = FileWrite.writes(of: operation.events)
    let tables = Tables(found, geometry)
    writes = found.prefix(4096).map { write($0, tables, names) }
    for (number, write) in found.prefix(Self.mostRows).enumerated() where write.file == .image {
      let event = write.events[0]
      guard ![.data, .compressedData].contains(event.tag.target) else { continue }
      let changes = ByteChange.changes(of: event, limit: 512).changes
      changed[number] = Dictionary(changes.map { ($0.offset / 8, $0) }) { first, _ in first }
    }
    tell(narration, tables)
    nameOthers(found, names)
    changed = [:]
    read(narration, guest, found, before, after, names)
  }

  // MARK: The files

  /// Where tables are, and whose a new cluster is, as an operation said.
  private struct Tables {
    /// Names of tables by their first byte.
    var names: [UInt64: String] = [:]
    /// Guest clusters by the host cluster that they got.
    var data: [UInt64: UInt64] = [:]
    /// Where an entry is, and the first write that can have brought it to the file.
    struct Place {
      var byte: UInt64
      var write: Int
      /// Bytes of it.
      var size = 8
    }
    var entries: [UInt64: Place] = [:]
    var counts: [UInt64: Place] = [:]
    var l1: [UInt64: Place] = [:]
    var blocks: [UInt64: Place] = [:]

    init(_ writes: [FileWrite], _ geometry: Geometry) {
      for (number, write) in writes.enumerated() {
        for note in write.notes { take(note.tag, number, geometry) }
      }
    }

    private mutating func take(_ tag: WriteTag, _ number: Int, _ geometry: Geometry) {
      let perTable = UInt64(geometry.l2EntriesPerTable)
      switch tag.target {
      case .l1Table:
        l1[tag.index] = Place(byte: tag.table &+ tag.index &* 8, write: number)
        for raw in [tag.before.0, tag.after.0] {
          if let table = L1Entry(raw: raw).table {
            names[table.value] = "L2[\(tag.index)], table of L1[\(tag.index)]"
          }
        }
      case .l2Table:
        let table = tag.index / perTable
        names[tag.table] = "L2[\(table)], table of L1[\(table)]"
        let inside = tag.index % perTable &* UInt64(geometry.l2EntrySize)
        entries[tag.index] = Place(byte: tag.table &+ inside, write: number)
        for raw in [tag.before, tag.after] {
          let entry = L2Entry(descriptor: raw.0, bitmap: SubclusterBitmap(raw: raw.1))
          guard !entry.isCompressed, geometry.hasHost(entry) else { continue }
          data[entry.offsetBits >> UInt64(geometry.clusterBits)] = tag.index
        }
      case .refcountTable: blocks[tag.index] = Place(byte: tag.table &+ tag.index &* 8, write: number)
      case .refcountBlock:
        let block = tag.index >> UInt64(geometry.refcountBlockBits)
        names[tag.table] = "refcount block \(block)"
        let inside = tag.index & (1 << UInt64(geometry.refcountBlockBits) - 1)
        let byte = tag.table &+ (inside << UInt64(geometry.refcountOrder)) / 8
        let size = max(1, (1 << geometry.refcountOrder) / 8)
        counts[tag.index] = Place(byte: byte, write: number, size: size)
      default: break
      }
    }
  }

  private func write(_ found: FileWrite, _ tables: Tables, _ names: ByteMap?) -> Write {
    let event = found.events[0]
    let action: String =
      switch event.kind {
      case .punch: "punch"
      case .zero where found.events.allSatisfy { $0.kind == .zero }: "zero"
      default: "write"
      }
    var write = Write(
      file: found.file, action: action, name: StepTrace.name(event.tag.target), range: found.range,
      isFlushed: found.isFlushed)
    guard found.file == .image else { return write }
    let start = found.range.lowerBound
    switch event.tag.target {
    case .l1Table where event.kind == .write:
      let changes = ByteChange.changes(of: event, limit: Self.mostRows).changes
      guard let first = changes.first, changes.count < Self.mostRows else { break }
      let index = tables.l1.first { $0.value.byte == first.offset }?.key
      if let index {
        write.name = "L1[\(index)]"
        write.range = first.offset..<first.offset + UInt64(changes.count) * 8
      }
    case .l2Table, .refcountBlock:
      if let name = tables.names[geometry.roundDown(start)] { write.name = name }
    case .data:
      let first = start >> UInt64(geometry.clusterBits)
      let count = geometry.clustersCovering(found.range.upperBound) - first
      if let guest = tables.data[first] ?? guestCluster(at: start, names) {
        write.name =
          count > 1 ? "data[\(guest)] to data[\(guest &+ count - 1)]" : "data[\(guest)]"
      } else if event.kind == .punch {
        write.name = "free"
      }
    case .none, .file:
      if let field = names?.field(at: HostOffset(start)), !field.structure.isEmpty {
        write.name = field.structure
      }
    default: break
    }
    return write
  }

  /// The guest cluster whose data, or whose entry, a byte of the file is.
  private func guestCluster(at offset: UInt64, _ names: ByteMap?) -> UInt64? {
    let cluster = geometry.cluster(of: HostOffset(offset))
    for owner in names?.owners.owners(of: cluster).owners ?? [] {
      if let guest = owner.guest { return guest.value >> UInt64(geometry.clusterBits) }
      guard case .l2Table(let index) = owner else { continue }
      let entry = (offset - geometry.roundDown(offset)) / UInt64(geometry.l2EntrySize)
      return UInt64(index) &* UInt64(geometry.l2EntriesPerTable) &+ entry
    }
    return nil
  }

  // MARK: The entries

  private mutating func add(
    _ name: String, _ before: String, _ after: String, _ meaning: String, _ place: Tables.Place?
  ) {
    guard entries.count < Self.mostRows else {
      hasMoreEntries = true
      return
    }
    entries.append(
      Entry(
        name: name, before: before, after: after, meaning: meaning, place: place?.byte,
        write: place.flatMap { write(of: $0) }))
  }

  /// The write that carries an entry to the file. Some are told of when they are changed in memory, some when they
  /// are written.
  private func write(of place: Tables.Place) -> Int? {
    let covering = writes.indices.dropFirst(max(0, place.write - 1)).filter { index in
      let write = writes[index]
      return write.file == .image && write.action == "write" && write.range.contains(place.byte)
    }
    return covering.first { changes($0, place) } ?? covering.first { $0 >= place.write }
  }

  /// A write makes another value of an entry, or of a count, of which there are several in a word.
  private func changes(_ write: Int, _ place: Tables.Place) -> Bool {
    guard let change = changed[write]?[place.byte / 8] else { return false }
    let start = Int(max(place.byte, change.offset) - change.offset)
    let bytes = start..<min(change.before.count, start + place.size)
    return !bytes.isEmpty && change.before[bytes] != change.after[bytes]
  }

  private mutating func tell(_ narration: Narration, _ tables: Tables) {
    for (index, change) in narration.tables.sorted(by: { $0.key < $1.key }) {
      add(
        "L1[\(index)]", Self.digits(change.before), Self.digits(change.after),
        host(ofL1: change.after), tables.l1[index])
    }
    for change in narration.entries {
      guard entries.count < Self.mostRows else {
        hasMoreEntries = true
        break
      }
      let place = tables.entries[change.key]
      let words = StepTrace.words(change.after, geometry)
      if change.before.descriptor != change.after.descriptor {
        add(
          "L2 of cluster \(change.key)", Self.digits(change.before.descriptor),
          Self.digits(change.after.descriptor), geometry.hasExtendedL2 ? host(change.after) : words, place)
      }
      guard geometry.hasExtendedL2, change.before.bitmap != change.after.bitmap else { continue }
      add(
        "bitmap, cluster \(change.key)", Self.digits(change.before.bitmap.raw),
        Self.digits(change.after.bitmap.raw), bits(change.after.bitmap),
        place.map { Tables.Place(byte: $0.byte &+ 8, write: $0.write) })
    }
    for (index, change) in narration.blocks.sorted(by: { $0.key < $1.key }) {
      add(
        "refcount table[\(index)]", Self.digits(change.before), Self.digits(change.after), "",
        tables.blocks[index])
    }
    var at = 0
    let counts = narration.refcounts
    while at < counts.count {
      let first = counts[at]
      var last = first.key
      at += 1
      while at < counts.count, counts[at].key == last + 1, counts[at].before == first.before,
        counts[at].after == first.after, isOneWrite(tables.counts[last], tables.counts[last + 1])
      {
        last += 1
        at += 1
      }
      let meaning =
        first.after == 0 ? "free" : first.after == 1 ? "one owner" : "\(first.after) owners"
      add(
        last == first.key ? "refcount[\(last)]" : "refcount[\(first.key)..\(last)]", "\(first.before)",
        "\(first.after)", meaning, tables.counts[first.key])
      if hasMoreEntries { break }
    }
  }

  /// Two counts come to the file with the same write.
  private func isOneWrite(_ one: Tables.Place?, _ other: Tables.Place?) -> Bool {
    one.flatMap { write(of: $0) } == other.flatMap { write(of: $0) }
  }

  private func host(ofL1 raw: UInt64) -> String {
    guard let table = L1Entry(raw: raw).table else { return ByteMap.text(ofL1: raw) }
    return "at 0x\(Notation.hex(table.value))" + (L1Entry(raw: raw).isCopied ? ", COPIED" : "")
  }

  private static func digits(_ raw: UInt64) -> String { Notation.hex(raw, width: 16) }

  private func host(_ entry: L2Entry) -> String {
    guard geometry.hasHost(entry), !entry.isCompressed else { return StepTrace.words(entry, geometry) }
    return "at 0x\(Notation.hex(entry.offsetBits))" + (entry.isCopied ? ", COPIED" : "")
  }

  private func bits(_ bitmap: SubclusterBitmap) -> String {
    "\(bitmap.allocated.nonzeroBitCount) own, \(bitmap.zero.nonzeroBitCount) zero"
  }

  /// Fields that an operation wrote without saying so: those of the header and of lists, and bytes that were written
  /// by hand.
  private mutating func nameOthers(_ found: [FileWrite], _ names: ByteMap?) {
    guard let names else { return }
    var order: [UInt64] = []
    var changes: [UInt64: (before: [UInt8], after: [UInt8], write: Int)] = [:]
    for (number, write) in found.enumerated() where write.file == .image {
      for event in write.events {
        switch event.tag.target {
        case .l1Table, .l2Table, .refcountTable, .refcountBlock, .data, .compressedData: continue
        default: break
        }
        for change in ByteChange.changes(of: event, limit: Self.mostWords).changes {
          if changes[change.offset] == nil { order.append(change.offset) }
          changes[change.offset] = (
            changes[change.offset]?.before ?? change.before, change.after, number
          )
        }
      }
    }
    for offset in order.sorted().prefix(Self.mostWords) {
      guard let change = changes[offset], change.before != change.after else { continue }
      let write = change.write
      let first = UInt64(zip(change.before, change.after).prefix { $0 == $1 }.count)
      let field = names.field(at: HostOffset(offset + first))
      // A field inside of the word is told alone.
      let start = max(offset, min(field.range.lowerBound.value, offset + first))
      let end = min(offset + UInt64(change.before.count), max(field.range.upperBound.value, start + 1))
      let part = Int(start - offset)..<Int(end - offset)
      func digits(_ bytes: [UInt8]) -> String {
        bytes[part].reduce(into: "") { $0 += Notation.hex(UInt64($1), width: 2) }
      }
      add(
        field.name.isEmpty ? field.structure : field.name, digits(change.before), digits(change.after),
        field.value, Tables.Place(byte: start, write: write))
    }
    if order.count > Self.mostWords { hasMoreEntries = true }
  }

  // MARK: The disk

  private mutating func read(
    _ narration: Narration, _ range: Range<UInt64>?, _ found: [FileWrite], _ before: Image?, _ after: Image?,
    _ names: ByteMap?
  ) {
    guard let before, let after else { return }
    let bits = UInt64(geometry.clusterBits)
    var clusters = narration.guestClusters
    if let range, !range.isEmpty {
      clusters.append(range.lowerBound >> bits..<geometry.clustersCovering(range.upperBound))
    }
    if range == nil {
      for write in found.prefix(Self.mostRows) where write.file == .image {
        guard [.data, .none, .file].contains(write.events[0].tag.target) else { continue }
        if let guest = guestCluster(at: write.range.lowerBound, names) {
          clusters.append(guest..<guest &+ 1)
        }
      }
    }
    let end = min(before.geometry.virtualSize, after.geometry.virtualSize)
    var left = max(1, Self.bytesRead >> bits)
    for row in Narration.merged(clusters) {
      for cluster in row {
        guard left > 0, guest.count < Self.mostRows else {
          hasMoreGuest = true
          return
        }
        left -= 1
        let (start, overflow) = cluster.multipliedReportingOverflow(by: geometry.clusterSize)
        guard !overflow, start < end else { return }
        let bytes = start..<min(end, start + geometry.clusterSize)
        compare(bytes, Self.content(of: bytes, before), Self.content(of: bytes, after))
      }
    }
  }

  private static func content(of range: Range<UInt64>, _ image: Image) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: range.count)
    let isRead = unsafe bytes.withUnsafeMutableBytes { buffer in
      (try? unsafe image.read(at: GuestOffset(range.lowerBound), into: buffer)) != nil
    }
    return isRead ? bytes : nil
  }

  private mutating func compare(_ range: Range<UInt64>, _ before: [UInt8]?, _ after: [UInt8]?) {
    guard let before, let after else {
      let (old, new) = (before.map { Self.content($0[...]) }, after.map { Self.content($0[...]) })
      return add(range, old ?? .unreadable, new ?? .unreadable, (before == nil) != (after == nil))
    }
    for at in stride(from: 0, to: range.count, by: 512) {
      let sector = at..<min(at + 512, range.count)
      let start = range.lowerBound + UInt64(at)
      for run in Self.runs(before[sector], after[sector]) {
        let bytes = start + UInt64(run.lowerBound - at)..<start + UInt64(run.upperBound - at)
        add(bytes, Self.content(before[run]), Self.content(after[run]), before[run] != after[run])
      }
    }
  }

  private static func content(_ bytes: ArraySlice<UInt8>) -> Content {
    guard let first = bytes.first, bytes.allSatisfy({ $0 == first }) else { return .mixed }
    return .byte(first)
  }

  /// A sector in rows of bytes that are alike before and behind; as a whole if there would be many.
  private static func runs(_ before: ArraySlice<UInt8>, _ after: ArraySlice<UInt8>) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var start = before.startIndex
    for at in before.indices
    where at == before.endIndex - 1 || before[at + 1] != before[start] || after[at + 1] != after[start] {
      runs.append(start..<at + 1)
      start = at + 1
      if runs.count > 4 { return [before.indices] }
    }
    return runs
  }

  private mutating func add(_ range: Range<UInt64>, _ before: Content, _ after: Content, _ isChange: Bool) {
    if let last = guest.last, last.range.upperBound == range.lowerBound, last.before == before,
      last.after == after, last.isChange == isChange
    {
      guest[guest.count - 1].range = last.range.lowerBound..<range.upperBound
    } else {
      guest.append(GuestRun(range: range, before: before, after: after, isChange: isChange))
    }
  }
}
