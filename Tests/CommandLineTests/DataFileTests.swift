// External data files that are there before the image: kept when that is asked for, never emptied in
// silence, and nothing is lost by a request that fails.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DataFileTests {
  private static let content = Data((0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 + $0 >> 8) })

  private func judge() throws -> Judge {
    let judge = try Judge()
    try Self.content.write(to: URL(fileURLWithPath: judge.path("d.raw")))
    return judge
  }

  private func keeps(_ judge: Judge) -> Bool { judge.bytes("d.raw")?.prefix(300_000) == Self.content }

  @Test("a data file that holds bytes is not emptied unless that is asked for")
  func refused() throws {
    let judge = try judge()
    let list = ["data_file=d.raw", "data_file=d.raw,data_file_raw=on", "data_file=d.raw,preallocation=full"]
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "there.qcow2", "64k"])
    let before = judge.bytes("there.qcow2")
    for options in list {
      for image in ["new.qcow2", "there.qcow2"] {
        let made = try judge.ours(["create", "-q", "-o", options, image, "1M"])
        #expect(
          made.status == 1 && made.errors.contains("holds 300000 bytes, which would be lost"), "\(made)")
        #expect(made.errors.contains("keep_data_file=on") && made.errors.contains("--overwrite"))
        #expect(judge.bytes("d.raw") == Self.content && judge.bytes("there.qcow2") == before)
        #expect(judge.bytes("new.qcow2") == nil)
      }
    }
    #expect(try judge.ours(["create", "-q", "--overwrite", "-o", list[0], "new.qcow2", "1M"]).status == 0)
    #expect(judge.bytes("d.raw") == Data(count: 1 << 20))
    // An empty one is nobody's.
    try Data().write(to: URL(fileURLWithPath: judge.path("e.raw")))
    #expect(try judge.ours(["create", "-q", "-o", "data_file=e.raw", "e.qcow2", "1M"]).status == 0)
  }

  @Test(
    "a data file is emptied only when nothing can fail any more",
    arguments: ["off", "metadata", "falloc", "full"])
  func overwrittenAtTheEnd(preallocation: String) throws {
    let judge = try judge()
    let create = "create -q --overwrite -o data_file=d.raw,preallocation=\(preallocation) new.qcow2"
    // The disk is longer than a file may be here.
    let made = try judge.shell("trap '' XFSZ; ulimit -f 2000; \"$Q\" \(create) 8M")
    #expect(made.status == 1 && made.stderr.contains("File too large"), "\(made)")
    #expect(judge.bytes("d.raw") == Self.content && judge.bytes("new.qcow2") == nil)
    #expect(try judge.shell("\"$Q\" \(create) 1M").status == 0)
    #expect(judge.bytes("d.raw") == Data(count: 1 << 20))
    let reference = "data_file=x.raw,preallocation=\(preallocation)"
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", reference, "b.qcow2", "1M"])
    let pairs = zip(judge.bytes("new.qcow2") ?? Data(), judge.bytes("b.qcow2") ?? Data())
    // The data file's name.
    #expect(pairs.count { $0 != $1 } == 1 && judge.bytes("new.qcow2")?.count == judge.bytes("b.qcow2")?.count)
  }

  @Test("a kept data file is the disk, for the genuine tool as well")
  func kept() throws {
    for options in ["data_file_raw=on", "preallocation=metadata"] {
      let judge = try judge()
      let list = "data_file=d.raw,keep_data_file=on,\(options)"
      let made = try judge.ours(["create", "-o", list, "a.qcow2", "1M"])
      #expect(
        made.status == 0 && made.output.contains(" keep_data_file=on size=1048576 data_file=d.raw"), "\(made)"
      )
      #expect(keeps(judge) && judge.bytes("d.raw")?.count == 1 << 20)
      try judge.must("qemu-img", ["check", "a.qcow2"])
      #expect(
        try judge.must("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", "a.qcow2", "d.raw"]).contains(
          "identical"))
      // The image file is the one that is made around an empty data file.
      let reference = "data_file=x.raw,\(options)"
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", reference, "b.qcow2", "1M"])
      let difference = zip(judge.bytes("a.qcow2") ?? Data(), judge.bytes("b.qcow2") ?? Data()).filter {
        $0 != $1
      }
      #expect(difference.count == 1 && difference.first?.0 == UInt8(ascii: "d"))
    }
  }

  @Test(
    "requests that cannot keep it say so and leave everything",
    arguments: [
      ("keep_data_file=on,preallocation=full", "Must not use 'keep_data_file=on' without 'data_file'"),
      ("keep_data_file=on,compat=bogus", "Must not use 'keep_data_file=on' without 'data_file'"),
      (
        "keep_data_file=on,data_file=d.raw",
        "'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on', or the file contents will not be visible"
      ),
      (
        "keep_data_file=on,data_file=d.raw,data_file_raw=on,preallocation=falloc",
        "Preallocating more than only metadata would overwrite the external data file's content and is therefore incompatible with 'keep_data_file=on'"
      ),
      (
        "keep_data_file=on,data_file=none,data_file_raw=on",
        "Could not open 'none': No such file or directory"
      ),
      ("keep_data_file=bogus,data_file=d.raw", "Parameter 'keep_data_file' expects 'on' or 'off'"),
    ])
  func impossible(options: String, says: String) throws {
    let judge = try judge()
    let made = try judge.ours(["create", "-q", "-o", options, "a.qcow2", "1M"])
    #expect(made == Printed(output: "", errors: "TOOL: a.qcow2: \(says)\n", status: 1))
    #expect(
      judge.bytes("d.raw") == Self.content && judge.bytes("a.qcow2") == nil && judge.bytes("none") == nil)
    // The genuine tool knows the option since 11.1.
    if try judge.must("qemu-img", ["create", "-f", "qcow2", "-o", "help"]).contains("keep_data_file") {
      #expect(
        try made
          == judge.genuine("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "1M"]))
    }
  }

  @Test("a new image never replaces a file that it will need, whatever name leads there")
  func ownLayers() throws {
    let judge = try judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "d.raw", "-F", "raw", "one.qcow2"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "one.qcow2", "-F", "qcow2", "two.qcow2"])
    try judge.must("ln", ["-s", "one.qcow2", "link.qcow2"])
    let before = ["one.qcow2", "two.qcow2"].map { judge.bytes($0) }
    for (backing, format, image) in [
      ("./one.qcow2", "qcow2", "one.qcow2"), ("two.qcow2", "qcow2", "one.qcow2"),
      ("two.qcow2", "qcow2", "link.qcow2"),
      ("two.qcow2", "qcow2", "d.raw"), ("./d.raw", "raw", "d.raw"),
    ] {
      let made = try judge.ours(["create", "-q", "-b", backing, "-F", format, image])
      #expect(
        made.status == 1 && made.errors.contains("would replace its backing file, or one that it needs"),
        "\(made)")
    }
    let both = try judge.ours([
      "create", "-q", "-b", "d.raw", "-F", "raw", "-o", "data_file=d.raw", "new.qcow2",
    ])
    #expect(both.status == 1 && judge.bytes("new.qcow2") == nil)
    #expect(
      ["one.qcow2", "two.qcow2"].map { judge.bytes($0) } == before && judge.bytes("d.raw") == Self.content)
    // The explorer's copies and texts as well.
    for command in [":w! d.raw", ":save-screen d.raw", ":w! one.qcow2"] {
      try Data("\(command)\n:q!\n".utf8).write(to: URL(fileURLWithPath: judge.path("script")))
      let run = try judge.ours(["--script", "script", "two.qcow2"])
      #expect(run.status == 1 && run.errors.contains("the open image needs it"), "\(command): \(run)")
    }
    #expect(
      ["one.qcow2", "two.qcow2"].map { judge.bytes($0) } == before && judge.bytes("d.raw") == Self.content)
  }
}
