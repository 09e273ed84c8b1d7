// Real clients of a served image: copies in and out, maps of many kinds of image beside those of the genuine server, and
// what is left behind when the server is killed.

import Foundation
import TestSupport
import Testing
import ToolText

@Suite("Served to real clients", .tags(.genuine)) struct ServeTests {
  /// Runs a command of the shell with the image served; it must succeed.
  @discardableResult
  private func serve(_ judge: Judge, _ words: [String], _ command: String) throws -> String {
    let printed = try judge.ours(["serve"] + words + ["--run", command])
    guard printed.status == 0 else { throw TestFailure("serve \(words) --run '\(command)': \(printed)") }
    return printed.output
  }

  /// A raw file, and images of twenty kinds: the last line makes `image`.
  static let kinds: [(name: String, lines: [String])] = [
    ("raw", ["qemu-img create -f raw image 8M", "qemu-io -f raw -c 'write -P 1 1M 1M' image"]),
    ("empty", ["qemu-img create -f qcow2 image 64M"]),
    (
      "data, zeroes and holes",
      [
        "qemu-img create -f qcow2 image 64M",
        "qemu-io -c 'write -P 1 0 3M' -c 'write -z 4M 1M' -c 'write -P 2 10M 100k' -c 'write -P 3 63M 1M' image",
      ]
    ),
    (
      "512",
      [
        "qemu-img create -f qcow2 -o cluster_size=512 image 4M",
        "qemu-io -c 'write -P 1 512 3k' -c 'write -P 2 1M 100k' image",
      ]
    ),
    ("2M", ["qemu-img create -f qcow2 -o cluster_size=2M image 64M", "qemu-io -c 'write -P 1 3M 3M' image"]),
    (
      "compat 0.10",
      [
        "qemu-img create -f qcow2 -o compat=0.10 image 64M",
        "qemu-io -c 'write -P 1 1M 3M' -c 'write -z 2M 64k' image",
      ]
    ),
    (
      "extended",
      [
        "qemu-img create -f qcow2 -o extended_l2=on image 64M",
        "qemu-io -c 'write -P 1 2k 4k' -c 'write -z 128k 6k' -c 'write -P 2 1M 3k' image",
      ]
    ),
    (
      "metadata",
      ["qemu-img create -f qcow2 -o preallocation=metadata image 16M", "qemu-io -c 'write -P 1 1M 1M' image"]
    ),
    (
      "falloc",
      ["qemu-img create -f qcow2 -o preallocation=falloc image 16M", "qemu-io -c 'write -P 1 1M 1M' image"]
    ),
    ("full", ["qemu-img create -f qcow2 -o preallocation=full image 4M"]),
    (
      "compressed",
      [
        "qemu-img create -f qcow2 plain 8M", "qemu-io -c 'write -P 1 0 3M' -c 'write -P 9 5M 1M' plain",
        "qemu-img convert -c -O qcow2 plain image", "qemu-io -c 'write -P 3 1M 64k' image",
      ]
    ),
    (
      "raw backing",
      [
        "qemu-img create -f raw base 8M", "qemu-io -f raw -c 'write -P 1 1M 1M' base",
        "qemu-img create -f qcow2 -b base -F raw image",
        "qemu-io -c 'write -P 3 3M 64k' -c 'write -z 1M 64k' image",
      ]
    ),
    (
      "qcow2 backing",
      [
        "qemu-img create -f qcow2 base 8M", "qemu-io -c 'write -P 1 1M 1M' -c 'write -z 4M 1M' base",
        "qemu-img create -f qcow2 -b base -F qcow2 image",
        "qemu-io -c 'write -P 3 3M 64k' -c 'write -z 1M 64k' image",
      ]
    ),
    (
      "three layers",
      [
        "qemu-img create -f qcow2 base 8M", "qemu-io -c 'write -P 1 1M 3M' base",
        "qemu-img create -f qcow2 -b base -F qcow2 middle", "qemu-io -c 'write -P 4 2M 1M' middle",
        "qemu-img create -f qcow2 -b middle -F qcow2 image", "qemu-io -c 'write -P 3 3M 64k' image",
      ]
    ),
    (
      "short backing",
      [
        "qemu-img create -f qcow2 base 4M", "qemu-io -c 'write -P 1 1M 3M' base",
        "qemu-img create -f qcow2 -b base -F qcow2 image 16M", "qemu-io -c 'write -P 3 8M 64k' image",
      ]
    ),
    (
      "extended over a layer",
      [
        "qemu-img create -f qcow2 base 4M", "qemu-io -c 'write -P 1 0 4M' base",
        "qemu-img create -f qcow2 -o extended_l2=on -b base -F qcow2 image",
        "qemu-io -c 'write -P 3 6k 4k' -c 'write -z 1M 10k' image",
      ]
    ),
    (
      "snapshot",
      [
        "qemu-img create -f qcow2 image 8M", "qemu-io -c 'write -P 1 1M 1M' image",
        "qemu-img snapshot -c s image", "qemu-io -c 'write -P 2 1M 64k' -c 'discard 1500k 64k' image",
      ]
    ),
    (
      "data file",
      [
        "qemu-img create -f qcow2 -o data_file=data image 8M",
        "qemu-io -c 'write -P 1 1M 1M' -c 'write -z 3M 64k' image",
      ]
    ),
    (
      "raw data file",
      [
        "qemu-img create -f qcow2 -o data_file=data,data_file_raw=on image 8M",
        "qemu-io -c 'write -P 1 1M 1M' image",
      ]
    ),
    (
      "refcounts of one bit",
      [
        "qemu-img create -f qcow2 -o refcount_bits=1 image 8M",
        "qemu-io -c 'write -P 1 1M 1M' -c 'discard 1M 128k' image",
      ]
    ),
    ("odd size", ["qemu-img create -f qcow2 image 1000448", "qemu-io -c 'write -P 1 900k 10k' image"]),
  ]

  @Test("maps of two contexts are those of the genuine server", arguments: kinds.indices)
  func maps(kind: Int) throws {
    let (name, lines) = Self.kinds[kind]
    let format = name == "raw" ? "raw" : "qcow2"
    let judge = try Judge()
    try requireTool("nbdinfo")
    try requireTool("qemu-nbd")
    for line in lines { try judge.must("sh", ["-c", line + " >/dev/null"]) }
    for context in ["base:allocation", "qemu:allocation-depth"] {
      let ours = try serve(judge, ["-f", format, "image"], "nbdinfo --map=\(context) \"$uri\"")
      let theirs = try judge.must(
        "sh",
        [
          "-c",
          "qemu-nbd -r -A -f \(format) -k \"$PWD/s\" --pid-file=pid -t --fork image >/dev/null 2>&1 && nbdinfo --map=\(context) \"nbd+unix:///?socket=$PWD/s\"; "
            + "r=$?; p=$(cat pid); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.02; done; exit $r",
        ])
      #expect(ours == theirs, "\(name), \(context)\n\(ours)\n\(theirs)")
    }
  }

  @Test("copies out and in are the same bytes", arguments: ["", "extended_l2=on", "cluster_size=4k"])
  func copies(options: String) throws {
    let judge = try Judge()
    try requireTool("nbdcopy")
    var random = SplitMix64(seed: 3)
    var bytes = [UInt8](repeating: 0, count: 24 << 20)
    for _ in 0..<40 {
      let at = Int(random.below(23 << 20))
      let part = randomBytes(Int(1 + random.below(300_000)), &random)
      bytes.replaceSubrange(at..<at + part.count, with: part)
    }
    try Data(bytes).write(to: URL(fileURLWithPath: judge.path("raw")))
    try judge.must(
      "qemu-img", ["create", "-f", "qcow2"] + (options.isEmpty ? [] : ["-o", options]) + ["image", "24M"])
    try serve(judge, ["--rw", "image"], "nbdcopy raw \"$uri\"")
    try judge.must("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", "raw", "image"])
    try judge.must("qemu-img", ["check", "image"])
    try serve(judge, ["image"], "nbdcopy \"$uri\" out")
    #expect(try firstDifference(judge.path("raw"), judge.path("out")) == nil)
    // What is served from memory leaves the file as it was.
    let before = try sha256(ofFile: judge.path("image"))
    try judge.must("sh", ["-c", "head -c 24M /dev/zero | tr '\\0' x > other"])
    try serve(judge, ["--scratch", "image"], "nbdcopy other \"$uri\"")
    #expect(try sha256(ofFile: judge.path("image")) == before)
  }

  @Test("requests are recorded as a trace, which gives the same mapping in the lab's words and through io")
  func recorded() throws {
    let judge = try Judge()
    try requireTool("nbdcopy")
    try judge.must("qemu-img", ["create", "-f", "qcow2", "image", "3M"])
    try judge.must("qemu-img", ["create", "-f", "qcow2", "again", "3M"])
    try judge.must(
      "sh", ["-c", "head -c 1M /dev/zero | tr '\\0' x > raw; truncate -s 3M raw; echo old > trace"])
    try serve(
      judge, ["--rw", "--record", "trace", "image"],
      "nbdcopy --request-size=65536 --connections=1 --flush raw \"$uri\"")
    let trace = try judge.must("cat", ["trace"])
    let lines = trace.split(separator: "\n").map(String.init)
    #expect(lines.first == "# requests of image" && lines.dropFirst().first == "# size 3145728")
    #expect(LabTrace.size(of: trace) == 3 << 20)
    #expect(
      lines.contains("# at 0.000 client 1") && lines.contains("write 0 65536") && lines.contains("flush"))
    let written = lines.filter { $0.hasPrefix("write ") && !$0.hasPrefix("write -z") }
    #expect(written.count == 16)
    // What is not data comes as zero-writes or discards.
    #expect(lines.contains { $0.hasPrefix("write -z") || $0.hasPrefix("discard") })
    let requests = try LabTrace.requests(trace, size: 3 << 20)
    #expect(requests.count > 16)
    // Replayed, the same parts of the disk are mapped.
    let requestLines = lines.filter { !$0.hasPrefix("#") }.joined(separator: "\n")
    let replayed = try judge.ours(["io", "again"], stdin: requestLines + "\n")
    #expect(replayed.status == 0, "\(replayed.errors)")
    let maps = try ["image", "again"].map { try judge.must("qemu-img", ["map", "--output=json", $0]) }
    #expect(maps[0] == maps[1] && maps[0].contains("true"))
    let lab = try judge.ours(["lab", "--trace", "trace", "--policy", "pinned"])
    #expect(lab.status == 0 && lab.output.contains("boot, \(requests.count) operations, 3 MiB"))
  }

  @Test("a trace that cannot be made is refused before anybody is served")
  func unrecorded() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-f", "qcow2", "image", "1M"])
    let printed = try judge.ours(["serve", "--record", "missing/trace", "--run", "echo served", "image"])
    #expect(printed.status == 1 && !printed.output.contains("served"), "\(printed)")
    #expect(printed.errors.contains("missing/trace"))
  }

  @Test("a socket that is there is left alone, and one that was made is gone")
  func sockets() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-f", "qcow2", "image", "1M"])
    try judge.must("sh", ["-c", "echo kept > here"])
    let refused = try judge.ours(["serve", "-k", judge.path("here"), "image"])
    #expect(refused.status == 1 && refused.errors.contains("Address already in use"))
    #expect(try judge.must("cat", ["here"]) == "kept\n")
    let mode = try serve(
      judge, ["-k", judge.path("made"), "image"],
      "stat -c %a \"$unixsocket\"; stat -c %F \"$unixsocket\"; exit 0")
    #expect(mode == "600\nsocket\n")
    #expect(judge.bytes("made") == nil)
    let folder = try serve(
      judge, ["image"], "stat -c %a \"$(dirname \"$unixsocket\")\"; echo \"$unixsocket\"")
    let lines = folder.split(separator: "\n").map(String.init)
    #expect(lines.first == "700")
    #expect(lines.last.map { !FileManager.default.fileExists(atPath: $0) } == true)
    #expect(try judge.ours(["serve", "image", "--run", "exit 7"]).status == 7)
  }

  @Test("what was flushed before the server is killed is in the image, which is sound", arguments: 0..<4)
  func killed(round: Int) throws {
    let judge = try Judge()
    // The module belongs to the system's own Python, whatever python3 is found first.
    let options = round % 2 == 0 ? "cluster_size=4k" : "extended_l2=on"
    try judge.must("qemu-img", ["create", "-f", "qcow2", "-o", options, "image", "16M"])
    // Writes a counter into each block; after a flush the number so far is kept in a file. The server is killed in the
    // middle, by its client.
    let script = """
      import os, random, signal
      random.seed(\(round))
      done = {}
      later = open("later", "w", buffering=1)
      kill_at = random.randrange(150, 400)
      for n in range(1, 500):
          at = random.randrange(0, 4096) * 4096
          later.write("%d %d\\n" % (at, n % 255 + 1))
          h.pwrite(bytes([n % 255 + 1]) * 4096, at)
          done[at] = n % 255 + 1
          if n % 16 == 0:
              h.flush()
              with open("kept", "w") as f:
                  f.write("".join("%d %d\\n" % i for i in done.items()))
          if n == kill_at:
              os.kill(int(os.environ["server"]), signal.SIGKILL)
              break
      """
    try Data(script.utf8).write(to: URL(fileURLWithPath: judge.path("script.py")))
    let end = try run(
      judge.qatlas,
      [
        "serve", "--rw", "image", "--run",
        "server=$PPID exec /usr/bin/python3 -m nbd -u \"$uri\" -c - < script.py 2>/dev/null",
      ],
      directory: judge.folder.path, timeout: 60)
    #expect(end.signal == SIGKILL)
    let check = try judge.genuine("qemu-img", ["check", "image"])
    #expect(check.status == 0 || check.status == 3, "\(check)")
    // Later writes may be there as well; a block that was not written again holds what was flushed.
    let kept = try String(contentsOfFile: judge.path("kept"), encoding: .utf8)
    try judge.must("qemu-img", ["convert", "-O", "raw", "image", "out"])
    let out = Array(try #require(judge.bytes("out")))
    var wrong = 0
    for line in kept.split(separator: "\n") {
      let words = line.split(separator: " ").compactMap { Int($0) }
      let found = out[words[0]]
      if found != UInt8(words[1]), !(try laterValues(judge)).contains("\(words[0]) \(found)") { wrong += 1 }
    }
    #expect(wrong == 0 && !kept.isEmpty)
  }

  /// What was written behind the last flush.
  private func laterValues(_ judge: Judge) throws -> Set<String> {
    Set(
      try String(contentsOfFile: judge.path("later"), encoding: .utf8).split(separator: "\n").map(String.init)
    )
  }
}
