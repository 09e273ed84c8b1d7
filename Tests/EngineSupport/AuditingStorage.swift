// Law 1, "bytes and notes agree", as a storage: it knows what the tables should hold by the notes alone, and
// compares that with the bytes after every write. A change without a note, and a note without a change, show.

import QcowFormat
import Storage

import Qcow

/// Passes everything on to a storage and keeps a ``TableModel`` of the image that lies there.
///
/// What an image is made of is read once, when the first change after its creation comes. From then on the
/// model follows the notes. Tables that a cache writes back must agree at once, others when the next thing
/// happens, because their notes follow their writes.
package final class AuditingStorage: Storage {
  package let base: any Storage
  /// What did not agree, in words; at most twenty.
  package private(set) var violations: [String] = []
  /// How much was looked at, so that a test can tell that anything was.
  package private(set) var checkedWrites = 0
  package private(set) var notes = 0

  private var model: TableModel?
  /// Ranges that were written since the last look.
  private var written: [Range<UInt64>] = []
  /// The host failed, and nobody knows what the file holds.
  private var isLost = false

  /// What becomes of a note before the audit hears of it; nil for one that nobody gave. For tests of the audit
  /// itself: it must notice.
  package var distorts: (WriteTag) -> WriteTag? = { $0 }

  package init(_ base: any Storage) { self.base = base }

  package var name: String { base.name }
  package var length: UInt64 { base.length }
  package var isWritable: Bool { base.isWritable }
  package var hasFixedLength: Bool { base.hasFixedLength }
  package var isRecording: Bool { true }
  package var allocatedBytes: UInt64 { base.allocatedBytes }
  package func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try base.read(at: offset, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try act(tag) { () throws(StorageError) in try base.write(bytes, at: offset, tag: tag) }
    changed(offset, UInt64(bytes.count), tag)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try act(tag) { () throws(StorageError) in try base.writeZeroes(at: offset, count: count, tag: tag) }
    changed(offset, count, tag)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try act(tag) { () throws(StorageError) in try base.punch(at: offset, count: count, tag: tag) }
    changed(offset, count, tag)
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    let before = base.length
    try act(tag) { () throws(StorageError) in try base.truncate(to: length, tag: tag) }
    if length < before { changed(length, before - length, tag) }
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try act(tag) { () throws(StorageError) in try base.allocate(at: offset, count: count, tag: tag) }
  }

  package func flush() throws(StorageError) {
    look()
    try base.flush()
  }

  package func note(_ tag: WriteTag) {
    base.note(tag)
    guard let tag = distorts(tag) else { return }
    notes += 1
    guard !isLost else { return }
    begin()
    if let problem = model?.take(tag) { complain("\(tag.target) \(tag.why) note: \(problem)") }
  }

  /// Compares the whole image with the notes. Call it when the image has been closed or dropped.
  package func finish() {
    look()
    guard !isLost, let model, let now = TableModel(base) else { return }
    for problem in model.differences(to: now) { complain("at the end: \(problem)") }
  }

  /// The session ended without an end: what its caches held never came to the file, though it was told. The
  /// file is read anew.
  package func pullThePlug() {
    written = []
    model = nil
  }

  private func complain(_ text: String) {
    if violations.count < 20 { violations.append(text) }
  }

  private func begin() {
    if model == nil { model = TableModel(base) }
  }

  private func act(_ tag: WriteTag, _ body: () throws(StorageError) -> Void) throws(StorageError) {
    look()
    if tag.why != .create && !isLost { begin() }
    do throws(StorageError) { try body() } catch {
      isLost = true
      throw error
    }
  }

  private func changed(_ offset: UInt64, _ count: UInt64, _ tag: WriteTag) {
    guard model != nil, !isLost, count > 0 else { return }
    checkedWrites += 1
    written.append(offset..<offset + count)
    if tag.why == .writeBack && tag.target != .header { look() }
  }

  /// Compares what was written since the last look, and tables that have come into force, with the model.
  private func look() {
    guard !isLost, model != nil else { return }
    let ranges = written
    written = []
    for problem in model?.compare(ranges, base) ?? [] { complain(problem) }
  }
}
