// One operation as steps with words: which structure, which entry, from what to what, and why. It reads the
// same events as the log, one by one.

import Qcow
package import QcowFormat
package import Storage

/// The steps of one operation, in the order in which they were done. Making one costs nothing; words are made
/// for the step that is asked for.
package struct StepTrace: Sendable {
  /// One event in words.
  package struct Step: Equatable, Sendable {
    /// Which file it happened to.
    package var file: FileNumber
    /// "L1[3]", "L2 entry of guest 0x50000", "refcount[10]", "4096 bytes of the L2 table at 0x40000".
    package var place: String
    /// The entry before and after in words; empty for bytes that are no entry.
    package var before: String
    package var after: String
    /// The rule that asked for it, as a clause.
    package var why: String

    /// "refcount[10]: 0 -> 1; a cluster is taken before anything points to it".
    package var text: String {
      let change = before.isEmpty && after.isEmpty ? "" : ": \(before) -> \(after)"
      return place + change + (why.isEmpty ? "" : "; " + why)
    }
  }

  private let events: [FileEvent]
  private let geometry: Geometry

  package init(_ operation: FileOperation, geometry: Geometry) {
    events = operation.events
    self.geometry = geometry
  }

  /// Steps of the operation; as many as there are events, so that the moment behind step `n` is that behind
  /// `n + 1` events.
  package var count: Int { events.count }

  /// The step of that number, below ``count``.
  package subscript(index: Int) -> Step {
    let (file, event) = (events[index].file, events[index].event)
    let tag = event.tag
    let (before, after) = event.kind == .note ? entry(tag) : ("", "")
    let place = event.kind == .note ? entryPlace(tag) : bytesPlace(event)
    return Step(file: file, place: place, before: before, after: after, why: Self.why(tag.why))
  }

  private func hex(_ value: UInt64) -> String { "0x" + Notation.hex(value) }

  private func entryPlace(_ tag: WriteTag) -> String {
    switch tag.target {
    case .l1Table: "L1[\(tag.index)]"
    case .l2Table: "L2 entry of guest \(hex(geometry.start(of: GuestCluster(tag.index)).value))"
    case .refcountTable: "refcount table[\(tag.index)]"
    case .refcountBlock: "refcount[\(tag.index)]"
    default: Self.name(tag.target)
    }
  }

  private func entry(_ tag: WriteTag) -> (String, String) {
    switch tag.target {
    case .l1Table: (ByteMap.text(ofL1: tag.before.0), ByteMap.text(ofL1: tag.after.0))
    case .l2Table: (l2(tag.before), l2(tag.after))
    case .refcountTable: (block(tag.before.0), block(tag.after.0))
    default: ("\(tag.before.0)", "\(tag.after.0)")
    }
  }

  private func block(_ raw: UInt64) -> String {
    RefcountTableEntry(raw: raw).block.map { "refcount block at \(hex($0.value))" } ?? "empty"
  }

  private func l2(_ words: (UInt64, UInt64)) -> String {
    let entry = L2Entry(descriptor: words.0, bitmap: SubclusterBitmap(raw: words.1))
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
    case .flush: return "all of it reaches the disk before what follows"
    case .note: return entryPlace(event.tag)
    }
  }

  private static func name(_ structure: Structure) -> String {
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

  private static func why(_ reason: Reason) -> String {
    switch reason {
    case .none: ""
    case .claim: "a cluster is taken before anything points to it"
    case .release: "a cluster is given back after the last pointer to it is gone"
    case .retry: "a count is taken back because the search goes on elsewhere"
    case .link: "the entry begins to point to its cluster"
    case .unlink: "the entry stops pointing to its cluster"
    case .newTable: "a table came into being or moved"
    case .writeBack: "changed entries go to the file"
    case .guestData: "bytes of the guest"
    case .copyOnWrite: "a new cluster needs the bytes around those of the guest"
    case .discard: "space is given back to the host"
    case .lazyRefcounts: "refcounts may lag behind until the image is closed"
    case .create: "the image is being made"
    case .resize: "the size of the disk changes"
    case .snapshot: "a snapshot is taken, applied or deleted"
    case .corrupt: "the image is marked as damaged"
    case .pin: "the pin is set, removed or given up"
    case .move: "a copy lies at a better place"
    case .repair: "counts and flags follow the references"
    }
  }
}
