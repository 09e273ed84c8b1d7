// Space that an image could do without: every part is what the genuine tools give back, or what was put there.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.genuine)) struct SpaceTests {
  private static let names = ["one", "other", "thirdly"]

  private func must(_ folder: TemporaryDirectory, _ line: String) throws {
    let words = line.split(separator: " ").map(String.init)
    let result = try run(try requireTool(words[0]), Array(words.dropFirst()), directory: folder.path)
    guard result.status == 0 else { throw TestFailure("\(line): \(result.stderr)") }
  }

  private func io(_ folder: TemporaryDirectory, _ requests: [String]) throws {
    let result = try run(
      try requireTool("qemu-io"), ["-f", "qcow2"] + requests.flatMap { ["-c", $0] } + ["a.qcow2"],
      directory: folder.path)
    guard result.status == 0 else { throw TestFailure("\(requests): \(result.stderr)\(result.stdout)") }
  }

  private func space(_ folder: TemporaryDirectory, readsData: Bool = true) throws -> (SpaceScan, Atlas) {
    let storage = try FileStorage(path: folder.path("a.qcow2"), mode: .readOnly)
    let atlas = Atlas(try Image(storage))
    let scan = SpaceScan(atlas, readsData: readsData, blocks: nil)
    Scheduler.finish(scan)
    return (scan, atlas)
  }

  @Test(arguments: ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"])
  func whatWasPutThere(_ options: String) throws {
    let folder = try TemporaryDirectory()
    try must(folder, "qemu-img create -q -f qcow2 -o \(options) a.qcow2 64M")
    try io(
      folder,
      [
        "write -P 0 1M 512k", "write -P 7 2M 1M", "write -P 8 8M 256k", "write -z 8M 128k",
        "write -P 9 16M 256k", "write -P 3 32M 64k",
      ])
    // Given up without a word to the host, which still stores the bytes.
    let before = try space(folder).0.result
    #expect(before[.zeroData].clusters == (512 << 10) / UInt64(try cluster(folder)))
    #expect(before[.zeroKept].bytes == 128 << 10 && before[.freeInside].clusters == 0)
    try io(folder, ["discard 16M 256k"])
    let (scan, atlas) = try space(folder)
    let after = scan.result
    #expect(after[.freeInside].clusters == atlas.totals.freeClusters - atlas.totals.freeAtTail)
    #expect(after[.leaked].clusters == 0 && after[.bitmaps].clusters == 0)
    let compressible = after[.compressible]
    // One byte repeated: nearly all of it is saved.
    #expect(compressible.bytes > 1 << 20 && compressible.bytes <= (1 << 20) + (448 << 10))
    let blind = try space(folder, readsData: false).0.result
    #expect(blind[.zeroData].clusters == 0 && blind[.compressible].bytes == 0)
    #expect(blind[.zeroKept] == after[.zeroKept])
  }

  private func cluster(_ folder: TemporaryDirectory) throws -> UInt64 {
    try Image(try FileStorage(path: folder.path("a.qcow2"), mode: .readOnly)).geometry.clusterSize
  }

  @Test("what a snapshot has alone is what the genuine tool frees with it", arguments: 0..<6)
  func snapshots(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let folder = try TemporaryDirectory()
    let options = ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"][Int(seed % 3)]
    try must(folder, "qemu-img create -q -f qcow2 -o \(options) a.qcow2 16M")
    for name in Self.names {
      // Streams lie where nothing has been: the genuine tool refuses to put them over plain clusters.
      let streams = [
        "write -c -P 5 \((14 << 20) + (name.count << 17)) \(options.hasSuffix("=4k") ? 4096 : 65536)"
      ]
      try io(
        folder,
        streams
          + (0..<8).map { _ in
            let place = UInt64.random(in: 0..<200, using: &random) << 16
            let length = UInt64.random(in: 1...8, using: &random) << 16
            return "write -P \(seed + 1) \(place) \(length)"
          })
      try must(folder, "qemu-img snapshot -c \(name) a.qcow2")
    }
    try io(folder, ["write -P 77 1M 2M", "discard 6M 3M"])
    let (scan, atlas) = try space(folder)
    let free = atlas.totals.freeClusters
    let size = atlas.fileClusters
    #expect(scan.result.parts.count { if case .snapshot = $0.kind { true } else { false } } == 3)
    for (index, name) in Self.names.enumerated() {
      let copy = try TemporaryDirectory()
      try FileManager.default.copyItem(atPath: folder.path("a.qcow2"), toPath: copy.path("a.qcow2"))
      try must(copy, "qemu-img snapshot -d \(name) a.qcow2")
      let judge = try space(copy).1
      let freed = judge.totals.freeClusters + size - free - judge.fileClusters
      #expect(scan.result[.snapshot(index)].clusters == freed, "\(name) of seed \(seed)")
    }
    let all = try TemporaryDirectory()
    try FileManager.default.copyItem(atPath: folder.path("a.qcow2"), toPath: all.path("a.qcow2"))
    for name in Self.names { try must(all, "qemu-img snapshot -d \(name) a.qcow2") }
    let alone = scan.result.parts.reduce(UInt64(0)) {
      if case .snapshot = $1.kind { $0 + $1.clusters } else { $0 }
    }
    let judge = try space(all).1
    let freed = judge.totals.freeClusters + size - free - judge.fileClusters
    // The snapshot table itself goes as well.
    #expect(alone + scan.result[.snapshotsTogether].clusters + 1 == freed, "seed \(seed)")
  }

  @Test func bitmapsAndLeaks() throws {
    let folder = try TemporaryDirectory()
    try must(folder, "qemu-img create -q -f qcow2 a.qcow2 64M")
    try must(folder, "qemu-img bitmap --add a.qcow2 b")
    try io(folder, ["write -P 1 0 1M"])
    let (scan, atlas) = try space(folder)
    #expect(scan.result[.bitmaps].clusters == atlas.totals.host[.bitmap])
    #expect(scan.result[.bitmaps].clusters >= 2)
    let copy = try TemporaryDirectory()
    try FileManager.default.copyItem(atPath: folder.path("a.qcow2"), toPath: copy.path("a.qcow2"))
    try must(copy, "qemu-img bitmap --remove a.qcow2 b")
    let judge = try space(copy).1
    #expect(
      judge.totals.freeClusters + atlas.fileClusters - judge.fileClusters - atlas.totals.freeClusters
        == scan.result[.bitmaps].clusters)
  }
}
