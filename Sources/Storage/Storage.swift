// Where the bytes of an image live: a file, memory, or an overlay of generations above either.
// Every write carries a tag that says what it is for, so that one stream of events can serve the
// log, undo, step-through and the crash tests.

/// What a write is for, in words that only its writer understands.
///
/// The storage floor carries a tag along and never looks into it. The engine says with it which
/// structure and which entry change, from what to what, and by which rule.
package struct WriteTag: Equatable, Sendable {
  /// Which structure is written; the engine's own numbering.
  package var structure: UInt8
  /// The rule that asked for the write; the engine's own numbering.
  package var reason: UInt8
  /// Byte offset of the table the entry is part of, or of the written range itself.
  package var table: UInt64
  /// The entry's index in its table.
  package var index: UInt64
  /// The entry before and after; the second word is for entries of two words.
  package var before: (UInt64, UInt64)
  /// The same of the bytes that are written.
  package var after: (UInt64, UInt64)

  package init(
    structure: UInt8, reason: UInt8 = 0, table: UInt64 = 0, index: UInt64 = 0,
    before: (UInt64, UInt64) = (0, 0), after: (UInt64, UInt64) = (0, 0)
  ) {
    self.structure = structure
    self.reason = reason
    self.table = table
    self.index = index
    self.before = before
    self.after = after
  }

  package static func == (a: WriteTag, b: WriteTag) -> Bool {
    a.structure == b.structure && a.reason == b.reason && a.table == b.table && a.index == b.index
      && a.before == b.before && a.after == b.after
  }

  /// For writes whose purpose nobody asks about, as in tests.
  package static let untagged = WriteTag(structure: 0)
}

/// A part of bytes that are written together, and what it is for.
package struct WrittenPart {
  /// Where it lies in the bytes.
  package var range: Range<Int>
  package var tag: WriteTag

  package init(_ range: Range<Int>, _ tag: WriteTag) {
    self.range = range
    self.tag = tag
  }
}

/// A row of bytes that can be read, written, zeroed, punched and cut.
///
/// Offsets and counts are bytes. Reads behind the end give zeroes. None of the calls may be made
/// from two threads at once.
package protocol Storage: AnyObject {
  /// A short name for messages, the path of a file as the user gave it.
  var name: String { get }
  /// Bytes from the start to the end.
  var length: UInt64 { get }
  /// Changes are possible at all.
  var isWritable: Bool { get }
  /// A volume keeps its length; only a file can be cut.
  var hasFixedLength: Bool { get }
  /// True if somebody reads the stream of events; writers then also call ``note(_:)``.
  var isRecording: Bool { get }
  /// Bytes the host keeps for it; less than ``length`` where there are holes.
  var allocatedBytes: UInt64 { get }
  /// All of it, down to the lowest base, is memory of this process: no file is behind it, not even to be saved to.
  var isInMemory: Bool { get }

  /// Fills the buffer from `offset` on, with zeroes behind the end.
  ///
  /// - Throws: ``StorageError`` if the host fails.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError)
  /// Writes all of `bytes`; grows the storage when they reach behind its end.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError)
  /// Writes bytes that have come together from several sides, as ``write(_:at:tag:)`` does with one part after the
  /// other in their order; a host may get them in one call. The parts cover the bytes and do not overlap.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only; any part may be written then.
  func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]) throws(StorageError)
  /// Makes the range read as zeroes; grows the storage when it reaches behind its end.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only.
  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError)
  /// Gives the range back to the host. It reads as zeroes, and the length stays as it is.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only.
  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError)
  /// Cuts or extends (with zeroes, sparse) to `length`.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only.
  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError)
  /// Grows to `offset + count` and keeps host blocks for the range, which reads as zeroes where it
  /// was never written.
  ///
  /// - Throws: ``StorageError`` if the host has no room, cannot do it, or the storage is read-only.
  func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError)
  /// Returns when everything written so far would survive a power cut.
  ///
  /// - Throws: ``StorageError`` if the host could not keep the bytes.
  func flush() throws(StorageError)
  /// Tells the stream of a change made in memory, which a later write will carry.
  func note(_ tag: WriteTag)
  /// Requests may be made to fail at chosen moments; who works on it announces them then (``reach(_:)``).
  var followsMoments: Bool { get }
  /// What messages call a file whose requests may be made to fail; nil for all others.
  var nameOfFaults: String? { get }
  /// Something is about to be done, of which no request has said so yet; the announcer's own numbering.
  func reach(_ moment: UInt8)
  /// Whether the byte at `offset` lies in a hole, and where that hole or data ends.
  func extent(at offset: UInt64) -> HostExtent
  /// The range will be read soon. Where bytes come from afar, they are fetched while others are looked at.
  func willRead(at offset: UInt64, count: UInt64)
  /// Who reads all tables of a kind reads them in this order; each has `size` bytes, and those at 0 are none. Where
  /// bytes come from afar, the next ones are fetched while one is looked at; elsewhere nobody asks for them.
  func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64])
  /// The range can be read without waiting for anybody afar. If not, it is fetched from now on, and some of the time
  /// until then may have passed.
  func isReady(at offset: UInt64, count: UInt64) -> Bool
}

/// Kinds of tables that are read one after the other.
package enum ReadingOrder: Int, Sendable {
  case mapping, references
}

/// A stretch of a file that the host either keeps bytes for or not.
package struct HostExtent: Equatable, Sendable {
  /// No bytes are kept for the range; it reads as zeroes.
  package var isHole: Bool
  /// First byte behind the stretch.
  package var end: UInt64
  /// The host told it; otherwise bytes may be kept for the range or not.
  package var isKnown: Bool

  package init(isHole: Bool, end: UInt64, isKnown: Bool = true) {
    self.isHole = isHole
    self.end = end
    self.isKnown = isKnown
  }

  /// Bytes of a range that are kept, by a map of stretches that each end behind their beginning; nil where it is
  /// not known.
  static func keptBytes(
    in range: Range<UInt64>, length: UInt64, _ extent: (UInt64) -> HostExtent
  ) -> UInt64? {
    var bytes: UInt64 = 0
    var at = range.lowerBound
    let end = min(range.upperBound, length)
    while at < end {
      let found = extent(at)
      guard found.isKnown else { return nil }
      let next = min(end, max(found.end, at + 1))
      if !found.isHole { bytes += next - at }
      at = next
    }
    return bytes
  }
}

extension Storage {
  package var isRecording: Bool { false }
  package var hasFixedLength: Bool { false }
  package var allocatedBytes: UInt64 { length }
  package var isInMemory: Bool { false }
  package func note(_ tag: WriteTag) {}
  package var followsMoments: Bool { false }
  package var nameOfFaults: String? { nil }
  package func reach(_ moment: UInt8) {}
  package func willRead(at offset: UInt64, count: UInt64) {}
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {}
  package func isReady(at offset: UInt64, count: UInt64) -> Bool { true }
  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow else {
      throw StorageError(
        .write, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    if end > length { try truncate(to: end, tag: tag) }
  }
  package func extent(at offset: UInt64) -> HostExtent {
    HostExtent(isHole: false, end: max(length, offset), isKnown: false)
  }
  package func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]
  ) throws(StorageError) {
    unsafe try writeEach(bytes, at: offset, parts: parts)
  }

  /// Writes one part after the other.
  func writeEach(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]
  ) throws(StorageError) {
    for part in parts {
      unsafe try write(
        UnsafeRawBufferPointer(rebasing: bytes[part.range]), at: offset + UInt64(part.range.lowerBound),
        tag: part.tag)
    }
  }

  /// The end of a range; throws if no file can have it.
  func checkedEnd(
    _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64
  ) throws(StorageError) -> UInt64 {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(Int64.max) else {
      throw StorageError(
        operation, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    return end
  }

  /// Bytes that the host keeps for a range; behind the end there are none. nil where it does not tell. It asks
  /// once for each stretch of the range.
  package func keptBytes(in range: Range<UInt64>) -> UInt64? {
    HostExtent.keptBytes(in: range, length: length) { extent(at: $0) }
  }

  /// Reads `count` bytes into a new array. For small structures, not for data paths.
  ///
  /// - Throws: ``StorageError`` if the host fails.
  package func bytes(at offset: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    var failure: StorageError?
    unsafe result.withUnsafeMutableBytes { buffer in
      do throws(StorageError) { unsafe try read(at: offset, into: buffer) } catch { failure = error }
    }
    if let failure { throw failure }
    return result
  }

  /// Writes an array. For small structures, not for data paths.
  ///
  /// - Throws: ``StorageError`` if the host fails or the storage is read-only.
  package func write(_ bytes: [UInt8], at offset: UInt64, tag: WriteTag = .untagged) throws(StorageError) {
    var failure: StorageError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(StorageError) { unsafe try write(buffer, at: offset, tag: tag) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}

/// A system call on the host that failed, or a limit of this program that was reached.
package struct StorageError: Error, CustomStringConvertible, Sendable {
  /// What was tried.
  package enum Operation: String, Sendable {
    case open, read, write, zero, punch, truncate, flush, inspect, lock
  }

  /// What was to be done.
  package var operation: Operation
  package var name: String
  /// Where, in bytes from the start of the file.
  package var offset: UInt64?
  /// The host's error number, 0 when the reason is in `detail`.
  package var errno: Int32
  /// Why it failed, in words of the host or of this program.
  package var detail: String
  /// It was asked for: somebody looks what becomes of it.
  package var isInjected = false
  /// Whoever had the bytes cannot be reached any more; nothing else can be read from there either.
  package var isGone = false

  package init(_ operation: Operation, name: String, offset: UInt64? = nil, errno: Int32 = 0, detail: String)
  {
    self.operation = operation
    self.name = name
    self.offset = offset
    self.errno = errno
    self.detail = detail
  }

  /// A further sentence, for a line of its own: if another program is in the way.
  package var hint: String? {
    operation == .lock ? "Is another process using the image [\(name)]?" : nil
  }

  package var description: String {
    // The words of the lock are a sentence of their own, the one that users of QEMU know.
    if operation == .lock { return detail }
    var text = "cannot \(operation.rawValue) '\(name)'"
    if let offset { text += " at offset 0x\(String(offset, radix: 16))" }
    return text + ": " + detail
  }
}
