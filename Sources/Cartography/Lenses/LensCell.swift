// What a lens knows beyond the states of the maps: an answer for any part of the disk or of the file, found in slices.
// Each lens that needs one has a sheet of its own; screens draw the answers and know nothing of how they are found.

package import QcowFormat

/// The answer of a sheet for one cell of a map.
package struct LensCell: Equatable, Sendable {
  /// Whose a cluster is beside the snapshot that is asked for.
  package enum Holding: Hashable, Sendable {
    case alone, withDisk, withOthers, none
  }

  /// What the answer is about.
  package enum Value: Hashable, Sendable {
    /// Nobody has looked yet.
    case unknown
    /// The lens has nothing to say here.
    case nothing
    /// A cluster of the other side, and how many that has.
    case place(UInt64, of: UInt64)
    /// The layer that answers, 0 for the image itself.
    case layer(Int)
    /// No layer answers: it reads as zeroes.
    case noLayer
    /// A layer that is missing would answer.
    case missing
    /// The tables that would tell cannot be read.
    case unreadable
    /// The step of an age, 0 for the oldest to 9 for the newest.
    case age(Int)
    case same
    case appeared
    case went
    case changed
    /// So much of it, in bytes.
    case part(UInt64, of: UInt64)
    /// What the bytes look like.
    case shape(ClusterShape, isSample: Bool)
    /// Bytes are not what the tables say they are.
    case contradiction
    /// Compressing would save so many of so many bytes.
    case saving(UInt64, of: UInt64, isSample: Bool)
    /// Bytes that could be given back.
    case space(ReclaimableSpace.Kind, isSample: Bool)
    /// The host stores nothing of the clusters that were looked at.
    case notStored
    /// The host stores bytes, and they are needed.
    case needed
    /// A set of the disk and of snapshots, by its number among those with or without the disk.
    case owners(Int, ofDisk: Bool)
    /// What one snapshot has to do with it.
    case holding(Holding)
    /// Tables, whoever has them.
    case tables
  }

  /// The answer that counts most in the cell.
  package let value: Value
  /// Something in the cell has another answer.
  package let isMixed: Bool

  /// An answer.
  package init(_ value: Value, isMixed: Bool = false) {
    self.value = value
    self.isMixed = isMixed
  }

  static let unknown = LensCell(.unknown)
  static let nothing = LensCell(.nothing)
}

/// What a lens knows of an image, as far as its work has come.
package protocol LensSheet: Work {
  /// What it is about, for the edge of the map; empty if its lens says it all.
  var subject: String { get }
  /// What its answers mean, where that is not the same for every image.
  var legend: [(value: LensCell.Value, words: String)] { get }
  /// The answer for a part of the disk, in bytes: a cell of the map, which has a power of two of bytes.
  func guest(_ bytes: Range<UInt64>) -> LensCell
  /// The answer for a part of the file, in clusters; `isData` if that is the external data file.
  func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell
}

extension LensSheet {
  package var legend: [(value: LensCell.Value, words: String)] { [] }
}

/// Sorted ranges that do not overlap, and how much lies before each of them.
struct RangeSums {
  private let ranges: [Range<UInt64>]
  private var sums: [UInt64] = [0]

  /// `ranges` are sorted and apart.
  init(_ ranges: [Range<UInt64>]) {
    self.ranges = ranges
    sums.reserveCapacity(ranges.count + 1)
    for range in ranges { sums.append(sums[sums.count - 1] &+ UInt64(range.count)) }
  }

  /// How much lies in front of a place.
  private func before(_ place: UInt64) -> UInt64 {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].lowerBound < place { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return 0 }
    let last = ranges[low - 1]
    return sums[low - 1] &+ (min(last.upperBound, place) - last.lowerBound)
  }

  /// How much of a range they cover.
  func covered(_ range: Range<UInt64>) -> UInt64 {
    range.isEmpty ? 0 : before(range.upperBound) &- before(range.lowerBound)
  }
}

/// Answers that cost something, for cells of one size: each is found once, and only so many between two slices of
/// work. The others are unknown until then.
struct CellMemo {
  private static let maximum = 1 << 15
  /// What may be spent between two slices, in entries that are looked at.
  private static let allowance = 1 << 20
  private var size: UInt64 = 0
  private var cells: [UInt64: LensCell] = [:]
  private var left = allowance
  /// Cells were asked for that are not known yet; asking again after a slice finds more of them.
  private(set) var isBehind = false

  /// A slice of work: more may be spent.
  mutating func replenish() {
    left = Self.allowance
    isBehind = false
  }

  mutating func forget() { cells = [:] }

  /// The answer for a cell that begins at `start`.
  mutating func cell(_ range: Range<UInt64>, cost: Int, _ find: () -> LensCell) -> LensCell {
    let wanted = UInt64(range.count)
    if let found = cells[range.lowerBound], wanted == size { return found }
    // The last cell of a map may be shorter than the others.
    if wanted > size || wanted < size / 2 || cells.count > Self.maximum { (size, cells) = (wanted, [:]) }
    guard left > 0 else {
      isBehind = true
      return .unknown
    }
    left -= max(1, cost)
    let found = find()
    if wanted == size { cells[range.lowerBound] = found }
    return found
  }
}
