// One operation as steps with words: which structure, which entry, from what to what, and why. It reads the
// same events as the log, one by one.

package import Qcow
package import QcowFormat
package import Storage

/// The steps of one operation, in the order in which they were done. Making one costs nothing; words are made
/// for the step that is asked for.
package struct StepTrace {
  /// One event in words.
  package struct Step: Equatable, Sendable {
    /// Which file it happened to.
    package var file: FileNumber
    /// What is done, in a word or two: "take", "data", "flush".
    package var action: String
    /// "L1[3]", "L2 entry of guest 0x50000", "refcount[10]", "4096 bytes of the L2 table at 0x40000".
    package var place: String
    /// The entry before and after in words; empty for bytes that are no entry.
    package var before: String
    package var after: String
    /// The rule that asked for it, as a clause.
    package var why: String
    /// Bytes that it writes, zeroes or gives back; 0 for a change in memory, a flush and a length.
    package var bytes: UInt64
    /// Whether anything of the file changes; if not it is a change in memory, or a flush.
    package var reachesFile: Bool

    /// "refcount[10]: 0 -> 1; a cluster is taken before anything points to it".
    package var text: String {
      let change = before.isEmpty ? after.isEmpty ? "" : ": \(after)" : ": \(before) -> \(after)"
      return place + change + (why.isEmpty ? "" : "; " + why)
    }
  }

  /// All events, in the order in which they happened.
  package let events: [FileEvent]
  private let geometry: Geometry
  /// What was looked up before anything was changed.
  private let lookUps: [Step]
  /// Names of the fields of the header, by their offsets.
  private let fields: [UInt64: String]

  /// The steps of an operation. With `image`, which is the image before it, and the bytes of the disk that it is
  /// about, it begins with the entries that are looked up for the first of them.
  package init(
    _ operation: FileOperation, geometry: Geometry, guest: Range<UInt64>? = nil, before image: Image? = nil
  ) {
    events = operation.events
    self.geometry = geometry
    lookUps =
      if let image, let guest { Self.lookUps(GuestOffset(guest.lowerBound), image) } else { [] }
    var fields: [UInt64: String] = [:]
    for field in image.map({ HeaderFields($0).list }) ?? [] {
      fields[field.range.lowerBound.value] = field.name
    }
    self.fields = fields
  }

  /// How many steps there are: what is looked up, then one for each event.
  package var count: Int { lookUps.count + events.count }

  /// Events that have happened behind the step of that number.
  package func events(behind index: Int) -> Int { max(0, index + 1 - lookUps.count) }

  /// The event that is a step; nil for one that only looks.
  package func event(_ index: Int) -> FileEvent? {
    index < lookUps.count ? nil : events[index - lookUps.count]
  }

  /// The rule behind a step; nil for one that only looks.
  package func rule(_ index: Int) -> StepRule? { event(index).map { StepRule($0.event.tag.why) } }

  /// The step of that number, below ``count``.
  package subscript(index: Int) -> Step {
    guard let found = event(index) else { return lookUps[index] }
    let (file, event) = (found.file, found.event)
    let tag = event.tag
    let (before, after) = event.kind == .note ? entry(tag) : ("", "")
    let place = event.kind == .note ? entryPlace(tag) : bytesPlace(event)
    let rule = StepRule(tag.why)
    return Step(
      file: file, action: action(event, rule), place: place, before: before, after: after, why: rule.clause,
      bytes: event.count, reachesFile: event.kind != .note && event.kind != .flush)
  }

  /// The entries on the way to a byte of the disk.
  private static func lookUps(_ guest: GuestOffset, _ image: Image) -> [Step] {
    let geometry = image.geometry
    guard guest.value < geometry.virtualSize else { return [] }
    func step(_ place: String, _ found: String, _ why: String, _ bytes: Int) -> Step {
      Step(
        file: .image, action: "look up", place: place, before: "", after: found, why: why,
        bytes: UInt64(bytes),
        reachesFile: false)
    }
    let index = geometry.l1Index(of: guest)
    let entry = image.l1Entry(index)
    let l1 = step(
      "L1[\(index)]", ByteMap.text(ofL1: entry.raw), "the L1 table says where the L2 table of the place is", 8
    )
    guard entry.table != nil else { return [l1] }
    let place = "L2 entry of guest 0x\(Notation.hex(geometry.start(of: geometry.cluster(of: guest)).value))"
    let found = (try? image.l2Entry(at: guest)).map { words($0, geometry) } ?? "cannot be read"
    return [
      l1, step(place, found, "the L2 table says where the cluster is, or how it reads", geometry.l2EntrySize),
    ]
  }

  private func action(_ event: StorageEvent, _ rule: StepRule) -> String {
    switch event.kind {
    case .note: rule.action
    case .write: event.tag.why == .guestData || event.tag.why == .copyOnWrite ? rule.action : "write"
    case .zero: "zero"
    case .punch: "punch"
    case .truncate: "length"
    case .flush: "flush"
    }
  }

  private func hex(_ value: UInt64) -> String { "0x" + Notation.hex(value) }

  private func entryPlace(_ tag: WriteTag) -> String {
    switch tag.target {
    case .l1Table: "L1[\(tag.index)]"
    case .l2Table: "L2 entry of guest \(hex(geometry.start(of: GuestCluster(tag.index)).value))"
    case .refcountTable: "refcount table[\(tag.index)]"
    case .refcountBlock: "refcount[\(tag.index)]"
    case .header: "header" + (fields[tag.index].map { " \($0)" } ?? "")
    case .snapshotTable: "snapshot table[\(tag.index)]"
    case .inactiveL1Table: "L1[\(tag.index)] of a snapshot"
    case .inactiveL2Table:
      "L2 entry of guest \(hex(geometry.start(of: GuestCluster(tag.index)).value)) in a snapshot"
    default: Self.name(tag.target)
    }
  }

  private func entry(_ tag: WriteTag) -> (String, String) {
    switch tag.target {
    case .l1Table, .inactiveL1Table: (ByteMap.text(ofL1: tag.before.0), ByteMap.text(ofL1: tag.after.0))
    case .l2Table, .inactiveL2Table: (l2(tag.before), l2(tag.after))
    case .header: (number(tag.before.0), number(tag.after.0))
    case .snapshotTable: (snapshot(tag.before.0), snapshot(tag.after.0))
    case .refcountTable: (block(tag.before.0), block(tag.after.0))
    default: ("\(tag.before.0)", "\(tag.after.0)")
    }
  }

  private func snapshot(_ table: UInt64) -> String {
    table == 0 ? "empty" : "snapshot with its L1 table at \(hex(table))"
  }

  /// Counts as they are, places and bits in hexadecimal.
  private func number(_ value: UInt64) -> String { value < 4096 ? String(value) : hex(value) }

  private func block(_ raw: UInt64) -> String {
    RefcountTableEntry(raw: raw).block.map { "refcount block at \(hex($0.value))" } ?? "empty"
  }

  private func l2(_ words: (UInt64, UInt64)) -> String {
    Self.words(L2Entry(descriptor: words.0, bitmap: SubclusterBitmap(raw: words.1)), geometry)
  }

  /// An L2 entry in words, as short as they can be.
  static func words(_ entry: L2Entry, _ geometry: Geometry) -> String {
    func hex(_ value: UInt64) -> String { "0x" + Notation.hex(value) }
    if entry == .empty { return "empty" }
    if entry.isCompressed {
      return "compressed at \(hex(geometry.compressedExtent(of: entry.descriptor).offset.value))"
    }
    var parts: [String] = []
    if geometry.hasHost(entry) { parts.append("at \(hex(entry.offsetBits))") }
    if geometry.hasExtendedL2 {
      parts.append(
        "alloc \(Notation.hex(UInt64(entry.bitmap.allocated), width: 8)) zero \(Notation.hex(UInt64(entry.bitmap.zero), width: 8))"
      )
    } else if entry.descriptor & L2Entry.zeroFlag != 0 {
      parts.append("zeroes")
    }
    if entry.isCopied { parts.append("COPIED") }
    return parts.joined(separator: ", ")
  }

  private func bytesPlace(_ event: StorageEvent) -> String {
    let bytes = "\(event.count) bytes"
    let place = "at \(hex(event.offset))"
    switch event.kind {
    case .write: return "\(bytes) of the \(Self.name(event.tag.target)) \(place)"
    case .zero: return "\(bytes) \(place) become zeroes"
    case .punch: return "\(bytes) \(place) are given back to the host"
    case .truncate: return "the file length \(event.lengthBefore) becomes \(event.lengthAfter)"
    case .flush: return "all written so far reaches the disk before what follows"
    case .note: return entryPlace(event.tag)
    }
  }

  /// The words for a structure of the file.
  package static func name(_ structure: Structure) -> String {
    switch structure {
    case .none: "file"
    case .header: "header"
    case .l1Table: "L1 table"
    case .l2Table: "L2 table"
    case .refcountTable: "refcount table"
    case .refcountBlock: "refcount block"
    case .data: "data"
    case .compressedData: "compressed data"
    case .snapshotTable: "snapshot table"
    case .file: "file"
    case .inactiveL1Table: "L1 table of a snapshot"
    case .inactiveL2Table: "L2 table of a snapshot"
    case .bitmaps: "persistent bitmaps"
    }
  }
}
