// A storage that is written only to see what becomes of its tables: they are kept in memory above a base that stays
// as it is, and bytes that nobody will look at are not kept at all.

/// Changes above a base, of which only some are kept.
package final class ScratchStorage: Storage {
  /// Bytes that it may have: 2^60.
  private static let maximumLength: UInt64 = 1 << 60

  private var layer: PageLayer
  private let keeps: (WriteTag) -> Bool
  /// Hears of every change that is made in memory.
  package var follow: ((WriteTag) -> Void)?

  /// `keeps` says of a write whether its bytes are kept; what is not kept reads as the base or as what was kept there
  /// before.
  package init(_ base: any Storage, keeps: @escaping (WriteTag) -> Bool) {
    layer = PageLayer(base)
    self.keeps = keeps
  }

  package var name: String { layer.base.name }
  package var length: UInt64 { layer.length }
  package var isWritable: Bool { true }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    layer.base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { layer.base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool {
    layer.base.isReady(at: offset, count: count)
  }
  package var isRecording: Bool { true }
  /// Bytes of pages that are kept in memory.
  package var keptBytes: Int { layer.pages.count * Page.size }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe layer.read(at: offset, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try grow(to: offset, UInt64(bytes.count))
    guard keeps(tag) else { return }
    for piece in PagePieces(offset: offset, count: UInt64(bytes.count)) {
      let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[piece.range])
      let page = try unsafe layer.page(piece.page).replacing(from: piece.start, with: part)
      layer.install(page, piece.page..<piece.page + 1)
    }
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try grow(to: offset, count)
    guard keeps(tag) else { return }
    let zeroes = [UInt8](repeating: 0, count: Page.size)
    var at = offset
    while at < offset + count {
      let rest = UInt64(Page.size) - at % UInt64(Page.size)
      let here = Int(min(rest, offset + count - at))
      try write(Array(zeroes[..<here]), at: at, tag: tag)
      at += UInt64(here)
    }
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) {}

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    guard length <= Self.maximumLength else { throw tooLong(length) }
    layer.length = length
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try grow(to: offset, count)
  }

  package func flush() {}
  package func note(_ tag: WriteTag) { follow?(tag) }

  private func grow(to offset: UInt64, _ count: UInt64) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= Self.maximumLength else { throw tooLong(offset) }
    layer.length = max(layer.length, end)
  }

  private func tooLong(_ offset: UInt64) -> StorageError {
    StorageError(.write, name: name, offset: offset, detail: "no file is that long")
  }
}
