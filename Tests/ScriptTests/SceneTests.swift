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
private func portrait(_ scene: Scene) -> String {
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
  private static let lines = [
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
        portrait(try Scene(fresh, data: nil, like: explorer.session.image, of: .file("fresh"))))
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
          ? try Scene(scene.storage, data: nil, like: explorer.session.image, of: scene.subject) : scene)
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
