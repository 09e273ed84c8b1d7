// A stretch of the disk in one state, as block status sees it: what `qemu-img map` lists, and what a program finds
// in an image.

/// Bytes of the disk that are alike: in one layer, in one state, and in one row of its file.
public struct Extent: Equatable, Sendable {
  /// The first byte, from the start of the disk.
  public package(set) var start: UInt64
  /// Bytes.
  public package(set) var length: UInt64
  /// The file of ``depth`` answers for the range, with data or with zeroes.
  public package(set) var isPresent = false
  /// Reads as zeroes.
  public package(set) var isZero = false
  /// The bytes are in a file, which may have a hole there; then they are zeroes, too.
  public package(set) var isData = false
  /// The bytes are in compressed streams and have no place of their own.
  public package(set) var isCompressed = false
  /// Only a layer that could not be opened knows.
  public package(set) var isMissing = false
  /// The layer that answers; 0 is the image itself.
  public package(set) var depth = 0
  /// The place of the first byte in the file of that layer; nil where the range has none.
  public package(set) var offset: UInt64?

  package init(start: UInt64, length: UInt64) {
    self.start = start
    self.length = length
  }

  /// Whether `next` is more of the same.
  func isContinued(by next: Extent) -> Bool {
    guard length > 0, isZero == next.isZero, isData == next.isData, isPresent == next.isPresent,
      depth == next.depth, isMissing == next.isMissing, isCompressed == next.isCompressed,
      (offset == nil) == (next.offset == nil)
    else { return false }
    guard let offset else { return true }
    return offset &+ length == next.offset
  }
}
