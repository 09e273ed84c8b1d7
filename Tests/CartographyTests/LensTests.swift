// What the lenses say of cells of any size, against an answer of the test's own for every cluster: the order on both
// sides, the layers, the age, the difference and the bits of a bitmap.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct LensTests {
  /// The places of the mapped clusters, read entry by entry.
  private func places(_ image: Image) throws -> [(guest: UInt64, host: UInt64)] {
    let geometry = image.geometry
    var result: [(UInt64, UInt64)] = []
    for l1 in 0..<image.l1Count where image.l1Entry(l1).table != nil {
      for index in 0..<geometry.l2EntriesPerTable {
        let guest = geometry.guestOffset(l1Index: l1, l2Index: index)
        guard guest.value < geometry.virtualSize else { break }
        let entry = try image.l2Entry(at: guest)
        let host =
          entry.isCompressed ? geometry.compressedExtent(of: entry.descriptor).offset.value : entry.offsetBits
        if host != 0 {
          result.append((geometry.cluster(of: guest).value, host >> UInt64(geometry.clusterBits)))
        }
      }
    }
    return result
  }

  private func ask(_ sheet: some LensSheet, _ body: () -> LensCell) -> LensCell {
    var cell = body()
    var rounds = 0
    while cell.value == .unknown, rounds < 1000 {
      Scheduler.finish(sheet)
      cell = body()
      rounds += 1
    }
    return cell
  }

  /// Compares the sheet with the pairs at several sizes of cells.
  private func expectOrder(_ image: Image, _ label: String) throws {
    let atlas = Atlas(image)
    let sheet = OrderSheet(atlas)
    #expect(sheet.guest(0..<image.geometry.clusterSize).value == .unknown)
    atlas.finish()
    while !sheet.step(budgetNanoseconds: 1000) {}
    let pairs = try places(image)
    let bits = UInt64(image.geometry.clusterBits)
    let (guests, hosts) = (image.geometry.clusterCount, atlas.hostClusters)

    /// The first of a cell, and whether one of them lies in front of the one before.
    func expected(_ pairs: [(own: UInt64, other: UInt64)], _ cell: Range<UInt64>, _ total: UInt64) -> LensCell
    {
      var first: UInt64?
      var isMixed = false
      for (index, pair) in pairs.enumerated() where cell.contains(pair.own) {
        if first == nil { first = pair.other }
        if index > 0, pairs[index - 1].other > pair.other { isMixed = true }
      }
      return first.map { LensCell(.place($0, of: total), isMixed: isMixed) } ?? .nothing
    }
    let byGuest = pairs.map { (own: $0.guest, other: $0.host) }
    // Of several at one host cluster the first on the disk.
    var seen: Set<UInt64> = []
    let byHost = pairs.filter { seen.insert($0.host).inserted }.map { (own: $0.host, other: $0.guest) }
      .sorted { $0.own < $1.own }
    for log2 in [0, 1, 4, 9, 13] {
      let size = UInt64(1) << UInt64(log2)
      for start in stride(from: 0, to: min(guests, 3000 * size), by: Int(size)) {
        let cell = start..<min(guests, start + size)
        let found = ask(sheet) { sheet.guest(start << bits..<(start + size) << bits) }
        let wanted = expected(byGuest, cell, hosts)
        if found != wanted { Issue.record("\(label): guest \(cell) is \(found), not \(wanted)") }
      }
      for start in stride(from: 0, to: min(hosts, 3000 * size), by: Int(size)) {
        let cell = start..<min(hosts, start + size)
        let found = ask(sheet) { sheet.host(start..<start + size, isData: false) }
        let wanted = expected(byHost, cell, guests)
        if found != wanted { Issue.record("\(label): host \(cell) is \(found), not \(wanted)") }
      }
    }
  }

  @Test(arguments: Recipe.all.filter { $0.size > 0 && $0.size <= 64 << 20 })
  func order(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 31)
    for _ in 0..<16 { _ = try bench.randomOperation(&random) }
    try expectOrder(bench.image, recipe.description)
  }

  @Test("a swapped pair is told on both sides") func swappedPair() throws {
    let bench = try Workbench(Recipe(size: 4 << 20, clusterSize: 65536))
    for cluster in [0, 1, 3, 2, 4] as [UInt64] {
      try bench.image.perform(.write(offset: cluster << 16, count: 65536, byte: 1))
    }
    try bench.image.flush()
    let atlas = Atlas(bench.image)
    atlas.finish()
    let sheet = OrderSheet(atlas)
    Scheduler.finish(sheet)
    let marked = (0..<5).filter { cluster in
      ask(sheet) { sheet.guest(UInt64(cluster) << 16..<UInt64(cluster + 1) << 16) }.isMixed
    }
    #expect(marked == [3])
    let pairs = try places(bench.image)
    let host = try #require(pairs.first { $0.guest == 2 }?.host)
    #expect(ask(sheet) { sheet.host(host..<host + 1, isData: false) }.isMixed)
    #expect(!ask(sheet) { sheet.host(host - 1..<host, isData: false) }.isMixed)
    #expect(ask(sheet) { sheet.guest(0..<4 << 20) }.isMixed)
  }

  @Test(arguments: Recipe.all.filter { $0.size > 0 && $0.size <= 64 << 20 && $0.preallocation == .off })
  func differenceAndAge(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.clusterSize &+ 77)
    for _ in 0..<6 { _ = try bench.randomOperation(&random) }
    let base = MemoryStorage(bytes: try bench.overlay.bytes(at: 0, count: Int(bench.overlay.length)))
    let before = try Image(base)
    var touches: [AgeSheet.Touch] = []
    var last: [UInt64: Int] = [:]
    for _ in 0..<14 {
      guard let operation = try bench.randomOperation(&random) else { continue }
      let told = Narration(operation, geometry: bench.image.geometry)
      for range in told.hostClusters { for cluster in range { last[cluster] = touches.count } }
      touches.append(AgeSheet.Touch(guest: told.guestClusters, host: told.hostClusters))
    }
    let geometry = bench.image.geometry
    let difference = DifferenceSheet(Scene(before), Scene(bench.image), subject: "")
    let age = AgeSheet(touches, clusterBits: geometry.clusterBits, subject: "")
    #expect(difference.guest(0..<geometry.clusterSize).value == .unknown)
    Scheduler.finish(difference)
    let clusters = min(geometry.clusterCount, 4096)
    var kinds: [LensCell.Value] = []
    for cluster in 0..<clusters {
      let at = GuestOffset(cluster * geometry.clusterSize)
      let (old, new) = (try before.l2Entry(at: at), try bench.image.l2Entry(at: at))
      kinds.append(old == new ? .same : old == .empty ? .appeared : new == .empty ? .went : .changed)
    }
    #expect(Set(kinds.map { "\($0)" }).count > 1)
    func step(_ operation: Int) -> Int { touches.count == 1 ? 9 : operation * 9 / (touches.count - 1) }
    for log2 in [0, 3, 7] {
      let size = UInt64(1) << UInt64(log2)
      for start in stride(from: 0, to: clusters - clusters % size, by: Int(size)) {
        let part = kinds[Int(start)..<Int(start + size)].filter { $0 != .same }
        let value: LensCell.Value =
          part.isEmpty
          ? .same
          : part.allSatisfy { $0 == .appeared }
            ? .appeared : part.allSatisfy { $0 == .went } ? .went : .changed
        let wanted = LensCell(value, isMixed: !part.isEmpty && part.count < Int(size))
        let found = difference.guest(start * geometry.clusterSize..<(start + size) * geometry.clusterSize)
        if found != wanted { Issue.record("\(recipe): \(start)+\(size) is \(found), not \(wanted)") }
        let ages = (start..<start + size).map { last[$0].map(step) }
        let newest = ages.compactMap { $0 }.max()
        let old =
          newest.map { age in LensCell(.age(age), isMixed: ages.contains { $0 != age }) } ?? .nothing
        let aged = age.host(start..<start + size, isData: false)
        if aged != old { Issue.record("\(recipe): age of \(start)+\(size) is \(aged), not \(old)") }
      }
    }
    // Refcounts that came up or went.
    for cluster in 0..<geometry.clustersCovering(bench.image.storage.length) {
      let old = try before.refcount(of: HostCluster(cluster))
      let new = try bench.image.refcount(of: HostCluster(cluster))
      let found = difference.host(cluster..<cluster + 1, isData: false).value
      if old == 0 && new > 0 { #expect(found == .appeared) }
      if old > 0 && new == 0 { #expect(found == .went) }
      if old != new { #expect(found != .same) }
    }
  }

  @Test(arguments: [false, true]) func layers(_ isExtended: Bool) throws {
    var layers: [Image] = []
    var random = SplitMix64(seed: 12)
    let size: UInt64 = 8 << 20
    for depth in 0..<4 {
      let base = MemoryStorage()
      var create = Image.CreateOptions(size: depth == 0 ? size / 2 : size)
      create.clusterSize = isExtended ? 16384 : 4096
      create.extendedL2 = isExtended
      if depth > 0 {
        create.backingFile = "below"
        create.backingFormat = "qcow2"
      }
      try Image.create(on: base, create)
      var options = Workbench.options
      options.backing = layers.last
      let image = try Image(base, options: options)
      for _ in 0..<12 {
        let at = UInt64.random(in: 0..<image.geometry.virtualSize / 512, using: &random) * 512
        let most = min(300 << 10, image.geometry.virtualSize - at)
        let count = UInt64.random(in: 1...most / 512, using: &random) * 512
        try image.perform(
          depth % 2 == 0
            ? .write(offset: at, count: count, byte: UInt8(depth + 1))
            : .zero(offset: at, count: count, mayUnmap: true))
        try image.perform(.write(offset: at / 2, count: 4096, byte: 9))
      }
      try image.flush()
      layers.append(image)
    }
    let top = try #require(layers.last)
    let atlas = Atlas(top)
    atlas.finish()
    let sheet = LayerSheet(atlas)
    #expect(sheet.guest(0..<512).value == .unknown)
    Scheduler.finish(sheet)
    // Which layer answers for each 512 bytes, asked from the top down.
    let chain = Array(layers.reversed())
    let answers: [Int?] = try (0..<size / 512).map { sector in
      let at = sector * 512
      for (depth, image) in chain.enumerated() {
        guard at < image.geometry.virtualSize else { continue }
        let mapping = try image.mapping(at: GuestOffset(at), limit: 512)
        if !mapping.state.isUnallocated { return depth }
      }
      return nil
    }
    #expect(Set(answers.map { $0 ?? -1 }).count >= 4)
    for bytes in [2048, 16384, 65536, 1 << 20] as [UInt64] {
      for start in stride(from: 0, to: size, by: Int(bytes)) {
        let part = answers[Int(start / 512)..<Int((start + bytes) / 512)]
        let found = ask(sheet) { sheet.guest(start..<start + bytes) }
        let there = Set(part)
        #expect(found.isMixed == (there.count > 1), "\(start)+\(bytes)")
        let counts = Dictionary(grouping: part.compactMap { $0 }, by: { $0 }).mapValues(\.count)
        guard let most = counts.values.max() else {
          #expect(found.value == .noLayer)
          continue
        }
        let best = counts.filter { $0.value == most }.keys.min()
        #expect(found.value == best.map { .layer($0) }, "\(start)+\(bytes): \(counts)")
      }
    }
  }
}

/// Bitmaps are made by the genuine tools.
@Suite(.tags(.genuine)) struct BitmapLensTests {
  @Test(arguments: [512, 65536, 1 << 20]) func bits(_ granularity: Int) throws {
    let (folder, _) = try GenuineTests.make(
      """
      qemu-img create -q -f qcow2 image.qcow2 64M
      qemu-img bitmap --add -g \(granularity) image.qcow2 first
      qemu-io -f qcow2 -c 'write 1M 200k' -c 'write 5000000 3' -c 'write 40M 9M' -c 'write 67108352 512' image.qcow2
      """)
    defer { try? FileManager.default.removeItem(at: folder) }
    let image = try Image(
      try FileStorage(path: folder.appendingPathComponent("image.qcow2").path, mode: .readOnly))
    let sheet = BitmapSheet(image, name: "first")
    #expect(sheet.guest(0..<65536).value == .unknown && sheet.subject == "\"first\"")
    Scheduler.finish(sheet)
    let each = UInt64(granularity)
    var marked: Set<UInt64> = []
    for (start, count) in [(1 << 20, 200 << 10), (5_000_000, 3), (40 << 20, 9 << 20), (67_108_352, 512)]
      as [(UInt64, UInt64)]
    {
      for unit in start / each...(start + count - 1) / each { marked.insert(unit) }
    }
    for bytes in [512, 65536, 2 << 20] as [UInt64] {
      for start in stride(from: 0, to: UInt64(64 << 20), by: Int(max(bytes, 32768))) {
        let covered = stride(from: start, to: start + bytes, by: 512).reduce(UInt64(0)) {
          $0 + (marked.contains($1 / each) ? 512 : 0)
        }
        let found = sheet.guest(start..<start + bytes)
        #expect(
          found == (covered == 0 ? .nothing : LensCell(.part(covered, of: bytes), isMixed: covered < bytes)))
      }
    }
    #expect(BitmapSheet(image, name: nil).subject == "\"first\"")
  }
}
