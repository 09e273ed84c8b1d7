// The counters that stay small: run lengths, shifts, and sets of clusters.

import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct SketchTests {
  @Test func runLengths() {
    var lengths = RunLengths()
    #expect(lengths.mean == 0 && lengths.median == 0 && lengths.longest == 0)
    for length in [1, 1, 3, 8, 600, 5000, 4096, 0] as [UInt64] { lengths.add(length) }
    #expect(lengths.count == 7 && lengths.clusters == 9709 && lengths.longest == 5000)
    #expect(lengths.median == 8 && lengths.mean == 9709.0 / 7)
    #expect(lengths.buckets.map(\.label) == ["1", "2-7", "8-63", "64-511", "512-4096", "more"])
    #expect(lengths.buckets.map(\.runs) == [2, 1, 1, 0, 2, 1])
    #expect(lengths.buckets.map(\.clusters) == [2, 3, 8, 0, 4696, 5000])
    lengths.add(10)
    #expect(lengths.median == 9)
  }

  /// Above 4096 the median is that of its power of two.
  @Test func longRuns() {
    var lengths = RunLengths()
    for length in [5000, 6000, 100_000, 120_000, UInt64(1) << 50] { lengths.add(length) }
    #expect(lengths.median == 110_000)
    #expect(lengths.buckets.last?.runs == 5)
  }

  @Test func fewShiftsAreExact() {
    var shifts = ShiftCounts()
    for shift in -2000..<2000 as Range<Int64> { shifts.add(shift, clusters: UInt64(shift + 2001)) }
    shifts.add(7, clusters: 10_000)
    #expect(shifts.isExact && shifts.distinct == 4000)
    #expect(shifts.top(2).map(\.shift) == [7, 1999])
    #expect(shifts.top(1).first?.clusters == 12_008)
  }

  /// Millions of shifts: the number is an estimate, and one that many clusters have is still found.
  @Test func manyShifts() {
    var shifts = ShiftCounts()
    for shift in 0..<1_000_000 as Range<Int64> {
      shifts.add(shift &* 77_777, clusters: 1)
      if shift % 100 == 0 { shifts.add(-5, clusters: 3) }
    }
    #expect(!shifts.isExact)
    #expect((900_000...1_100_000).contains(shifts.distinct))
    let first = shifts.top(1).first
    #expect(first?.shift == -5)
    #expect((first?.clusters ?? 0) >= 30_000)
    #expect((first?.clusters ?? 0) - (first?.error ?? 0) <= 30_000)
  }

  /// Sets that are full give away the first place with the fewest clusters: the same as a search through all places.
  @Test(arguments: [1, 2, 3] as [UInt64]) func shiftsFollowTheSlowWay(_ seed: UInt64) {
    struct Place {
      var shift: Int64
      var clusters: UInt64
      var error: UInt64
    }
    func mix(_ value: UInt64) -> UInt64 {
      var z = value &+ 0x9e37_79b9_7f4a_7c15
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
    var random = SplitMix64(seed: seed)
    var shifts = ShiftCounts()
    var sets = Array(repeating: [Place](), count: 4096)
    for _ in 0..<150_000 {
      // A few come again and again, so that the fewest are not always the newest.
      let known = random.below(3) == 0
      let shift = Int64(bitPattern: known ? random.below(20_000) : random.below(1 << 40)) - 5_000
      let clusters = random.below(6)
      shifts.add(shift, clusters: clusters)
      guard clusters > 0 else { continue }
      let set = Int(mix(UInt64(bitPattern: shift)) % 4096)
      if let place = sets[set].firstIndex(where: { $0.shift == shift }) {
        sets[set][place].clusters += clusters
      } else if sets[set].count < 8 {
        sets[set].append(Place(shift: shift, clusters: clusters, error: 0))
      } else {
        var least = 0
        for place in 1..<8 where sets[set][place].clusters < sets[set][least].clusters { least = place }
        let old = sets[set][least].clusters
        sets[set][least] = Place(shift: shift, clusters: old + clusters, error: old)
      }
    }
    let slow = Dictionary(uniqueKeysWithValues: sets.joined().map { ($0.shift, $0) })
    let top = shifts.top(40_000)
    #expect(!shifts.isExact && top.count == slow.count)
    let wrong = top.filter { slow[$0.shift]?.clusters != $0.clusters || slow[$0.shift]?.error != $0.error }
    #expect(wrong.isEmpty, "seed \(seed)")
  }

  @Test func clusterBits() {
    var random = SplitMix64(seed: 3)
    for size in [0, 1, 63, 64, 65, 511, 512, 513, 5000] as [UInt64] {
      var bits = ClusterBits(clusters: size)
      var slow = Array(repeating: false, count: Int(size) + 100)
      for _ in 0..<40 {
        let first = UInt64.random(in: 0..<size + 70, using: &random)
        let count = UInt64.random(in: 0..<130, using: &random)
        bits.insert(first, count: count)
        for cluster in first..<first + count where cluster < size { slow[Int(cluster)] = true }
      }
      bits.insert(0, count: 0)
      bits.insert(.max, count: .max)
      for step in 0..<800 {
        if step == 400 { bits.seal() }
        let a = UInt64.random(in: 0...size + 20, using: &random)
        let b = UInt64.random(in: 0...size + 20, using: &random)
        let range = min(a, b)..<max(a, b)
        let isTaken = range.upperBound > size || range.contains { slow[Int($0)] }
        switch bits.clearness(of: range) {
        case .clear: #expect(!isTaken && (range.isEmpty || step >= 400))
        case .taken: #expect(isTaken)
        case .unknown: #expect(step < 400 && range.prefix(4000).allSatisfy { !slow[Int($0)] })
        }
        guard step >= 400 else { continue }
        #expect(bits.count(in: range) == UInt64(range.count { $0 < size && slow[Int($0)] }))
        #expect(bits.contains(a) == (a < size && slow[Int(a)]))
      }
    }
  }
}
