// Damaged images are put in order, by the command, in the explorer and by putting a pinned image's clusters
// back: it is refused with the reason and nothing is written, or disk and orphaned data are as before.
//
// QATLAS_DAMAGED_DEFRAGS=300 damages more images, QATLAS_SEED changes the first seed.

import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("defrag of damaged images", .tags(.campaign))
struct DamagedDefragTests {
  private static let disorder = [
    "write -P 1 640k 64k", "write -P 2 0 64k", "write -P 3 256k 192k", "write -P 4 64k 64k",
    "discard 320k 64k", "write -P 5 900k 64k", "write -z 700k 8k",
  ]
  private static let recipes = [
    ImageRecipe(name: "64k", options: "", size: "8M", steps: disorder),
    ImageRecipe(
      name: "64k, compressed", options: "", size: "8M",
      steps: ["write -c -P 8 2M 64k", "write -c -P 9 1M 64k"] + disorder + ["write -c -P 6 1536k 64k"]),
    ImageRecipe(name: "4k", options: "cluster_size=4096", size: "4M", steps: disorder),
    ImageRecipe(name: "512", options: "cluster_size=512", size: "1M", steps: disorder),
    ImageRecipe(name: "version 2", options: "compat=0.10", size: "8M", steps: disorder),
    ImageRecipe(
      name: "extended 16k", options: "extended_l2=on,cluster_size=16k", size: "4M",
      steps: disorder + ["write -P 7 2M 6k", "write -P 7 3M 512"]),
    ImageRecipe(name: "pinned", options: "PINNED", size: "2M", steps: disorder),
  ]

  /// What every cluster of the disk reads as; nil where it cannot be read.
  private func disk(_ path: String) -> [[UInt8]?] {
    guard let storage = try? FileStorage(path: path, mode: .readOnly), let image = try? Image(storage) else {
      return []
    }
    let size = Int(image.geometry.clusterSize)
    return stride(from: 0, to: Int(min(image.geometry.virtualSize, 16 << 20)), by: size).map { at in
      var bytes = [UInt8](repeating: 0, count: min(size, Int(image.geometry.virtualSize) - at))
      let isRead = bytes.withUnsafeMutableBytes { buffer in
        (try? image.read(at: GuestOffset(UInt64(at)), into: buffer)) != nil
      }
      return isRead ? bytes : nil
    }
  }

  /// Clusters that the genuine check calls leaked and that hold data, with their bytes.
  private func orphans(_ judge: Judge, _ name: String, _ bytes: [UInt8]) throws -> [Int: ArraySlice<UInt8>] {
    var result: [Int: ArraySlice<UInt8>] = [:]
    let check = try run("qemu-img", ["check", name], directory: judge.folder.path, timeout: 60)
    let size = 1 << Int(bytes[23])
    for match in check.stderr.matches(of: /Leaked cluster (\d+) refcount=\d+ reference=0/) {
      guard let cluster = Int(match.1), cluster * size < bytes.count else { continue }
      let content = bytes[cluster * size..<min(bytes.count, (cluster + 1) * size)]
      if !isFilled(Array(content), with: 0) { result[cluster] = content }
    }
    return result
  }

  @Test("refused with the reason, or disk and orphans are as before")
  func damaged() throws {
    let judge = try Judge()
    let count = try environmentNumber("QATLAS_DAMAGED_DEFRAGS", default: 35)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    var bases: [[UInt8]] = []
    for (number, recipe) in Self.recipes.enumerated() {
      let name = "base\(number)"
      if recipe.options == "PINNED" {
        try judge.must(
          judge.qatlas,
          ["create", "-q", "-o", "contiguous=on,pinned=on,preallocation=metadata", name, recipe.size])
        for step in recipe.steps { try judge.must("qemu-io", ["-f", "qcow2", "-c", step, name]) }
      } else {
        try recipe.make(judge, as: name)
      }
      bases.append(try [UInt8](Data(contentsOf: URL(fileURLWithPath: judge.path(name)))))
    }
    try ":defrag!\n:w\n".write(toFile: judge.path("script"), atomically: true, encoding: .utf8)
    var (done, refused, withOrphans) = (0, 0, 0)
    for seed in first..<first + count {
      let number = Int(seed) % bases.count
      var damage = Damage(bases[number], seed: seed)
      let (patches, length) = damage.make()
      var bytes = bases[number]
      for patch in patches {
        bytes.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
      }
      if let length { bytes.removeSubrange(Int(length)...) }
      try Data(bytes).write(to: URL(fileURLWithPath: judge.path("before")))
      let disk = disk(judge.path("before"))
      let orphans = try orphans(judge, "before", bytes)
      if !orphans.isEmpty { withOrphans += 1 }
      for arguments in [
        ["defrag", "-q", "a"], ["explore", "--script", "script", "a"], ["pin", "--restore", "a"],
      ] {
        try Data(bytes).write(to: URL(fileURLWithPath: judge.path("a")))
        let result = try run(judge.qatlas, arguments, directory: judge.folder.path, timeout: 60)
        let label = Comment(
          rawValue: "\(Self.recipes[number].name), QATLAS_SEED=\(seed), \(arguments): \(result.stderr)")
        #expect(result.signal == 0, label)
        let after = try [UInt8](Data(contentsOf: URL(fileURLWithPath: judge.path("a"))))
        if result.status != 0 && !(arguments[0] == "pin" && result.status == 3) {
          refused += 1
          #expect(!result.stderr.isEmpty, label)
          #expect(sameBytes(after, bytes), label)
          continue
        }
        done += 1
        #expect(self.disk(judge.path("a")) == disk, label)
        let size = 1 << Int(bytes[23])
        for (cluster, content) in orphans {
          #expect(after.dropFirst(cluster * size).prefix(content.count).elementsEqual(content), label)
        }
        #expect(try judge.genuineCheck(["-q", "a"]).status == 0, label)
      }
    }
    print(
      "damaged defrags: \(count) images from seed \(first), \(withOrphans) with orphaned data; \(done) runs done, \(refused) refused"
    )
    #expect(done > 0 && refused > 0 && withOrphans > 0)
  }
}
