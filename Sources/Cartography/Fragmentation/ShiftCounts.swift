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

  /// What finds a place of a set without a look at all of them.
  private struct Finder: Equatable {
    /// A byte of the hash of each shift.
    var tags: UInt64 = 0
    /// Places in use.
    var used = 0
    /// Of a full set, the first place with the fewest clusters; nobody's if it is not known.
    var least = nobody

    static let nobody = ways

    /// Places whose byte may be that of a hash: the high bit of their byte is set.
    @inline(__always)
    func candidates(_ tag: UInt64) -> UInt64 {
      let differences = tags ^ tag &* 0x0101_0101_0101_0101
      return (differences &- 0x0101_0101_0101_0101) & ~differences & 0x8080_8080_8080_8080
    }

    @inline(__always)
    mutating func set(_ place: Int, _ tag: UInt64) {
      let shift = UInt64(truncatingIfNeeded: place) &* 8
      tags = tags & ~(0xff &<< shift) | tag &<< shift
    }
  }

  /// All empty until there is a shift.
  private var finders: [Finder] = []
  private var slots: [Slot] = []
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
    unsafe withUnsafePointer(to: Step(shift: shift, clusters: clusters)) {
      unsafe add(UnsafeBufferPointer(start: $0, count: 1))
    }
  }

  /// Adds shifts in the order in which they come.
  mutating func add(_ steps: UnsafeBufferPointer<Step>) {
    if slots.isEmpty {
      finders = Array(repeating: Finder(), count: 1 << Self.setBits)
      slots = Array(repeating: Slot(), count: Self.ways << Self.setBits)
      registers = Array(repeating: 0, count: 1 << Self.registerBits)
    }
    // Moved out, so that nothing is copied or checked per shift.
    var (finders, slots, registers) = (finders, slots, registers)
    (self.finders, self.slots, self.registers) = ([], [], [])
    var (used, isExact) = (used, isExact)
    unsafe finders.withUnsafeMutableBufferPointer { finders in
      unsafe slots.withUnsafeMutableBufferPointer { slots in
        unsafe registers.withUnsafeMutableBufferPointer { registers in
          for index in steps.indices {
            let step = unsafe steps[index]
            guard step.clusters > 0 else { continue }
            let hash = Self.mix(UInt64(bitPattern: step.shift))
            // Below the number of sets.
            let set = Int(truncatingIfNeeded: hash & (1 << UInt64(Self.setBits) - 1))
            let places = unsafe UnsafeMutableBufferPointer(
              rebasing: slots[set &* Self.ways..<(set &+ 1) &* Self.ways])
            guard unsafe Self.place(step, hash, &finders[set], places, &used, &isExact) else { continue }
            let (register, rank) = Self.rank(hash)
            if unsafe rank > registers[register] { unsafe registers[register] = rank }
          }
        }
      }
    }
    (self.finders, self.slots, self.registers) = (finders, slots, registers)
    (self.used, self.isExact) = (used, isExact)
  }

  /// Adds to the places of a set; false if the shift was there already.
  @inline(__always)
  private static func place(
    _ step: Step, _ hash: UInt64, _ finder: inout Finder, _ places: UnsafeMutableBufferPointer<Slot>,
    _ used: inout Int, _ isExact: inout Bool
  ) -> Bool {
    let tag = hash >> UInt64(setBits) & 0xff
    var candidates = finder.candidates(tag)
    while candidates != 0 {
      let place = candidates.trailingZeroBitCount >> 3
      if place < finder.used, unsafe places[place].shift == step.shift {
        unsafe places[place].clusters &+= step.clusters
        if place == finder.least { finder.least = Finder.nobody }
        return false
      }
      candidates &= candidates &- 1
    }
    guard finder.used == ways else {
      let place = finder.used
      finder.used = place &+ 1
      finder.set(place, tag)
      used &+= 1
      unsafe places[place] = Slot(shift: step.shift, clusters: step.clusters)
      return true
    }
    isExact = false
    var least = finder.least
    if least == Finder.nobody {
      least = 0
      for place in 1..<ways where unsafe places[place].clusters < places[least].clusters { least = place }
    }
    let inherited = unsafe places[least].clusters
    unsafe places[least] = Slot(
      shift: step.shift, clusters: inherited &+ step.clusters, error: inherited)
    finder.set(least, tag)
    // Those in front have more, and none has less.
    var next = least &+ 1
    while next < ways, unsafe places[next].clusters != inherited { next &+= 1 }
    finder.least = next
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
