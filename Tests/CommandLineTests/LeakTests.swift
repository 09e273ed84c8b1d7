// Clusters without an owner: what leaks from an interruption goes, what may be the last copy of somebody's
// data stays and is named, and every count that is set right takes its COPIED flag along.

import Foundation
import TestSupport
import Testing

@Suite("Leaks", .tags(.genuine))
struct LeakTests {
  private func patch(_ judge: Judge, _ name: String, _ bytes: [Int: [UInt8]]) throws {
    var data = try #require(judge.bytes(name))
    for (offset, value) in bytes { data.replaceSubrange(offset..<offset + value.count, with: value) }
    try data.write(to: URL(fileURLWithPath: judge.path(name)))
  }

  private func blocks(_ judge: Judge, _ name: String) throws -> Int {
    try judge.must("sync", ["-f", name])
    let text = try judge.must("stat", ["-c", "%b", name])
    return Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? -1
  }

  /// A disk of 4 MiB with data in its first clusters: L2 table at 0x40000, data from 0x50000 on.
  private func image(_ judge: Judge, _ name: String = "a.qcow2", io: [String] = ["write -P 7 0 192k"]) throws
  {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", name, "4M"])
    for line in io { try judge.must("qemu-io", ["-c", line, name]) }
  }

  @Test("a count that sinks to 1 sets the COPIED flag")
  func copied() throws {
    let judge = try Judge()
    try image(judge)
    try patch(judge, "a.qcow2", [131086: [0, 2], 262160: [0]])
    #expect(try judge.genuine("qemu-img", ["check", "-q", "a.qcow2"]).status == 3)
    let done = try judge.ours(["defrag", "a.qcow2"])
    #expect(
      done.status == 0 && done.output == "1 leaked cluster given back.\nThe image is in order.\n", "\(done)")
    let check = try judge.genuine("qemu-img", ["check", "a.qcow2"])
    #expect(check.status == 0, "\(check)")
  }

  @Test("the last copy of data is never given back unasked")
  func lastCopy() throws {
    let judge = try Judge()
    let lost: [(String, [Int: [UInt8]], String)] = [
      // The L1 entry of the only table.
      (
        "a lost table", [0x30000: [0, 0, 0, 0, 0, 0, 0, 0]],
        "4 clusters without an owner hold data (host 0x40000 to 0x7ffff); they may be the last copy of guest 0x0 to 0x3fffff, which has no L2 table"
      ),
      // An entry in the middle.
      (
        "a lost entry", [0x40008: [0, 0, 0, 0, 0, 0, 0, 0]],
        "1 cluster without an owner holds data (host 0x60000 to 0x6ffff); it may be the last copy of guest 0x10000 to 0x1ffff, whose neighbours lie beside it"
      ),
      // The zero flag without a cluster.
      (
        "stray bits", [0x40008: [0, 0, 0, 0, 0, 0, 0, 1]],
        "it may be the last copy of guest 0x10000 to 0x1ffff"
      ),
    ]
    for (name, bytes, words) in lost {
      try image(judge)
      try patch(judge, "a.qcow2", bytes)
      let before = judge.bytes("a.qcow2")
      try ":defrag!\n:w\n".write(toFile: judge.path("script"), atomically: true, encoding: .utf8)
      for arguments in [
        ["defrag", "a.qcow2"], ["defrag", "--dry-run", "a.qcow2"],
        ["explore", "--script", "script", "a.qcow2"],
      ] {
        let result = try judge.ours(arguments)
        #expect(result.status == 1 && result.errors.contains(words), "\(name): \(result)")
        #expect(result.errors.contains("--drop-leaks"), "\(name): \(result)")
        #expect(judge.bytes("a.qcow2") == before, "\(name): \(arguments)")
      }
      let check = try judge.ours(["check", "a.qcow2"])
      #expect(check.errors.contains("note: \(words)") || name == "stray bits", "\(check)")
      #expect(
        check.errors.contains(
          "keep the \(name == "a lost table" ? "4 clusters that hold" : "cluster that holds") data; copy"),
        "\(check)")
      #expect(!check.errors.contains("would give back"), "\(check)")
      let dropped = try judge.ours(["defrag", "--drop-leaks", "a.qcow2"])
      #expect(dropped.status == 0, "\(dropped)")
      #expect(try judge.genuine("qemu-img", ["check", "-q", "a.qcow2"]).status == 0)
    }
  }

  @Test("a pinned image's orphans stay too")
  func pinned() throws {
    let judge = try Judge()
    try judge.must(
      judge.qatlas, ["create", "-q", "-o", "contiguous=on,pinned=on,preallocation=metadata", "p.qcow2", "4M"])
    try judge.must("qemu-io", ["-c", "write -P 3 0 256k", "p.qcow2"])
    let data = try #require(judge.bytes("p.qcow2"))
    let l1 = data[40..<48].reduce(0) { $0 << 8 | Int($1) }
    try patch(judge, "p.qcow2", [l1: [0, 0, 0, 0, 0, 0, 0, 0]])
    let before = judge.bytes("p.qcow2")
    let refused = try judge.ours(["pin", "--restore", "p.qcow2"])
    #expect(refused.status == 1 && refused.errors.contains("without an owner hold"), "\(refused)")
    #expect(judge.bytes("p.qcow2") == before)
    #expect(try judge.ours(["pin", "--restore", "--drop-leaks", "p.qcow2"]).status == 0)
    #expect(try judge.genuine("qemu-img", ["check", "-q", "p.qcow2"]).status == 0)
  }

  @Test("leaks without data are given back, and a stream that cannot be read is not moved")
  func plain() throws {
    let judge = try Judge()
    try image(judge)
    // A count behind the data, in a hole.
    try patch(judge, "a.qcow2", [0x20000 + 2 * 8: [0, 1]])
    try judge.must("truncate", ["-s", "1M", "a.qcow2"])
    #expect(try judge.ours(["defrag", "-q", "a.qcow2"]).status == 0)
    #expect(try judge.genuine("qemu-img", ["check", "-q", "a.qcow2"]).status == 0)
    try image(judge, "c.qcow2", io: ["write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -P 3 128k 64k"])
    try patch(judge, "c.qcow2", [0x50000: [0xff, 0xff, 0xff, 0xff]])
    let before = judge.bytes("c.qcow2")
    let refused = try judge.ours(["defrag", "c.qcow2"])
    #expect(refused.status == 1, "\(refused)")
    #expect(
      refused.errors.contains(
        "the compressed cluster of guest offset 0 at host offset 0x50000 cannot be read"))
    #expect(judge.bytes("c.qcow2") == before)
  }

  @Test("a file cut short says what it lost, and damage that no repair mends gets no advice")
  func words() throws {
    let judge = try Judge()
    try image(judge, io: ["write -P 7 0 512k"])
    try judge.must("truncate", ["-s", "\(0x80000)", "a.qcow2"])
    let cut = try judge.ours(["check", "a.qcow2"])
    #expect(
      cut.errors.contains(
        "note: the file ends 320 KiB before its last cluster; lost: guest 0x30000 to 0x7ffff\n"), "\(cut)")
    #expect(cut.errors.contains("note: no repair mends these 5 errors\n"), "\(cut)")
    // Of the cluster that the file ends in a part is lost as well.
    try judge.must("truncate", ["-s", "\(0x7c200)", "a.qcow2"])
    let inside = try judge.ours(["check", "a.qcow2"])
    #expect(
      inside.errors.contains(
        "lost: guest 0x30000 to 0x7ffff, and host 0x7c200 to 0x7ffff of the cluster that it ends in\n"),
      "\(inside)")
    // A table that is in use and empty, in front of its data, is likelier than one that never was.
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "d.qcow2", "2G"])
    for line in ["write -P 1 0 64k", "write -P 2 512M 128k"] {
      try judge.must("qemu-io", ["-c", line, "d.qcow2"])
    }
    try patch(judge, "d.qcow2", [0x60000: [UInt8](repeating: 0, count: 16)])
    let emptied = try judge.ours(["check", "d.qcow2"])
    #expect(
      emptied.errors.contains(
        "may be the last copy of guest 0x20000000 to 0x3fffffff, whose L2 table lies in front of them and is empty"
      ),
      "\(emptied)")
    try image(judge, "b.qcow2")
    try patch(judge, "b.qcow2", [0x20000 + 2 * 6: [0, 0]])
    let repairable = try judge.ours(["check", "b.qcow2"])
    #expect(
      repairable.errors.contains(
        "note: a repair (-r all) would set 2 refcounts or flags; copy the image first\n"),
      "\(repairable)")
    let refused = try judge.ours(["defrag", "b.qcow2"])
    #expect(
      refused.errors.contains("'qatlas check --details' says where") && !refused.errors.contains("-r all"))
  }

  @Test("a repair at opening is told as the genuine tool tells it")
  func repair() throws {
    let judge = try Judge()
    let sessions = [
      ["write 0 192k"], ["write 0 256k", "discard 64k 64k", "flush", "write 1M 64k", "flush"],
      ["write 0 256k", "flush", "write -z -u 64k 64k", "discard 0 64k"],
    ]
    for (number, session) in sessions.enumerated() {
      let name = "d\(number).qcow2"
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", name, "4M"])
      if number == 2 { try judge.must("qemu-io", ["-c", "write 0 256k", name]) }
      _ = try run(
        "qemu-io", [judge.path(name)], stdin: Array((session + ["abort"]).joined(separator: "\n").utf8),
        directory: judge.folder.path, timeout: 60)
      try judge.must("cp", [name, "genuine.qcow2"])
      let theirs = try judge.genuine("qemu-io", ["-c", "flush", "genuine.qcow2"])
      let ours = try judge.ours(["io", "-c", "flush", name])
      #expect(number == 2 || theirs.errors.contains("Repairing cluster"), "\(theirs)")
      #expect(ours == theirs)
      #expect(judge.bytes(name) == judge.bytes("genuine.qcow2"))
    }
  }

  @Test("a dirty image that has lost a table is not repaired at opening")
  func dirtyAndLost() throws {
    let judge = try Judge()
    try image(judge)
    try patch(judge, "a.qcow2", [0x30000: [0, 0, 0, 0, 0, 0, 0, 0], 79: [1]])
    let before = judge.bytes("a.qcow2")
    let refused = try judge.ours(["io", "-c", "flush", "a.qcow2"])
    #expect(refused.status == 1, "\(refused)")
    #expect(
      refused.errors.contains("Could not repair dirty image: 4 clusters without an owner"), "\(refused)")
    #expect(judge.bytes("a.qcow2") == before)
  }

  @Test("a preallocation that does not fit leaves no leaks", arguments: ["full", "falloc"])
  func resize(_ preallocation: String) throws {
    let judge = try Judge()
    for kilobytes in [500, 600, 3000, 9000] {
      try image(judge)
      try judge.must("cp", ["a.qcow2", "before.qcow2"])
      let limited = try run(
        "/bin/sh",
        [
          "-c",
          "trap '' XFSZ; ulimit -f \(kilobytes * 2); exec \(judge.qatlas) resize --preallocation=\(preallocation) a.qcow2 64M",
        ],
        directory: judge.folder.path, timeout: 60)
      #expect(limited.status == 1, "\(limited.stdout)\(limited.stderr)")
      let check = try judge.genuine("qemu-img", ["check", "-q", "a.qcow2"])
      #expect(check.status == 0, "\(kilobytes): \(check)")
      let same = try judge.genuine("qemu-img", ["compare", "a.qcow2", "before.qcow2"])
      #expect(same.status == 0, "\(same)")
    }
  }

  @Test("details of many findings are cut, or told in full where that is asked for")
  func details() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "a.qcow2", "4M"])
    try judge.must("qemu-io", ["-c", "write -P 7 0 2M", "a.qcow2"])
    // Without its refcount table every cluster is an error, and every entry another one.
    try patch(judge, "a.qcow2", [0x200: [UInt8](repeating: 0, count: 512)])
    let cut = try judge.ours(["check", "--details", "a.qcow2"])
    #expect(cut.errors.utf8.count < 400_000)
    #expect(cut.errors.firstMatch(of: /note: and \d+ more findings; --all tells them all\n/) != nil)
    let all = try judge.ours(["check", "--details", "--all", "a.qcow2"])
    #expect(all.errors.utf8.count > cut.errors.utf8.count && !all.errors.contains("more findings"))
    func json(_ arguments: [String]) throws -> [String: Any] {
      let printed = try judge.ours(["check", "--details", "--output=json"] + arguments + ["a.qcow2"])
      return try #require(try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? [String: Any])
    }
    let part = try json([])
    let whole = try json(["--all"])
    let shown = (part["findings"] as? [Any])?.count ?? 0
    #expect(shown == 1000)
    #expect((whole["findings"] as? [Any])?.count == shown + (part["more-findings"] as? Int ?? 0))
    #expect(whole["corruptions"] as? Int == part["corruptions"] as? Int)
  }

  @Test("compressed writes behind a discard of the same session read back, whatever lies where")
  func compressedAfterDiscard() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "t.qcow2", "256k"])
    let done = try judge.ours([
      "io", "-t", "writeback", "-c", "write -c -P 254 0 64k", "-c", "discard 0 128k",
      "-c", "write -P 55 19968 3072", "-c", "write -c -P 141 64k 64k", "t.qcow2",
    ])
    #expect(done.status == 0, "\(done)")
    let read = try judge.genuine(
      "qemu-io",
      [
        "-c", "read -P 0 0 19968", "-c", "read -P 55 19968 3072", "-c", "read -P 0 23040 42496",
        "-c", "read -P 141 64k 64k", "t.qcow2",
      ])
    #expect(read.status == 0 && !read.output.contains("verification failed"), "\(read)")
    #expect(try judge.genuine("qemu-img", ["check", "-q", "t.qcow2"]).status == 0)
  }

  @Test("subclusters discarded one by one free as much as at once", arguments: ["16k", "64k", "128k"])
  func punching(_ clusterSize: String) throws {
    let judge = try Judge()
    let bytes = (Int(clusterSize.dropLast()) ?? 0) * 1024
    for name in ["a", "b"] {
      try judge.must(
        "qemu-img",
        ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=\(clusterSize)", name, "4M"])
      try judge.must("qemu-io", ["-c", "write -P 7 0 \(4 * bytes)", name])
    }
    let before = try blocks(judge, "a")
    let piece = bytes / 32
    // The last subcluster of each cluster stays.
    var single: [String] = []
    for cluster in 0..<4 {
      for index in 0..<31 { single += ["-c", "discard \(cluster * bytes + index * piece) \(piece)"] }
    }
    let whole = (0..<4).flatMap { ["-c", "discard \($0 * bytes) \(31 * piece)"] }
    for (name, commands) in [("a", single), ("b", whole)] {
      let done = try judge.ours(
        ["io", "--discard-granularity=subcluster", "-d", "unmap"] + commands + [name])
      #expect(done.status == 0, "\(done)")
    }
    let after = try blocks(judge, "a")
    #expect(try after == blocks(judge, "b"))
    #expect(after < before)
    let read = try judge.genuine(
      "qemu-io", ["-c", "read -P 7 \(31 * piece) \(piece)", "-c", "read -P 0 0 \(31 * piece)", "a"])
    #expect(!read.output.contains("verification failed"), "\(read)")
  }
}
