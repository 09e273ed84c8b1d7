// Ranges in rising order as a list for people: what lies in a row is one range, the first few are kept, and all
// are counted.

import QcowFormat

/// Ranges, of which the first ``limit`` are kept.
struct RunList<Bound: Comparable & Sendable>: Equatable, Sendable {
  /// The first ones.
  private(set) var first: [Range<Bound>] = []
  /// How many there are in all.
  private(set) var count: UInt64 = 0

  /// More are counted and not named.
  static var limit: Int { 4 }

  var isEmpty: Bool { count == 0 }

  /// Adds a range behind all others; an empty one is none.
  mutating func add(_ range: Range<Bound>) {
    guard !range.isEmpty else { return }
    if let last = first.last, UInt64(first.count) == count, last.upperBound == range.lowerBound {
      first[first.count - 1] = last.lowerBound..<range.upperBound
      return
    }
    count += 1
    if first.count < Self.limit { first.append(range) }
  }

  /// "0x0 to 0xfff, 0x3000 to 0x3fff and 2 more"; `address` is the byte that a bound stands for.
  func words(_ address: (Bound) -> UInt64) -> String {
    let parts = first.map {
      "0x\(String(address($0.lowerBound), radix: 16)) to 0x\(String(address($0.upperBound) - 1, radix: 16))"
    }
    let more = count - UInt64(parts.count)
    return parts.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
  }
}
