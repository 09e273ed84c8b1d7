// The last requests in the order in which they were done, in memory that does not grow.

/// What was asked.
package enum RequestKind: UInt8, Sendable {
  case read, write, zeroWrite, zeroWriteMayUnmap, discard, flush
}

/// A request that was done.
package struct RequestRecord: Equatable, Sendable {
  /// The first byte of the disk.
  package var offset: UInt64
  /// Bytes.
  package var length: UInt64
  /// Who asked: the number of the client from 1 on, 0 for this program.
  package var asker: UInt32
  /// What was asked.
  package var kind: RequestKind
  /// It could not be done, or not wholly.
  package var failed: Bool
  /// When it was done, in nanoseconds of a clock that only goes on.
  package var nanoseconds: UInt64
}

/// Keeps the last requests. Whoever reads them too late is told how many were lost.
struct RequestRing {
  /// Records that are kept.
  static let capacity = 1 << 16

  private var records: [RequestRecord] = []
  /// Requests so far; the number of the next one.
  private(set) var end: UInt64 = 0

  mutating func add(_ record: RequestRecord) {
    if records.count < Self.capacity {
      records.append(record)
    } else {
      records[Int(truncatingIfNeeded: end) & (Self.capacity - 1)] = record
    }
    end &+= 1
  }

  /// The requests from a number on, at most `most`; the first of them that are kept, and how many are not.
  func records(from number: UInt64, most: Int) -> (records: [RequestRecord], lost: UInt64) {
    guard number < end else { return ([], 0) }
    let oldest = end - UInt64(records.count)
    let first = max(number, oldest)
    let count = Int(min(end - first, UInt64(max(0, most))))
    let list = (0..<count).map { records[Int(truncatingIfNeeded: first &+ UInt64($0)) & (Self.capacity - 1)] }
    return (list, first - number)
  }
}
