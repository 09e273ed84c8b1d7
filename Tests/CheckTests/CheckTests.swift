// `qatlas check` on sound images, on files that are none, and with its options, against the genuine tool;
// then what it tells beyond the other: notes, and the places of findings.

import Foundation
import Storage
import TestSupport
import Testing

@Suite("check", .tags(.genuine))
struct CheckTests {
  @Test("sound images of all kinds", arguments: ImageRecipe.all)
  func sound(recipe: ImageRecipe) throws {
    let judge = try Judge()
    try recipe.make(judge, as: "a")
    for options in [["a"], ["--output=json", "a"], ["-f", "qcow2", "-U", "a"], ["-q", "a"]] {
      let ours = try judge.check(options)
      #expect(try ours == judge.genuineCheck(options))
      #expect(ours.status == 0)
    }
    #expect(try judge.notes("a").isEmpty)
  }

  @Test(
    "options and files that are no images",
    arguments: [
      ["text"], ["--output=json", "text"], ["-f", "qcow2", "text"], ["-f", "raw", "text"],
      ["-f", "raw", "a"], ["empty"],
      ["-f", "bogus", "a"], ["missing"], ["--output=xml", "a"], ["--output", "json", "-q", "a"],
      ["-T", "none", "a"],
      ["-T", "bogus", "a"], ["--image-opts", "driver=qcow2,file.filename=a"], ["version0"],
      ["--image-opts", "--output=json", "driver=qcow2,file.filename=a"],
      ["--image-opts", "-f", "qcow2", "a"],
      ["zero"], ["--output=json", "zero"], ["overlay"],
    ])
  func options(arguments: [String]) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "1M"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "zero", "0"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "overlay"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "version0", "1M"])
    try judge.patch("version0", 4, "00000000")
    try Data("no image\n".utf8).write(to: URL(fileURLWithPath: judge.path("text")))
    try Data().write(to: URL(fileURLWithPath: judge.path("empty")))
    #expect(try judge.check(arguments) == judge.genuineCheck(arguments))
  }

  @Test("encrypted images need no secret", arguments: ["luks", "aes"])
  func encrypted(format: String) throws {
    let judge = try Judge()
    let secret = ["--object", "secret,id=s,data=abc"]
    let time = format == "luks" ? ",encrypt.iter-time=200" : ""
    try judge.must(
      "qemu-img",
      ["create", "-q", "-f", "qcow2"] + secret
        + ["-o", "encrypt.format=\(format),encrypt.key-secret=s\(time)", "a", "1M"])
    let options = "driver=qcow2,file.filename=a,encrypt.format=\(format),encrypt.key-secret=s"
    #expect(try judge.check(["a"]) == judge.genuineCheck(secret + ["--image-opts", options]))
  }

  @Test("words that a repair does not know")
  func repair() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "1M"])
    let before = judge.bytes("a")
    #expect(
      try judge.check(["-r", "bogus", "a"]).errors
        == "TOOL: --repair (-r) expects 'leaks' or 'all', not 'bogus'\n"
        + "Try 'qemu-img check --help' for more information")
    #expect(
      try judge.check(["-r", "all", "-U", "a"]).errors
        == "TOOL: Could not open 'a': force-share=on can only be used with read-only images")
    #expect(try judge.check(["--drop-leaks", "a"]).status == 1)
    #expect(judge.bytes("a") == before)
  }

  @Test("an image that another program writes is left alone, unless -U")
  func locked() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "1M"])
    // The writer holds its locks while its commands run, of which the last one runs both tools.
    for options in [["a"], ["-U", "a"], ["--output=json", "a"]] {
      let words = options.joined(separator: " ")
      let script = """
        coproc qemu-io a; echo length >&${COPROC[1]}; read -r -u ${COPROC[0]} line; \
        \(judge.qatlas) check \(words) > ours 2> ours.err; echo $? >> ours; \
        qemu-img check \(words) > genuine 2> genuine.err; echo $? >> genuine; echo quit >&${COPROC[1]}; wait
        """
      let result = try run("bash", ["-c", script], directory: judge.folder.path, timeout: 60)
      #expect(result.status == 0, "\(result.stderr)")
      func text(_ name: String) throws -> String {
        try String(contentsOfFile: judge.path(name), encoding: .utf8)
          .replacingOccurrences(of: "qemu-img: ", with: "TOOL: ").replacingOccurrences(
            of: "qatlas: ", with: "TOOL: ")
      }
      #expect(try text("ours") == text("genuine"))
      #expect(try text("ours.err") == text("genuine.err"))
      #expect(try text("ours").hasSuffix(options[0] == "-U" ? "0\n" : "1\n"))
    }
  }

  @Test("an image that lacks its backing file or its data file can be checked")
  func withoutOtherFiles() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-u", "-f", "qcow2", "-b", "gone", "-F", "raw", "a", "1M"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d", "b", "1M"])
    try FileManager.default.removeItem(atPath: judge.path("d"))
    for name in ["a", "b"] {
      #expect(try judge.check([name]).status == 0)
      #expect(try judge.genuineCheck([name]).status == 1)
    }
  }

  /// 1 MiB in clusters of 4 KiB: 0 header, 1 refcount table, 2 block, 3 L1, 4 L2, 5 to 7 data, 8 data 16.
  private func base(_ judge: Judge, _ options: String = "cluster_size=4096") throws {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a", "1M"])
    try judge.must("qemu-io", ["-c", "write -P 1 0 12k", "-c", "write -P 2 64k 4k", "a"])
  }

  @Test("two guest clusters in one host cluster whose refcount agrees")
  func overlap() throws {
    let judge = try Judge()
    try base(judge)
    // Cluster 5 becomes free, cluster 6 has two owners and refcount 2, and nothing says COPIED.
    try judge.patch("a", 0x4000, "0000000000006000" + "0000000000006000")
    try judge.patch("a", 0x2000 + 2 * 5, "0000" + "0002")
    #expect(try judge.genuineCheck(["a"]).status == 0)
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "host cluster 6 has several owners, of which one must not share: L1[0] L2[0] and L1[0] L2[1]"
      ])
  }

  @Test("data over a table")
  func dataOverTable() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 0x4000, "0000000000003000")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "host cluster 3 has several owners, of which one must not share: L1 table and L1[0] L2[0]",
        "1 cluster without an owner holds data (host 0x5000 to 0x5fff); it may be the last copy of some part of the disk",
        "a repair (-r all) would set 2 refcounts or flags and keep the cluster that holds data; copy the image first. qemu-img check -r gives it back, and so does --drop-leaks here",
      ])
  }

  @Test("snapshots and compressed clusters share, and no note is made of it")
  func legalSharing() throws {
    let judge = try Judge()
    try base(judge)
    try judge.must("qemu-io", ["-c", "write -c -P 1 200k 4k", "-c", "write -c -P 2 204k 4k", "a"])
    for name in ["one", "two"] { try judge.must("qemu-img", ["snapshot", "-c", name, "a"]) }
    try judge.must("qemu-io", ["-c", "write -P 2 0 4k", "a"])
    #expect(try judge.notes("a").isEmpty)
  }

  @Test("compressed data over data, as the stale byte cursor of some versions leaves it")
  func compressedOverData() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 0x4000 + 8, "4000000000005000")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "host cluster 5 has several owners, of which one must not share: L1[0] L2[0] and L1[0] L2[1]",
        "1 cluster without an owner holds data (host 0x6000 to 0x6fff); it may be the last copy of some part of the disk",
        "a repair (-r all) would set 1 refcount or flag and keep the cluster that holds data; copy the image first. qemu-img check -r gives it back, and so does --drop-leaks here",
      ])
  }

  @Test("refcounts behind the end of the file")
  func behindEnd() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 0x2000 + 2 * 9, "0001" + "0001")
    try judge.patch("a", 0x2000 + 2 * 100, "0007")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "the refcounts of host clusters 9 to 10 are not 0, but the file ends before",
        "the refcounts of host cluster 100 are not 0, but the file ends before",
      ])
  }

  @Test("flags and fields that the genuine check tolerates")
  func tolerated() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 72, "0000000000000003" + "0000000000000000" + "0000000000000005")
    try judge.patch("a", 100, "0000006c")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "the dirty bit is set: refcounts may be too low until the image has been repaired",
        "the corrupt bit is set: nothing but a repair may write to the image",
        "the header length 108 is not a multiple of 8",
        "the header says that bitmaps are valid, but there are none",
        "unknown autoclear feature bits 0x4; the next writer clears them",
      ])
  }

  @Test("entries that the genuine check tolerates")
  func toleratedEntries() throws {
    let judge = try Judge()
    try base(judge, "cluster_size=4096,compat=0.10")
    try judge.patch("a", 0x4000, "8000000000005001")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "version 2 has no zero flag, but it is set in 1 entry, the first for guest offset 0x0; reading there fails"
      ])
    let other = try Judge()
    try base(other, "cluster_size=4096,data_file=d")
    try other.patch("a", 0x4000 + 8, "8000000000005000")
    #expect(try other.check(["a"]) == other.genuineCheck(["a"]))
    #expect(
      try other.notes("a") == [
        "the external data file is not mapped one to one in 1 entry, the first for guest offset 0x1000; reading there fails"
      ])
  }

  @Test("looking for owners counts no entry a second time")
  func countedOnce() throws {
    let judge = try Judge()
    try base(judge, "cluster_size=4096,data_file=d")
    try judge.patch("a", 0x4000 + 8, "8000000000005000")
    // The table has a count too many, so that its owner is looked for.
    try judge.patch("a", 0x2000 + 2 * 4, "0002")
    #expect(try judge.check(["--details", "a"]).errors.contains("L2 table of L1[0]"))
    let notes = try judge.notes("a")
    #expect(notes.contains { $0.contains(" in 1 entry, the first for guest offset 0x1000;") }, "\(notes)")
    #expect(try judge.notes("a", ["--details"]) == notes)
  }

  @Test("a bitmap that was in use")
  func bitmapInUse() throws {
    let judge = try Judge()
    try base(judge)
    try judge.must("qemu-img", ["bitmap", "--add", "a", "b0"])
    let header = try bytes(ofFile: judge.path("a"), at: 112, count: 32)
    let directory = header[24..<32].reduce(0) { $0 << 8 | UInt64($1) }
    try judge.patch("a", directory + 12, "00000003")
    #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    #expect(
      try judge.notes("a") == [
        "bitmap 'b0' was in use when the image was left; its contents cannot be relied on"
      ])
  }

  @Test("details name place, owner and guest range")
  func details() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 0x4000, "8000000000006000")
    let text = try judge.check(["--details", "a"])
    #expect(
      text.errors.split(separator: "\n") == [
        "Leaked cluster 5 refcount=1 reference=0", "  host 0x5000, no owner",
        "ERROR cluster 6 refcount=1 reference=2",
        "  host 0x6000, L1[0] L2[0] and L1[0] L2[1], guest 0x0 to 0xfff",
      ])
    #expect(try text.output == judge.genuineCheck(["a"]).output)
    let groups = try judge.ours(["check", "--details", "a"]).errors.split(separator: "\n").filter {
      $0.hasPrefix("group: ")
    }
    #expect(groups.count == 3, "\(groups)")
    let starts = [
      "error, 1 x refcount too low (host 0x6000 to 0x6fff", "leak, 1 x leaked, and ",
      "note, 1 x one cluster belongs to several",
    ]
    for (group, start) in zip(groups, starts) { #expect(group.hasPrefix("group: " + start), "\(groups)") }
    struct Report: Decodable {
      struct Finding: Decodable, Equatable {
        var severity: String
        var text: String
        var host: UInt64?
        var owners: [String]
        var guest: UInt64?
        var length: UInt64?
        enum CodingKeys: String, CodingKey {
          case severity, text, owners, host = "host-offset", guest = "guest-offset", length = "guest-length"
        }
      }
      var corruptions: Int
      var findings: [Finding]
      var notes: [String]
    }
    let json = try judge.check(["--details", "--output=json", "a"]).output
    let report = try JSONDecoder().decode(Report.self, from: Data(json.utf8))
    #expect(report.corruptions == 1 && report.notes.count == 3)
    #expect(
      report.findings == [
        .init(severity: "leak", text: "Leaked cluster 5 refcount=1 reference=0", host: 0x5000, owners: []),
        .init(
          severity: "corruption", text: "ERROR cluster 6 refcount=1 reference=2", host: 0x6000,
          owners: ["L1[0] L2[0]", "L1[0] L2[1]"], guest: 0, length: 4096),
      ])
  }

  @Test("the file is not written to")
  func unchanged() throws {
    let judge = try Judge()
    try base(judge)
    try judge.patch("a", 0x4000, "8000000000006000")
    let before = try sha256(ofFile: judge.path("a"))
    #expect(try judge.check(["a"]).status == 2)
    #expect(try sha256(ofFile: judge.path("a")) == before)
  }

  @Test("a terabyte with all its tables takes little time and memory")
  func terabyte() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "a", "1T"])
    // All private memory that can be written to is limited, so that more than 128 MiB fail the check.
    let start = ContinuousClock().now
    let limited = try run(
      "bash", ["-c", "ulimit -d 131072; exec \"$0\" check a", judge.qatlas], directory: judge.folder.path,
      timeout: 120)
    // Far more than a release build takes, so that an unoptimized one on a busy machine passes.
    #expect(start.duration(to: ContinuousClock().now) < .seconds(30))
    #expect(limited.status == 0, "\(limited.stderr)")
    #expect(try limited.stdout == judge.genuineCheck(["a"]).output)
  }
}
