// Which shifts there are between guest and host clusters, and how many clusters have each, in memory
// that does not grow with their number.

/// Counts of clusters by their shift: host cluster minus guest cluster.
///
/// A table of 4096 sets with eight places each. While every set has room all counts are exact. A shift
/// that finds its set full takes the place of the one with the fewest clusters and inherits its count as a
/// possible error, so that a count is never too low and a shift of many clusters is never lost. From then
/// on the number of different shifts is an estimate, usually within 3 percent.
package struct ShiftCounts: Equatable, Sendable {
  private static let setBits = 12
  private static let ways = 8
  private static let registerBits = 11

  private struct Slot: Equatable {
    var shift: Int64 = 0
    /// 0 marks a free place.
    var clusters: UInt64 = 0
    var error: UInt64 = 0
  }

  private var slots = [Slot](repeating: Slot(), count: ways << setBits)
  /// Longest rows of zero bits among the hashes of all shifts, by the first bits of the hash.
  private var registers = [UInt8](repeating: 0, count: 1 << registerBits)
  private var used = 0
  /// Nothing was pushed out: all numbers are exact.
  package private(set) var isExact = true

  package init() {}

  /// A shift with the clusters that have it.
  package struct Entry: Equatable, Sendable {
    /// Clusters; negative where data lies nearer to the start of the file than of the disk.
    package var shift: Int64
    /// Never too low.
    package var clusters: UInt64
    /// How much too high it may be.
    package var error: UInt64
  }

  mutating func add(_ shift: Int64, clusters: UInt64) {
    guard clusters > 0 else { return }
    let hash = Self.mix(UInt64(bitPattern: shift))
    let first = Int(truncatingIfNeeded: hash & (1 << UInt64(Self.setBits) - 1)) * Self.ways
    var least = first
    for index in first..<first + Self.ways {
      if slots[index].clusters == 0 {
        register(hash)
        used += 1
        slots[index] = Slot(shift: shift, clusters: clusters)
        return
      }
      if slots[index].shift == shift {
        slots[index].clusters &+= clusters
        return
      }
      if slots[index].clusters < slots[least].clusters { least = index }
    }
    register(hash)
    isExact = false
    let inherited = slots[least].clusters
    slots[least] = Slot(shift: shift, clusters: inherited &+ clusters, error: inherited)
  }

  private mutating func register(_ hash: UInt64) {
    let index = Int(hash >> UInt64(64 - Self.registerBits))
    // The bit at the end bounds the row.
    let rank = UInt8(
      ((hash << UInt64(Self.registerBits)) | 1 << UInt64(Self.registerBits - 1)).leadingZeroBitCount + 1)
    if rank > registers[index] { registers[index] = rank }
  }

  /// Spreads the bits of a number over all bits.
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// How many different shifts there are; an estimate unless ``isExact``.
  package var distinct: UInt64 {
    if isExact { return UInt64(used) }
    var sum = 0.0
    for register in registers { sum += 1 / Double(1 << UInt64(register)) }
    let count = Double(registers.count)
    let estimate = 0.7213 / (1 + 1.079 / count) * count * count / sum
    return max(UInt64(estimate), UInt64(used) + 1)
  }

  /// The shifts of most clusters, at most `limit`; the smaller shift first where they tie.
  package func top(_ limit: Int) -> [Entry] {
    var best: [Entry] = []
    for slot in slots where slot.clusters > 0 {
      let entry = Entry(shift: slot.shift, clusters: slot.clusters, error: slot.error)
      if best.count == limit, let last = best.last, !Self.isBefore(entry, last) { continue }
      let place = best.firstIndex { Self.isBefore(entry, $0) } ?? best.count
      best.insert(entry, at: place)
      if best.count > limit { best.removeLast() }
    }
    return best
  }

  private static func isBefore(_ a: Entry, _ b: Entry) -> Bool {
    if a.clusters != b.clusters { return a.clusters > b.clusters }
    if a.shift.magnitude != b.shift.magnitude { return a.shift.magnitude < b.shift.magnitude }
    return a.shift > b.shift
  }
}
