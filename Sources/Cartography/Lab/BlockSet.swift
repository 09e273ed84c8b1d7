// A set of blocks of a file, one bit each, that grows with the file.

/// Blocks by their number.
struct BlockSet {
  private var words: [UInt64] = []
  /// How many there are.
  private(set) var count: UInt64 = 0

  /// No block from this one on is in the set.
  var end: UInt64 { UInt64(words.count) << 6 }

  /// Puts blocks in, or takes them out.
  mutating func set(_ range: Range<UInt64>, _ isIn: Bool) {
    if isIn, range.upperBound > end {
      let needed = Int((range.upperBound + 63) >> 6)
      // Twice as many, so that a growing file is not copied again and again.
      words.append(contentsOf: repeatElement(0, count: max(needed, words.count * 2) - words.count))
    }
    var at = range.lowerBound
    let end = min(range.upperBound, end)
    while at < end {
      let bit = at & 63
      let here = min(64 - bit, end - at)
      let mask = (UInt64.max >> (64 - here)) << bit
      let index = Int(at >> 6)
      let old = words[index]
      let new = isIn ? old | mask : old & ~mask
      if old != new {
        count = count &+ UInt64(new.nonzeroBitCount) &- UInt64(old.nonzeroBitCount)
        words[index] = new
      }
      at += here
    }
  }

  /// The first block of a range that is in the set; nil if none is.
  func first(in range: Range<UInt64>) -> UInt64? {
    var at = range.lowerBound
    let end = min(range.upperBound, end)
    while at < end {
      let rest = words[Int(at >> 6)] >> (at & 63)
      if rest != 0 {
        let found = at + UInt64(rest.trailingZeroBitCount)
        return found < end ? found : nil
      }
      at = (at | 63) + 1
    }
    return nil
  }
}
