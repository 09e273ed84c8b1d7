// Crashes with lazy refcounts: the repair at the next opening for writing leaves the bytes that the
// genuine tool's repair leaves.

import EngineSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite("Repair after a crash", .tags(.campaign))
struct RepairTests {
  @Test("random crashes with lazy refcounts are repaired as the genuine tool repairs them")
  func crashes() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let count = try environmentNumber("QATLAS_REPAIRS", default: 48)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let folder = try TemporaryDirectory(inMemory: true)
    let (ours, genuine) = (folder.path("ours.qcow2"), folder.path("genuine.qcow2"))
    var dirty = 0
    for seed in first..<(first + count) {
      var random = SplitMix64(seed: seed)
      var create = Image.CreateOptions(size: 0)
      create.clusterSize = [512, 512, 1024, 4096, 65536][Int(random.below(5))]
      create.size = create.clusterSize * (4 + random.below(1200))
      create.lazyRefcounts = true
      create.refcountBits = 1 << Int(random.below(7))
      for path in [ours, genuine] { try? FileManager.default.removeItem(atPath: path) }
      try createImage(ours, create)
      var options = Image.Options()
      options.writable = true
      options.cache = .writeback
      let mix = RequestMix(
        units: [512], longest: [8 * create.clusterSize],
        kinds: [.write, .write, .write, .write, .discard, .zeroUnmap])
      do {
        let storage = try FileStorage(path: ours, mode: .readWrite)
        let image = try Image(storage, options: options)
        for _ in 0..<(1 + random.below(20)) {
          try image.carryOut(random.request(mix, on: create.size))
          if random.below(3) == 0 { try image.flush() }
        }
        // Nothing is closed: the program is gone.
      }
      try FileManager.default.copyItem(atPath: ours, toPath: genuine)
      let before = try FileStorage(path: ours, mode: .readOnly).bytes(at: 72, count: 8)
      if before[7] & 1 != 0 { dirty += 1 }
      _ = try run("qemu-io", ["-f", "qcow2", "-c", "flush", genuine])
      let own = try run(builtProduct("qatlas"), ["io", "-c", "flush", ours])
      #expect(own.status == 0, "seed \(seed): \(own.stderr)")
      let check = try run("qemu-img", ["check", "-q", "-f", "qcow2", ours])
      #expect(check.status == 0, "seed \(seed): \(check.stdout)\(check.stderr)")
      if let byte = try firstDifference(genuine, ours) {
        Issue.record(
          "QATLAS_SEED=\(seed) QATLAS_REPAIRS=1: first difference at byte \(byte): \(try ImageStructure.difference(file: genuine, ours))"
        )
        return
      }
    }
    print("repairs: \(count) from seed \(first), \(dirty) of them dirty, all byte-identical")
    #expect(dirty > count / 3)
  }
}
