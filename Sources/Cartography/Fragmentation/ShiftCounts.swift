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

  /// All places, set by set. Apart, because most of them are asked for their counts alone.
  private struct Places: Equatable {
    var shifts: [Int64] = []
    /// 0 marks a free place.
    var clusters: [UInt64] = []
    var errors: [UInt64] = []
  }

  /// The places of one set.
  @safe private struct PlaceSet {
    let shifts: UnsafeMutablePointer<Int64>
    let clusters: UnsafeMutablePointer<UInt64>
    let errors: UnsafeMutablePointer<UInt64>
  }

  /// What finds a place of a set without a look at all of them.
  private struct Finder: Equatable {
    /// A byte of the hash of each shift.
    var tags: UInt64 = 0
    /// Places in use.
    var used: UInt8 = 0
    /// Of a full set, the first place with the fewest clusters; nobody's if it is not known.
    var least = nobody

    static let nobody = UInt8(ways)

    /// Places whose byte may be that of a hash: the high bit of their byte is set.
    @inline(__always)
    func candidates(_ tag: UInt64) -> UInt64 {
      let differences = tags ^ tag &* 0x0101_0101_0101_0101
      return (differences &- 0x0101_0101_0101_0101) & ~differences & 0x8080_8080_8080_8080
    }

    @inline(__always)
    mutating func set(_ place: UInt8, _ tag: UInt64) {
      let shift = UInt64(place) &* 8
      tags = tags & ~(0xff &<< shift) | tag &<< shift
    }
  }

  /// All empty until there is a shift.
  private var finders: [Finder] = []
  private var places = Places()
  /// Longest rows of zero bits among the hashes of all shifts, by the first bits of the hash.
  private var registers: [UInt8] = []
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

  /// Clusters that have one shift.
  struct Step {
    var shift: Int64
    var clusters: UInt64
  }

  mutating func add(_ shift: Int64, clusters: UInt64) {
    // No memory for nothing.
    guard clusters > 0 else { return }
    unsafe withUnsafePointer(to: Step(shift: shift, clusters: clusters)) {
      unsafe add(UnsafeBufferPointer(start: $0, count: 1))
    }
  }

  /// Adds shifts in the order in which they come.
  mutating func add(_ steps: UnsafeBufferPointer<Step>) {
    if finders.isEmpty {
      finders = Array(repeating: Finder(), count: 1 << Self.setBits)
      let count = Self.ways << Self.setBits
      places.shifts = Array(repeating: 0, count: count)
      places.clusters = Array(repeating: 0, count: count)
      places.errors = Array(repeating: 0, count: count)
      registers = Array(repeating: 0, count: 1 << Self.registerBits)
    }
    // Moved out, so that nothing is copied or checked per shift.
    var (finders, places, registers) = (finders, places, registers)
    (self.finders, self.places, self.registers) = ([], Places(), [])
    var (used, isExact) = (used, isExact)
    unsafe finders.withUnsafeMutableBufferPointer { finders in
      unsafe places.shifts.withUnsafeMutableBufferPointer { shifts in
        unsafe places.clusters.withUnsafeMutableBufferPointer { clusters in
          unsafe places.errors.withUnsafeMutableBufferPointer { errors in
            unsafe registers.withUnsafeMutableBufferPointer { registers in
              guard let shifts = shifts.baseAddress, let clusters = clusters.baseAddress,
                let errors = errors.baseAddress
              else { return }
              for index in steps.indices {
                let step = unsafe steps[index]
                guard step.clusters > 0 else { continue }
                let hash = Self.mix(UInt64(bitPattern: step.shift))
                // Below the number of sets.
                let set = Int(truncatingIfNeeded: hash & (1 << UInt64(Self.setBits) - 1))
                let first = set &* Self.ways
                let places = unsafe PlaceSet(
                  shifts: shifts + first, clusters: clusters + first, errors: errors + first)
                guard unsafe Self.place(step, hash, &finders[set], places, &used, &isExact) else { continue }
                let (register, rank) = Self.rank(hash)
                if unsafe rank > registers[register] { unsafe registers[register] = rank }
              }
            }
          }
        }
      }
    }
    (self.finders, self.places, self.registers) = (finders, places, registers)
    (self.used, self.isExact) = (used, isExact)
  }

  /// Adds to the places of a set; false if the shift was there already.
  @inline(__always)
  private static func place(
    _ step: Step, _ hash: UInt64, _ finder: inout Finder, _ places: PlaceSet, _ used: inout Int,
    _ isExact: inout Bool
  ) -> Bool {
    let tag = hash >> UInt64(setBits) & 0xff
    var candidates = finder.candidates(tag)
    while candidates != 0 {
      let place = candidates.trailingZeroBitCount >> 3
      if place < Int(finder.used), unsafe places.shifts[place] == step.shift {
        unsafe places.clusters[place] &+= step.clusters
        if place == Int(finder.least) { finder.least = Finder.nobody }
        return false
      }
      candidates &= candidates &- 1
    }
    guard finder.used == UInt8(ways) else {
      let place = Int(finder.used)
      finder.set(finder.used, tag)
      finder.used &+= 1
      used &+= 1
      unsafe places.shifts[place] = step.shift
      unsafe places.clusters[place] = step.clusters
      return true
    }
    isExact = false
    var least = Int(finder.least)
    if finder.least == Finder.nobody {
      least = 0
      for place in 1..<ways where unsafe places.clusters[place] < places.clusters[least] { least = place }
    }
    let inherited = unsafe places.clusters[least]
    unsafe places.shifts[least] = step.shift
    unsafe places.clusters[least] = inherited &+ step.clusters
    unsafe places.errors[least] = inherited
    finder.set(UInt8(truncatingIfNeeded: least), tag)
    // Those in front have more, and none has less.
    var next = least &+ 1
    while next < ways, unsafe places.clusters[next] != inherited { next &+= 1 }
    finder.least = UInt8(truncatingIfNeeded: next)
    return true
  }

  /// The register of a hash, and the row of zero bits behind its number.
  @inline(__always)
  private static func rank(_ hash: UInt64) -> (register: Int, rank: UInt8) {
    // The bit at the end bounds the row.
    let rest = hash << UInt64(registerBits) | 1 << UInt64(registerBits - 1)
    return (
      Int(truncatingIfNeeded: hash >> UInt64(64 - registerBits)),
      UInt8(truncatingIfNeeded: rest.leadingZeroBitCount &+ 1)
    )
  }

  /// Spreads the bits of a number over all bits.
  @inline(__always)
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
    for place in places.clusters.indices where places.clusters[place] > 0 {
      let entry = Entry(
        shift: places.shifts[place], clusters: places.clusters[place], error: places.errors[place])
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
