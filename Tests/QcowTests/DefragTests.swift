// Images in disorder are put in order, with the plug pulled on the way: whatever reached the disk has
// leaks at most and the same disk, and whoever goes on from there ends with the best possible layout.
//
// QATLAS_DEFRAGS changes how many images there are, QATLAS_SEED the seed of the first.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// An image in disorder and what its disk reads as.
private struct Disorder {
  var bytes: [UInt8]
  var disk: [UInt8]
  let layout: TargetLayout
  /// Bytes of a batch.
  let batch: UInt64
  let description: String

  init(seed: UInt64) throws {
    var random = SplitMix64(seed: seed &* 77)
    var create = Image.CreateOptions(size: 0)
    create.clusterSize = [512, 512, 512, 1024, 4096, 16384, 65536][Int.random(in: 0..<7, using: &random)]
    // Their tables have a quarter of a million entries, which takes its time.
    if seed % 40 == 6 { create.clusterSize = 2 << 20 }
    let clusters = create.clusterSize > 65536 ? 5 : create.clusterSize > 4096 ? 40 : 300
    create.size = create.clusterSize * UInt64.random(in: 1...UInt64(clusters), using: &random)
    if Bool.random(using: &random) { create.size -= min(create.size - 512, 512) }
    create.version = Int.random(in: 0..<5, using: &random) == 0 ? 2 : 3
    if create.version == 3 {
      create.extendedL2 = create.clusterSize >= 16384 && Bool.random(using: &random)
      create.refcountBits = [1, 2, 8, 16, 16, 32, 64][Int.random(in: 0..<7, using: &random)]
      create.compressionType = UInt8.random(in: 0...1, using: &random)
      create.lazyRefcounts = Int.random(in: 0..<6, using: &random) == 0
    }
    if Int.random(in: 0..<8, using: &random) == 0 { create.preallocation = .metadata }
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.lazyRefcounts = create.version == 3 ? false : nil
    let image = try Image(storage, options: options)
    let size = Int(image.geometry.virtualSize)
    for _ in 0..<Int.random(in: 0...60, using: &random) {
      let cluster = Int(create.clusterSize)
      let at = Int.random(in: 0..<max(1, size / cluster), using: &random) * cluster
      if Int.random(in: 0..<3, using: &random) == 0 {
        Self.writeCompressed(image, at, min(cluster, size - at), &random)
      } else {
        try image.perform(randomRequest(create, &random))
      }
    }
    try image.close()
    bytes = try storage.bytes(at: 0, count: Int(storage.length))
    disk = try Self.disk(of: try Image(storage))
    layout = Bool.random(using: &random) ? .packed(base: nil) : .shifted(by: nil)
    batch = create.clusterSize * UInt64.random(in: 1...40, using: &random)
    description =
      "clusters of \(create.clusterSize), \(create.size) bytes, refcounts of \(create.refcountBits) bits, \(layout)"
  }

  /// A cluster that compresses, if there is none yet.
  private static func writeCompressed(
    _ image: Image, _ offset: Int, _ count: Int, _ random: inout SplitMix64
  ) {
    var data = [UInt8](repeating: UInt8.random(in: 1...255, using: &random), count: count)
    for index in 0..<Int.random(in: 0...count / 2, using: &random) {
      data[index] = UInt8.random(in: 0...255, using: &random)
    }
    data.withUnsafeBytes { try? image.writeCompressed($0, at: GuestOffset(UInt64(offset))) }
  }

  static func disk(of image: Image) throws -> [UInt8] {
    var disk = [UInt8](repeating: 0, count: Int(image.geometry.virtualSize))
    try disk.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return disk
  }
}

private func writableImage(_ storage: any Storage) throws -> Image {
  var options = Image.Options()
  options.writable = true
  options.repairsDirty = false
  return try Image(storage, options: options)
}

/// Puts an image in order from the check to the end.
private func putInOrder(
  _ storage: any Storage, _ layout: TargetLayout, batch: UInt64, scope: RelocationScope = .everything
) throws {
  try RelocationCheck(storage).dropLeaks(on: storage)
  let relocation = try Relocation(
    writableImage(storage), layout: layout, scope: scope, batchBytes: ByteCount(batch))
  var steps = 0
  while try relocation.step() {
    steps += 1
    guard steps < 1 << 20 else { throw TestFailure("it does not come to its end") }
  }
}

/// What is not as it should be in the layout of an image, by a walk of its own; empty if it is best.
private func disorder(_ storage: any Storage, _ layout: TargetLayout) throws -> [String] {
  let image = try Image(storage)
  let geometry = image.geometry
  let size = geometry.clusterSize
  var problems: [String] = []
  var tables: [UInt64] = [0]
  func addTable(_ offset: UInt64, _ bytes: UInt64) {
    for index in 0..<(bytes + size - 1) / size { tables.append(offset / size + index) }
  }
  addTable(image.header.l1TableOffset, UInt64(image.l1Count) * 8)
  addTable(image.header.refcountTableOffset, UInt64(image.header.refcountTableClusters) * size)
  for index in 0..<image.refcountTableCount {
    if let block = image.refcountTableEntry(index).block { addTable(block.value, size) }
  }
  var hosts: [(guest: UInt64, host: UInt64)] = []
  var streams: [CompressedExtent] = []
  for index in 0..<image.l1Count {
    guard let table = image.l1Entry(index).table, let bytes = try image.l2TableBytes(l1Index: index) else {
      continue
    }
    addTable(table.value, size)
    for i in 0..<geometry.l2EntriesPerTable {
      let entry = L2Entry(descriptor: BigEndian.u64(bytes, i * geometry.l2EntrySize))
      let guest = geometry.guestOffset(l1Index: index, l2Index: i).value / size
      if entry.isCompressed {
        streams.append(geometry.compressedExtent(of: entry.descriptor))
      } else if entry.offsetBits != 0 {
        hosts.append((guest, entry.offsetBits / size))
      }
    }
  }
  tables.sort()
  if tables != Array(0..<UInt64(tables.count)) { problems.append("tables at \(tables)") }
  var end = UInt64(tables.count)
  if let first = hosts.first {
    if first.host < end { problems.append("data in front of the end of the tables") }
    for (rank, cluster) in hosts.enumerated() {
      let wanted: UInt64
      if case .packed = layout {
        wanted = first.host + UInt64(rank)
      } else {
        wanted = first.host - first.guest + cluster.guest
      }
      if cluster.host != wanted {
        problems.append("guest cluster \(cluster.guest) at \(cluster.host), not \(wanted)")
      }
      end = cluster.host + 1
    }
  }
  var byte = end * size
  for stream in streams {
    // A stream ends somewhere in its last sector; a full refcount may end the cluster.
    let isNext = stream.offset.value >= byte && stream.offset.value < byte + 512
    let isFresh =
      geometry.maximumRefcount < 8 && stream.offset.value == (byte + size - 1) / size * size
    if !isNext && !isFresh && !(byte == end * size && stream.offset.value == byte) {
      problems.append("a stream at \(stream.offset.value), not at \(byte)")
    }
    byte = (stream.offset.value + stream.byteCount - 1) / 512 * 512 + 1
    end = (stream.offset.value + stream.byteCount - 1) / size + 1
  }
  // A file that was not cut may end inside its last cluster.
  if storage.length > end * size || storage.length <= (end - 1) * size {
    problems.append("the file has \(storage.length) bytes, not \(end * size)")
  }
  return problems
}

@Suite("Defrag", .tags(.campaign))
struct DefragTests {
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory(inMemory: true) }

  private func genuine(_ storage: any Storage) throws -> [String] {
    let path = folder.path("check.qcow2")
    try Data(storage.bytes(at: 0, count: Int(storage.length))).write(to: URL(fileURLWithPath: path))
    let check = try run("qemu-img", ["check", "-f", "qcow2", path])
    return check.status == 0 ? [] : ["qemu-img check: \(check.stdout)\(check.stderr)"]
  }

  /// Everything that must hold in the end.
  private func problemsAtEnd(_ storage: any Storage, _ image: Disorder) throws -> [String] {
    var problems = try findings(try Image(storage))
    if !sameBytes(try Disorder.disk(of: try Image(storage)), image.disk) {
      problems.append("the disk differs")
    }
    return try problems + disorder(storage, image.layout)
  }

  /// What must hold after an interruption.
  private func problemsOnTheWay(_ storage: any Storage, _ image: Disorder) throws -> [String] {
    var problems = try findings(try Image(storage), allowingLeaks: true)
    if !sameBytes(try Disorder.disk(of: try Image(storage)), image.disk) {
      problems.append("the disk differs")
    }
    return problems
  }

  @Test("interrupted anywhere, gone on, and in order")
  func interrupted() throws {
    try requireTool("qemu-img")
    let count = try environmentNumber("QATLAS_DEFRAGS", default: 20)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    var states = 0
    for seed in first..<(first + count) {
      let image = try Disorder(seed: seed)
      var random = SplitMix64(seed: seed)
      let context = Comment("QATLAS_SEED=\(seed) QATLAS_DEFRAGS=1: \(image.description)")
      let base = MemoryStorage(bytes: image.bytes)
      let recorder = RecordingStorage(base)
      try putInOrder(recorder, image.layout, batch: image.batch)
      var problems = try problemsAtEnd(base, image)
      if seed % 5 == 0 { problems += try genuine(base) }
      guard problems.isEmpty else {
        Issue.record("\(context) \(problems.prefix(4))")
        return
      }
      let events = recorder.events.filter { $0.kind != .note }
      for _ in 0..<(seed % 40 == 6 ? 1 : 5) where !events.isEmpty {
        let storage = try Self.crashed(image, events, &random)
        problems = try problemsOnTheWay(storage, image)
        // Gone on with, cut off without a word, gone on with again.
        let faulty = FaultyStorage(
          storage, Bool.random(using: &random) ? .fails : .stops,
          after: Int.random(in: 0...events.count, using: &random))
        if problems.isEmpty {
          do { try putInOrder(faulty, image.layout, batch: image.batch) } catch  where faulty.hasFailed {}
          if faulty.fault == .fails { problems = try problemsOnTheWay(storage, image) }
        }
        if problems.isEmpty, faulty.fault == .fails || !faulty.hasFailed {
          try putInOrder(storage, image.layout, batch: image.batch)
          problems = try problemsAtEnd(storage, image)
        }
        states += 1
        guard problems.isEmpty else {
          Issue.record("\(context) \(problems.prefix(4))")
          return
        }
      }
      // Whoever runs it again finds nothing to do.
      let again = try Relocation(writableImage(base), layout: image.layout).forecast
      if again.toMove + again.streamsToMove + again.tablesToMove > 0 {
        Issue.record("\(context) again: \(again)")
      }
    }
    print("defrag: \(count) images from seed \(first), \(states) interruptions")
  }

  /// The image as a crash left it: all up to a flush, and of what came behind it any part.
  private static func crashed(
    _ image: Disorder, _ events: [StorageEvent], _ random: inout SplitMix64
  ) throws -> MemoryStorage {
    let storage = MemoryStorage(bytes: image.bytes)
    let at = Int.random(in: 0...events.count, using: &random)
    let start = events[..<at].lastIndex { $0.kind == .flush }.map { $0 + 1 } ?? 0
    let end = events[start...].firstIndex { $0.kind == .flush } ?? events.count
    for event in events[..<start] { try event.redo(on: storage) }
    for event in events[start..<end] where Bool.random(using: &random) { try event.redo(on: storage) }
    return storage
  }

  @Test("only the data clusters move to a given shift, whoever lies there")
  func dataOnly() throws {
    for seed: UInt64 in 100..<115 {
      let image = try Disorder(seed: seed)
      let storage = MemoryStorage(bytes: image.bytes)
      let shift: UInt64 = seed % 2 == 0 ? 2 : 40
      let batch = image.batch
      try putInOrder(storage, .shifted(by: ClusterCount(shift)), batch: batch, scope: .dataOnly)
      let opened = try Image(storage)
      #expect(try findings(opened).isEmpty, "seed \(seed): \(image.description)")
      #expect(sameBytes(try Disorder.disk(of: opened), image.disk), "seed \(seed)")
      let size = opened.geometry.clusterSize
      for guest in 0..<opened.geometry.clusterCount {
        let entry = try opened.l2Entry(at: GuestOffset(guest * size))
        guard !entry.isCompressed, entry.offsetBits != 0 else { continue }
        #expect(entry.offsetBits / size == guest + shift, "seed \(seed), guest cluster \(guest)")
      }
    }
  }

  @Test("a large disk with little in it", .timeLimit(.minutes(10)))
  func large() throws {
    for layout in [TargetLayout.packed(base: nil), .shifted(by: nil)] {
      let storage = MemoryStorage()
      try Image.create(on: storage, Image.CreateOptions(size: 1 << 32))
      let image = try writableImage(storage)
      var random = SplitMix64(seed: 1)
      for number in 0..<20 {
        let guest = random.below(1 << 16) << 16
        try image.perform(.write(offset: guest, count: 65536, byte: UInt8(number + 1)))
      }
      try image.close()
      try putInOrder(storage, layout, batch: 1 << 20)
      #expect(try disorder(storage, layout).isEmpty)
      let result = try ImageCheck(storage) { _ in }.run()
      #expect(result.leaks == 0 && result.corruptions == 0 && result.failure == nil)
    }
  }

  @Test("what is copied between two flushes grows with the file, within bounds")
  func batches() {
    let mebibyte = ByteCount(1 << 20)
    for (file, batch) in [(0, 32), (512, 32), (1024, 64), (2048, 128), (1 << 20, 128)] as [(UInt64, UInt64)] {
      let usual = Relocation.usualBatch(ByteCount(file * mebibyte.value))
      #expect(usual == ByteCount(batch * mebibyte.value), "\(file) MiB")
    }
    #expect(Relocation.usualBatch(ByteCount(UInt64.max)) == ByteCount(128 * mebibyte.value))
  }

  @Test("what cannot be put in order is refused before anything is written")
  func refusals() throws {
    func refusal(_ change: (inout Image.CreateOptions, MemoryStorage) throws -> Void) throws -> String {
      let storage = MemoryStorage()
      var create = Image.CreateOptions(size: 1 << 20)
      try change(&create, storage)
      if storage.length == 0 { try Image.create(on: storage, create) }
      let before = try storage.bytes(at: 0, count: Int(storage.length))
      do {
        _ = try RelocationCheck(storage)
        return "none"
      } catch {
        #expect(try storage.bytes(at: 0, count: Int(storage.length)) == before)
        return error.description
      }
    }
    #expect(try refusal { _, _ in } == "none")
    #expect(
      try refusal { create, _ in create.dataFile = ("d", MemoryStorage()) }.contains("external data file"))
    #expect(
      try refusal { create, storage in
        try Image.create(on: storage, create)
        let image = try writableImage(storage)
        try image.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
        try image.close()
      }.contains("1 internal snapshots"))
    #expect(
      try refusal { create, storage in
        try Image.create(on: storage, create)
        try storage.write([1], at: 79)
      }.contains("not closed cleanly"))
    #expect(
      try refusal { create, storage in
        try Image.create(on: storage, create)
        try storage.write([2], at: 79)
      }.contains("marked as corrupt"))
    #expect(
      try refusal { create, storage in
        try Image.create(on: storage, create)
        // The refcount of the header.
        try storage.write([0], at: 0x20001)
      }.contains("'qatlas check --details' says where"))
    // Two entries that share a cluster, with a refcount that agrees.
    #expect(
      try refusal { create, storage in
        try Image.create(on: storage, create)
        let image = try writableImage(storage)
        try image.perform(.write(offset: 0, count: 65536, byte: 7))
        try image.close()
        let entry = try image.l2Entry(at: GuestOffset(0)).offsetBits
        var bytes: [UInt8] = []
        for _ in 0..<2 { BigEndian.append(entry, width: 8, to: &bytes) }
        try storage.write(bytes, at: image.l1Entry(0).table!.value)
        try storage.write([0, 2], at: 0x20000 + entry / 65536 * 2)
      }.contains("several owners"))
  }
}
