// Whose the clusters are, against the tables of all snapshots read entry by entry by the test itself: the letters of the
// lens of the owners, the matrix of what is shared, and what the layers of a chain hold.

import CellScreen
import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct HolderTests {
  /// The clusters that the disk, for nil, or a snapshot leads to.
  private struct Reach {
    var tables: Set<UInt64> = []
    var content: Set<UInt64> = []
    var all: Set<UInt64> { tables.union(content) }
  }

  private func reach(_ image: Image, _ snapshot: Int?) throws -> Reach {
    let geometry = image.geometry
    let bits = UInt64(geometry.clusterBits)
    let (start, count) =
      snapshot.map { (image.snapshots[$0].l1TableOffset, Int(image.snapshots[$0].l1Size)) }
      ?? (image.header.l1TableOffset, Int(image.header.l1Size))
    var found = Reach()
    let l1 = try image.storage.bytes(at: start, count: count * 8)
    for cluster in start >> bits..<(start + UInt64(count) * 8 + (1 << bits) - 1) >> bits {
      found.tables.insert(cluster)
    }
    for index in 0..<count {
      let table = BigEndian.u64(l1, index * 8) & 0x00ff_ffff_ffff_fe00
      guard table != 0 else { continue }
      found.tables.insert(table >> bits)
      let entries = try image.storage.bytes(at: table, count: 1 << geometry.clusterBits)
      for entry in stride(from: 0, to: entries.count, by: geometry.l2EntrySize) {
        let word = BigEndian.u64(entries, entry)
        if word >> 62 & 1 != 0 {
          let shift = 62 - (bits - 8)
          let first = word & (1 << shift - 1)
          let sectors = (word & (1 << 62 - 1)) >> shift
          let last = first / 512 * 512 + (sectors + 1) * 512 - 1
          for cluster in first >> bits...last >> bits { found.content.insert(cluster) }
        } else if word & 0x00ff_ffff_ffff_fe00 != 0 {
          found.content.insert((word & 0x00ff_ffff_ffff_fe00) >> bits)
        }
      }
    }
    return found
  }

  private func bench(_ recipe: Recipe, snapshots: Int) throws -> Workbench {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 9)
    for number in 0..<snapshots {
      for _ in 0..<6 {
        let at = UInt64.random(in: 0..<recipe.size / 4096 - 40, using: &random) * 4096
        try bench.image.perform(.write(offset: at, count: 40 * 4096, byte: UInt8(number + 1)))
      }
      try bench.image.createSnapshot(name: "s\(number)", seconds: 0, nanoseconds: 0)
    }
    try bench.image.perform(.write(offset: 0, count: 64 << 10, byte: 99))
    try bench.image.flush()
    return bench
  }

  @Test(arguments: [1, 3, 12, 30]) func matrix(_ snapshots: Int) throws {
    let image = try bench(Recipe(size: 8 << 20, clusterSize: 4096), snapshots: snapshots).image
    let map = HolderMap(image)
    while !map.step(budgetNanoseconds: 1000) {}
    #expect(map.snapshots.count == min(snapshots, HolderMap.maximumSnapshots))
    #expect((map.remark == nil) == (snapshots <= HolderMap.maximumSnapshots))
    let found = try ([nil] + map.snapshots.map { Optional($0) }).map { try reach(image, $0) }
    for (first, one) in found.enumerated() {
      for (second, other) in found.enumerated() where first != second {
        #expect(map.together[first][second] == UInt64(one.all.intersection(other.all).count))
      }
      let others = found.enumerated().filter { $0.offset != first }.reduce(into: Set<UInt64>()) {
        $0.formUnion($1.element.all)
      }
      #expect(map.together[first][first] == UInt64(one.all.subtracting(others).count))
    }
    // The set of every cluster, and how many there are of each.
    var sets: [UInt32: UInt64] = [:]
    let tables = found.reduce(into: Set<UInt64>()) { $0.formUnion($1.tables) }
    for cluster in 0..<image.geometry.clustersCovering(image.storage.length) {
      var set: UInt32 = 0
      for (holder, one) in found.enumerated() where one.all.contains(cluster) { set |= 1 << UInt32(holder) }
      #expect(map.set(of: cluster) == set)
      if set != 0, !tables.contains(cluster) { sets[set, default: 0] += 1 }
    }
    #expect(map.sets == sets && sets.count > 1)
    for start in stride(from: 3 as UInt64, to: 200, by: 61) {
      let part = map.sets(in: start..<start + 97)
      #expect(part.values.reduce(0, +) <= 97 && part.allSatisfy { $0.value <= sets[$0.key] ?? 0 })
    }
    #expect(map.sets(in: 0..<1 << 30) == sets)
  }

  @Test("the lens of one snapshot: what it has alone, with the disk, with others", arguments: [0, 1, 2])
  func oneSnapshot(_ chosen: Int) throws {
    let bench = try bench(Recipe(size: 8 << 20, clusterSize: 4096), snapshots: 3)
    let atlas = Atlas(bench.image)
    atlas.finish()
    let sheet = OwnerSheet(atlas, of: bench.image, snapshot: chosen)
    let found = try ([nil] + (0..<3).map { Optional($0) }).map { try reach(bench.image, $0) }
    var seen: Set<LensCell.Value> = []
    for cluster in 0..<atlas.hostClusters {
      _ = sheet.host(cluster..<cluster + 1, isData: false)
    }
    Scheduler.finish(sheet)
    for cluster in 0..<atlas.hostClusters {
      guard found.contains(where: { $0.content.contains(cluster) }) else { continue }
      let cell = sheet.host(cluster..<cluster + 1, isData: false)
      let isOwn = found[chosen + 1].content.contains(cluster)
      let isOfOthers = (1...3).contains { $0 != chosen + 1 && found[$0].content.contains(cluster) }
      let isOfDisk = found[0].content.contains(cluster)
      let expected: LensCell.Holding =
        !isOwn ? .none : isOfDisk ? .withDisk : isOfOthers ? .withOthers : .alone
      #expect(cell.value == .holding(expected), "\(cluster)")
      seen.insert(cell.value)
    }
    #expect(seen.count >= 3 && sheet.legend.count == 4)
  }
}
