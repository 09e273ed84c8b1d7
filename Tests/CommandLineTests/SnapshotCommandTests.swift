// `qatlas snapshot -c`, `-a` and `-d` beside the genuine tool: after every line both files are the same byte
// for byte, but for the time at which a snapshot was taken.

import Foundation
import Storage
import QcowFormat
import TestSupport
import Testing

@Suite("Snapshots by the command line", .tags(.genuine))
struct SnapshotCommandTests {
  private static let recipes = [
    "cluster_size=64k", "cluster_size=4k", "cluster_size=512,refcount_bits=8",
    "extended_l2=on,cluster_size=16k", "compat=0.10,cluster_size=4k", "cluster_size=4k,lazy_refcounts=on",
  ]

  @Test("every line leaves what the genuine tool leaves", arguments: 0..<recipes.count)
  func sameBytesAsGenuine(_ number: Int) throws {
    var random = SplitMix64(seed: UInt64(number))
    let folder = try TemporaryDirectory(inMemory: true)
    let program = folder.path("qemu-img")
    try FileManager.default.createSymbolicLink(
      atPath: program, withDestinationPath: try builtProduct("qatlas"))
    let files = ["genuine", "ours"].map { folder.path($0) }
    for file in files {
      try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", Self.recipes[number], file, "2M"])
    }
    var taken = 0
    for step in 0..<25 {
      let line: [String]
      switch random.below(6) {
      case 0, 1:
        taken += 1
        line = ["-c", random.below(4) == 0 ? "name" : "s \(taken)"]
      case 2: line = ["-a", random.below(2) == 0 ? "\(1 + random.below(5))" : "name"]
      case 3: line = ["-d", random.below(2) == 0 ? "s \(1 + random.below(6))" : "name"]
      default:
        let offset = random.below(4096) * 512
        let count = min((1 + random.below(400)) * 512, (2 << 20) - offset)
        let command = ["write -P \(1 + random.below(250))", "discard", "write -z"][Int(random.below(3))]
        for file in files {
          try succeed("qemu-io", ["-f", "qcow2", "-c", "\(command) \(offset) \(count)", file])
        }
        continue
      }
      let words = ["snapshot"] + line
      let theirs = try run("qemu-img", words + [files[0]])
      let ours = try run(program, words + [files[1]])
      let place = "\(Self.recipes[number]), step \(step): \(words)"
      #expect(theirs.status == ours.status, "\(place): \(theirs.stderr) \(ours.stderr)")
      #expect(theirs.stderr == ours.stderr && theirs.stdout == ours.stdout, "\(place): \(ours.stderr)")
      try #require(
        sameBytes(try SnapshotTimes.cleared(files[0]), try SnapshotTimes.cleared(files[1])), "\(place)")
    }
    #expect(taken > 3)
    try succeed("qemu-img", ["check", files[1]])
  }

  @Test("a snapshot has the time at which it was taken, and a name of at most 255 bytes")
  func timeAndName() throws {
    let folder = try TemporaryDirectory(inMemory: true)
    let file = folder.path("a")
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", file, "1M"])
    let before = UInt32(Date().timeIntervalSince1970)
    let result = try run(
      try builtProduct("qatlas"), ["snapshot", "-c", String(repeating: "n", count: 300), file])
    #expect(result.status == 0 && result.stdout.isEmpty && result.stderr.isEmpty)
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    let at = Int(BigEndian.u64(bytes, 64))
    let entry = try SnapshotEntry(parsing: bytes, at: at, index: 0)
    #expect(entry.name == String(repeating: "n", count: 255))
    #expect(entry.seconds >= before && entry.seconds <= before + 60 && entry.nanoseconds % 1000 == 0)
  }

  @Test("what cannot be done says why and leaves the file alone")
  func refusals() throws {
    let folder = try TemporaryDirectory(inMemory: true)
    _ = try run(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "a", "1M"], directory: folder.path)
    let before = try sha256(ofFile: folder.path("a"))
    let program = try builtProduct("qatlas")
    let data = try run(program, ["snapshot", "-c", "x", "a"], directory: folder.path)
    #expect(data.status == 1)
    #expect(
      data.stderr
        == "qatlas: Could not create snapshot 'x': an image with an external data file cannot have internal snapshots\n"
    )
    let mixed = try run(program, ["snapshot", "-c", "x", "-l", "a"], directory: folder.path)
    #expect(mixed.status == 1 && mixed.stderr.hasPrefix("qatlas: Cannot mix '-l', '-a', '-c', '-d'\n"))
    #expect(try sha256(ofFile: folder.path("a")) == before)
  }
}
