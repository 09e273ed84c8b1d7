// The atlas follows what is more than a guest's request: snapshots, other sizes of the disk, repair, bitmaps.
// After each of them it must say what a fresh scan says, and mostly without having scanned again.

import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.genuine)) struct FollowingTests {
  /// Compares all that an atlas says of every place with a fresh scan.
  static func compare(_ atlas: Atlas, _ label: String) {
    let image = atlas.image
    let fresh = Atlas(image)
    fresh.finish()
    #expect(fresh.totals == atlas.totals, "\(label)")
    #expect(fresh.hostClusters == atlas.hostClusters && fresh.isPartial == atlas.isPartial, "\(label)")
    #expect(
      fresh.survey.snapshotTables.map(\.offset) == atlas.survey.snapshotTables.map(\.offset), "\(label)")
    #expect(
      fresh.survey.classifier.structures.ranges == atlas.survey.classifier.structures.ranges, "\(label)")
    for cluster in 0..<min(20000, fresh.hostClusters) {
      let counts = [fresh, atlas].map {
        [$0.knownUsers(of: cluster), $0.survey.snapshotReferences?.count(of: cluster)]
      }
      if counts[0] != counts[1] {
        Issue.record("\(label): cluster \(cluster) has \(counts[0]) users, not \(counts[1])")
        break
      }
    }
    for log2 in [0, 4] {
      let count = Int(min(20000, fresh.hostClusters >> UInt64(log2) + 1))
      #expect(
        fresh.hostCells(first: 0, cellClustersLog2: log2, count: count)
          == atlas.hostCells(first: 0, cellClustersLog2: log2, count: count), "\(label)")
    }
    for log2 in [0, 6, 12] {
      let count = Int(min(4000, image.geometry.clusterCount >> UInt64(log2) + 1))
      #expect(
        fresh.guestCells(first: 0, cellClustersLog2: log2, count: count)
          == atlas.guestCells(first: 0, cellClustersLog2: log2, count: count), "\(label)")
    }
  }

  enum Kind: CaseIterable {
    case request, undo, redo, create, apply, delete, grow, shrink, repair
  }

  /// Does one thing; nil if it changed nothing or could not be done.
  private func operate(
    _ kind: Kind, on bench: Workbench, _ random: inout SplitMix64
  ) throws -> StorageOperation? {
    let (image, overlay) = (bench.image, bench.overlay)
    switch kind {
    case .request: return try bench.randomOperation(&random)
    case .undo, .redo:
      let operation = kind == .undo ? try overlay.undo() : try overlay.redo()
      try image.reload()
      return operation
    default: break
    }
    let snapshot = image.snapshots.randomElement(using: &random)
    let size = image.geometry.virtualSize
    let step = image.geometry.clusterSize * UInt64.random(in: 1...40, using: &random) + 512
    overlay.begin("\(kind)")
    do {
      switch kind {
      case .create:
        try image.createSnapshot(name: "\(Int.random(in: 0..<9, using: &random))", seconds: 0, nanoseconds: 0)
      case .apply: if let snapshot { try image.applySnapshot(snapshot.id) }
      case .delete: if let snapshot { try image.deleteSnapshot(name: snapshot.name) }
      case .grow: try image.resize(to: ByteCount(size + step))
      case .shrink: if size > step { try image.resize(to: ByteCount(size - step)) }
      default: try Repair().run(on: image)
      }
      try image.flush()
    } catch {
      // Old versions cannot do all of it.
      overlay.rollback()
      try image.reload()
      return nil
    }
    return overlay.commit()
  }

  @Test(arguments: Recipe.all.filter { $0.refcountBits > 2 && $0.size > 0 })
  func changesEqualAFreshScan(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ recipe.size &+ 9)
    for _ in 0..<8 { _ = try bench.randomOperation(&random) }
    let atlas = Atlas(bench.image)
    atlas.finish()
    var followed: [Kind: Int] = [:]
    var scanned: [Kind: Int] = [:]
    for round in 0..<45 {
      let kind = round % 3 == 0 ? Kind.request : Kind.allCases.randomElement(using: &random) ?? .request
      guard let operation = try operate(kind, on: bench, &random) else { continue }
      if atlas.update(with: operation, undone: kind == .undo) {
        followed[kind, default: 0] += 1
      } else {
        scanned[kind, default: 0] += 1
      }
      atlas.finish()
      Self.compare(atlas, "\(recipe) round \(round): \(kind) \(operation.title)")
    }
    // A new scan would hide every mistake.
    let scans = scanned.values.reduce(0, +)
    #expect(scans * 6 <= followed.values.reduce(0, +), "\(recipe): followed \(followed), scanned \(scanned)")
  }

  @Test func repairAndDroppedLeaks() throws {
    let made = try Workbench(Recipe(size: 64 << 20, clusterSize: 65536))
    var random = SplitMix64(seed: 3)
    for _ in 0..<12 { _ = try made.randomOperation(&random) }
    var bytes = try made.overlay.bytes(at: 0, count: Int(made.overlay.length))
    bytes += [UInt8](repeating: 7, count: (65536 - bytes.count % 65536) % 65536 + 65536)
    // The last cluster is counted and nobody's; an entry has lost its COPIED flag, which only a repair mends.
    let block = try #require(made.image.refcountTableEntry(0).block)
    bytes[Int(block.value) + (bytes.count / 65536 - 1) * 2 + 1] = 1
    let table = try #require((0..<made.image.l1Count).lazy.compactMap { made.image.l1Entry($0).table }.first)
    let entry = try #require((0..<8192).first { bytes[Int(table.value) + $0 * 8] & 0x80 != 0 })
    for dropsOnly in [true, false] {
      if !dropsOnly { bytes[Int(table.value) + entry * 8] &= 0x7f }
      let bench = try Workbench(storage: MemoryStorage(name: "damaged", bytes: bytes))
      let atlas = Atlas(bench.image)
      atlas.finish()
      #expect(atlas.totals.leaked == 1)
      bench.overlay.begin("mend")
      if dropsOnly {
        let change = Defrag(dropsLeaks: true)
        try change.dropLeaks(of: bench.image, by: try change.check(bench.image))
      } else {
        try Repair(dropsLeaks: true).run(on: bench.image)
      }
      let operation = try #require(bench.overlay.commit())
      #expect(atlas.update(with: operation, undone: false))
      #expect(atlas.totals.leaked == 0)
      Self.compare(atlas, "mended, leaks only: \(dropsOnly)")
      let undone = try #require(try bench.overlay.undo())
      try bench.image.reload()
      #expect(atlas.update(with: undone, undone: true))
      #expect(atlas.totals.leaked == 1)
      Self.compare(atlas, "damaged again, leaks only: \(dropsOnly)")
    }
  }

  @Test(arguments: [false, true]) func storedBitmaps(_ withSnapshot: Bool) throws {
    let script = """
      qemu-img create -q -f qcow2 image.qcow2 256M
      qemu-img bitmap --add image.qcow2 first
      qemu-img bitmap --add -g 4096 image.qcow2 second
      \(GenuineTests.io) -c 'write -P 1 0 3M'
      """
    let snapshot = withSnapshot ? "\nqemu-img snapshot -c one image.qcow2" : ""
    let (folder, _) = try GenuineTests.make(script + snapshot)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = try FileStorage(path: folder.appendingPathComponent("image.qcow2").path, mode: .readOnly)
    let bench = try Workbench(storage: file)
    let atlas = Atlas(bench.image)
    atlas.finish()
    var random = SplitMix64(seed: 4)
    var operations = 0
    for round in 0..<24 {
      let operation: StorageOperation?
      let isUndo = round % 5 == 4
      if isUndo {
        operation = try bench.overlay.undo()
        try bench.image.reload()
      } else if round % 3 == 2 {
        bench.overlay.begin("store")
        try bench.image.storeBitmaps()
        try bench.image.flush()
        operation = bench.overlay.commit()
      } else {
        operation = try bench.randomOperation(&random)
      }
      guard let operation else { continue }
      operations += 1
      #expect(atlas.update(with: operation, undone: isUndo), "round \(round)")
      atlas.finish()
      Self.compare(atlas, "round \(round): \(operation.title), undone: \(isUndo)")
    }
    #expect(operations > 15)
  }
}
