// When the disk is asked to begin with what was written: early, so that the flush that follows finds most of it done
// while the program was busy with the rest. It promises nothing; only a flush does.

/// Follows the writes of a file and says which stretch is worth beginning with.
struct WriteBehind {
  /// Bytes that are worth a request.
  static let worth: UInt64 = 8 << 20
  /// A small write further away may soon be written over: it waits for the flush.
  private static let near: UInt64 = 1 << 20
  /// Nobody writes so much to write it again.
  private static let large: UInt64 = 64 << 10

  private var range: Range<UInt64> = 0..<0
  private var bytes: UInt64 = 0

  /// A range was written, which is not empty. Returns the range to begin with, if it is time.
  mutating func add(_ written: Range<UInt64>) -> Range<UInt64>? {
    let count = written.upperBound - written.lowerBound
    if bytes == 0 {
      range = written
    } else {
      let goesOn =
        written.lowerBound >= range.lowerBound && written.lowerBound <= range.upperBound &+ Self.near
      guard goesOn || count >= Self.large else { return nil }
      range =
        min(range.lowerBound, written.lowerBound)..<max(range.upperBound, written.upperBound)
    }
    bytes += count
    guard bytes >= Self.worth else { return nil }
    bytes = 0
    return range
  }
}
