// Names that are no text: the same bytes from the command line to the host, and from a header to the
// header that is written for it.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct ByteNameTests {
  @Test(
    "names that differ in bytes are different files",
    arguments: [
      ("caf\\xe9", "caf\\xe8"), ("\\xff", "\\xfe"), ("\\xc3\\xa9", "e\\xcc\\x81"),
      ("\\xe9", "\\xf4\\x8f\\xbf\\xa9"), ("\\xef\\xbf\\xbd", "\\x80"), ("a\\n", "a\\n\\n"),
    ])
  func different(one: String, other: String) throws {
    let judge = try Judge()
    let script = """
      one=$'\(one).qcow2'; other=$'\(other).qcow2'
      "$Q" create -q "$one" 1M && "$Q" io -c 'write -P 7 0 64k' "$one" >&2 && "$Q" create -q "$other" 2M || exit 1
      for command in info map check layout frag l2 'pin --check' 'io -r -c length' 'info --backing-chain'; do
        "$Q" $command "$one" >out || echo "$command: $?"
      done
      "$Q" resize -q "$other" 3M && "$Q" defrag -q "$other" && "$Q" pin "$other" >out && "$Q" unpin "$other" || echo changed
      printf ':write -P 9 128k 64k\\n:w\\n:q\\n' >script
      "$Q" --script script "$one" >out || { echo script; cat out; }
      set -- *; echo $#
      qemu-img check "$one" >out || echo damaged
      qemu-io -f qcow2 -r -c 'read -P 7 0 64k' -c 'read -P 9 128k 64k' "$one" >out && ! grep verif out
      qemu-io -f qcow2 -r -c length "$other"
      """
    let result = try judge.shell(script)
    #expect(result.stdout == "4\n3 MiB\n", "\(result.stdout)\(result.stderr)")
  }

  /// Bytes of a raw base, which the image above it is to go on showing.
  private func chain(_ name: [UInt8], options: String = "") throws -> Judge {
    let judge = try Judge()
    let base = Judge.quoted(name)
    let made = try judge.shell(
      "head -c 1048576 /dev/zero | tr '\\0' x >\(base) && qemu-img create -q -f qcow2 -b \(base) -F raw "
        + "\(options) a.qcow2 1M")
    guard made.status == 0 else { throw TestFailure(made.stderr) }
    return judge
  }

  /// Sets an autoclear bit that nobody knows, so that the next writer has to write the header anew.
  private func markUnknown(_ path: String) throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    try file.seek(toOffset: 88)
    try file.write(contentsOf: [0x10])
    try file.close()
  }

  static let names: [[UInt8]] = [
    [0x62, 0xff, 0x2e, 0x72, 0x61, 0x77], [0xc3, 0xff, 0x80, 0x41], [0xf4, 0x8f, 0xbf, 0xa9],
    Array("e\u{301}\u{202e}.raw".utf8),
  ]

  @Test("a header that is written anew keeps the bytes of the backing file's name", arguments: names)
  func backingName(name: [UInt8]) throws {
    let judge = try chain(name)
    try markUnknown(judge.path("a.qcow2"))
    try judge.must("cp", ["a.qcow2", "marked"])
    #expect(try judge.backingName("a.qcow2") == name)
    for command in [
      "\"$Q\" io -c 'write -P 7 512k 64k' a.qcow2", "\"$Q\" defrag a.qcow2", "\"$Q\" resize a.qcow2 1280k",
      "printf ':write -P 7 512k 64k\\n:w\\n:q\\n' >script; \"$Q\" --script script a.qcow2",
      "printf ':write -P 7 512k 64k\\n:q\\n' >script; \"$Q\" --rw --script script a.qcow2",
    ] {
      try judge.must("cp", ["marked", "a.qcow2"])
      let result = try judge.shell(command)
      #expect(result.status == 0, "\(command): \(result.stdout)\(result.stderr)")
      #expect(try judge.backingName("a.qcow2") == name, "\(command)")
      #expect(try bytes(ofFile: judge.path("a.qcow2"), at: 88, count: 1) == [0], "\(command)")
      let read = try judge.must("qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 0x78 0 512k", "a.qcow2"])
      #expect(!read.contains("verification failed"), "\(command)")
    }
    // The same requests leave the same header as the genuine tool's.
    try judge.must("cp", ["marked", "a.qcow2"])
    try judge.must("cp", ["marked", "b.qcow2"])
    #expect(try judge.ours(["io", "-c", "write -P 7 512k 64k", "a.qcow2"]).status == 0)
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -P 7 512k 64k", "b.qcow2"])
    #expect(judge.bytes("a.qcow2") == judge.bytes("b.qcow2"))
  }

  @Test("create writes the bytes that the genuine tool writes", arguments: names)
  func create(name: [UInt8]) throws {
    let judge = try chain(name)
    let word = Judge.quoted(name)
    let data = Judge.quoted([0x64] + name)
    let script = """
      "$Q" create -q -b \(word) -F raw b.qcow2 1M && cmp a.qcow2 b.qcow2
      qemu-img create -q -f qcow2 -o data_file=\(data) c.qcow2 1M && rm \(data)
      "$Q" create -q -o data_file=\(data) d.qcow2 1M && cmp c.qcow2 d.qcow2
      "$Q" io -c 'write -P 7 0 64k' d.qcow2 >out && [ $(stat -c %s \(data)) = 1048576 ] && "$Q" resize -q d.qcow2 2M
      qemu-io -f qcow2 -r -c 'read -P 7 0 64k' d.qcow2 >out && ! grep verif out
      "$Q" map b.qcow2 >out && "$Q" info --backing-chain b.qcow2 >out && "$Q" io -r -c 'read -P 0x78 0 1M' b.qcow2 >out && ! grep verif out
      """
    let result = try judge.shell(script)
    #expect(result.stdout == "" && result.stderr == "", "\(result.stdout)\(result.stderr)")
  }

  @Test("JSON shows names as the genuine tool does")
  func json() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "h.qcow2", "64k"])
    let names = [
      "\\xff", "\\xc1\\xbf", "\\xe2\\x82x", "\\xed\\xa0\\x80", "\\xe0\\x80\\xaf", "\\xf5\\x80\\x80\\x80",
      "\\xf8\\x88\\x80\\x80\\x80", "\\xfc\\x84\\x80\\x80\\x80\\x80x", "\\xef\\xbf\\xbe", "\\xef\\xb7\\x90",
      "\\xf4\\x8f\\xbf\\xa9", "\\xf4\\x90\\x80\\x80", "\\xe2\\x80\\xae", "\\xc2\\x9b2J", "\\xc0\\x80",
      "\\xf0\\x9f\\x98\\x80", "\\x01\\x7f\\\"\\\\", "\\xbf\\xbf", "\\xe2\\xe2\\x80", "caf\\xe9",
    ]
    let script = names.map { name in
      """
      n=$'z\(name).img'; mv h.qcow2 "$n"
      a=$("$Q" info --output=json "$n" | grep filename | tail -1); b=$(qemu-img info --output=json "$n" | grep filename | tail -1)
      [ -n "$a" ] && [ "$a" = "$b" ] || echo "$a instead of $b"
      mv "$n" h.qcow2

      """
    }.joined()
    let result = try judge.shell(script)
    #expect(result.stdout == "" && result.stderr == "", "\(result.stdout)\(result.stderr)")
  }

  @Test("what a name holds besides text is shown by its bytes and never moves or hides what is beside it")
  func shown() throws {
    let judge = try Judge()
    let evil =
      "\\x1b[2J\\r\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\x8f\\xd8\\x9c\\xc2\\x9b\\xef\\xbb\\xbf\\xe2\\x80\\xa8\\xc2\\xad\\xff\\x0aqatlas- all is well"
    let setup = try judge.shell(
      """
      n=$'\(evil)'; printf %s "$n" >name
      qemu-img create -q -f qcow2 -u -b "$n" -F raw missing.qcow2 1M &&
      qemu-img create -q -f qcow2 -o data_file="./$n.data" data.qcow2 1M && rm "./$n.data" &&
      qemu-img create -q -f qcow2 "$n.qcow2" 1M && qemu-img snapshot -c "$n" "$n.qcow2" &&
      printf x | dd of="$n.qcow2" bs=1 seek=65600 conv=notrunc status=none
      """)
    guard setup.status == 0 else { throw TestFailure(setup.stderr) }
    let commands = [
      "info", "map", "check", "frag", "defrag", "pin", "pin --check", "unpin", "l2", "layout", "io -c map",
      "io -c 'write 0 64k' -c 'read 0 64k'", "info --backing-chain",
      "info --allow-missing-backing --backing-chain",
      "map --allow-missing-backing", "resize -q", "explore --script /dev/null", "explore",
    ]
    var script = "n=$(cat name; echo .); n=${n%.}; s=\"$n.qcow2\"\n"
    for file in ["missing.qcow2", "data.qcow2", "\"$s\"", "\"none$n\""] {
      for command in commands {
        script += "\"$Q\" \(command) \(file)\(command.hasPrefix("resize") ? " 2M" : "") 2>&1 </dev/null\n"
      }
    }
    for words in [
      "\"$n\"", "--\"$n\"", "info --\"$n\"", "info -f \"$n\" data.qcow2",
      "io -c \"$n\" -c \"read $n 1\" -c \"read -$n\" data.qcow2",
      "create -o \"$n\" x 1M", "create -o preallocation=\"$n\" x 1M", "create -b \"$n\" -F raw x 1M",
      "create x \"$n\"",
      "create -F \"$n\" -b x x 1M", "create -f \"$n\" x 1M", "io --image-opts \"$n\"",
      "io --image-opts driver=\"$n\"",
      "io --image-opts driver=qcow2,file.filename=\"$n\"", "resize data.qcow2 \"$n\"",
      "lab --workload \"$n\"",
      "lab --trace \"$n\"", "lesson \"$n\"", "--lesson \"$n\"", "--script \"$n\" data.qcow2",
      "check --output \"$n\" x",
      "--secret file=\"$n\" data.qcow2", "--secret env=\"$n\" data.qcow2", "io --object \"$n\" data.qcow2",
      "io -t \"$n\" x",
      "create \"/none/$n\" 1M", "create -o data_file=\"/none/$n\" x 1M",
    ] { script += "\"$Q\" \(words) 2>&1 </dev/null\n" }
    let result = try judge.shell(script, timeout: 120)
    let text = String(decoding: result.output, as: UTF8.self)
    #expect(Array(text.utf8) == result.output, "all output is text")
    let hidden = text.unicodeScalars.filter { scalar in
      scalar.value < 0x20 && scalar != "\n" || (0x7f...0x9f).contains(scalar.value)
        || [.format, .lineSeparator, .paragraphSeparator].contains(scalar.properties.generalCategory)
    }
    #expect(hidden.isEmpty, "\(Set(hidden.map(\.value)))")
    #expect(text.contains("\\x1b[2J\\x0d\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\x8f\\xd8\\x9c\\xc2\\x9b"))
    let begun = text.split(separator: "\n").filter { $0.hasPrefix("qatlas- all is well") }
    #expect(begun.isEmpty, "a name does not begin a line: \(begun.prefix(3))")
  }
}
