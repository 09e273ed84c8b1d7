// The atlas against the slow way of counting, for all shapes of images, after random operations
// and their undoing, and on images that are wrong on purpose.

import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct AtlasTests {
  /// Compares everything an atlas says with the slow count.
  static func compare(_ atlas: Atlas, _ label: String) throws {
    let image = atlas.image
    let slow = try BruteForce(image)
    #expect(atlas.isDone && !atlas.isPartial, "\(label)")
    #expect(atlas.totals.guest == slow.guestCounts, "\(label)")
    for state in HostState.allCases {
      #expect(atlas.totals.host[state] == slow.hostCounts[state], "\(label): \(state)")
    }
    let clusters = image.geometry.clusterCount
    // Single clusters of the host, and cells of two sizes.
    let host = atlas.hostCells(first: 0, cellClustersLog2: 0, count: min(slow.host.count, 60000))
    for (index, cell) in host.enumerated() where cell.state != slow.host[index] {
      Issue.record("\(label): host cluster \(index) is \(cell.state), not \(slow.host[index])")
      break
    }
    for log2 in [2, 5, 9] {
      let cells = atlas.hostCells(first: 0, cellClustersLog2: log2, count: slow.host.count >> log2 + 1)
      for (index, cell) in cells.enumerated() where index << log2 < slow.host.count {
        let part = slow.host[(index << log2)..<min(slow.host.count, (index + 1) << log2)]
        var counts = StateCounts<HostState>()
        for state in part { counts[state] += 1 }
        let there = HostState.allCases.filter { counts[$0] > 0 }
        let best = there.max { a, b in
          (a.rank, counts[a], a.importance) < (b.rank, counts[b], b.importance)
        }
        let present = there.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
        if cell.state != best || !cell.isKnown || cell.present != present {
          Issue.record("\(label): host cell \(index) of 2^\(log2) is \(cell), not \(part)")
        }
      }
    }
    for log2 in [0, 3, 8] {
      let cells = atlas.guestCells(
        first: 0, cellClustersLog2: log2, count: Int(min(2000, clusters >> UInt64(log2) + 1)))
      for (index, cell) in cells.enumerated() where UInt64(index << log2) < clusters {
        var counts = StateCounts<GuestState>()
        for cluster in UInt64(index << log2)..<min(clusters, UInt64((index + 1) << log2)) {
          let none = [GuestState](repeating: .none, count: image.geometry.subclustersPerCluster)
          for state in slow.guest[cluster] ?? none { counts[state] += 1 }
        }
        if cell.state != counts.dominant || !cell.isKnown || cell.fill != Float(counts.fill)
          || cell.hasMinority != counts.hasMinority
        {
          Issue.record("\(label): guest cell \(index) of 2^\(log2) is \(cell), not \(counts)")
        }
      }
    }
    // Free runs.
    var best = 0
    var run = 0
    for state in slow.host {
      run = state == .free ? run + 1 : 0
      best = max(best, run)
    }
    #expect(atlas.totals.largestFreeRun == UInt64(best) && atlas.totals.freeAtTail == UInt64(run), "\(label)")
    if best > 0 {
      let start = Int(atlas.totals.largestFreeRunStart)
      #expect(slow.host[start..<start + best].allSatisfy { $0 == .free }, "\(label)")
    }
  }

  /// Clusters alike, as `qatlas layout` lists them.
  private struct Run: Equatable {
    let first: UInt64
    let count: UInt64
    let facts: HostFacts
  }

  @Test(arguments: Recipe.all) func runsAreTheSameWhoeverAsksMeanwhile(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.size &- recipe.clusterSize)
    // Rows that are longer than what is read of refcounts at a time.
    let full = Int(min(400 << 10, recipe.size) & ~511)
    if full > 0 { try bench.image.write(pattern: 7, at: 0, count: full) }
    for _ in 0..<25 { _ = try bench.randomOperation(&random) }
    let atlas = Atlas(bench.image)
    atlas.finish()
    let owners = Owners(atlas)
    var (plain, asked): ([Run], [Run]) = ([], [])
    atlas.hostRuns { first, count, facts in plain.append(Run(first: first, count: count, facts: facts)) }
    atlas.hostRuns { first, count, facts in
      asked.append(Run(first: first, count: count, facts: facts))
      for cluster in [first, 0, atlas.fileClusters - 1] {
        let list = owners.owners(of: HostCluster(cluster))
        #expect(list.facts == atlas.hostFacts(of: cluster))
      }
    }
    #expect(plain == asked)
    let slow = try BruteForce(bench.image)
    for run in asked where run.facts.health == .sound {
      for cluster in run.first..<run.first + run.count {
        #expect(slow.host[Int(cluster)] == run.facts.state, "host cluster \(cluster)")
      }
    }
  }

  @Test(arguments: Recipe.all) func aScanCountsWhatThereIs(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ recipe.size)
    for _ in 0..<25 { _ = try bench.randomOperation(&random) }
    let atlas = Atlas(bench.image)
    atlas.finish()
    try Self.compare(atlas, recipe.description)
  }

  @Test(arguments: Recipe.all) func updatesEqualAFreshScan(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 77)
    let atlas = Atlas(bench.image)
    atlas.finish()
    var rescans = 0
    var operations = 0
    for round in 0..<24 {
      var label = "\(recipe) round \(round) "
      if Int.random(in: 0..<4, using: &random) == 0, let operation = try bench.overlay.undo() {
        try bench.image.reload()
        label += "undo"
        if !atlas.update(with: operation, undone: true) { rescans += 1 }
      } else if let operation = try bench.randomOperation(&random) {
        label += "do"
        if !atlas.update(with: operation, undone: false) { rescans += 1 }
      } else {
        continue
      }
      operations += 1
      atlas.finish()
      // Errors stay, so that it is enough to look now and then.
      guard round % 4 == 3 || round < 2 else { continue }
      try Self.compare(atlas, label)
      let fresh = Atlas(bench.image)
      fresh.finish()
      #expect(fresh.totals == atlas.totals, "\(label)")
      #expect(fresh.survey.guest.signatures.count == atlas.survey.guest.signatures.count)
    }
    // Scanning again would hide every mistake of the update.
    #expect(rescans * 10 <= operations, "\(rescans) new scans in \(operations) operations")
  }

  @Test(arguments: Recipe.all.filter { $0.refcountBits > 1 && $0.size > 0 })
  func updatesEqualAFreshScanWithSnapshots(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 5)
    for number in 0..<2 {
      for _ in 0..<10 { _ = try bench.randomOperation(&random) }
      bench.overlay.begin("snapshot")
      try bench.image.createSnapshot(name: "\(number)", seconds: 0, nanoseconds: 0)
      try bench.image.flush()
      bench.overlay.commit()
    }
    let atlas = Atlas(bench.image)
    atlas.finish()
    var rescans = 0
    var operations = 0
    for round in 0..<24 {
      let isUndo = Int.random(in: 0..<3, using: &random) == 0 && operations > 0
      let operation: StorageOperation
      if isUndo, bench.overlay.applied.last?.title == "random", let undone = try bench.overlay.undo() {
        try bench.image.reload()
        operation = undone
        if !atlas.update(with: operation, undone: true) { rescans += 1 }
      } else if let done = try bench.randomOperation(&random) {
        operation = done
        if !atlas.update(with: operation, undone: false) { rescans += 1 }
      } else {
        continue
      }
      operations += 1
      atlas.finish()
      let fresh = Atlas(bench.image)
      fresh.finish()
      let label = "\(recipe) round \(round)"
      #expect(fresh.totals == atlas.totals, "\(label)")
      #expect(
        fresh.survey.snapshotTables.map(\.offset) == atlas.survey.snapshotTables.map(\.offset), "\(label)")
      let count = Int(min(20000, atlas.hostClusters))
      #expect(
        fresh.hostCells(first: 0, cellClustersLog2: 0, count: count)
          == atlas.hostCells(first: 0, cellClustersLog2: 0, count: count), "\(label)")
      let guests = Int(min(4000, bench.image.geometry.clusterCount))
      #expect(
        fresh.guestCells(first: 0, cellClustersLog2: 0, count: guests)
          == atlas.guestCells(first: 0, cellClustersLog2: 0, count: guests), "\(label)")
    }
    // A new scan would hide every mistake of the update.
    #expect(rescans * 5 <= operations, "\(rescans) new scans in \(operations) operations")
  }
}
