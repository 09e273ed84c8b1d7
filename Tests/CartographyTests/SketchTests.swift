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
      bits.seal()
      for _ in 0..<400 {
        let a = UInt64.random(in: 0...size + 20, using: &random)
        let b = UInt64.random(in: 0...size + 20, using: &random)
        let range = min(a, b)..<max(a, b)
        #expect(bits.count(in: range) == UInt64(range.count { $0 < size && slow[Int($0)] }))
        #expect(bits.contains(a) == (a < size && slow[Int(a)]))
      }
    }
  }
}
