// What the user has said about files outside of an image's folder: folders that are trusted, names given
// by hand, answers. And that none of it lets a stranger's image in.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct TrustTests {
  /// A folder `in` for images and a folder `far` with files that they name.
  private func prepared() throws -> Judge {
    let judge = try Judge()
    for name in ["in", "far", "config/qatlas", "state"] {
      try FileManager.default.createDirectory(atPath: judge.path(name), withIntermediateDirectories: true)
    }
    for (name, byte) in [("secret", 0x53), ("base", 0x42)] as [(String, UInt8)] {
      try Data(repeating: byte, count: 65536).write(to: URL(fileURLWithPath: judge.path("far/\(name).raw")))
    }
    return judge
  }

  /// Runs ours as a user with folders of his own.
  private func ours(_ judge: Judge, _ arguments: String...) throws -> Printed {
    try judge.ours(
      arguments, ["XDG_CONFIG_HOME": judge.path("config"), "XDG_STATE_HOME": judge.path("state")])
  }

  private func reads(_ judge: Judge, _ byte: Int, _ image: String) throws -> Bool {
    try ours(judge, "io", "-r", "-c", "read -P \(byte) 0 512", image).status == 0
  }

  private static let refusal = "it lies outside of the folder of the image; --allow-outside opens it"

  private func isRefused(_ judge: Judge, _ image: String) throws -> Bool {
    let result = try ours(judge, "map", image)
    return result.status == 1 && result.errors.contains(Self.refusal)
  }

  @Test("folders of the configuration and of --trust are open, others are not")
  func folders() throws {
    let judge = try prepared()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "../far/base.raw", "-F", "raw", "in/a.qcow2"])
    #expect(try isRefused(judge, "in/a.qcow2"))
    #expect(try ours(judge, "map", "--trust", "state", "in/a.qcow2").errors.contains(Self.refusal))
    #expect(try ours(judge, "map", "--trust=far", "in/a.qcow2").status == 0)
    let configuration = URL(fileURLWithPath: judge.path("config/qatlas/config"))
    for (line, isOpen) in [
      ("--trust=\(judge.path("far"))", true), ("--trust=\(judge.path("far"))/", true), ("--trust=/", true),
      ("--trust=\(judge.path("fa"))", false), ("# --trust=\(judge.path("far"))", false),
      ("--trust=far", false),
      ("--trust=", false),
    ] {
      try Data("# the images of all machines\n\(line)\n--ascii\n".utf8).write(to: configuration)
      #expect(try reads(judge, 0x42, "in/a.qcow2") == isOpen, "\(line)")
    }
  }

  @Test("a line of the configuration that cannot be followed is named, once, where the folders are asked for")
  func wrongLines() throws {
    let judge = try prepared()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "../far/base.raw", "-F", "raw", "in/a.qcow2"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "in/b.qcow2"])
    let path = judge.path("config/qatlas/config")
    for (line, reason) in [
      ("--trust=far", "needs a path from / or ~/ on"), ("--trusted=/", "is not known; the lines are "),
      ("key = 5 undo", "binds a digit"),
    ] {
      try Data("# folders\n\n--ascii\n \(line)\n--trust=\(judge.path("far"))\n".utf8).write(
        to: URL(fileURLWithPath: path))
      let said = "qatlas: \(path), line 4: '\(line)' \(reason)"
      for arguments in [["map", "in/b.qcow2"], ["io", "-r", "-c", "read -P 0x42 0 512", "in/b.qcow2"]] {
        let done = try judge.ours(
          arguments, ["XDG_CONFIG_HOME": judge.path("config"), "XDG_STATE_HOME": judge.path("state")])
        #expect(done.status == 0, "\(done)")
        let lines = done.errors.split(separator: "\n")
        #expect(
          lines.count == 1
            && lines[0].hasPrefix(said.replacing("qatlas: ", with: "TOOL: ", maxReplacements: 1)),
          "\(done)")
      }
    }
  }

  @Test("what create was given by hand is not refused by the next command")
  func byHand() throws {
    let judge = try prepared()
    let made = try ours(
      judge, "create", "-q", "-b", judge.path("far/base.raw"), "-F", "raw", "-o", "data_file=far/d.raw",
      "in/a.qcow2")
    #expect(made.status == 0, "\(made)")
    #expect(
      try ours(judge, "io", "-c", "write -P 1 4k 4k", "-c", "read -P 0x42 0 4k", "in/a.qcow2").status == 0)
    #expect(try ours(judge, "info", "--backing-chain", "in/a.qcow2").status == 0)
    // Only for that user: it is his hand.
    #expect(try judge.ours(["map", "in/a.qcow2"]).errors.contains(Self.refusal))
    // The file may get another name, and a layer in between may name what lies beside it.
    #expect(try ours(judge, "create", "-q", "-b", "base.raw", "-F", "raw", "far/mid.qcow2").status == 0)
    #expect(
      try ours(judge, "create", "-q", "-b", "../far/mid.qcow2", "-F", "qcow2", "in/b.qcow2").status == 0)
    try FileManager.default.moveItem(atPath: judge.path("in/b.qcow2"), toPath: judge.path("in/c d%.qcow2"))
    #expect(try reads(judge, 0x42, "in/c d%.qcow2"))
    // An image of the same name that names nothing by hand is an image like any other.
    #expect(try ours(judge, "create", "-q", "in/a.qcow2", "64k").status == 0)
    try judge.must(
      "qemu-img", ["rebase", "-u", "-b", judge.path("far/base.raw"), "-F", "raw", "in/a.qcow2"])
    #expect(try isRefused(judge, "in/a.qcow2"))
  }

  @Test("an image that takes the place of a known one is a stranger")
  func strangers() throws {
    let judge = try prepared()
    #expect(try ours(judge, "create", "-q", "-b", "../far/base.raw", "-F", "raw", "in/a.qcow2").status == 0)
    #expect(try reads(judge, 0x42, "in/a.qcow2"))
    func evil(_ options: [String], _ name: String) throws {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2"] + options + [name, "64k"])
    }
    // Its bytes in the known file: it may name the known backing file, and nothing else.
    try evil(["-b", "../far/secret.raw", "-F", "raw"], "in/evil.qcow2")
    let known = try #require(FileHandle(forWritingAtPath: judge.path("in/a.qcow2")))
    try known.write(contentsOf: try #require(judge.bytes("in/evil.qcow2")))
    #expect(try isRefused(judge, "in/a.qcow2"))
    try evil(
      ["-b", "../far/base.raw", "-F", "raw", "-o", "data_file=\(judge.path("far/new.raw"))"], "in/evil.qcow2")
    try known.seek(toOffset: 0)
    try known.write(contentsOf: try #require(judge.bytes("in/evil.qcow2")))
    #expect(try isRefused(judge, "in/a.qcow2"), "a data file beside a trusted backing file")
    // Another file with the name, or with the inode, of the known one.
    try evil(["-b", "../far/base.raw", "-F", "raw"], "in/evil.qcow2")
    let bytes = try #require(judge.bytes("in/evil.qcow2"))
    try FileManager.default.removeItem(atPath: judge.path("in/a.qcow2"))
    for _ in 0..<20 {
      try bytes.write(to: URL(fileURLWithPath: judge.path("in/a.qcow2")))
      #expect(try isRefused(judge, "in/a.qcow2"))
      try FileManager.default.removeItem(atPath: judge.path("in/a.qcow2"))
    }
  }

  @Test("what is remembered stays short")
  func bounded() throws {
    let judge = try prepared()
    let lines = (0..<1500).map { "\($0):1 /far\n" }.joined()
    try FileManager.default.createDirectory(
      atPath: judge.path("state/qatlas"), withIntermediateDirectories: true)
    try Data(lines.utf8).write(to: URL(fileURLWithPath: judge.path("state/qatlas/named-files")))
    #expect(try ours(judge, "create", "-q", "-b", "../far/base.raw", "-F", "raw", "in/a.qcow2").status == 0)
    #expect(try reads(judge, 0x42, "in/a.qcow2"))
    let kept = try #require(judge.bytes("state/qatlas/named-files"))
    #expect(kept.filter { $0 == UInt8(ascii: "\n") }.count == 501)
  }

  /// Starts the explorer on `in/a.qcow2` and waits for its question or its first picture.
  private func explorer(_ judge: Judge, waitFor text: String) throws -> PtySession {
    let session = try PtySession(
      judge.qatlas, ["--ascii", judge.path("in/a.qcow2")], columns: 160, rows: 40,
      environment: testEnvironment(
        ["XDG_CONFIG_HOME": judge.path("config"), "XDG_STATE_HOME": judge.path("state")]))
    try session.waitFor(text)
    return session
  }

  @Test("the explorer asks once, naming the file, and goes on without it on no")
  func question() throws {
    let judge = try prepared()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "../far/base.raw", "-F", "raw", "in/a.qcow2"])
    for (answer, isOpen) in [("n", false), ("", false), ("y", true), ("a", true)] {
      let session = try explorer(judge, waitFor: "go on without it [n]")
      #expect(session.screen.text.contains("far/base.raw,"))
      if answer == "y" {
        // Anything else is asked again.
        session.send("what?\r")
        try session.waitUntil("the second question") {
          $0.text.components(separatedBy: "go on without it").count == 3
        }
      }
      session.send(answer + "\r")
      try session.waitFor("1 Guest map")
      session.settle()
      #expect(session.screen.text.contains("layer 1 of 2 is missing") != isOpen, "\(session.screen.text)")
      #expect(session.screen.text.contains("read-only, without a layer:") != isOpen)
      session.send("q")
      #expect(try session.waitForExit() == 0)
    }
    // "Always" was the last answer.
    let session = try explorer(judge, waitFor: "1 Guest map")
    #expect(!String(decoding: session.received, as: UTF8.self).contains("go on without it"))
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(try reads(judge, 0x42, "in/a.qcow2"))
  }
}
