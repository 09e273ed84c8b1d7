// Images that lie: random bytes in every table, owners that cannot be, ends that are missing. No
// answer may trap, and what can be said must be right.

import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct HostileTests {
  /// Asks everything there is to ask.
  static func askEverything(_ image: Image, _ random: inout SplitMix64) {
    let atlas = Atlas(image)
    atlas.finish()
    #expect(atlas.isDone)
    let owners = Owners(atlas)
    let map = ByteMap(owners)
    _ = atlas.totals
    for log2 in [-5, -1, 0, 1, 7, 20, 44, 63] {
      for first in [0, 1, 1000, UInt64.max >> 8, .max] {
        #expect(atlas.guestCells(first: first, cellClustersLog2: log2, count: 300).count == 300)
        #expect(atlas.hostCells(first: first, cellClustersLog2: log2, count: 300).count == 300)
      }
    }
    _ = atlas.guestCounts(clusters: 0..<UInt64.max)
    _ = atlas.hostCounts(clusters: 3..<UInt64.max)
    for state in HostState.allCases {
      _ = atlas.nextHost(state, from: 5, forward: Bool.random(using: &random))
    }
    for state in GuestState.allCases {
      _ = atlas.nextGuest(state, from: 5, forward: Bool.random(using: &random))
    }
    for _ in 0..<40 {
      let offset =
        UInt64.random(in: 0...UInt64.max, using: &random) >> UInt64.random(in: 0..<64, using: &random)
      _ = Place.guest(GuestOffset(offset), in: atlas)
      _ = Place.host(HostOffset(offset), in: owners)
      _ = map.field(at: HostOffset(offset))
      _ = map.fields(from: HostOffset(offset), count: 4096)
      _ = owners.owners(of: HostCluster(offset))
    }
    for index in 0..<min(4, image.l1Count) {
      guard var view = try? L2View(atlas, l1Index: index) else { continue }
      for folded in [true, false] {
        view.isFolded = folded
        for number in stride(from: -1, to: view.rowCount + 1, by: 1 + view.rowCount / 50) {
          if let row = view.row(number) { _ = view.text(of: row) }
          _ = view.detail(of: number, subcluster: number)
          _ = view.nextUsed(from: number, forward: true)
          _ = view.nextUsed(from: number, forward: false)
        }
      }
    }
  }

  @Test(arguments: 0..<52) func randomBytesInTables(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed &* 977 &+ 5)
    let recipes = Recipe.all.filter { $0.size > 0 }
    let recipe = recipes[Int(seed) % recipes.count]
    let bench = try Workbench(recipe)
    for _ in 0..<4 { _ = try bench.randomOperation(&random) }
    let memory = MemoryStorage()
    for offset in stride(from: 0, to: min(bench.overlay.length, 4 << 20), by: 1 << 16) {
      try memory.write(
        bench.overlay.bytes(at: offset, count: Int(min(1 << 16, bench.overlay.length - offset))), at: offset)
    }
    // Words at random places of the tables, most of them not quite nonsense.
    for _ in 0..<Int.random(in: 1...60, using: &random) {
      let places = [
        bench.image.header.l1TableOffset, bench.image.header.refcountTableOffset,
        bench.image.header.refcountTableOffset,
        bench.image.l1Entry(0).table?.value ?? 0, bench.image.refcountTableEntry(0).block?.value ?? 0,
      ]
      let place = places[Int.random(in: 0..<places.count, using: &random)]
      guard place > 0 else { continue }
      var word =
        UInt64.random(in: 0...UInt64.max, using: &random) >> UInt64.random(in: 0..<64, using: &random)
      if Bool.random(using: &random) { word &= ~(recipe.clusterSize - 1) }
      if Bool.random(using: &random) { word &= 0xc000_0000_003f_ffff }
      var bytes: [UInt8] = []
      BigEndian.append(word, width: 8, to: &bytes)
      let at = UInt64.random(in: 0..<64, using: &random)
      try memory.write(bytes, at: place + at * 8)
    }
    guard let image = try? Image(memory) else { return }
    Self.askEverything(image, &random)
  }

  /// Known faults and what the maps make of them.
  @Test func faultsHaveNames() throws {
    let bench = try Workbench(Recipe(size: 64 << 20, clusterSize: 65536))
    for index in 0..<6 { try bench.image.write(pattern: 7, at: UInt64(index) << 16, count: 65536) }
    try bench.image.flush()
    let table = try #require(bench.image.l1Entry(0).table).value
    func put(_ value: UInt64, _ width: Int, _ at: UInt64) throws {
      var bytes: [UInt8] = []
      BigEndian.append(value, width: width, to: &bytes)
      try bench.overlay.write(bytes, at: at)
    }
    // 0 and 1 share a cluster, 2 lies behind the end, 3 is misaligned, 4 points to a table.
    let first = try bench.image.l2Entry(at: GuestOffset(0)).offsetBits
    try put(first | 1 << 63, 8, table + 8)
    try put(0x7000_0000 | 1 << 63, 8, table + 16)
    try put(0x5_0200 | 1 << 63, 8, table + 24)
    try put(0x1_0000 | 1 << 63, 8, table + 32)
    // Cluster 5 of the disk loses its refcount.
    let fifth = try bench.image.l2Entry(at: GuestOffset(5 << 16)).offsetBits >> 16
    let block = try #require(bench.image.refcountTableEntry(0).block).value
    try put(0, 2, block + fifth * 2)
    try bench.image.reload()
    let atlas = Atlas(bench.image)
    atlas.finish()
    #expect(
      atlas.guestCells(first: 0, cellClustersLog2: 0, count: 6).map(\.state) == [
        .bad, .bad, .bad, .bad, .bad, .bad,
      ])
    // Each of them says why, and the host side says the same of a role that stays what it is.
    let targets = try (0..<6).map {
      try atlas.survey.entries.target(of: bench.image.l2Entry(at: GuestOffset($0 << 16))).conflict
    }
    let shared = Conflict.refcount(1, owners: 2)
    #expect(targets == [shared, shared, .pastEnd, nil, .table(.refcountTable), .refcount(0, owners: 1)])
    let host = { (cluster: UInt64) in
      atlas.hostFacts(of: cluster).map { HostFacts(state: $0.state, health: $0.health) }
    }
    #expect(host(first >> 16) == HostFacts(state: .data, health: .tooLow))
    #expect(host(fifth) == HostFacts(state: .data, health: .tooLow))
    #expect(host(1) == HostFacts(state: .refcountTable, health: .mixed))
    // The clusters that 1 to 4 had are leaked now.
    #expect(atlas.totals.leaked == 4 && atlas.totals.wrong == 3 && atlas.totals.bad == 6)
    let owners = Owners(atlas)
    let list = owners.owners(of: HostCluster(first >> 16))
    #expect(list.owners.compactMap(\.guest) == [GuestOffset(0), GuestOffset(65536)] && list.isComplete)
    #expect(owners.owners(of: HostCluster(1)).owners.count == 2)
    #expect(owners.owners(of: HostCluster(first >> 16 + 1)).owners == [.leaked(refcount: 1, owners: 0)])
    #expect(atlas.nextHost(.leaked, from: 0, forward: true) == first >> 16 + 1)
  }
}

@Suite(.tags(.fast)) struct OwnersTests {
  /// Every owner that the tables name is found from its host cluster, and no other.
  @Test(arguments: Recipe.all) func theWayBack(_ recipe: Recipe) throws {
    let bench = try Workbench(recipe)
    var random = SplitMix64(seed: recipe.size &+ 99)
    for _ in 0..<20 { _ = try bench.randomOperation(&random) }
    let image = bench.image
    let atlas = Atlas(image)
    atlas.finish()
    let owners = Owners(atlas)
    var expected: [UInt64: Set<UInt64>] = [:]
    for (cluster, _) in try BruteForce(image).guest {
      let guest = image.geometry.start(of: GuestCluster(cluster))
      let entry = try image.l2Entry(at: guest)
      if entry.offsetBits != 0 {
        expected[entry.offsetBits >> UInt64(image.geometry.clusterBits), default: []].insert(guest.value)
      }
    }
    for cluster in 0..<min(atlas.fileClusters, 3000) {
      let list = owners.owners(of: HostCluster(cluster))
      #expect(list.isComplete && list.facts == atlas.hostFacts(of: cluster))
      #expect(
        Set(list.owners.compactMap(\.guest).map(\.value)) == expected[cluster] ?? [], "cluster \(cluster)")
      #expect(!list.owners.isEmpty)
    }
  }
}
