// What is known of the holes of a remote disk.

import Storage

/// Stretches of a disk of which the server has told whether it keeps bytes for them.
struct RemoteExtents {
  /// A stretch in which all is alike.
  private struct Stretch {
    var range: Range<UInt64>
    var isHole: Bool
  }

  /// More are forgotten, and asked for again.
  private static let most = 1 << 20

  /// Sorted, without overlaps.
  private var stretches: [Stretch] = []

  /// The first stretch that ends behind a place.
  private func index(behind offset: UInt64) -> Int {
    var (low, high) = (0, stretches.count)
    while low < high {
      let middle = (low + high) / 2
      if stretches[middle].range.upperBound > offset { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// The rest of the stretch that a byte lies in; nil if nothing is known of it.
  subscript(offset: UInt64) -> HostExtent? {
    let index = index(behind: offset)
    guard index < stretches.count, stretches[index].range.contains(offset) else { return nil }
    return HostExtent(isHole: stretches[index].isHole, end: stretches[index].range.upperBound)
  }

  /// Where the next stretch begins of which something is known; `end` if there is none before.
  func start(behind offset: UInt64, before end: UInt64) -> UInt64 {
    let index = index(behind: offset)
    return index < stretches.count ? min(end, stretches[index].range.lowerBound) : end
  }

  /// Takes what the server said of `range`, of which nothing was known; what it says of more is left out.
  mutating func add(_ extents: [(length: UInt64, flags: UInt32)], _ range: Range<UInt64>) {
    if stretches.count > Self.most { stretches = [] }
    var new: [Stretch] = []
    var at = range.lowerBound
    for extent in extents where at < range.upperBound {
      let end = extent.length < range.upperBound - at ? at + extent.length : range.upperBound
      // No bytes are kept, and what is read is zeroes.
      let isHole = extent.flags & 3 == 3
      if let last = new.last, last.isHole == isHole {
        new[new.count - 1].range = last.range.lowerBound..<end
      } else {
        new.append(Stretch(range: at..<end, isHole: isHole))
      }
      at = end
    }
    stretches.insert(contentsOf: new, at: index(behind: range.lowerBound))
  }
}
