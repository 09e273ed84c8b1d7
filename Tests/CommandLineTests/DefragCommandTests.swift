// `qatlas defrag` on images of the genuine tools: what it says, what it leaves, what it refuses, and that
// killing it at any moment costs nothing but a second run.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DefragCommandTests {
  /// Makes an image in disorder by random requests of the genuine tool.
  private func disorder(
    _ judge: Judge, _ name: String, options: String, size: String, requests: Int, grain: UInt64, seed: UInt64,
    compressed: Bool = true, backing: [String] = []
  ) throws {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options] + backing + [name, size])
    var random = SplitMix64(seed: seed)
    let info = try judge.must("qemu-img", ["info", "--output=json", name])
    let members = try JSONSerialization.jsonObject(with: Data(info.utf8)) as? [String: Any]
    let size = UInt64(members?["virtual-size"] as? Int ?? 0)
    // A compressed write fails where the cluster is there already, which is as good.
    let mix = RequestMix(
      units: [grain], longest: [grain, 2 * grain, 3 * grain, 4 * grain],
      kinds: [
        .write, .write, .write, .write, .write, .write, .discard, .zero, compressed ? .compress : .write,
      ])
    let script = (0..<requests).map { _ in random.request(mix, on: size).ioCommand + "\n" }.joined()
    _ = try run(
      "qemu-io", [judge.path(name)], stdin: Array(script.utf8), directory: judge.folder.path, timeout: 120)
  }

  /// What is wrong with image and disk, by the genuine tools; `copy` is the image as it was.
  private func expectSound(_ judge: Judge, _ name: String, like copy: String, leaks: Bool = false) throws {
    let check = try run("qemu-img", ["check", "-q", judge.path(name)])
    #expect(check.status == 0 || leaks && check.status == 3, "\(check.stdout)\(check.stderr)")
    let compare = try run("qemu-img", ["compare", judge.path(copy), judge.path(name)], timeout: 120)
    #expect(compare.status == 0, "\(compare.stdout)\(compare.stderr)")
  }

  /// Data in guest order in one run, tables in front, streams behind, nothing at the end of the file.
  private func expectOrder(_ judge: Judge, _ name: String, contiguous: Bool) throws {
    let image = try Image(FileStorage(path: judge.path(name), mode: .readOnly))
    let size = image.geometry.clusterSize
    var last: UInt64 = 0
    var base: UInt64?
    var rank: UInt64 = 0
    var streams = 0
    for index in 0..<image.l1Count {
      guard let table = image.l1Entry(index).table, let bytes = try image.l2TableBytes(l1Index: index) else {
        continue
      }
      #expect(table.value < base ?? .max, "L2 table \(index)")
      for i in 0..<image.geometry.l2EntriesPerTable {
        let entry = L2Entry(descriptor: BigEndian.u64(bytes, i * image.geometry.l2EntrySize))
        let guest = image.geometry.guestOffset(l1Index: index, l2Index: i).value / size
        if entry.isCompressed {
          streams += 1
        } else if entry.offsetBits != 0 {
          let place = contiguous ? guest : rank
          base = base ?? entry.offsetBits - place * size
          guard entry.offsetBits == (base ?? 0) + place * size else {
            Issue.record("guest cluster \(guest) lies at \(entry.offsetBits)")
            return
          }
          last = entry.offsetBits + size
          rank += 1
        }
      }
    }
    if streams == 0 && last > 0 { #expect(image.storage.length == last) }
  }

  @Test(
    "put in order, and both checks are content",
    arguments: [
      ("cluster_size=4k", 4096), ("cluster_size=64k,extended_l2=on", 65536),
      ("compat=0.10,cluster_size=512", 512),
      ("cluster_size=4k,compression_type=zstd,refcount_bits=1", 4096),
      ("cluster_size=2M", 2 << 20),
    ] as [(String, UInt64)])
  func order(_ options: String, _ grain: UInt64) throws {
    let judge = try Judge()
    for contiguous in [false, true] {
      try judge.must("qemu-img", ["create", "-q", "-f", "raw", "b.raw", "16M"])
      try judge.must("qemu-io", ["-f", "raw", "-c", "write -P 77 0 16M", "b.raw"])
      try disorder(
        judge, "a.qcow2", options: options, size: grain > 65536 ? "64M" : "16M", requests: 300, grain: grain,
        seed: 7, compressed: grain <= 65536, backing: contiguous ? ["-b", "b.raw", "-F", "raw"] : [])
      try judge.must("cp", ["a.qcow2", "before.qcow2"])
      let arguments = ["defrag", "a.qcow2"] + (contiguous ? ["--contiguous"] : [])
      let before = judge.bytes("a.qcow2")
      let dry = try judge.ours(arguments + ["--dry-run", "--output", "json"])
      #expect(dry.status == 0 && dry.errors == "", "\(dry)")
      #expect(judge.bytes("a.qcow2") == before)
      let told = try JSONSerialization.jsonObject(with: Data(dry.output.utf8)) as? [String: Int] ?? [:]
      let done = try judge.ours(arguments)
      #expect(done.status == 0 && done.errors == "", "\(done)")
      #expect(done.output.contains("\(told["data-clusters-to-move"] ?? -1) data clusters moved"), "\(done)")
      #expect(judge.bytes("a.qcow2")?.count == told["file-size-after"], "\(told)")
      try expectSound(judge, "a.qcow2", like: "before.qcow2")
      try expectOrder(judge, "a.qcow2", contiguous: contiguous)
      #expect(try judge.ours(["check", "a.qcow2"]).status == 0)
      let again = try judge.ours(arguments)
      #expect(again.output == "The image is in order.\n", "\(again)")
    }
  }

  @Test("killed at any moment and started again")
  func killed() throws {
    let judge = try Judge()
    var random = SplitMix64(seed: try environmentNumber("QATLAS_SEED", default: 1))
    try disorder(
      judge, "a.qcow2", options: "cluster_size=4k", size: "64M", requests: 3000, grain: 4096, seed: 3)
    try judge.must("cp", ["a.qcow2", "before.qcow2"])
    var kills = 0
    for round in 0..<12 {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: judge.qatlas)
      process.arguments = ["defrag", judge.path("a.qcow2"), "-q"]
      process.standardOutput = FileHandle.nullDevice
      try process.run()
      // A moment is so many bytes written, most of them early.
      let moment = random.below(64 << 20) >> random.below(8)
      #expect(Deadline(60).wait { bytesWritten(by: process.processIdentifier) ?? moment >= moment })
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      if process.terminationReason == .uncaughtSignal { kills += 1 }
      try expectSound(judge, "a.qcow2", like: "before.qcow2", leaks: true)
      if round > 3 && process.terminationReason == .exit { break }
    }
    #expect(kills > 0)
    let last = try judge.ours(["defrag", "a.qcow2"])
    #expect(last.status == 0, "\(last)")
    try expectSound(judge, "a.qcow2", like: "before.qcow2")
    try expectOrder(judge, "a.qcow2", contiguous: false)
  }

  @Test("refused with the reason, and nothing is written")
  func refused() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "s.qcow2", "1M"])
    try judge.must("qemu-img", ["snapshot", "-c", "x", "s.qcow2"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "b.qcow2", "1M"])
    try judge.must("qemu-img", ["bitmap", "--add", "b.qcow2", "m"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "d.qcow2", "1M"])
    for (name, reason) in [
      ("s.qcow2", "the image has 1 internal snapshots"), ("b.qcow2", "the image has persistent bitmaps"),
      ("d.qcow2", "external data file"),
    ] {
      let before = judge.bytes(name)
      let result = try judge.ours(["defrag", name])
      #expect(result.status == 1)
      #expect(result.errors.contains("Could not put '\(name)' in order: "), "\(result)")
      #expect(result.errors.contains(reason), "\(result)")
      #expect(judge.bytes(name) == before)
    }
    #expect(try judge.ours(["defrag", "none.qcow2"]).status == 1)
    #expect(try judge.ours(["defrag"]).status == 1)
  }

  @Test("progress is shown where it is asked for, and a missing layer below is no obstacle")
  func progress() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "b.raw", "8M"])
    try disorder(
      judge, "a.qcow2", options: "cluster_size=4k", size: "8M", requests: 100, grain: 4096, seed: 5,
      backing: ["-b", "b.raw", "-F", "raw"])
    try FileManager.default.removeItem(atPath: judge.path("b.raw"))
    let result = try judge.ours(["defrag", "-p", "a.qcow2"])
    #expect(result.status == 0 && result.errors == "")
    #expect(result.output.hasPrefix("    (0.00/100%)\r"), "\(result)")
    #expect(result.output.contains("    (100.00/100%)\r\nImage put in order: "), "\(result)")
  }
}

/// What a process has written so far, files and all; nil if it is gone.
private func bytesWritten(by process: pid_t) -> UInt64? {
  guard let text = try? String(contentsOfFile: "/proc/\(process)/io", encoding: .utf8),
    let line = text.split(separator: "\n").first(where: { $0.hasPrefix("wchar: ") })
  else { return nil }
  return UInt64(line.dropFirst(7))
}
