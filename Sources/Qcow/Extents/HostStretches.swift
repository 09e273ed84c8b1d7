// Where a host file has holes, for questions in any order: clusters that lie scattered over a file of few holes would
// otherwise cost two calls of the system each.

import QcowFormat
import Storage

/// The stretches of a file as they were when it was first asked.
struct HostStretches {
  /// Files of more stretches than this are asked anew for every question.
  private static let most = 65536
  /// Questions in any order before all stretches are looked up.
  private static let patience = 16

  private let file: any Storage
  private var misses = 0
  /// The last answer, and where it begins.
  private var latest: (start: UInt64, extent: HostExtent)?
  /// Ends of all stretches from the start of the file on, and whether they are holes; empty if not known.
  private var ends: [HostExtent] = []

  init(_ file: any Storage) { self.file = file }

  /// The stretch that holds the byte at a place, which lies in the file.
  mutating func extent(at place: HostOffset) -> HostExtent {
    let offset = place.value
    if let latest, offset >= latest.start, offset < latest.extent.end { return latest.extent }
    misses += 1
    if misses == Self.patience { lookUpAll() }
    if let last = ends.last, offset < last.end {
      var (low, high) = (0, ends.count - 1)
      while low < high {
        let middle = (low + high) / 2
        if ends[middle].end > offset { high = middle } else { low = middle + 1 }
      }
      latest = (low == 0 ? 0 : ends[low - 1].end, ends[low])
      return ends[low]
    }
    let extent = file.extent(at: offset)
    latest = (offset, extent)
    return extent
  }

  private mutating func lookUpAll() {
    var at: UInt64 = 0
    while at < file.length {
      let extent = file.extent(at: at)
      guard extent.end > at, ends.count < Self.most else { return ends = [] }
      ends.append(extent)
      at = extent.end
    }
  }
}
