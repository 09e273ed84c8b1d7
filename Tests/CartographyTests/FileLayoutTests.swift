// What fills a file, its free rows and the cluster that is taken next: against counts of the test's own, and
// against what a write really takes.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct FileLayoutTests {
  /// The rows of free clusters, the longest first, counted one by one.
  private func freeRows(_ states: [HostState]) -> [Range<UInt64>] {
    var rows: [Range<UInt64>] = []
    for (cluster, state) in states.enumerated() where state == .free {
      let at = UInt64(cluster)
      if let last = rows.last, last.upperBound == at {
        rows[rows.count - 1] = last.lowerBound..<at + 1
      } else {
        rows.append(at..<at + 1)
      }
    }
    return rows.sorted { ($1.count, $0.lowerBound) < ($0.count, $1.lowerBound) }
  }

  private func expectFigures(_ atlas: Atlas, _ label: String) throws {
    let image = atlas.image
    let states = try BruteForce(image).host.prefix(Int(atlas.fileClusters))
    let size = image.geometry.clusterSize
    let layout = FileLayout(atlas)
    #expect(layout.isComplete && layout.length == image.storage.length, "\(label)")
    for state in HostState.allCases where state != .wrong && state != .pastEnd {
      let there = states.indices.filter { states[$0] == state }
      let bytes = there.reduce(UInt64(0)) {
        $0 + min(size, image.storage.length - min(image.storage.length, UInt64($1) * size))
      }
      #expect(
        layout[state].clusters == UInt64(there.count) && layout[state].bytes == bytes, "\(label): \(state)")
    }
    #expect(layout.parts.reduce(0) { $0 + $1.bytes } == layout.length, "\(label)")
    let rows = freeRows(Array(states))
    let tail = rows.first { $0.upperBound == atlas.fileClusters }.map { UInt64($0.count) } ?? 0
    #expect(layout.freeAtTail == tail, "\(label)")
    let end = (atlas.fileClusters - tail) * size
    #expect(layout.couldCut == layout.length - min(layout.length, end), "\(label)")
    let all = rows.reduce(UInt64(0)) { $0 + UInt64($1.count) }
    #expect(layout.couldCompact == (all - tail) * size, "\(label)")
    for limit in [1, 3, 10] {
      let search = FreeRunSearch(atlas, limit: limit)
      var steps = 0
      while !search.step(budgetNanoseconds: 1000) { steps += 1 }
      #expect(search.runs == Array(rows.prefix(limit)), "\(label), the \(limit) longest")
      #expect(search.tail == tail && search.isDone, "\(label)")
    }
    // The strip has every cluster once, and says what is in each of its cells.
    for columns in [1, 7, 116, 5000] {
      var next: UInt64 = 0
      for part in atlas.hostStrip(columns: columns) {
        #expect(part.clusters.lowerBound == next && !part.clusters.isEmpty, "\(label)")
        next = part.clusters.upperBound
        var counts = StateCounts<HostState>()
        for cluster in part.clusters where cluster < atlas.fileClusters { counts[states[Int(cluster)]] += 1 }
        #expect(part.cell.isKnown && part.cell.state == counts.dominant, "\(label): \(part.clusters)")
        #expect(part.cell.fill == Float(counts.fill), "\(label): \(part.clusters)")
      }
      #expect(next == atlas.hostClusters, "\(label)")
    }
  }

  @Test(arguments: Recipe.all) func figuresAreThoseOfASlowCount(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ recipe.size &+ 3)
    let atlas = Atlas(bench.image)
    atlas.finish()
    try expectFigures(atlas, "\(recipe) fresh")
    for round in 0..<12 {
      guard let operation = try bench.randomOperation(&random) else { continue }
      atlas.update(with: operation, undone: false)
      atlas.finish()
      if round % 3 == 2 { try expectFigures(atlas, "\(recipe) round \(round)") }
    }
  }

  @Test("the next cluster is the one that the next write takes", arguments: Recipe.all.filter { $0.size > 0 })
  func nextCluster(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 9)
    let atlas = Atlas(bench.image)
    atlas.finish()
    var taken = 0
    for round in 0..<40 {
      if let operation = try bench.randomOperation(&random) {
        atlas.update(with: operation, undone: false)
        atlas.finish()
      }
      let foreseen = try #require(atlas.nextCluster)
      // One cluster: a longer row may have to go where there is room for all of it.
      let cluster = bench.image.geometry.clusterSize
      let at = UInt64.random(in: 0..<(recipe.size + cluster - 1) / cluster, using: &random) * cluster
      bench.overlay.begin("one")
      try bench.image.perform(.write(offset: at, count: min(cluster, recipe.size - at), byte: 7))
      try bench.image.flush()
      guard let operation = bench.overlay.commit() else { continue }
      // What is given back in the same operation may be taken instead.
      var freed = false
      for event in operation.events {
        guard case .note = event.kind, event.tag.target == .refcountBlock else { continue }
        if event.tag.after.0 == 0 { freed = true }
        guard event.tag.before.0 == 0, event.tag.after.0 > 0 else { continue }
        guard !freed, event.tag.why != .retry else { break }
        #expect(HostCluster(event.tag.index) == foreseen.cluster, "\(recipe) round \(round)")
        taken += 1
        break
      }
      atlas.update(with: operation, undone: false)
      atlas.finish()
    }
    // A preallocated image has no need of new clusters.
    #expect(taken > (recipe.preallocation == .off ? 2 : -1), "\(recipe): \(taken)")
  }

  @Test func nothingIsSaidBeforeItIsKnown() throws {
    let bench = try Workbench(Recipe(size: 64 << 20, clusterSize: 4096))
    var random = SplitMix64(seed: 4)
    for _ in 0..<20 { _ = try bench.randomOperation(&random) }
    let atlas = Atlas(bench.image)
    let layout = FileLayout(atlas)
    #expect(!layout.isComplete && layout.freeAtTail == nil && layout.couldCut == nil)
    #expect(layout.couldFree == nil && layout.couldCompact == nil && layout.end == nil)
    #expect(atlas.nextCluster == nil)
    #expect(atlas.hostStrip(columns: 9).allSatisfy { !$0.cell.isKnown })
    let search = FreeRunSearch(atlas)
    #expect(search.step(budgetNanoseconds: 1) && !search.isDone && search.runs.isEmpty && search.tail == nil)
  }
}
