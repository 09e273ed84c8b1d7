// Names in hostile images: what they may not open, however they are written, and what stands in the
// way of each.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct GateTests {
  /// A folder with an image that names `backing`, and secrets beside the folder.
  private func image(_ judge: Judge, naming backing: String, format: String = "raw") throws -> String {
    try FileManager.default.createDirectory(atPath: judge.path("in/deep"), withIntermediateDirectories: true)
    try Data(repeating: 0x53, count: 4096).write(to: URL(fileURLWithPath: judge.path("secret.raw")))
    try Data(repeating: 0x50, count: 4096).write(to: URL(fileURLWithPath: judge.path("in/deep/fine.raw")))
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("in/way.raw"), withDestinationPath: "../secret.raw")
    try FileManager.default.createSymbolicLink(atPath: judge.path("in/path"), withDestinationPath: "..")
    guard mkfifo(judge.path("in/pipe"), 0o600) == 0 else { throw TestFailure("no pipe") }
    let arguments = ["create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", format, "in/a.qcow2", "64k"]
    try judge.must("qemu-img", arguments)
    return "in/a.qcow2"
  }

  private func commands(_ image: String) -> [[String]] {
    [["map", image], ["io", "-r", "-c", "read -v 0 512", image], ["info", "--backing-chain", image]]
  }

  /// Commands that show tables do so whatever the layer below is, and those that show what it answers say
  /// why they do not know.
  private func needsNoLayer(_ judge: Judge, _ image: String, _ reason: String) throws {
    for command in ["l2", "layout", "frag", "info"] {
      let shown = try judge.ours([command, image])
      #expect(shown.status == 0, "\(command): \(shown)")
      let note = shown.errors.contains("note: a layer is not looked at: ") && shown.errors.contains(reason)
      #expect(note == (command == "l2" || command == "layout"), "\(command): \(shown)")
      if command == "layout" { #expect(shown.output.contains("guest  ?  missing  1 subclusters")) }
    }
    try Data(":goto 0\n".utf8).write(to: URL(fileURLWithPath: judge.path("keys")))
    #expect(try judge.ours(["explore", "--script", "keys", image]).status == 0)
  }

  @Test(
    "files outside of the image's folder need the flag",
    arguments: [
      "../secret.raw", "way.raw", "path/secret.raw", "deep/../../secret.raw", "ABSOLUTE", "file:secret.raw",
      #"json:{"driver":"raw","file.filename":"secret.raw"}"#,
      #"json:{'file':{'filename':'in/../\u0073ecret.raw'}}"#,
    ])
  func outside(name: String) throws {
    let judge = try Judge()
    let image = try image(judge, naming: name == "ABSOLUTE" ? judge.path("secret.raw") : name)
    for command in commands(image) {
      let refused = try judge.ours(command)
      #expect(refused.status == 1, "\(command)")
      #expect(
        refused.errors.contains("lies outside of the folder of the image; --allow-outside opens it"),
        "\(refused)")
      #expect(!refused.output.contains("53 53"))
    }
    try needsNoLayer(judge, image, "lies outside of the folder of the image; --allow-outside opens it")
    let allowed = try judge.ours(["io", "-r", "--allow-outside", "-c", "read -P 0x53 0 4096", image])
    #expect(allowed.status == 0, "\(allowed)")
    #expect(try allowed == judge.genuine("qemu-io", ["-r", "-c", "read -P 0x53 0 4096", image]))
  }

  @Test(
    "files beside and below the image open by themselves, through links as well",
    arguments: ["deep/fine.raw", "./deep/../deep/fine.raw", "link.raw"])
  func inside(name: String) throws {
    let judge = try Judge()
    let image = try image(judge, naming: name)
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("in/link.raw"), withDestinationPath: "deep/fine.raw")
    #expect(try judge.ours(["io", "-r", "-c", "read -P 0x50 0 4096", image]).status == 0)
    // The image itself may be reached through a link; the layers are then looked for beside the link.
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("in/deep/b.qcow2"), withDestinationPath: "../a.qcow2")
    if name == "link.raw" {
      try FileManager.default.createSymbolicLink(
        atPath: judge.path("in/deep/link.raw"), withDestinationPath: "fine.raw")
      #expect(try judge.ours(["io", "-r", "-c", "read -P 0x50 0 4096", "in/deep/b.qcow2"]).status == 0)
    }
  }

  @Test(
    "devices, pipes, folders and addresses are never opened",
    arguments: [
      ("/dev/null", "it is a character device"), ("/dev/zero", "it is a character device"),
      ("pipe", "it is a pipe"),
      ("deep", "it is a folder"), ("nbd:localhost", "the port is missing"),
      ("nbd+unix:///x", "?socket=PATH is missing"), ("nbds://localhost/", "TLS is not spoken here"),
      ("nbd://local\u{1b}host/", "the name of a host has letters"),
      ("nbd://h/%zz", "two hexadecimal digits follow"),
      ("http://localhost/x", "'http:' leads away"), ("https://localhost/x", "'https:' leads away"),
      ("fat:rw:deep", "'fat:' leads away"),
      ("host_device:/dev/null", "'host_device:' leads away"), ("ssh://a/b", "'ssh:' leads away"),
      ("fd:3", "'fd:' leads away"),
      ("exec:true", "'exec:' leads away"),
      ("file:/dev/null", "it is a character device"),
      (#"json:{"driver":"nbd","host":"localhost","path":"/s"}"#, "it has a path and a host"),
      (#"json:{"file":{"driver":"nbd"}}"#, "it names neither a host nor a path"),
      (#"json:{"file":{"driver":"nbd","path":"/s","tls-creds":"x"}}"#, "'file.tls-creds' is not supported"),
      (
        #"json:{"file":{"driver":"host_device","filename":"/dev/null"}}"#,
        "the driver 'host_device' is not supported"
      ),
      (#"json:{"file":{"driver":"file","filename":"/dev/null"}}"#, "it is a character device"),
      (
        #"json:{"file.filename":"in/deep/fine.raw","file":{"filename":"secret.raw"}}"#,
        "'file.filename' is given twice"
      ),
      (
        #"json:{"file.filename":"in/deep/fine.raw","backing":{"file.filename":"secret.raw"}}"#,
        "the option 'backing.file.filename' is not supported"
      ),
      (#"json:{"file.filename":"in/deep/fine.raw","offset":1}"#, "the option 'offset' is not supported"),
      (#"json:{"file.filename":"secret.raw\u0000"}"#, "invalid character"),
      (#"json:{"file.filename":"a"} x"#, "something follows"),
      (#"json:{"file.filename":"a""#, "is expected at its end"), (#"json:{"file.filename":"#, "is expected"),
      ("json:", "an object is expected"),
      (#"json:[{"file.filename":"a"}]"#, "an object is expected"),
      ("json:" + String(repeating: #"{"a":"#, count: 100), "nested too deeply"),
      (#"json:{"a":"\ud800"}"#, "invalid character"), (#"json:{"a":"\ud800\u0041"}"#, "half of a character"),
      ("json:{" + (0..<80).map { "\"\($0)\":1" }.joined(separator: ",") + "}", "too many members"),
    ])
  func never(name: String, reason: String) throws {
    let judge = try Judge()
    let image = try image(judge, naming: name)
    try needsNoLayer(judge, image, reason)
    for command in commands(image) {
      for flag in [[], ["--allow-outside"]] {
        let refused = try judge.ours([command[0]] + flag + command.dropFirst())
        #expect(refused.status == 1)
        #expect(refused.errors.contains(reason), "\(command) \(flag): \(refused)")
      }
    }
    #expect(try judge.ours(["io", "-r", "--allow-missing-backing", "-c", "length", image]).status == 0)
  }

  @Test("an external data file passes the same gate")
  func dataFile() throws {
    let judge = try Judge()
    try FileManager.default.createDirectory(atPath: judge.path("in"), withIntermediateDirectories: true)
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=secret.raw", "in/a.qcow2", "64k"])
    let refused = try judge.ours(["io", "-c", "write 0 64k", "in/a.qcow2"])
    #expect(refused.status == 1)
    #expect(
      refused.errors.contains("'secret.raw': it lies outside of the folder of the image; --allow-outside"))
    #expect(try judge.ours(["io", "--allow-outside", "-c", "write 0 64k", "in/a.qcow2"]).status == 0)
    try judge.must("qemu-img", ["amend", "-o", "data_file=/dev/null", "in/a.qcow2"])
    #expect(
      try judge.ours(["io", "--allow-outside", "-c", "write 0 64k", "in/a.qcow2"]).errors.contains(
        "it is a character device"))
  }

  @Test("names in messages cannot send control bytes to the terminal")
  func controlBytes() throws {
    let judge = try Judge()
    let image = try image(judge, naming: "x\u{1b}[2J\u{7}\u{9b}31m\n")
    for command in commands(image) {
      for flag in [[], ["--allow-missing-backing"]] {
        let said = try judge.ours([command[0]] + flag + command.dropFirst())
        let text = said.output + said.errors
        #expect(text.contains("x\\x1b[2J\\x07"), "\(said)")
        #expect(
          !text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || (0x7f...0x9f).contains($0.value) })
      }
    }
  }

  @Test("a file without a named format that is neither raw nor qcow2 is not taken for raw")
  func foreignFormat() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "vmdk", "v.vmdk", "1M"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "v.vmdk", "-F", "raw", "a.qcow2", "1M"])
    // Takes the format out of the header: an unknown extension type is ignored.
    var bytes = [UInt8](try #require(judge.bytes("a.qcow2")))
    let magic: [UInt8] = [0xe2, 0x79, 0x2a, 0xca]
    let at = try #require((100..<400).first { Array(bytes[$0..<$0 + 4]) == magic })
    bytes[at] = 0x11
    try Data(bytes).write(to: URL(fileURLWithPath: judge.path("a.qcow2")))
    #expect(try judge.ours(["map", "a.qcow2"]).errors.contains("looks like the format 'vmdk'"))
    for (name, format) in [("b.raw", "raw"), ("b.qcow2", "qcow2")] {
      try judge.must("qemu-img", ["create", "-q", "-f", format, "v.vmdk", "1M"])
      #expect(
        try judge.ours(["map", "--output=json", "a.qcow2"])
          == judge.genuine("qemu-img", ["map", "--output=json", "a.qcow2"]), "\(name)")
    }
  }
}
