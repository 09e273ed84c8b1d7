// Changes of an image with an external data file: both files are touched by :w alone, hold what the genuine
// tool leaves, byte for byte, and a crash anywhere in a save leaves old or new bytes for every request.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DataFileChangeTests {
  private static let options = ["data_file_raw=off", "data_file_raw=on", "extended_l2=on"]

  /// A folder with an image of 4 MiB, its data in a second file.
  private func prepared(_ options: String) throws -> TemporaryDirectory {
    let folder = try TemporaryDirectory()
    func must(_ tool: String, _ arguments: [String]) throws {
      let result = try run(try requireTool(tool), arguments, directory: folder.path)
      guard result.status == 0 else { throw TestFailure("\(tool) \(arguments): \(result.stderr)") }
    }
    try must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw,\(options)", "a.qcow2", "4M"])
    try must(
      "qemu-io",
      [
        "-f", "qcow2", "-c", "write -P 1 0 192k", "-c", "write -P 2 1M 64k", "-c", "discard 64k 64k",
        "a.qcow2",
      ])
    return folder
  }

  private func bytes(_ folder: TemporaryDirectory, _ name: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path(name))))
  }

  /// The image of the folder in memory, with the storages that saves go to.
  private struct Opened {
    let explorer: Explorer
    let files: MemoryFiles
  }

  private func open(
    _ image: [UInt8], _ data: [UInt8], _ targets: (image: any Storage, data: any Storage)
  ) throws -> Opened {
    let files = MemoryFiles(image: targets.image)
    files.data = targets.data
    let base = MemoryStorage(name: "a.qcow2", bytes: image)
    let dataBase = MemoryStorage(name: "d.raw", bytes: data)
    let session = try Session(
      base, title: "a.qcow2", mode: .scratch, files: files, dataFile: dataBase)
    let explorer = Explorer(session, files: files, width: 120, height: 40, glyphs: .ascii)
    settle(explorer)
    return Opened(explorer: explorer, files: files)
  }

  static let lines = [
    "write -P 5 2M 100k", "write -P 6 4k 8k", "write -z 0 64k", "discard 1M 64k", "write -z -u 128k 64k",
    "write -P 7 64k 64k", "write -P 8 130k 1k", "discard 2M 64k", "write -P 9 1M 64k",
  ]

  @Test("both files are what the genuine tool leaves, after every save", arguments: options)
  func sameBytes(_ options: String) throws {
    let folder = try prepared(options)
    let start = (image: try bytes(folder, "a.qcow2"), data: try bytes(folder, "d.raw"))
    let targets = (
      image: MemoryStorage(name: "a.qcow2", bytes: start.image),
      data: MemoryStorage(name: "d.raw", bytes: start.data)
    )
    let opened = try open(start.image, start.data, targets)
    let explorer = opened.explorer
    #expect(explorer.title.contains("[scratch]"), "\(explorer.title) \(explorer.message ?? "")")
    var states = [start]
    for line in Self.lines {
      try ScriptRunner.run(":" + line, on: explorer)
      #expect(explorer.session.hasUnsavedChanges)
      // Nothing is in the files before :w.
      #expect(try targets.image.contents() == states[states.count - 1].image)
      #expect(try targets.data.contents() == states[states.count - 1].data)
      try ScriptRunner.run(":w", on: explorer)
      #expect(!explorer.session.hasUnsavedChanges && explorer.title.contains("saved"))
      let result = try run(
        try requireTool("qemu-io"), ["-d", "unmap", "-f", "qcow2", "-c", line, "a.qcow2"],
        directory: folder.path)
      #expect(result.status == 0, "\(result.stderr)")
      let judge = (image: try bytes(folder, "a.qcow2"), data: try bytes(folder, "d.raw"))
      #expect(try targets.image.contents() == judge.image, "the image after \(line)")
      #expect(try targets.data.contents() == judge.data, "the data after \(line)")
      states.append(judge)
    }
    // All the way back and forth, with and without a save between.
    for state in states.dropLast().reversed() {
      try ScriptRunner.run("u\n:w", on: explorer)
      #expect(try targets.image.contents() == state.image && targets.data.contents() == state.data)
    }
    try ScriptRunner.run(":redo 4\nu\nu\n:redo 3\n:w", on: explorer)
    #expect(try targets.image.contents() == states[5].image && targets.data.contents() == states[5].data)
    // A new change ends what could be done again, in both files.
    try ScriptRunner.run("u\n:write -P 3 3M 4k\n:w", on: explorer)
    #expect(throws: ScriptError.self) { try ScriptRunner.run("C-r", on: explorer) }
    #expect(!explorer.session.hasUnsavedChanges)
  }

  /// Every write of a save in the order in which they come, whichever file they go to.
  private final class Order: Storage {
    let isData: Bool
    let log: Log
    let below: MemoryStorage
    final class Log {
      var events: [(isData: Bool, change: (MemoryStorage) throws(StorageError) -> Void)] = []
    }
    init(_ isData: Bool, _ below: MemoryStorage, _ log: Log) {
      (self.isData, self.below, self.log) = (isData, below, log)
    }
    var name: String { below.name }
    var isWritable: Bool { true }
    var length: UInt64 { below.length }
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
      try below.read(at: offset, into: buffer)
    }
    private func both(_ change: @escaping (MemoryStorage) throws(StorageError) -> Void) throws(StorageError) {
      log.events.append((isData, change))
      try change(below)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
      let copy = [UInt8](bytes)
      try both { storage throws(StorageError) in try storage.write(copy, at: offset) }
    }
    func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
      try both { storage throws(StorageError) in try storage.writeZeroes(at: offset, count: count, tag: tag) }
    }
    func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
      try both { storage throws(StorageError) in try storage.punch(at: offset, count: count, tag: tag) }
    }
    func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
      try both { storage throws(StorageError) in try storage.truncate(to: length, tag: tag) }
    }
    func extent(at offset: UInt64) -> HostExtent { below.extent(at: offset) }
    func flush() throws(StorageError) {}
  }

  /// What the guest reads from the two files.
  private func guest(_ image: MemoryStorage, _ data: MemoryStorage) throws -> [UInt8] {
    var options = Image.Options()
    options.dataFile = data
    let image = try Image(image, options: options)
    var bytes = [UInt8](repeating: 0xaa, count: 4 << 20)
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return bytes
  }

  /// The first bytes of every 4 KiB, which every request covers whole or in blocks of 1 KiB.
  private func samples(_ bytes: [UInt8]) -> [UInt8] {
    stride(from: 0, to: bytes.count, by: 1024).map { bytes[$0] }
  }

  @Test("a crash between any two writes of a save leaves old or new bytes", arguments: options)
  func crashes(_ options: String) throws {
    let folder = try prepared(options)
    // What the data file holds where the guest has nothing must never be seen.
    var data = try bytes(folder, "d.raw")
    if options != "data_file_raw=on" {
      for index in 3 << 20..<data.count { data[index] = 0xee }
    }
    let image = try bytes(folder, "a.qcow2")
    let log = Order.Log()
    let targets = (
      image: MemoryStorage(name: "a.qcow2", bytes: image), data: MemoryStorage(name: "d.raw", bytes: data)
    )
    let opened = try open(
      image, data, (Order(false, targets.image, log), Order(true, targets.data, log)))
    let explorer = opened.explorer
    var known: [Set<UInt8>] = samples(try guest(targets.image, targets.data)).map { [$0] }
    let lines = Self.lines + ["write -P 4 3M 128k"]
    func note() throws {
      // The state in the explorer is one that bytes may be of.
      let overlay = explorer.session.overlay
      let shown = MemoryStorage(bytes: try overlay.bytes(at: 0, count: Int(overlay.length)))
      let other = try #require(explorer.session.dataOverlay)
      let shownData = MemoryStorage(bytes: try other.bytes(at: 0, count: Int(other.length)))
      for (index, byte) in samples(try guest(shown, shownData)).enumerated() { known[index].insert(byte) }
    }
    for line in lines {
      try ScriptRunner.run(":" + line, on: explorer)
      try note()
    }
    // Forth, then back to the middle and off to another end.
    try ScriptRunner.run(":w\n:undo 6", on: explorer)
    try ScriptRunner.run(":write -P 0x44 3584k 64k", on: explorer)
    try note()
    try ScriptRunner.run(":w\n:undo 5\n:w", on: explorer)
    #expect(try targets.image.contents() == image && targets.data.contents() == data)
    #expect(log.events.count(where: { $0.isData }) > 10 && log.events.count(where: { !$0.isData }) > 10)
    let crash = (
      image: MemoryStorage(name: "a.qcow2", bytes: image), data: MemoryStorage(name: "d.raw", bytes: data)
    )
    for (number, event) in log.events.enumerated() {
      try event.change(event.isData ? crash.data : crash.image)
      let seen = samples(try guest(crash.image, crash.data))
      for (index, byte) in seen.enumerated() where !known[index].contains(byte) {
        Issue.record(
          "after write \(number) of \(log.events.count): 0x\(String(byte, radix: 16)) at \(index) KiB")
        return
      }
    }
  }

  @Test("a save that fails in either file goes on where it stopped")
  func failures() throws {
    let folder = try prepared("data_file_raw=off")
    let start = (image: try bytes(folder, "a.qcow2"), data: try bytes(folder, "d.raw"))
    for number in [1, 2, 3, 5, 8, 12] {
      for failsData in [false, true] {
        let targets = (
          image: MemoryStorage(name: "a.qcow2", bytes: start.image),
          data: MemoryStorage(name: "d.raw", bytes: start.data)
        )
        let opened = try open(start.image, start.data, targets)
        let explorer = opened.explorer
        try ScriptRunner.run(Self.lines.map { ":" + $0 }.joined(separator: "\n"), on: explorer)
        let shown = try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length))
        let broken = FaultyStorage(failsData ? targets.data : targets.image, .fails, after: number)
        if failsData { opened.files.data = broken } else { opened.files.image = broken }
        _ = explorer.performLine(":w")
        guard explorer.messageIsError else { continue }
        #expect(explorer.session.hasUnsavedChanges)
        opened.files.data = targets.data
        opened.files.image = targets.image
        // One of the ways goes through an undo.
        try ScriptRunner.run(number % 2 == 0 ? "u\nC-r\n:w" : ":w", on: explorer)
        #expect(try targets.image.contents() == shown)
        try ScriptRunner.run(":undo 9\n:w", on: explorer)
        #expect(try targets.image.contents() == start.image && targets.data.contents() == start.data)
      }
    }
  }

  @Test("the files of a real image: locks, the other program's changes, a copy")
  func files() throws {
    let folder = try prepared("data_file_raw=off")
    let keys = folder.path("keys")
    func explore(_ script: String, _ options: [String] = []) throws -> ProcessResult {
      try Data(script.utf8).write(to: URL(fileURLWithPath: keys))
      return try run(
        try builtProduct("qatlas"), ["explore"] + options + ["--script", keys, "a.qcow2"],
        directory: folder.path)
    }
    func reads(_ pattern: Int, _ range: String) throws -> Bool {
      try run(
        try requireTool("qemu-io"), ["-r", "-f", "qcow2", "-c", "read -P \(pattern) \(range)", "a.qcow2"],
        directory: folder.path
      ).status == 0
    }
    let before = (try bytes(folder, "a.qcow2"), try bytes(folder, "d.raw"))
    #expect(try explore(":write -P 0x31 3M 64k\n:read -P 0x31 3M 64k").status == 0)
    #expect(try before == (bytes(folder, "a.qcow2"), bytes(folder, "d.raw")))
    let copy = try explore(":write -P 0x31 3M 64k\n:w copy.qcow2")
    #expect(copy.status == 1 && copy.stderr.contains("same external data file"), "\(copy.stderr)")
    #expect(try explore(":write -P 0x32 3M 64k\n:w\n:write -P 0x33 0 4k").status == 0)
    #expect(try reads(0x32, "3M 64k") && reads(1, "0 4k"))
    #expect(try explore(":write -P 0x34 0 4k\n:discard 3M 64k", ["--rw"]).status == 0)
    #expect(try reads(0x34, "0 4k") && reads(0, "3M 64k"))
    let check = try run(try requireTool("qemu-img"), ["check", "a.qcow2"], directory: folder.path)
    #expect(check.status == 0, "\(check.stdout)")
  }
}
