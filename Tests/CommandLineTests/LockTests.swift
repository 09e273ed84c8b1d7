// Locks between this program and the genuine tools, both ways: who holds an image decides who may
// open it, and both say the same.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct LockTests {
  /// Requests for an image that is in use, as arguments of the genuine tool and of ours.
  private static let requests: [(tool: String, arguments: [String])] = [
    ("qemu-io", ["-c", "length", "a.qcow2"]), ("qemu-io", ["-r", "-c", "length", "a.qcow2"]),
    ("qemu-io", ["-U", "-r", "-c", "length", "a.qcow2"]), ("qemu-io", ["-U", "-c", "length", "a.qcow2"]),
    ("qemu-io", ["-s", "-c", "length", "a.qcow2"]), ("qemu-io", ["-c", "length", "m.qcow2"]),
    ("qemu-io", ["-r", "-c", "length", "m.qcow2"]), ("qemu-img", ["map", "a.qcow2"]),
    ("qemu-img", ["map", "-U", "a.qcow2"]),
    ("qemu-img", ["check", "a.qcow2"]), ("qemu-img", ["check", "-U", "a.qcow2"]),
    ("qemu-img", ["map", "m.qcow2"]),
    ("qemu-img", ["map", "over.qcow2"]),
    ("qemu-img", ["map", "-U", "over.qcow2"]),
    ("qemu-img", ["create", "-f", "qcow2", "a.qcow2", "1M"]),
    ("qemu-img", ["create", "-f", "qcow2", "m.qcow2", "1M"]),
    ("qemu-img", ["create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "new.qcow2"]),
    ("qemu-img", ["resize", "a.qcow2", "4M"]),
    ("qemu-io", ["-r", "--image-opts", "-c", "length", "driver=qcow2,file.filename=a.qcow2,force-share=on"]),
    ("qemu-io", ["-r", "--image-opts", "-c", "length", "driver=qcow2,file.filename=a.qcow2"]),
  ]

  private func prepared() throws -> Judge {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "b.raw", "1M"])
    for (name, below, format) in [
      ("m", "b.raw", "raw"), ("a", "m.qcow2", "qcow2"), ("over", "a.qcow2", "qcow2"),
    ] {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", below, "-F", format, "\(name).qcow2"])
    }
    return judge
  }

  /// Holds an image open while `body` runs, which is told the number of the process.
  private func holding(
    _ judge: Judge, _ program: String, _ arguments: [String], _ body: (Int32) throws -> Void
  ) throws {
    let input = Pipe()
    let output = Pipe()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program.contains("/") ? program : try requireTool(program))
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: judge.folder.path)
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    defer {
      try? input.fileHandleForWriting.close()
      process.waitUntilExit()
    }
    // Its first answer says that the image is open.
    try input.fileHandleForWriting.write(contentsOf: Data("length\n".utf8))
    var said = Data()
    while !String(decoding: said, as: UTF8.self).contains("MiB") {
      let piece = output.fileHandleForReading.availableData
      guard !piece.isEmpty else { throw TestFailure("\(program) \(arguments) did not open its image") }
      said += piece
    }
    try body(process.processIdentifier)
  }

  /// The lock bytes that a process holds on a file. The kernel's list of all locks is torn while other
  /// programs take and give back theirs; that of one open file is not.
  private func locks(_ judge: Judge, _ name: String, of process: Int32) throws -> Set<String> {
    let inode = try #require(
      try FileManager.default.attributesOfItem(atPath: judge.path(name))[.systemFileNumber] as? NSNumber)
    var bytes: Set<String> = []
    for number in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fdinfo") {
      let list = try String(contentsOfFile: "/proc/\(process)/fdinfo/\(number)", encoding: .utf8)
      for line in list.split(separator: "\n") where line.hasPrefix("lock:") {
        let words = line.dropFirst("lock:".count).split { $0 == " " || $0 == "\t" }
        guard words.count == 8, words[1] == "OFDLCK", words[5].hasSuffix(":\(inode)") else { continue }
        bytes.insert("\(words[3]) \(words[6])-\(words[7])")
      }
    }
    return bytes
  }

  @Test(
    "the same locks are held, and the same requests fail with the same words",
    arguments: [[], ["-r"], ["-r", "-U"], ["-s"]])
  func sameLocks(options: [String]) throws {
    let judge = try prepared()
    let before = judge.bytes("a.qcow2")
    var held: [[Set<String>]] = []
    for holder in ["qemu-io", judge.qatlas] {
      let words = holder == "qemu-io" ? options : ["io"] + options
      try holding(judge, holder, words + ["a.qcow2"]) { process in
        held.append(try ["a.qcow2", "m.qcow2", "b.raw"].map { try locks(judge, $0, of: process) })
        for (tool, arguments) in Self.requests {
          // Those that succeed must not change what the next one finds.
          if !options.isEmpty, arguments[0] == "create" || arguments[0] == "resize" { continue }
          let genuine = try judge.genuine(tool, arguments)
          try? FileManager.default.removeItem(atPath: judge.path("new.qcow2"))
          let ours = try judge.ours((tool == "qemu-io" ? ["io"] : []) + arguments)
          #expect(ours == genuine, "\(arguments) while \(words) holds the image")
          try? FileManager.default.removeItem(atPath: judge.path("new.qcow2"))
        }
        if options.isEmpty { #expect(judge.bytes("a.qcow2") == before) }
      }
    }
    #expect(held.first == held.last)
    #expect(held.first?.first?.isEmpty == false)
  }

  @Test("a data file is locked as the genuine tool locks it", arguments: [[], ["-r"], ["-r", "-U"]])
  func dataFile(options: [String]) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "a.qcow2", "1M"])
    var held: [[Set<String>]] = []
    for holder in ["qemu-io", judge.qatlas] {
      try holding(judge, holder, (holder == "qemu-io" ? options : ["io"] + options) + ["a.qcow2"]) {
        process in
        held.append(try ["a.qcow2", "d.raw"].map { try locks(judge, $0, of: process) })
      }
    }
    #expect(held.first == held.last)
    #expect(held.first?.first?.isEmpty == false)
  }

  @Test("the explorer refuses an image in use, names the flag, and looks at it with the flag")
  func explorer() throws {
    let judge = try prepared()
    try Data("".utf8).write(to: URL(fileURLWithPath: judge.path("nothing")))
    try holding(judge, "qemu-io", ["a.qcow2"]) { _ in
      for mode in [[], ["--rw"], ["--ro"]] {
        let refused = try judge.ours(mode + ["--script", "nothing", "a.qcow2"])
        #expect(refused.status == 1)
        #expect(
          refused.errors.contains(
            "write\" lock\nIs another process using the image [a.qcow2]?\n-U opens the image"), "\(refused)")
      }
      #expect(try judge.ours(["-U", "--script", "nothing", "a.qcow2"]).status == 0)
    }
    // A reader that wants the image to stand still keeps a save away, and only that.
    try Data(":write -P 0x41 0 64k\n:w\n".utf8).write(to: URL(fileURLWithPath: judge.path("save")))
    try holding(judge, "qemu-io", ["-r", "a.qcow2"]) { _ in
      let before = judge.bytes("a.qcow2")
      let refused = try judge.ours(["--script", "save", "a.qcow2"])
      #expect(refused.status == 1)
      #expect(refused.errors.contains("Failed to get \"write\" lock"), "\(refused)")
      #expect(judge.bytes("a.qcow2") == before)
      #expect(try judge.ours(["--rw", "--script", "nothing", "a.qcow2"]).status == 1)
    }
    #expect(try judge.ours(["--script", "save", "a.qcow2"]).status == 0)
    try judge.must("qemu-io", ["-c", "read -P 0x41 0 64k", "a.qcow2"])
    do {
      let mode = "--rw"
      try Data(":write -P 0x42 64k 64k\n:write -P 0x43 128k 64k\n".utf8).write(
        to: URL(fileURLWithPath: judge.path("through")))
      #expect(try judge.ours([mode, "--script", "through", "a.qcow2"]).status == 0)
      try judge.must("qemu-io", ["-c", "read -P 0x42 64k 64k", "-c", "read -P 0x43 128k 64k", "a.qcow2"])
    }
    try judge.must("qemu-img", ["check", "-q", "a.qcow2"])
  }
}
