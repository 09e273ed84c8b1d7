// Scenes: a generation looks like a file that was saved at it and opened afresh, a snapshot like the image
// that the genuine tool makes of it, and looking at the past changes no file, also in rw mode.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// All that a scene says of an image, as text.
func portrait(_ scene: Scene) -> String {
  scene.atlas.scanAll()
  var text = ""
  var totals = scene.atlas.totals
  // What the host keeps differs between a file and memory.
  totals.hostBlocks = 0
  print(totals, scene.atlas.health, scene.image.snapshots.map(\.name), scene.image.header, to: &text)
  let geometry = scene.geometry
  let clusters = Int(min(scene.atlas.hostClusters, 600))
  print(
    scene.atlas.guestCells(first: 0, cellClustersLog2: 0, count: Int(min(geometry.clusterCount, 600))),
    scene.atlas.hostCells(first: 0, cellClustersLog2: 0, count: clusters), to: &text)
  for cluster in 0..<clusters {
    let list = scene.owners.owners(of: HostCluster(UInt64(cluster)))
    print(cluster, list.owners, list.refcount as Any, to: &text)
  }
  print(scene.byteMap.fields(from: HostOffset(0), count: 600), to: &text)
  return text
}

extension Image {
  /// All of the disk; for small ones.
  fileprivate func guestBytes() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(geometry.virtualSize))
    try bytes.withUnsafeMutableBytes { try read(at: GuestOffset(0), into: $0) }
    return bytes
  }
}

@Suite(.tags(.genuine)) struct SceneTests {
  fileprivate static let lines = [
    ":write 5M 200k", ":discard 0 128k", ":write -z 1M 64k", ":write -P 7 100 5000", ":write 12M 1M",
    ":write -z -u 12M 512k", ":discard 5M 128k",
  ]

  private static let kinds = [
    "cluster_size=64k", "cluster_size=4k,refcount_bits=1", "extended_l2=on,cluster_size=64k",
    "data_file=d.raw",
  ]

  @Test("a generation is a file saved at it", arguments: kinds)
  func generations(_ options: String) throws {
    let folder = try ImageFolder(options: options)
    let explorer = try folder.explorer()
    var files: [[UInt8]] = []
    var portraits: [String] = []
    func keep() throws {
      let overlay = explorer.session.overlay
      files.append(try overlay.bytes(at: 0, count: Int(overlay.length)))
      let fresh = MemoryStorage(name: overlay.name, bytes: files[files.count - 1])
      portraits.append(
        portrait(try Scene(fresh, data: nil, like: explorer.session.image, on: nil, of: .file("fresh"))))
    }
    try keep()
    for line in Self.lines {
      let before = explorer.session.generation
      try ScriptRunner.run(line, on: explorer)
      if explorer.session.generation > before { try keep() }
    }
    #expect(portraits.count > 6 && Set(portraits).count == portraits.count)
    // Some of the generations lie in front of the present one.
    try ScriptRunner.run("u\nu\nu", on: explorer)
    let shown = explorer.canvas().text()
    for generation in files.indices {
      let scene = try explorer.session.scene(at: HistoryMoment(generation: generation))
      #expect(scene.subject == .moment(HistoryMoment(generation: generation)) && !scene.image.isWritable)
      #expect(sameBytes(try scene.storage.bytes(at: 0, count: Int(scene.storage.length)), files[generation]))
      let told = portrait(
        scene.image.hasExternalData
          ? try Scene(scene.storage, data: nil, like: explorer.session.image, on: nil, of: scene.subject)
          : scene)
      #expect(told == portraits[generation], "generation \(generation)")
    }
    #expect(explorer.canvas().text() == shown)
    #expect(throws: ImageError.self) {
      try explorer.session.scene(at: HistoryMoment(generation: files.count))
    }
  }

  @Test("looking at every moment of the past changes no file, also in rw mode")
  func pastOfWrittenFile() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer(.readWrite)
    var disks: [[UInt8]] = [try explorer.session.image.guestBytes()]
    for line in Self.lines {
      try ScriptRunner.run(line, on: explorer)
      disks.append(try explorer.session.image.guestBytes())
    }
    let hash = try sha256(ofFile: folder.path)
    let identity = FileStorage.identity(path: folder.path)
    let session = explorer.session
    for (number, step) in session.done.enumerated() {
      for events in 0...step.operations.eventCount {
        let moment = HistoryMoment(generation: number, events: events)
        guard let scene = try? session.scene(at: moment) else { continue }
        if events % 16 == 0 { scene.atlas.scanAll() }
        if events == 0 { #expect(sameBytes(try scene.image.guestBytes(), disks[number])) }
      }
    }
    #expect(try sha256(ofFile: folder.path) == hash)
    #expect(FileStorage.identity(path: folder.path) == identity)
    #expect(sameBytes(try session.image.guestBytes(), disks[disks.count - 1]))
  }

  @Test("a snapshot looks like the image that the genuine tool goes back to")
  func snapshots() throws {
    let folder = try ImageFolder()
    try succeed("qemu-img", ["snapshot", "-c", "one", folder.path])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 9 64k 256k", "-c", "discard 1M 64k", folder.path])
    try succeed("qemu-img", ["snapshot", "-c", "two", folder.path])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 5 0 16M", folder.path])
    let explorer = try folder.explorer()
    let scenes = try [0, 1].map { try explorer.session.scene(ofSnapshot: $0) }
    for (scene, name) in zip(scenes, ["one", "two"]) {
      let shown = try scene.image.guestBytes()
      scene.atlas.scanAll()
      #expect(scene.atlas.totals.leaked == 0 && scene.atlas.totals.wrong == 0)
      try succeed("qemu-img", ["snapshot", "-a", name, folder.path])
      let genuine = try Image(FileStorage(path: folder.path, mode: .readOnly))
      #expect(sameBytes(shown, try genuine.guestBytes()), "\(name)")
    }
    #expect(throws: ImageError.self) { try explorer.session.scene(ofSnapshot: 2) }
    #expect(throws: ImageError.self) { try explorer.session.scene(ofLayer: 1) }
  }
}

/// What the bytes of a scene say of every cluster, found by reading all of them.
private struct Census {
  /// Raw L2 entries that are not empty, by guest cluster.
  var entries: [UInt64: [UInt8]] = [:]
  /// Who uses a host cluster, with its refcount.
  var uses: [UInt64: Set<String>] = [:]
  var l1: [Int: UInt64] = [:]
  var blocks: [Int: UInt64] = [:]

  init(_ scene: Scene) throws {
    let image = scene.image
    let geometry = image.geometry
    let size = geometry.clusterSize
    func mark(_ offset: UInt64, _ bytes: UInt64, _ use: String) {
      guard bytes > 0 else { return }
      for cluster in offset / size...(offset + bytes - 1) / size { uses[cluster, default: []].insert(use) }
    }
    mark(0, size, "header")
    mark(image.header.l1TableOffset, UInt64(image.l1Count) * 8, "L1")
    mark(image.header.refcountTableOffset, UInt64(image.header.refcountTableClusters) * size, "table")
    for (index, snapshot) in image.snapshots.enumerated() {
      mark(snapshot.l1TableOffset, UInt64(snapshot.l1Size) * 8, "snapshot \(index)")
    }
    let table = image.snapshots.reduce(0) { $0 + UInt64($1.entrySize) }
    mark(image.header.snapshotsOffset, table, "snapshots")
    for index in 0..<image.refcountTableCount {
      guard let block = image.refcountTableEntry(index).block?.value else { continue }
      blocks[index] = block
      mark(block, size, "block \(index)")
    }
    for index in 0..<image.l1Count {
      let entry = image.l1Entry(index)
      if entry.raw != 0 { l1[index] = entry.raw }
      guard let place = entry.table?.value else { continue }
      mark(place, size, "L2 \(index)")
      let bytes = try scene.storage.bytes(at: place, count: Int(size))
      for number in 0..<geometry.l2EntriesPerTable {
        let raw = Array(bytes[(number * geometry.l2EntrySize)...].prefix(geometry.l2EntrySize))
        guard raw.contains(where: { $0 != 0 }) else { continue }
        let guest = geometry.guestOffset(l1Index: index, l2Index: number).value / size
        entries[guest] = raw
        let entry = L2Entry(descriptor: BigEndian.u64(raw, 0))
        if entry.isCompressed {
          let extent = geometry.compressedExtent(of: entry.descriptor)
          mark(extent.offset.value, extent.byteCount, "guest \(guest)")
        } else if geometry.hasHost(entry), !geometry.hasExternalData {
          mark(entry.offsetBits, size, "guest \(guest)")
        }
      }
    }
    for cluster in 0..<(scene.storage.length / size + 1) {
      let count = try image.refcount(of: HostCluster(cluster))
      if count > 0 { uses[cluster, default: []].insert("refcount \(count)") }
    }
  }

  static func changed<Key: Comparable & Hashable, Value: Equatable>(
    _ a: [Key: Value], _ b: [Key: Value]
  ) -> [Key] {
    Set(a.keys).union(b.keys).filter { a[$0] != b[$0] }.sorted()
  }
}

extension SceneDifference {
  /// The same by a look at everything.
  fileprivate func isThat(of before: Census, _ after: Census) -> Bool {
    func clusters(_ ranges: [Range<UInt64>]) -> [UInt64] { ranges.flatMap { Array($0) } }
    return partialReason == nil && clusters(guest) == Census.changed(before.entries, after.entries)
      && clusters(host) == Census.changed(before.uses, after.uses)
      && l1 == Census.changed(before.l1, after.l1)
      && refcountTable == Census.changed(before.blocks, after.blocks)
  }
}

extension SceneTests {
  private static let workloads: [(options: String, lines: [String])] = [
    ("cluster_size=64k", lines + [":snapshot-create one", ":write 5M 64k", ":snapshot-apply one"]),
    (
      "cluster_size=512,refcount_bits=16",
      [":write 5M 20k", ":discard 0 12k", ":write 15M 300k", ":write -z 0 9k"]
    ),
    ("extended_l2=on,cluster_size=16k", lines + [":resize 40G", ":write 39G 8k"]),
    ("data_file=d.raw", lines),
  ]

  @Test("the difference of two moments is what a look at everything finds", arguments: 0..<workloads.count)
  func differences(_ number: Int) throws {
    let work = Self.workloads[number]
    let folder = try ImageFolder(options: work.options)
    let explorer = try folder.explorer()
    for line in work.lines { try ScriptRunner.run(line, on: explorer) }
    let session = explorer.session
    let scenes = try (0...session.generation).map { try session.scene(at: HistoryMoment(generation: $0)) }
    let censuses = try scenes.map { try Census($0) }
    for (first, second) in scenes.indices.flatMap({ a in scenes.indices.map { (a, $0) } })
    where first == 0 || second == first + 1 || second == first {
      let comparison = SceneComparison(scenes[first], scenes[second])
      Scheduler.finish(comparison)
      #expect(comparison.progress == 1)
      #expect(
        comparison.difference.isThat(of: censuses[first], censuses[second]),
        "\(first) and \(second): \(comparison.difference)")
      if first == second { #expect(comparison.difference.isEmpty) }
      // The same for files that know nothing of each other.
      let copies = try [first, second].map { index in
        let storage = scenes[index].storage
        return try Scene(
          MemoryStorage(bytes: storage.bytes(at: 0, count: Int(storage.length))), data: nil,
          like: session.image, on: session.image.backing, of: .file("copy"))
      }
      let whole = SceneComparison(copies[0], copies[1])
      Scheduler.finish(whole)
      #expect(whole.difference == comparison.difference, "\(first) and \(second)")
    }
  }

  @Test("of two moments only what changed is read") func reads() throws {
    let folder = try ImageFolder(options: "cluster_size=64k", size: "200G", commands: [])
    var commands: [String] = []
    for gigabyte in 0..<200 { commands.append("write \(gigabyte)G 64k") }
    try folder.io(commands.flatMap { ["-c", $0] })
    let session = try folder.explorer().session
    _ = try session.run(Request(.write(pattern: 1), at: 5 << 30, length: 128 << 10))
    let scene = try session.scene(at: HistoryMoment(generation: 0))
    let comparison = SceneComparison(scene, session.scene)
    // A step reads one table at most, and only the one table changed.
    var steps = 0
    while !comparison.step(budgetNanoseconds: 0) { steps += 1 }
    #expect(steps < 12, "\(steps)")
    let written: Range<UInt64> = 81921..<81922
    #expect(comparison.difference.guest == [written])
  }

  @Test("steps tell every event, and the moment behind each is that of the step") func steps() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    try ScriptRunner.run(":write 5M 64k", on: explorer)
    let session = explorer.session
    let step = try #require(session.done.first)
    let trace = StepTrace(step.operations, geometry: session.geometry)
    #expect(trace.count == step.operations.eventCount && trace.count > 4)
    let texts = (0..<trace.count).map { trace[$0].text }
    #expect(
      texts.contains {
        $0.hasPrefix("L2 entry of guest 0x500000: empty -> at 0x")
          && $0.hasSuffix(", COPIED; the entry begins to point to its cluster")
      }, "\(texts)")
    #expect(
      texts.contains { $0.hasPrefix("refcount[") && $0.contains("0 -> 1; a cluster is taken") }, "\(texts)")
    #expect(
      texts.contains { $0.hasPrefix("65536 bytes of the data at 0x") && $0.hasSuffix("bytes of the guest") },
      "\(texts)")
    // What the last step shows is what is there.
    let last = try session.scene(at: HistoryMoment(generation: 0, events: trace.count))
    let overlay = session.overlay
    #expect(
      sameBytes(
        try last.storage.bytes(at: 0, count: Int(overlay.length)),
        try overlay.bytes(at: 0, count: Int(overlay.length))))
  }
}
