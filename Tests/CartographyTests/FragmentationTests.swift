// Runs, shifts, jumps and reads on images made by hand, whose figures are known or counted the slow way.

import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

/// An image of 64 KiB clusters whose L2 entries are written by hand.
struct HandMade {
  enum Place: Equatable {
    /// Data in a host cluster.
    case data(UInt64)
    /// Reads as zeroes, keeps a host cluster.
    case kept(UInt64)
    /// A stream of 512-byte sectors from a byte on.
    case compressed(at: UInt64, sectors: UInt64)
  }

  static let cluster: UInt64 = 65536
  let image: Image

  /// `tables` are host clusters of further L2 tables, so that they stand in the way.
  init(_ places: [UInt64: Place], clusters: UInt64 = 8192, fileClusters: UInt64 = 4096, tables: [UInt64] = [])
    throws
  {
    let storage = MemoryStorage()
    let perTable: UInt64 = 8192
    let size = (clusters + UInt64(tables.count) * perTable) * Self.cluster
    try Image.create(on: storage, Image.CreateOptions(size: size))
    let empty = try Image(storage, options: Image.Options())
    try storage.truncate(to: fileClusters * Self.cluster, tag: .untagged)
    var writer = storage
    func put(_ value: UInt64, at offset: UInt64) throws {
      var bytes = [UInt8]()
      for shift in stride(from: 56, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
      }
      try writer.write(bytes, at: offset)
    }
    // The tables of the places lie at the end of the file, out of the way.
    let count = (clusters + perTable - 1) / perTable
    for index in 0..<count {
      try put(
        (fileClusters - count + index) * Self.cluster | 1 << 63, at: empty.header.l1TableOffset + index * 8)
    }
    for (index, table) in tables.enumerated() {
      try put(table * Self.cluster | 1 << 63, at: empty.header.l1TableOffset + (count + UInt64(index)) * 8)
    }
    for (guest, place) in places {
      let entry: UInt64
      switch place {
      case .data(let host): entry = host * Self.cluster | 1 << 63
      case .kept(let host): entry = host * Self.cluster | 1 << 63 | 1
      case .compressed(let offset, let sectors): entry = 1 << 62 | (sectors - 1) << 54 | offset
      }
      try put(entry, at: (fileClusters - count) * Self.cluster + guest * 8)
    }
    writer = storage
    image = try Image(storage, options: Image.Options())
  }

  func scan() -> Fragmentation {
    let scan = FragmentationScan(image)
    for _ in 0..<100_000 where scan.step(budgetNanoseconds: 1_000_000) { break }
    #expect(scan.isDone && scan.result.isComplete && scan.result.progress == 1)
    return scan.result
  }
}

@Suite(.tags(.fast)) struct FragmentationTests {
  /// Guest clusters 0, 1, 2 … at these host clusters; `-` is not allocated.
  struct Row: CustomTestStringConvertible, Sendable {
    var map: String
    var runs: UInt64
    var host: UInt64
    var best: UInt64
    var shifts: UInt64
    var forward: UInt64
    var backward: UInt64
    var tables: UInt64 = 0
    var testDescription: String { map }

    var places: [UInt64: HandMade.Place] {
      var places: [UInt64: HandMade.Place] = [:]
      for (index, word) in map.split(separator: " ").enumerated() where word != "-" {
        places[UInt64(index)] = .data(UInt64(word) ?? 0)
      }
      return places
    }
  }

  /// Host clusters 100 and 101 are L2 tables.
  @Test(arguments: [
    Row(map: "10 11 12 13", runs: 1, host: 1, best: 1, shifts: 1, forward: 0, backward: 0),
    Row(map: "10", runs: 1, host: 1, best: 1, shifts: 1, forward: 0, backward: 0),
    Row(map: "-", runs: 0, host: 0, best: 0, shifts: 0, forward: 0, backward: 0),
    // Gaps on the disk are not held against the file, whether it has the same gaps or none.
    Row(map: "10 11 - - 14 15", runs: 2, host: 2, best: 2, shifts: 1, forward: 0, backward: 0),
    Row(map: "10 11 - - 12 13", runs: 2, host: 2, best: 2, shifts: 2, forward: 0, backward: 0),
    // A hole of free clusters is a break on the disk, and none in the file.
    Row(map: "10 11 14 15", runs: 2, host: 1, best: 1, shifts: 2, forward: 1, backward: 0),
    Row(map: "12 13 10 11", runs: 2, host: 2, best: 1, shifts: 2, forward: 0, backward: 1),
    Row(map: "13 12 11 10", runs: 4, host: 4, best: 1, shifts: 4, forward: 0, backward: 3),
    // Every second one lies in the same order, but with others between.
    Row(map: "10 20 11 21", runs: 4, host: 4, best: 1, shifts: 4, forward: 2, backward: 1),
    // A table between them.
    Row(map: "98 99 102 103", runs: 2, host: 1, best: 1, shifts: 2, forward: 1, backward: 0, tables: 1),
    // A table and a free cluster between them.
    Row(map: "98 99 103 104", runs: 2, host: 1, best: 1, shifts: 2, forward: 1, backward: 0),
    Row(map: "99 - 102", runs: 2, host: 2, best: 2, shifts: 2, forward: 1, backward: 0, tables: 1),
  ])
  func runs(_ row: Row) throws {
    let result = try HandMade(row.places, tables: [100, 101]).scan()
    let figures = result.all
    #expect(figures == result.standard && !result.hasCompressed)
    #expect(figures.clusters == UInt64(row.places.count))
    #expect(figures.runs.count == row.runs)
    #expect(figures.hostRuns.count == row.host)
    #expect(figures.bestPossible == row.best)
    #expect(figures.breaks == row.runs - row.best)
    #expect(figures.shiftRuns == row.shifts)
    #expect(figures.forward.count == row.forward)
    #expect(figures.backward.count == row.backward)
    #expect(figures.overMetadata.count == row.tables)
    #expect(figures.isInOrder == (row.forward + row.backward == row.tables))
    #expect(figures.runs.clusters == figures.clusters && figures.hostRuns.clusters == figures.clusters)
    #expect(result.partialReason == nil)
  }

  @Test func distances() throws {
    let row = Row(map: "10 14 11 31", runs: 4, host: 4, best: 1, shifts: 4, forward: 2, backward: 1)
    let figures = try HandMade(row.places).scan().all
    // From 11 to 14, and from 12 to 31; back from 15 to 11.
    #expect(figures.forward.mean == Double(3 + 19) / 2 * 65536)
    #expect(figures.backward.mean == 4 * 65536)
    #expect(figures.meanJump == Double(3 + 19 + 4) / 3 * 65536)
  }

  @Test func shifts() throws {
    var places: [UInt64: HandMade.Place] = [:]
    for guest in 0..<100 as Range<UInt64> { places[guest] = .data(guest + 50) }
    for guest in 200..<230 as Range<UInt64> { places[guest] = .data(guest - 30) }
    places[300] = .data(350)
    let shifts = try HandMade(places).scan().all.shifts
    #expect(shifts.isExact && shifts.distinct == 2)
    #expect(
      shifts.top(5) == [
        ShiftCounts.Entry(shift: 50, clusters: 101, error: 0),
        ShiftCounts.Entry(shift: -30, clusters: 30, error: 0),
      ])
    #expect(shifts.top(1).count == 1)
  }

  /// Streams that follow each other are a run, although `qemu-img check` calls each of them fragmented.
  @Test func compressed() throws {
    let base: UInt64 = 20 * 65536
    let places: [UInt64: HandMade.Place] = [
      // Ends somewhere in the third sector, where the next one begins.
      0: .compressed(at: base, sectors: 3), 1: .compressed(at: base + 1100, sectors: 2),
      // Over the end of a cluster, then whole clusters from the next one on.
      2: .compressed(at: base + 65536 - 512, sectors: 3), 3: .data(22), 4: .data(23),
      5: .compressed(at: 24 * 65536, sectors: 1),
    ]
    let result = try HandMade(places).scan()
    #expect(result.hasCompressed)
    #expect(result.all.clusters == 6 && result.standard.clusters == 2 && result.compressed.clusters == 4)
    // Only the jump from 1 to 2 is one.
    // In order the streams lie behind the data, which is no better.
    #expect(result.all.runs.count == 2 && result.all.bestPossible == 2)
    #expect(result.standard.runs.count == 1 && result.standard.bestPossible == 1)
    #expect(result.compressed.runs.count == 3 && result.compressed.bestPossible == 2)
    #expect(result.tally.allocated == 6 && result.tally.fragmented == 4 && result.tally.compressed == 4)
    #expect(result.tally.percentageWithoutCompressed == 0)
    // Every stream is read alone.
    let read = result.all.reads[1]
    #expect(read.requests == 1 && read.hostReads == 5 && read.fewest == 5 && read.avoidable == 0)
  }

  /// Requests of 128 KiB, 1 MiB and 4 MiB are 2, 16 and 64 clusters.
  @Test func reads() throws {
    var places: [UInt64: HandMade.Place] = [:]
    for guest in 0..<64 as Range<UInt64> { places[guest] = .data(guest + 100) }
    func extra(_ places: [UInt64: HandMade.Place]) throws -> [[UInt64]] {
      try HandMade(places).scan().all.reads.map { [$0.requests, $0.hostReads, $0.extra, $0.avoidable] }
    }
    #expect(try extra(places) == [[32, 32, 0, 0], [4, 4, 0, 0], [1, 1, 0, 0]])
    // One cluster elsewhere costs two reads more where its neighbours share its request.
    places[5] = .data(1000)
    #expect(try extra(places) == [[32, 33, 1, 1], [4, 6, 2, 2], [1, 3, 2, 2]])
    // A gap costs one, and nobody can avoid it.
    places[5] = nil
    #expect(try extra(places) == [[32, 32, 0, 0], [4, 5, 1, 0], [1, 2, 1, 0]])
    // What reads as zeroes is not read.
    places[5] = .kept(105)
    #expect(try extra(places) == [[32, 32, 0, 0], [4, 5, 1, 0], [1, 2, 1, 0]])
    for guest in 0..<64 as Range<UInt64> { places[guest] = .kept(guest + 100) }
    #expect(try extra(places) == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
  }

  @Test func largeClusters() throws {
    let storage = MemoryStorage()
    var options = Image.CreateOptions(size: 5 << 20 | 1 << 17)
    options.clusterSize = 2 << 20
    options.preallocation = .metadata
    try Image.create(on: storage, options)
    let scan = FragmentationScan(try Image(storage, options: Image.Options()))
    while !scan.step(budgetNanoseconds: 1_000_000) {}
    // Two clusters and the third up to the end of the disk.
    #expect(scan.result.all.clusters == 3)
    #expect(scan.result.all.reads.map(\.requests) == [41, 6, 2])
    #expect(scan.result.all.reads.map(\.extra) == [0, 0, 0])
  }

  @Test func freeSpace() throws {
    let bench = try Workbench(Recipe(size: 64 << 20, clusterSize: 65536))
    let bytes = [UInt8](repeating: 1, count: 20 * 65536)
    try bytes.withUnsafeBytes { try bench.image.write($0, at: GuestOffset(0)) }
    for (at, count) in [(2, 3), (9, 1), (14, 2)] as [(UInt64, UInt64)] {
      try bench.image.discard(at: GuestOffset(at * 65536), count: ByteCount(count * 65536))
    }
    try bench.image.flush()
    let scan = FragmentationScan(bench.image)
    while !scan.step(budgetNanoseconds: 1_000_000) {}
    let free = scan.result.free
    #expect(free.clusters == 6 && free.runs == 3 && free.largest == 3 && free.mean == 2)
    #expect(try bench.image.refcount(of: HostCluster(free.largestStart)) == 0)
    let atlas = Atlas(bench.image)
    atlas.finish()
    #expect(
      free.largestStart == atlas.totals.largestFreeRunStart && free.clusters == atlas.totals.freeClusters)
    // A zero-write keeps no cluster: the gaps are two stretches more each.
    #expect(scan.result.all.bestPossible == 4 && scan.result.all.isInOrder)
  }

  @Test func worstRegions() throws {
    // 8192 clusters in regions of 16.
    var places: [UInt64: HandMade.Place] = [:]
    for guest in 0..<64 as Range<UInt64> { places[guest] = .data(100 + guest) }
    for guest in 512..<544 as Range<UInt64> { places[guest] = .data(500 + 2 * guest % 64) }
    places[1000] = .data(2000)
    places[1001] = .data(2100)
    let result = try HandMade(places, clusters: 8192).scan()
    let worst = result.all.regions.worst(8)
    #expect(result.all.regions.clusterBits == 4)
    #expect(worst.map(\.range) == [512..<544, 992..<1008])
    #expect(worst[0].total.runs == 32 && worst[0].total.stretches == 1 && worst[0].total.clusters == 32)
    #expect(worst[1].total.breaks == 1)
    #expect(worst.reduce(0) { $0 + $1.total.breaks } == result.all.breaks)
    #expect(result.all.regions.worst(1).count == 1)
  }

  /// A part of the disk that begins inside a stretch holds a part of it.
  @Test func regionsInsideAStretch() throws {
    var places: [UInt64: HandMade.Place] = [:]
    for guest in 0..<64 as Range<UInt64> { places[guest] = .data(100 + guest) }
    for guest in 24..<28 as Range<UInt64> { places[guest] = .data(400 - 3 * guest) }
    let result = try HandMade(places, clusters: 8192).scan()
    let worst = try #require(result.all.regions.worst(1).first)
    #expect(worst.range == 16..<32)
    #expect(worst.total.runs == 6 && worst.total.stretches == 1 && worst.total.breaks == 5)
  }

  /// Gaps of which the walk cannot know whether a later cluster lies in them; the second count is too many to keep.
  @Test(arguments: [100, 20_000] as [UInt64], [false, true])
  func gapsThatStayOpen(_ count: UInt64, _ areFilledLater: Bool) throws {
    #expect(100 < HostOrder.mostParts && 20_000 > HostOrder.mostParts)
    var places: [UInt64: HandMade.Place] = [:]
    for guest in 0..<count {
      places[guest] = .data(100 + 2 * guest)
      if areFilledLater { places[count + guest] = .data(101 + 2 * guest) }
    }
    // A stream in one of the gaps is between the data only where it counts.
    let stream = 101 + 2 * (count - 2)
    places[2 * count + 1] = .compressed(at: stream << 16, sectors: 2)
    let result = try HandMade(places, clusters: 2 * count + 2, fileClusters: 2 * count + 200).scan()
    let runs = (result.standard.hostRuns, result.all.hostRuns, result.compressed.hostRuns)
    #expect(runs.0.count == (areFilledLater ? 2 * count : 1) && runs.0.clusters == UInt64(places.count) - 1)
    #expect(runs.1.count == (areFilledLater ? 2 * count + 1 : 3) && runs.1.clusters == UInt64(places.count))
    #expect(runs.1.longest == (areFilledLater ? 1 : count - 1))
    #expect(runs.2.count == 1)
  }

  // MARK: Against the slow way

  @Test(arguments: 0..<24 as Range<UInt64>) func random(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let clusters = UInt64([30, 300, 9000][Int(seed % 3)])
    var free = Array(50..<UInt64(50 + 2 * clusters))
    if seed % 2 == 0 { free.shuffle(using: &random) }
    var places: [UInt64: HandMade.Place] = [:]
    var guest: UInt64 = 0
    while guest < clusters, free.count > 1 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0: guest += UInt64.random(in: 1..<6, using: &random)
      case 1: free.removeLast()
      case 2 where seed % 5 == 0:
        let host = free.removeLast()
        places[guest] = .compressed(
          at: host << 16 + UInt64.random(in: 0..<65536, using: &random),
          sectors: .random(in: 1...9, using: &random))
      case 3: places[guest] = .kept(free.removeFirst())
      default: places[guest] = .data(free.removeFirst())
      }
      guest += 1
    }
    places = places.filter { $0.key < clusters }
    let result = try HandMade(places, clusters: clusters, fileClusters: 4 * clusters + 100).scan()
    for choice in ClusterChoice.allCases { try SlowFigures(places, choice).check(result.figures(choice)) }
    #expect(
      result.hasCompressed == places.values.contains { if case .compressed = $0 { true } else { false } })
  }

  /// Nothing in a table may trap.
  @Test(arguments: [false, true]) func hostileTables(_ extended: Bool) throws {
    for seed in 0..<60 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      let bits = UInt64.random(in: extended ? 14...16 : 9...16, using: &random)
      let storage = MemoryStorage()
      var options = Image.CreateOptions(size: 1 << (bits + 9))
      options.clusterSize = 1 << bits
      options.extendedL2 = extended
      options.preallocation = .metadata
      try Image.create(on: storage, options)
      let image = try Image(storage, options: Image.Options())
      let table = try #require(image.l1Entry(0).table).value
      var bytes = [UInt8]()
      for _ in 0..<(image.geometry.clusterSize / 8) {
        var word = UInt64.random(in: 0...UInt64.max, using: &random)
        if seed % 3 == 1 { word &= 0xc0ff_ffff_ffff_fe01 }
        if seed % 3 == 2 { word &= 0x8000_0000_003f_fe01 }
        bytes += (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
      }
      try storage.write(bytes, at: table)
      let scan = FragmentationScan(try Image(storage, options: Image.Options()))
      for _ in 0..<10_000 where scan.step(budgetNanoseconds: 10_000_000) { break }
      #expect(scan.isDone)
      _ = scan.result.all.regions.worst(8)
    }
  }
}

/// The figures counted from a dictionary.
struct SlowFigures {
  var runs: [UInt64] = []
  var hostRuns: [UInt64] = []
  var best: UInt64 = 0
  var shifts: [Int64: UInt64] = [:]
  var jumps: [Int64] = []
  var reads: [[UInt64]] = []

  init(_ places: [UInt64: HandMade.Place], _ choice: ClusterChoice) throws {
    let chosen = places.filter {
      if case .compressed = $0.value { return choice != .standard }
      return choice != .compressed
    }.sorted { $0.key < $1.key }
    let cluster = HandMade.cluster
    func start(_ place: HandMade.Place) -> UInt64 {
      switch place {
      case .data(let host), .kept(let host): host * cluster
      case .compressed(let offset, _): offset
      }
    }
    func end(_ place: HandMade.Place) -> UInt64 {
      switch place {
      case .data(let host), .kept(let host): (host + 1) * cluster
      case .compressed(let offset, let sectors): offset / 512 * 512 + sectors * 512
      }
    }
    func isCompressed(_ place: HandMade.Place) -> Bool {
      if case .compressed = place { return true }
      return false
    }
    var used: Set<UInt64> = []
    for (_, place) in chosen {
      for c in start(place) / cluster...(end(place) - 1) / cluster { used.insert(c) }
    }
    func follows(_ a: HandMade.Place, _ b: HandMade.Place) -> Bool {
      if start(b) == end(a) { return true }
      guard isCompressed(a) else { return false }
      if isCompressed(b), start(b) / 512 == end(a) / 512 - 1, start(b) % 512 != 0 { return true }
      return start(b) == (end(a) + cluster - 1) / cluster * cluster
    }
    var last: (key: UInt64, value: HandMade.Place)?
    var (isJoined, hasStreams) = (false, false)
    for item in chosen {
      let shift = Int64(start(item.value) / cluster) - Int64(item.key)
      shifts[shift, default: 0] += 1
      let isNext = last.map { $0.key + 1 == item.key } ?? false
      let isBehind = last.map { follows($0.value, item.value) } ?? false
      let isSameKind = last.map { isCompressed($0.value) == isCompressed(item.value) } ?? false
      if !isNext || !isSameKind { best += 1 }
      if !isSameKind, last != nil {
        isJoined = isNext && isCompressed(item.value) && !hasStreams
      }
      if isCompressed(item.value) { hasStreams = true }
      if isNext && isBehind { runs[runs.count - 1] += 1 } else { runs.append(1) }
      var isInOrder = isNext && isBehind
      if isNext, !isBehind, let last, !isCompressed(last.value), !isCompressed(item.value),
        start(item.value) > end(last.value)
      {
        isInOrder = (end(last.value) / cluster..<start(item.value) / cluster).allSatisfy {
          !used.contains($0)
        }
      }
      if isInOrder { hostRuns[hostRuns.count - 1] += 1 } else { hostRuns.append(1) }
      if let last, !isBehind, shift != Int64(start(last.value) / cluster) - Int64(last.key) {
        let from =
          isCompressed(item.value) ? end(last.value) : (end(last.value) + cluster - 1) / cluster * cluster
        jumps.append(Int64(start(item.value)) - Int64(from))
      }
      last = item
    }
    best = min(UInt64(runs.count), best - (isJoined ? 1 : 0))
    for bits in RunFigures.requestBits {
      let per = (1 << UInt64(bits)) / cluster
      var requests: Set<UInt64> = []
      var count: UInt64 = 0
      var previous: (key: UInt64, value: HandMade.Place)?
      for item in chosen {
        if case .kept = item.value { continue }
        requests.insert(item.key / per)
        if let previous, previous.key + 1 == item.key, previous.key / per == item.key / per,
          !isCompressed(previous.value), !isCompressed(item.value), follows(previous.value, item.value)
        {
        } else {
          count += 1
        }
        previous = item
      }
      reads.append([UInt64(requests.count), count])
    }
  }

  func check(_ figures: RunFigures) throws {
    #expect(figures.runs.count == UInt64(runs.count) && figures.runs.longest == runs.max() ?? 0)
    let sorted = runs.sorted()
    let median = sorted.isEmpty ? 0 : Double(sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    #expect(figures.runs.median == median)
    #expect(
      figures.hostRuns.count == UInt64(hostRuns.count) && figures.hostRuns.longest == hostRuns.max() ?? 0)
    #expect(figures.bestPossible == best)
    #expect(figures.shifts.isExact == false || figures.shifts.distinct == UInt64(shifts.count))
    if figures.shifts.isExact { #expect(figures.shifts.top(1).first?.clusters == shifts.values.max()) }
    #expect(figures.forward.count == UInt64(jumps.count { $0 > 0 }))
    #expect(figures.backward.count == UInt64(jumps.count { $0 < 0 }))
    #expect(figures.forward.bytes == jumps.filter { $0 > 0 }.reduce(0) { $0 + Double($1) })
    #expect(figures.reads.map { [$0.requests, $0.hostReads] } == reads)
    // A region may have fewer runs than its part of the best order; elsewhere they cannot make up for it.
    #expect(figures.regions.regions.reduce(1) { $0 + $1.breaks } >= figures.breaks)
    #expect(figures.regions.regions.reduce(0) { $0 + $1.clusters } == figures.clusters)
    let worst = figures.regions.worst(100)
    #expect(worst.map(\.total.breaks) == worst.map(\.total.breaks).sorted(by: >))
    let places = worst.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
    #expect(zip(places, places.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
  }
}
