// The fast ways of data as the host sees them: a host that takes only a part of a write, threads that stay, and a
// disk that begins early.

import Foundation
import TestSupport
import Testing

@Suite("Fast ways of data", .tags(.genuine))
struct FastPathTests {
  @Test("a joined write that the host takes in part leaves the image as it was")
  func shortWrite() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "below", "2M"])
    // The backing file ends within the cluster that is written.
    try judge.must("qemu-io", ["-f", "raw", "-c", "write -P 5 0 2M", "below"])
    try judge.must("truncate", ["-s", "1081444", "below"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "below", "image", "2M"])
    try judge.must("qemu-io", ["-c", "write -P 6 0 64k", "image"])
    let image = try #require(judge.bytes("image"))
    let end = (image.count + 65535) / 65536 * 64
    try judge.must("cp", ["image", "before"])
    for kib in [1, 9, 11, 20, 40, 63] {
      try judge.must("cp", ["before", "image"])
      let limited = try judge.shell(
        "trap '' XFSZ; ulimit -f \(end + kib); \"$Q\" io -c 'write -P 9 1058816 3000' image")
      #expect(limited.status == 1 && limited.stdout.contains("write failed"), "\(kib): \(limited.stdout)")
      let check = try judge.genuine("qemu-img", ["check", "-q", "image"])
      #expect(check.status == 0, "\(kib): \(check)")
      let same = try judge.genuine("qemu-img", ["compare", "image", "before"])
      #expect(same.status == 0, "\(kib): \(same)")
    }
    // With all of the cluster it succeeds.
    let whole = try judge.shell("ulimit -f \(end + 64); \"$Q\" io -c 'write -P 9 1058816 3000' image")
    #expect(whole.status == 0, "\(whole.stdout)\(whole.stderr)")
    let content = try judge.genuine(
      "qemu-io",
      [
        "-r", "-c", "read -P 5 1M 10240", "-c", "read -P 9 1058816 3000", "-c", "read -P 5 1061816 19628",
        "-c", "read -P 0 1081444 1015708", "image",
      ])
    #expect(content.status == 0 && !content.output.contains("verification failed"), "\(content)")
  }

  /// The lines of a log of system calls that name one of them.
  private func calls(_ judge: Judge, _ names: String, _ arguments: [String]) throws -> [String] {
    try requireTool("strace")
    let log = judge.path("log")
    let result = try run(
      "strace", ["-f", "-o", log, "-e", "trace=\(names)", judge.qatlas] + arguments,
      directory: judge.folder.path, timeout: 120)
    guard result.status == 0 else { throw TestFailure("\(result.stdout)\(result.stderr)") }
    return try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").map(String.init).filter {
      !$0.contains("resumed>") && $0.contains("(")
    }
  }

  @Test("many images opened, read and closed leave no more threads than one")
  func threads() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "image", "8M"])
    try judge.must("qemu-io", ["-c", "write -P 7 0 8M", "image"])
    var commands = ["io", "-r"]
    for _ in 0..<30 {
      commands += ["-c", "open -r image", "-c", "read -P 7 0 8M", "-c", "close"]
    }
    let made = try calls(judge, "clone,clone3", commands)
    #expect(made.count <= 7, "\(made)")
  }

  @Test("memory that requests of a session share holds nothing of the ones before")
  func requestMemory() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "image", "64M"])
    // Longer and shorter, the same byte again, reads that fill the memory, and more than is kept.
    let writes = [
      (1, 0, 65536), (1, 100_000, 200_000), (2, 300_000, 512), (1, 400_000, 5000), (3, 10 << 20, 9 << 20),
      (3, 20 << 20, 100), (1, 21 << 20, 70_000), (0, 22 << 20, 4096), (1, 23 << 20, 300_000),
    ]
    var commands: [String] = []
    for (byte, offset, count) in writes {
      commands += ["-c", "write -P \(byte) \(offset) \(count)"]
      if count % 3 != 0 { commands += ["-c", "read -P \(byte) \(offset) \(count)"] }
    }
    let ours = try judge.ours(["io"] + commands + ["image"])
    #expect(ours.status == 0 && !ours.output.contains("verification failed"), "\(ours)")
    let checks = writes.flatMap { ["-c", "read -P \($0.0) \($0.1) \($0.2)"] }
    let theirs = try judge.genuine("qemu-io", ["-r"] + checks + ["image"])
    #expect(theirs.status == 0 && !theirs.output.contains("verification failed"), "\(theirs)")
  }

  @Test("what the disk begins with early is flushed as often, and behind all writes")
  func flushes() throws {
    let judge = try Judge()
    func flushed(_ size: String) throws -> (early: Int, flushes: Int, isLast: Bool) {
      try judge.must(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "preallocation=falloc", "image", "64M"])
      let made = try calls(
        judge, "sync_file_range,fdatasync,fsync,pwrite64,pwritev",
        ["io", "-t", "writeback", "-c", "write -P 3 0 \(size)", "-c", "flush", "image"])
      let flushes = made.indices.filter { made[$0].contains("sync(") }
      let written = made.indices.filter { made[$0].contains("pwrite") }
      let early = made.count { $0.contains("sync_file_range(") }
      return (early, flushes.count, (flushes.last ?? -1) > (written.last ?? 0))
    }
    let (short, long) = (try flushed("1M"), try flushed("40M"))
    #expect(short.early == 0 && long.early >= 1, "\(long)")
    #expect(short.flushes == long.flushes && short.flushes >= 1, "\(short) \(long)")
    #expect(short.isLast && long.isLast)
  }
}
