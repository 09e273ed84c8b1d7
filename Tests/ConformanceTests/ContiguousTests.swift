// Images with one shift, as the genuine tools see them: checked clean, mapped in one run, sparse, and
// written like any other.

import Foundation
import Glibc
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Contiguous images", .tags(.genuine))
struct ContiguousTests {
  struct Kind: CustomTestStringConvertible {
    var clusterSize: UInt64
    var isExtended: Bool
    var size: UInt64
    var backing: String?
    var isPinned = true

    var testDescription: String {
      "\(clusterSize >> 10)k \(isExtended ? "extended" : "standard") \(size >> 30)G \(backing ?? "no backing")"
    }

    static let all: [Kind] = {
      var kinds: [Kind] = []
      for clusterSize: UInt64 in [65536, 2 << 20] {
        // One L2 table; several refcount blocks or tables; very many.
        for size: UInt64 in [1 << 30, 3 << 30, 1 << 40] {
          kinds.append(Kind(clusterSize: clusterSize, isExtended: false, size: size))
          // Checking one terabyte of small clusters takes the genuine tool long enough once.
          if size < 1 << 40 || clusterSize > 65536 {
            kinds.append(Kind(clusterSize: clusterSize, isExtended: true, size: size))
          }
          if size < 1 << 40 || clusterSize > 65536 {
            kinds.append(Kind(clusterSize: clusterSize, isExtended: true, size: size, backing: "raw"))
            kinds.append(
              Kind(clusterSize: clusterSize, isExtended: true, size: size, backing: "qcow2", isPinned: false))
          }
        }
      }
      return kinds
    }()
  }

  private func hostBytes(_ path: String) throws -> UInt64 {
    var status = stat()
    guard stat(path, &status) == 0 else { throw TestFailure("stat \(path)") }
    return UInt64(status.st_blocks) * 512
  }

  @Test("the genuine tools find one run with one shift and nothing wrong", arguments: Kind.all)
  func oneRun(_ kind: Kind) throws {
    try requireTool("qemu-img")
    let program = try builtProduct("qatlas")
    let folder = try TemporaryDirectory()
    let path = folder.path("c.qcow2")
    var options = [
      "preallocation=metadata", "contiguous=on", "cluster_size=\(kind.clusterSize)",
      "extended_l2=\(kind.isExtended ? "on" : "off")", "pinned=\(kind.isPinned ? "on" : "off")",
    ]
    if let backing = kind.backing {
      let base = folder.path("base")
      try succeed("qemu-img", ["create", "-q", "-f", backing, base, "\(kind.size)"])
      try succeed("qemu-io", ["-f", backing, "-c", "write -P 7 1M 3M", base])
      options += ["backing_file=base", "backing_fmt=\(backing)"]
    }
    try succeed(program, ["create", "-q", "-o", options.joined(separator: ","), path, "\(kind.size)"])
    let blocks = try hostBytes(path)
    #expect(blocks * 100 < kind.size, "host blocks \(blocks)")
    let check = try run("qemu-img", ["check", path], timeout: 120)
    #expect(
      check.status == 0 && check.stdout.contains("No errors were found"), "\(check.stdout)\(check.stderr)")
    // Every cluster is mapped, and none is a break in the run.
    let clusters = kind.size / kind.clusterSize
    #expect(check.stdout.contains("\(clusters)/\(clusters) = 100.00% allocated, 0.00% fragmented"))
    let map = try run("qemu-img", ["map", "--output=json", path], timeout: 120)
    let shift = try withImage(path, Image.Options()) { image -> UInt64 in
      let report = try image.checkPin()
      #expect(report.moved == 0 && report.inPlace == clusters)
      return report.shift
    }
    if kind.backing == nil {
      let lines = map.stdout.split(separator: "\n")
      #expect(lines.count == 1, "\(map.stdout.prefix(400))")
      #expect(map.stdout.contains("\"offset\": \(shift)}"), "\(map.stdout.prefix(200))")
      #expect(map.stdout.contains("\"length\": \(kind.size),"))
    } else {
      #expect(map.stdout.contains("\"start\": 1048576, \"length\": 3145728, \"depth\": 1"))
    }
    guard kind.size < 1 << 40 || kind.clusterSize > 65536 else { return }
    // The genuine tool writes, discards and reads it like any other.
    let last = kind.size - kind.clusterSize
    let io = try run(
      "qemu-io",
      [
        "-c", "write -P 1 0 64k", "-c", "write -P 2 \(last) 64k", "-c", "write -P 3 2M 4k", "-c",
        "discard 0 4M",
        "-c", "write -P 4 2M 64k", "-c", "read -P 4 2M 64k", "-c", "read -P 0 0 1M", "-c",
        "read -P 2 \(last) 64k",
        path,
      ])
    #expect(io.status == 0 && !io.stdout.contains("failed"), "\(io.stdout)\(io.stderr)")
    let again = try run("qemu-img", ["check", path], timeout: 120)
    #expect(again.status == 0, "\(again.stdout)")
    if kind.isPinned {
      let pin = try run(program, ["pin", path])
      #expect(pin.stdout.contains("places: guest offset + 0x\(String(shift, radix: 16))"))
      // Reading over discarded parts of the disk shows nothing of the old.
      try succeed(program, ["io", "-r", "-c", "read -P 4 2M 64k", "-c", "read -P 0 0 1M", path])
    }
  }

  @Test("falloc and full give every cluster its host blocks")
  func blocks() throws {
    let program = try builtProduct("qatlas")
    for mode in ["falloc", "full"] {
      let folder = try TemporaryDirectory()
      let path = folder.path("c.qcow2")
      try succeed(
        program, ["create", "-q", "-o", "preallocation=\(mode),contiguous=on,reserve=1G", path, "16M"])
      #expect(try hostBytes(path) >= 16 << 20)
      try succeed("qemu-img", ["check", "-q", path])
      try succeed("qemu-io", ["-c", "write -P 1 0 16M", "-c", "read -P 1 0 16M", path])
    }
  }

  @Test("pin, a stranger's writes, and what the program says of them")
  func stranger() throws {
    let program = try builtProduct("qatlas")
    let folder = try TemporaryDirectory()
    let path = folder.path("c.qcow2")
    try succeed(
      program, ["create", "-q", "-o", "preallocation=metadata,contiguous=on,pinned=on", path, "1M"])
    #expect(try run(program, ["info", path]).stdout.contains("verified: true"))
    // The two clusters of the mail, by the genuine tool: it drops the bit it does not know.
    try succeed(
      "qemu-io", ["-d", "unmap", "-c", "discard 0 128k", "-c", "write 64k 64k", "-c", "write 0 64k", path])
    #expect(try run(program, ["info", path]).stdout.contains("verified: false"))
    let io = try run(program, ["io", "-c", "read 0 4k", path])
    #expect(io.status == 0 && io.stderr.contains("another program has written to this pinned image"))
    for arguments in [["pin", "--check", path], ["pin", path]] {
      let pin = try run(program, arguments)
      #expect(pin.status == 3)
      #expect(pin.stdout.contains("2 of 16 mapped clusters are elsewhere"))
      #expect(pin.stdout.contains("  guest 0x0, 1 cluster at host 0x"))
    }
    let json = try run(program, ["pin", "--check", "--output=json", path])
    #expect(json.stdout.contains("\"moved\": 2,"))
    // Home again, by moving them, and vouched for.
    try succeed("qemu-io", ["-c", "write -P 1 0 64k", "-c", "write -P 2 64k 64k", path])
    let refused = try run(program, ["defrag", path])
    #expect(refused.status == 1 && refused.stderr.contains("the image is pinned"))
    let restored = try run(program, ["pin", "--restore", path])
    #expect(restored.status == 0, "\(restored.stderr)")
    #expect(restored.stdout.contains("all 16 mapped clusters are at their places"))
    #expect(try run(program, ["info", path]).stdout.contains("verified: true"))
    try succeed("qemu-img", ["check", "-q", path])
    try succeed("qemu-io", ["-r", "-c", "read -P 1 0 64k", "-c", "read -P 2 64k 64k", path])
    try succeed("qemu-io", ["-d", "unmap", "-c", "discard 0 128k", "-c", "write 64k 64k", path])
    try succeed(program, ["defrag", "--contiguous", path])
    #expect(try run(program, ["info", path]).stdout.contains("verified: true"))
    try succeed(program, ["unpin", path])
    let info = try run(program, ["info", path])
    #expect(!info.stdout.contains("pinned"))
    #expect(try run(program, ["unpin", path]).stderr.contains("the image is not pinned"))
    try succeed("qemu-img", ["check", "-q", path])
  }

  @Test("the names of the bit are in the image for others to show")
  func names() throws {
    let program = try builtProduct("qatlas")
    let folder = try TemporaryDirectory()
    let path = folder.path("c.qcow2")
    try succeed(program, ["create", "-q", "-o", "pinned=on", path, "1M"])
    let first = try bytes(ofFile: path, at: 0, count: 4096)
    #expect(String(decoding: first, as: UTF8.self).contains("pinned mapping (qatlas)"))
    #expect(BigEndian.u64(first, 88) == 1 << 63)
    try succeed("qemu-img", ["check", "-q", path])
  }
}
