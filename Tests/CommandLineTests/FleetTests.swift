// `qatlas fleet`: a line has the figures that the commands for one image print, also of damaged images; a run goes on
// where it was killed; shares add up; and nothing that a name or an image says stops it.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct FleetTests {
  private typealias Line = [String: Any]

  private static func lines(_ text: String) throws -> [Line] {
    try text.split(separator: "\n").map { line in
      try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? Line, "\(line)")
    }
  }

  private func fleet(_ judge: Judge, _ words: [String], stdin: String = "") throws -> [Line] {
    let result = try judge.ours(["fleet"] + words, stdin: stdin)
    #expect(result.status == 0, "\(result)")
    return try Self.lines(result.output)
  }

  private func json(_ judge: Judge, _ words: [String]) throws -> Line? {
    let result = try judge.ours(words)
    return try? JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? Line
  }

  /// Two small images and one above the first.
  private func prepared() throws -> Judge {
    let judge = try Judge()
    for name in ["a", "b"] {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "\(name).qcow2", "8M"])
      try judge.must("qemu-io", ["-f", "qcow2", "\(name).qcow2"], stdin: "write 0 1M\nwrite 3M 64k\n")
    }
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "over.qcow2"])
    return judge
  }

  /// Makes all files, or one, look as if they had been changed an hour ago: of what was changed just now nobody knows
  /// whether it is going to change again.
  private func age(_ judge: Judge, _ name: String = ".") throws {
    _ = try judge.shell("find \(name) -type f -exec touch -d '1 hour ago' {} +")
  }

  /// Compares a line with what the commands for one image say.
  private func compare(_ line: Line, _ judge: Judge, _ image: String) throws {
    func number(_ name: String) -> UInt64? { (line[name] as? NSNumber)?.uint64Value }
    let check = try judge.ours(["check", "-q", "--json", image])
    let summary = try json(judge, ["check", "--json", image])
    let verdict = [0: "clean", 2: "errors", 3: "leaks"][Int(check.status)] ?? "not checked"
    #expect(line["check"] as? String == verdict, "\(image)")
    if let summary, verdict != "not checked" {
      #expect(number("errors") == (summary["corruptions"] as? NSNumber)?.uint64Value ?? 0, "\(image)")
      #expect(number("leaks") == (summary["leaks"] as? NSNumber)?.uint64Value ?? 0, "\(image)")
    }
    guard let info = try json(judge, ["info", "--json", image]) else {
      #expect(line["error"] is String, "\(image)")
      return
    }
    #expect(number("virtual_bytes") == (info["virtual-size"] as? NSNumber)?.uint64Value)
    #expect(number("cluster_size") == (info["cluster-size"] as? NSNumber)?.uint64Value)
    #expect(line["dirty"] as? Bool == info["dirty-flag"] as? Bool)
    #expect(number("host_bytes") == (info["actual-size"] as? NSNumber)?.uint64Value)
    if line["snapshots"] is NSNull {
      #expect(verdict != "clean", "\(image)")
    } else {
      #expect(number("snapshots") == UInt64((info["snapshots"] as? [Any])?.count ?? 0))
    }
    #expect(line["backing"] as? String == info["backing-filename"] as? String)
    if let ladder = try json(judge, ["ladder", "--json", image])?["rungs"] as? [Line] {
      func rung(_ name: String) -> UInt64? {
        (ladder.first { $0["name"] as? String == name }?["bytes"] as? NSNumber)?.uint64Value
      }
      // Of damaged tables nobody knows what they map.
      if line["mapped_bytes"] is NSNull {
        #expect(verdict != "clean" && line["compressed_bytes"] is NSNull, "\(image)")
      } else {
        #expect(number("mapped_bytes") == rung("mapped"), "\(image)")
        #expect(number("compressed_bytes") == rung("compressed") ?? 0, "\(image)")
      }
      #expect(number("snapshot_bytes") ?? 0 == rung("snapshots alone") ?? 0, "\(image)")
      #expect(number("bytes") == rung("file length"))
    }
    if let totals = try json(judge, ["layout", "--summary", "--json", image])?["totals"] as? Line {
      for (ours, theirs) in [
        ("free_end_bytes", "could be cut"), ("leaked_bytes", "could be freed"),
        ("free_inside_bytes", "could be compacted"),
      ] {
        let isKnown = verdict == "clean" || verdict == "leaks"
        #expect(
          number(ours) == (isKnown ? (totals[theirs] as? NSNumber)?.uint64Value : nil), "\(image) \(ours)")
      }
    }
    if let frag = try json(judge, ["frag", "--json", image]) {
      let order = (frag["all"] as? Line)?["guest-order"] as? Line
      #expect(number("runs") == (order?["runs"] as? NSNumber)?.uint64Value, "\(image)")
      #expect(number("best_runs") == (order?["best-possible"] as? NSNumber)?.uint64Value, "\(image)")
      let tally = frag["qemu-img-check"] as? Line
      #expect(line["fragmented_percent"] as? Double == tally?["percent-fragmented"] as? Double, "\(image)")
    }
  }

  @Test("the figures are those of info, ladder, layout, frag and check", arguments: FragTests.Source.all)
  func figures(_ source: FragTests.Source) throws {
    let judge = try Judge()
    try source.make(judge, "image")
    let lines = try fleet(judge, ["image"])
    #expect(lines.count == 1)
    let line = try #require(lines.first)
    #expect(line["error"] is NSNull)
    #expect(line["stamp"] as? String != nil)
    try compare(line, judge, "image")
  }

  @Test("damaged images have the figures and the verdict of the same commands, and stop nothing")
  func damage() throws {
    let judge = try Judge()
    var random = SplitMix64(seed: 23)
    let sources: [FragTests.Source] = [.recipe(0), .recipe(3), .snapshot, .compressed, .dataFile, .recipe(6)]
    for (index, source) in sources.enumerated() {
      try source.make(judge, "image\(index).qcow2")
      let sound = try #require(judge.bytes("image\(index).qcow2"))
      for variant in 0..<6 {
        var bytes = sound
        // The first clusters hold the header and the tables.
        for _ in 0..<(1 << variant) {
          let place = Int(random.next() % UInt64(min(bytes.count, 6 << 16)))
          bytes[place] = UInt8(truncatingIfNeeded: random.next())
        }
        if variant == 5 { bytes = bytes.prefix(bytes.count / 2) }
        try bytes.write(to: URL(fileURLWithPath: judge.path("bad\(index)-\(variant).qcow2")))
      }
    }
    let lines = try fleet(judge, [".", "--all-files"])
    let byName = Dictionary(uniqueKeysWithValues: lines.map { ($0["path"] as? String ?? "", $0) })
    for index in sources.indices {
      for variant in 0..<6 {
        let name = "bad\(index)-\(variant).qcow2"
        let line = try #require(byName["./" + name])
        // Bytes that are no image any more are told as what they are.
        guard line["format"] as? String == "qcow2" else { continue }
        try compare(line, judge, name)
      }
    }
  }

  @Test("what damage hides is not known: no number stands for it")
  func unknown() throws {
    let judge = try Judge()
    _ = try judge.shell(
      "qemu-img create -q -f qcow2 a.qcow2 64M && qemu-io -f qcow2 -c 'write -q 0 1M' -c 'write -q 8M 64k' a.qcow2 && qemu-img snapshot -c s a.qcow2"
    )
    let sound = try #require(judge.bytes("a.qcow2"))
    func damaged(_ offset: Int, _ bytes: [UInt8]) throws -> Line {
      var image = sound
      image.replaceSubrange(offset..<offset + bytes.count, with: bytes)
      try image.write(to: URL(fileURLWithPath: judge.path("bad.qcow2")))
      return try #require(try fleet(judge, ["bad.qcow2"]).first)
    }
    let whole = try #require(try fleet(judge, ["a.qcow2"]).first)
    #expect((whole["mapped_bytes"] as? NSNumber)?.intValue == 1 << 20 + 65536)
    #expect((whole["snapshots"] as? NSNumber)?.intValue == 1 && whole["leaked_bytes"] is NSNumber)
    let l1 = Int(sound[40..<48].reduce(0) { $0 << 8 | UInt64($1) })
    let table = Int(sound[48..<56].reduce(0) { $0 << 8 | UInt64($1) })
    // An entry of the L1 table, the place of that table, an entry of the refcount table.
    for (offset, bytes) in [
      (l1, [0x80, 0, 0, 0x7f, 0xff, 0xff, 0, 0]), (40, [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]),
      (table, [UInt8](repeating: 0xff, count: 8)),
    ] {
      let line = try damaged(offset, bytes)
      for name in ["leaked_bytes", "free_inside_bytes", "free_end_bytes"] {
        #expect(line[name] is NSNull, "\(offset): \(name)")
      }
      if offset != table { #expect(line["mapped_bytes"] is NSNull, "\(offset)") }
    }
    // The table of snapshots lies behind the end of the file.
    #expect(try damaged(64, [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0])["snapshots"] is NSNull)
  }

  @Test("whatever is named has a line, and in folders only images have one")
  func kinds() throws {
    let judge = try prepared()
    let manager = FileManager.default
    try manager.createDirectory(atPath: judge.path("sub/deep"), withIntermediateDirectories: true)
    try manager.copyItem(atPath: judge.path("a.qcow2"), toPath: judge.path("sub/deep/c"))
    try Data("no image".utf8).write(to: URL(fileURLWithPath: judge.path("sub/notes.txt")))
    try Data(count: 4096).write(to: URL(fileURLWithPath: judge.path("sub/lost.qcow2")))
    try Data().write(to: URL(fileURLWithPath: judge.path("sub/empty.qcow2")))
    try manager.createSymbolicLink(atPath: judge.path("sub/loop"), withDestinationPath: "..")
    try manager.createSymbolicLink(atPath: judge.path("sub/link.qcow2"), withDestinationPath: "../a.qcow2")
    _ = try judge.shell("mkfifo sub/pipe.qcow2")
    func paths(_ words: [String]) throws -> [String] {
      try fleet(judge, words).map { $0["path"] as? String ?? "" }
    }
    let images = [
      "sub/deep/c", "sub/empty.qcow2", "sub/lost.qcow2",
    ]
    #expect(try paths(["sub"]) == images)
    #expect(try paths(["sub/"]) == images)
    #expect(try paths(["sub", "sub/deep/c", "sub"]) == images)
    #expect(try paths(["sub", "--all-files"]) == images + ["sub/notes.txt"])
    let named = try fleet(judge, ["nothing", "sub/pipe.qcow2", "sub/notes.txt", "sub/link.qcow2"])
    #expect(
      named.map { $0["path"] as? String } == ["nothing", "sub/link.qcow2", "sub/notes.txt", "sub/pipe.qcow2"])
    #expect(named[0]["error"] is String && named[3]["error"] is String)
    #expect(named[1]["check"] as? String == "clean")
    #expect(named[2]["format"] as? String == "raw" && named[2]["check"] is NSNull)
    let lost = try fleet(judge, ["sub"]).filter { $0["error"] is String }
    #expect(lost.map { $0["path"] as? String } == ["sub/empty.qcow2", "sub/lost.qcow2"])
  }

  @Test("a chain is told by its files; what lies elsewhere is opened for those who trust it alone")
  func chains() throws {
    let judge = try prepared()
    try FileManager.default.createDirectory(atPath: judge.path("in"), withIntermediateDirectories: true)
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "../over.qcow2", "-F", "qcow2", "in/x.qcow2"])
    try judge.must(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", "-u", "lone.qcow2", "1M"])
    let lines = try fleet(judge, ["over.qcow2", "in", "lone.qcow2"])
    let real = try judge.shell("pwd -P").stdout.trimmingCharacters(in: .newlines)
    #expect(lines.map { $0["path"] as? String } == ["in/x.qcow2", "lone.qcow2", "over.qcow2"])
    #expect(lines[0]["chain"] as? [String] == ["in/../over.qcow2"])
    #expect((lines[0]["chain_error"] as? String)?.contains("--allow-outside opens it") == true)
    #expect(lines[0]["parent"] as? String == real + "/over.qcow2")
    #expect(lines[0]["check"] as? String == "clean")
    #expect(lines[1]["chain_error"] is String && lines[1]["depth"] as? Int == 1)
    #expect(lines[2]["chain"] as? [String] == ["a.qcow2"])
    #expect(lines[2]["chain_error"] is NSNull)
    #expect(lines[2]["parent"] as? String == real + "/a.qcow2")
    let trusted = try fleet(judge, ["in", "--trust", "."])
    #expect(trusted[0]["chain"] as? [String] == ["in/../over.qcow2", "in/../a.qcow2"])
    #expect(trusted[0]["depth"] as? Int == 2 && trusted[0]["chain_error"] is NSNull)

    // Who trusts more has the line made anew, who trusts as before has not.
    try age(judge)
    _ = try judge.ours(["fleet", "in", "--resume", "lines"])
    #expect(
      try judge.ours(["fleet", "in", "--resume", "lines"]).output.contains("0 files looked at, 1 unchanged"))
    let more = try judge.ours(["fleet", "in", "--resume", "lines", "--allow-outside"])
    #expect(more.output.contains("1 file looked at, 0 unchanged"))
    // A layer below that changes is a change.
    try judge.must("qemu-io", ["-f", "qcow2", "a.qcow2"], stdin: "write 5M 64k\n")
    try age(judge, "a.qcow2")
    let below = try judge.ours(["fleet", "in", "--resume", "lines", "--allow-outside"])
    #expect(below.output.contains("1 file looked at, 0 unchanged"))
  }

  @Test("an image that another program writes is looked at without a check")
  func locked() throws {
    let judge = try prepared()
    let result = try judge.shell(
      """
      coproc qemu-io -f qcow2 b.qcow2
      echo 'write 6M 64k' >&${COPROC[1]}
      read -r answer <&${COPROC[0]}
      "$Q" fleet b.qcow2 a.qcow2
      "$Q" fleet b.qcow2 --resume lines
      echo quit >&${COPROC[1]}
      wait $COPROC_PID
      "$Q" fleet b.qcow2 --resume lines
      cat lines
      """)
    let printed = result.stdout.split(separator: "\n").map(String.init)
    let lines = try Self.lines(printed.filter { $0.hasPrefix("{") }.joined(separator: "\n"))
    try #require(lines.count == 3, "\(result.stdout)\(result.stderr)")
    #expect(lines[0]["locked"] as? Bool == false && lines[0]["check"] as? String == "clean")
    #expect(lines[1]["locked"] as? Bool == true && lines[1]["check"] as? String == "not checked")
    #expect(lines[1]["check_reason"] as? String == "another program writes it")
    #expect(lines[1]["virtual_bytes"] as? Int == 8 << 20)
    #expect(lines[1]["error"] is NSNull)
    #expect(lines[2]["locked"] as? Bool == false && lines[2]["check"] as? String == "clean")
    #expect(printed.filter { $0.contains("1 file looked at, 0 unchanged") }.count == 2)
  }

  /// Lines without what differs from run to run.
  private static func settled(_ lines: [Line]) -> [String: String] {
    var result: [String: String] = [:]
    for var line in lines {
      line["seconds"] = nil
      let path = "\(line["path"] ?? "") \(line["path_hex"] ?? "")"
      #expect(result[path] == nil, "\(path) twice")
      result[path] = line.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: "\n")
    }
    return result
  }

  @Test("killed and started again, the file ends with each image once at its newest state")
  func killed() throws {
    let judge = try prepared()
    try FileManager.default.createDirectory(atPath: judge.path("many"), withIntermediateDirectories: true)
    for index in 0..<300 {
      let from = index % 3 == 0 ? "a" : "b"
      try FileManager.default.copyItem(
        atPath: judge.path("\(from).qcow2"), toPath: judge.path("many/\(index).qcow2"))
    }
    try age(judge)
    let whole = Self.settled(try fleet(judge, ["many"]))
    #expect(whole.count == 300)
    var random = SplitMix64(seed: 5)
    var largest = 0
    for round in 0..<12 {
      let pause = 0.002 * Double(random.next() % 20)
      _ = try judge.shell(
        "\"$Q\" fleet many --resume lines -j 2 & p=$!; sleep \(pause); kill -9 $p 2>/dev/null; wait $p; true")
      let bytes = judge.bytes("lines") ?? Data()
      // Whatever is there is whole lines, but for the last.
      let text = String(decoding: bytes, as: UTF8.self)
      let whole = text.lastIndex(of: "\n").map { String(text[...$0]) } ?? ""
      largest = max(largest, try Self.lines(whole).count)
      // What a kill in the middle of a write leaves.
      if round % 3 == 1, !bytes.isEmpty {
        let torn = Data(bytes.split(separator: 10).last.map { $0.prefix(40) } ?? Data())
        try (Data(whole.utf8) + torn).write(to: URL(fileURLWithPath: judge.path("lines")))
      }
      if round % 4 == 3 {
        try judge.must("qemu-io", ["-f", "qcow2", "many/\(round).qcow2"], stdin: "write 6M 64k\n")
        try age(judge, "many/\(round).qcow2")
        try FileManager.default.removeItem(atPath: judge.path("many/\(100 + round).qcow2"))
      }
    }
    let last = try judge.ours(["fleet", "many", "--resume", "lines"])
    #expect(last.status == 0, "\(last)")
    let text = String(decoding: judge.bytes("lines") ?? Data(), as: UTF8.self)
    let lines = try Self.lines(text)
    let now = try fleet(judge, ["many"])
    #expect(Self.settled(lines) == Self.settled(now))
    #expect(lines.map { $0["path"] as? String } == now.map { $0["path"] as? String })
    #expect(now.count == 297)
    let again = try judge.ours(["fleet", "many", "--resume", "lines"])
    #expect(again.output == "0 files looked at, 297 unchanged, 0 with an error\n")
    #expect(String(decoding: judge.bytes("lines") ?? Data(), as: UTF8.self) == text)
  }

  @Test("a file that holds something else stays as it is, and so does one that another run writes")
  func otherFiles() throws {
    let judge = try prepared()
    for (name, text) in [("words", "some\nwords\n"), ("short", "x"), ("object", "{\"path\": \"a\"}\n")] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: judge.path(name)))
      let result = try judge.ours(["fleet", "a.qcow2", "--resume", name])
      #expect(result.status == 1 && result.errors.contains("stays as it is"), "\(result)")
      #expect(judge.bytes(name) == Data(text.utf8))
    }
    let before = judge.bytes("b.qcow2")
    #expect(try judge.ours(["fleet", "a.qcow2", "--resume", "b.qcow2"]).status == 1)
    #expect(judge.bytes("b.qcow2") == before)
    #expect(try judge.ours(["fleet", "a.qcow2", "-o", "new"]).status == 0)
    let refused = try judge.ours(["fleet", "a.qcow2", "-o", "new"])
    #expect(refused.status == 1 && refused.errors.contains("--resume goes on with it"))
  }

  @Test("shares are stable and add up to the whole", arguments: [2, 7])
  func shares(_ count: Int) throws {
    let judge = try prepared()
    for index in 0..<40 {
      try FileManager.default.copyItem(
        atPath: judge.path("a.qcow2"), toPath: judge.path("copy \(index).qcow2"))
    }
    try age(judge)
    let whole = Self.settled(try fleet(judge, ["."]))
    var sum: [String: String] = [:]
    var sizes: [Int] = []
    for share in 1...count {
      let part = Self.settled(try fleet(judge, [".", "--shard", "\(share)/\(count)"]))
      #expect(part.keys == Self.settled(try fleet(judge, [".", "--shard", "\(share)/\(count)"])).keys)
      sizes.append(part.count)
      sum.merge(part) { _, _ in
        Issue.record("an image is in two shares")
        return ""
      }
    }
    #expect(sum == whole)
    // No share is out of all proportion.
    #expect(sizes.allSatisfy { $0 < 4 * whole.count / count }, "\(sizes)")
    for wrong in ["0/2", "3/2", "1", "1/2/3", "a/b", "1/0"] {
      #expect(try judge.ours(["fleet", ".", "--shard", wrong]).status == 1, "\(wrong)")
    }
  }

  @Test("names are bytes: what they hold stays in its line, and is found again")
  func hostileNames() throws {
    let judge = try prepared()
    let names: [[UInt8]] = [
      Array("line\nend".utf8), Array("quo\"te\\".utf8), Array("tab\t\u{1b}[2J".utf8), [0xff, 0xfe, 0x41],
      [0x41, 0xc3], Array("\u{202e}turned".utf8), Array("-o".utf8), Array("nul:l".utf8),
      Array("\u{10ff80}".utf8), Array(repeating: 0x61, count: 255),
    ]
    _ = try judge.shell(
      "mkdir h; " + names.map { "cp a.qcow2 h/\(Judge.quoted($0))" }.joined(separator: "; "))
    try age(judge)
    let lines = try fleet(judge, ["h"])
    #expect(lines.count == names.count)
    #expect(lines.allSatisfy { $0["check"] as? String == "clean" })
    #expect(lines.filter { $0["path_hex"] is String }.count == 3)
    let given = try judge.shell("find h -type f -print0 | \"$Q\" fleet -")
    #expect(Self.settled(try Self.lines(given.stdout)) == Self.settled(lines))
    _ = try judge.shell("find h -type f -print0 > list")
    #expect(Self.settled(try fleet(judge, ["--from", "list"])) == Self.settled(lines))
    #expect(try fleet(judge, ["-"], stdin: "a.qcow2\nb.qcow2\n").count == 2)
    _ = try judge.ours(["fleet", "h", "--resume", "lines"])
    let again = try judge.ours(["fleet", "h", "--resume", "lines"])
    #expect(again.output == "0 files looked at, \(names.count) unchanged, 0 with an error\n")
    for byte in try fleetBytes(judge, "h") { #expect(byte == 10 || byte >= 0x20 && byte < 0x7f) }
    // Not with a name of an option that is no option.
    #expect(try judge.ours(["fleet"]).status == 1)
  }

  private func fleetBytes(_ judge: Judge, _ folder: String) throws -> [UInt8] {
    Array(try judge.ours(["fleet", folder]).output.utf8)
  }

  @Test("memory stays as it is, however many images there are, and however large")
  func memory() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "seed", "64G"])
    let writes = (0..<400).map { "write \($0 * 150)M 64k" }.joined(separator: "\n") + "\n"
    try judge.must("qemu-io", ["-f", "qcow2", "-t", "unsafe", "seed"], stdin: writes)
    _ = try judge.shell("mkdir many; for i in $(seq 200); do cp --sparse=always seed many/$i; done")
    let result = try judge.shell("ulimit -d 131072; \"$Q\" fleet many -j 4 | wc -l", timeout: 120)
    #expect(result.stdout.trimmingCharacters(in: .whitespacesAndNewlines) == "200", "\(result.stderr)")
  }
}
