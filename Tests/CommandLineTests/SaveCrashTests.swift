// `:w` killed at any moment: whatever part of a save has reached the file, the genuine check finds
// leaks at most, and every byte of the disk is one that the disk had before or after the change.

import Cartography
import EngineSupport
import Explorer
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// The host for a session on a real file whose saves are noted down.
private final class RecordedFiles: SessionFiles {
  let path: String
  private(set) var target: RecordingStorage?

  init(_ path: String) { self.path = path }

  func identity() -> FileIdentity? { FileStorage.identity(path: path) }
  func openForSaving() throws(StorageError) -> any Storage {
    let storage = RecordingStorage(try FileStorage(path: path, mode: .readWrite))
    target = storage
    return storage
  }
  func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage {
    try FileStorage(path: path, mode: .create)
  }
  func writeText(_ text: String, to path: String) throws(StorageError) {}
  func names(beginningWith prefix: String) -> [String] { [] }
  func shouldCancel(_ progress: Double) -> Bool { false }
  func remember(_ line: String) {}
}

/// A genuine image and random requests for it.
private struct CrashRecipe {
  var options: String
  var size: UInt64
  var grain: UInt64
  var prepare: [String] = []
  var snapshot = false
  /// The part of the disk that compressed clusters hold, in bytes.
  var streams: Range<UInt64> = 0..<0

  static let all: [CrashRecipe] = [
    CrashRecipe(options: "cluster_size=64k", size: 1 << 20, grain: 65536, prepare: ["write -P 200 0 300k"]),
    CrashRecipe(
      options: "cluster_size=512", size: 200_192, grain: 512,
      prepare: ["write -P 200 0 10k", "write -c -P 201 20k 512"], streams: 20480..<20992),
    CrashRecipe(
      options: "cluster_size=512,refcount_bits=1", size: 300_032, grain: 512, prepare: ["write -P 200 0 10k"]),
    CrashRecipe(
      options: "extended_l2=on,cluster_size=16k", size: 1 << 20, grain: 512, prepare: ["write -P 200 5k 100k"]
    ),
    CrashRecipe(
      options: "cluster_size=4k,refcount_bits=64", size: 1 << 20, grain: 4096,
      prepare: ["write -P 200 0 100k"] + (0..<8).map { "write -c -P \(210 + $0) \(200 + 4 * $0)k 4k" },
      streams: 204_800..<237_568),
    CrashRecipe(
      options: "cluster_size=4k", size: 1 << 20, grain: 4096, prepare: ["write -P 200 0 100k"], snapshot: true
    ),
    CrashRecipe(
      options: "extended_l2=on,cluster_size=16k", size: 1 << 20, grain: 512,
      prepare: ["write -P 200 5k 100k"], snapshot: true),
    CrashRecipe(
      options: "compat=0.10,cluster_size=4k", size: 1 << 20, grain: 4096, prepare: ["write -P 200 0 100k"]),
    CrashRecipe(options: "preallocation=metadata,cluster_size=4k", size: 1 << 20, grain: 4096),
    CrashRecipe(
      options: "lazy_refcounts=on,cluster_size=4k", size: 1 << 20, grain: 4096,
      prepare: ["write -P 200 0 100k"]),
  ]

  func make(_ path: String) throws {
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, path, "\(size)"])
    if !prepare.isEmpty {
      try succeed("qemu-io", ["-f", "qcow2"] + prepare.flatMap { ["-c", $0] } + [path])
    }
    if snapshot { try succeed("qemu-img", ["snapshot", "-c", "one", path]) }
  }

  func request(_ random: inout SplitMix64) -> Request {
    var mix = RequestMix(units: [grain, grain, grain, 1], longest: [8 * grain])
    mix.bytes = 1...199
    var request = random.request(mix, on: size)
    // Where a stream is given up for zeroes its bytes go before its entry does, as with the genuine tool:
    // after a crash in between nobody can read it. So streams are only written over.
    switch request {
    case .zero(let offset, let count, _), .discard(let offset, let count):
      if streams.overlaps(offset..<offset + count) { request = .write(offset: offset, count: count, byte: 7) }
    default: break
    }
    switch request {
    case .write(let offset, let count, let byte), .compress(let offset, let count, let byte):
      return Request(.write(pattern: byte), at: offset, length: count)
    case .zero(let offset, let count, let mayUnmap):
      return Request(.zero(mayUnmap: mayUnmap), at: offset, length: count)
    case .discard(let offset, let count): return Request(.discard, at: offset, length: count)
    case .compressMixed, .flush: return Request(.discard, at: 0, length: 1)
    }
  }
}

/// The whole disk as the engine reads it.
private func disk(_ image: Image) throws -> [UInt8] {
  var bytes = [UInt8](repeating: 0xee, count: Int(image.geometry.virtualSize))
  try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
  return bytes
}

/// What the genuine tools say of a file that a crash left; nil if it is as it must be.
///
/// `states` are the disks on the way of the save. Every byte must be of one state or of the next.
private func fault(_ path: String, _ states: [[UInt8]]) throws -> String? {
  let check = try run("qemu-img", ["check", "-f", "qcow2", path], timeout: 60)
  guard check.status == 0 || check.status == 3 else {
    return "qemu-img check: exit \(check.status)\n\(check.stdout.prefix(500))\(check.stderr.prefix(500))"
  }
  // Read without the help of our engine.
  let raw = path + ".raw"
  defer { try? FileManager.default.removeItem(atPath: raw) }
  try succeed("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", path, raw])
  let found = try [UInt8](Data(contentsOf: URL(fileURLWithPath: raw)))
  guard found.count == states[0].count else { return "the disk has \(found.count) bytes" }
  var worst = 0
  for index in states.indices {
    let next = states[min(index + 1, states.count - 1)]
    guard let place = mixed(found, states[index], next) else { return nil }
    worst = max(worst, place)
  }
  return "the byte at guest offset \(worst) is of no step of the save"
}

/// The first byte that is in neither of two disks.
private func mixed(_ found: [UInt8], _ old: [UInt8], _ new: [UInt8]) -> Int? {
  found.withUnsafeBufferPointer { found in
    old.withUnsafeBufferPointer { old in
      new.withUnsafeBufferPointer { new in
        var index = 0
        while index < found.count {
          if found[index] != old[index] && found[index] != new[index] { return index }
          index += 1
        }
        return nil
      }
    }
  }
}

@Suite("Saving and crashes", .tags(.genuine)) struct SaveCrashTests {
  /// Samples per save: the file is looked at after this many of its writes, and in the middle of some.
  static let samples = 7

  /// The operations of a save, as the disks on its way.
  private static func way(_ from: [[UInt8]], _ to: [[UInt8]]) -> [[UInt8]] {
    let common = zip(from, to).prefix { $0 == $1 }.count
    // Back to what both have, newest first, and from there on.
    return from.dropFirst(max(0, common - 1)).reversed() + to.dropFirst(common)
  }

  @Test("every part of a save is sound", arguments: 0..<(2 * CrashRecipe.all.count))
  func parts(_ index: Int) throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let recipe = CrashRecipe.all[index % CrashRecipe.all.count]
    let seed = try environmentNumber("QATLAS_SEED", default: 1) &* 1000 &+ UInt64(index)
    var random = SplitMix64(seed: seed)
    let folder = try TemporaryDirectory()
    let file = folder.path("file.qcow2")
    let crashed = folder.path("crashed.qcow2")
    try recipe.make(file)
    let files = RecordedFiles(file)
    let session = try Session(
      FileStorage(path: file, mode: .readOnly), title: "file", mode: .scratch, files: files)
    try #require(session.refusal == nil)
    // The disks of the operations in place, and of those that the file holds.
    var shown = [try disk(session.image)]
    var saved = shown
    for round in 0..<5 {
      // Sometimes back first, so that what was saved must be taken from the file again.
      if round > 0, random.below(4) > 0 {
        for _ in 0..<(1 + random.below(3)) where try session.undo() != nil { shown.removeLast() }
      }
      for _ in 0..<random.below(5) {
        if try session.run(recipe.request(&random)) != nil { shown.append(try disk(session.image)) }
      }
      try? FileManager.default.removeItem(atPath: crashed)
      try FileManager.default.copyItem(atPath: file, toPath: crashed)
      try session.save()
      let events = try #require(files.target).events
      let storage = try FileStorage(path: crashed, mode: .readWrite)
      let way = Self.way(saved, shown)
      for (number, event) in events.enumerated() {
        let isSampled = random.below(UInt64(events.count)) < UInt64(Self.samples)
        // The kernel may stop in the middle of a write.
        if isSampled, event.kind == .write, event.count > 512, number % 2 == 0 {
          #expect(throws: StorageError.self) {
            try event.redo(on: FaultyStorage(storage, .failsHalfway, after: 0))
          }
        } else {
          try event.redo(on: storage)
        }
        if isSampled, event.kind != .flush, let fault = try fault(crashed, way) {
          Issue.record(
            "seed \(seed), \(recipe.options), save \(round), after event \(number) of \(events.count): \(fault)"
          )
          return
        }
        try event.redo(on: storage)
      }
      #expect(try firstDifference(file, crashed) == nil, "seed \(seed)")
      if let fault = try fault(file, [try #require(shown.last)]) {
        Issue.record("seed \(seed), \(recipe.options), save \(round), at its end: \(fault)")
        return
      }
      #expect(sameBytes(try disk(session.image), try #require(shown.last)), "seed \(seed)")
      saved = shown
    }
  }

  @Test("the program killed while it saves", arguments: 0..<24)
  func killed(_ index: Int) throws {
    for tool in ["qemu-img", "qemu-io", "timeout"] { try requireTool(tool) }
    let recipe = CrashRecipe.all[index % CrashRecipe.all.count]
    let seed = try environmentNumber("QATLAS_SEED", default: 1) &* 1000 &+ UInt64(index)
    var random = SplitMix64(seed: seed)
    let folder = try TemporaryDirectory()
    let file = folder.path("file.qcow2")
    let model = folder.path("model.qcow2")
    let script = folder.path("script")
    try recipe.make(file)
    try FileManager.default.copyItem(atPath: file, toPath: model)
    // The disks on the way, from a second session that nothing happens to.
    let session = try Session(
      FileStorage(path: model, mode: .readOnly), title: "model", mode: .scratch, files: RecordedFiles(model))
    var states = [try disk(session.image)]
    var lines: [String] = []
    for _ in 0..<60 {
      if random.below(8) == 0, states.count > 1, try session.undo() != nil {
        lines.append(":undo")
        states.append(try disk(session.image))
      } else {
        let request = recipe.request(&random)
        guard try session.run(request) != nil else { continue }
        lines.append(":" + request.commandLine)
        states.append(try disk(session.image))
      }
      if random.below(3) == 0 { lines.append(":w") }
    }
    try Data((lines + [":w", ":q", ""]).joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: script))
    let program = try builtProduct("qatlas")
    // How long it takes unharmed, on a copy that also shows that the script is right.
    let copy = folder.path("copy.qcow2")
    try FileManager.default.copyItem(atPath: file, toPath: copy)
    let start = ContinuousClock.now
    try succeed(program, ["explore", "--script", script, copy])
    let whole = start.duration(to: .now) / .milliseconds(1)
    if let fault = try fault(copy, [try #require(states.last)]) {
      Issue.record("seed \(seed), \(recipe.options), not killed: \(fault)")
      return
    }
    let delay = whole * (0.05 + Double(random.below(90)) / 100)
    let result = try run(
      "timeout",
      ["-s", "KILL", String(format: "%.4f", delay / 1000), program, "explore", "--script", script, file])
    #expect(result.status == 0 || result.status == 137, "\(result.stderr)")
    if let fault = try fault(file, states) {
      Issue.record("seed \(seed), \(recipe.options), killed after \(delay) of \(whole) ms: \(fault)")
    }
  }
}

@Suite("Saving to a file that changed", .tags(.genuine)) struct SaveRefusalTests {
  /// What another program does to the file, and a word of the refusal.
  static let changes: [(name: String, word: String)] = [
    ("write", "changed by another program"), ("grow", "changed by another program"),
    ("replace", "another file has taken the name"),
    ("remove", "the file is gone"), ("truncate", "changed by another program"),
  ]

  private func change(_ name: String, _ path: String) throws {
    // A writer that takes no locks; one that does is kept out while the explorer looks.
    let unlocked = ["--image-opts", "driver=qcow2,file.filename=\(path),file.locking=off"]
    switch name {
    case "write": try succeed("qemu-io", ["-c", "write -P 77 0 4k"] + unlocked)
    case "grow": try succeed("qemu-io", ["-c", "write -P 77 512k 64k"] + unlocked)
    case "replace":
      try succeed("cp", [path, path + ".new"])
      try succeed("mv", [path + ".new", path])
    case "remove": try FileManager.default.removeItem(atPath: path)
    default: try succeed("truncate", ["-s", "200k", path])
    }
  }

  @Test("the real program refuses, and leaves the file as it found it", arguments: 0..<changes.count)
  func refuses(_ index: Int) throws {
    let (name, word) = Self.changes[index]
    let folder = try TemporaryDirectory()
    let path = folder.path("disk.qcow2")
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", path, "1M"])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 9 0 64k", path])
    let session = try PtySession(builtProduct("qatlas"), ["--ascii", path])
    try session.waitFor("[scratch]")
    session.send(":write -P 5 64k 64k\r")
    try session.waitFor("write -P 0x5")
    try change(name, path)
    let before = FileManager.default.contents(atPath: path)
    session.send(":w\r")
    try session.waitFor("not saved")
    try session.waitFor(word.split(separator: " ").first.map(String.init) ?? word)
    #expect(FileManager.default.contents(atPath: path) == before)
    // A copy is still possible, and holds what the screen shows.
    let copy = folder.path("copy.qcow2")
    session.send(":w \(copy)\r")
    try session.waitUntil("the copy") { _ in FileManager.default.fileExists(atPath: copy) }
    session.send(":q!\r")
    #expect(try session.waitForExit() == 0)
    // The bytes below are still there unless they were written over.
    if name == "replace" || name == "remove" {
      let read = try run(
        "qemu-io", ["-r", "-f", "qcow2", "-c", "read -P 9 0 64k", "-c", "read -P 5 64k 64k", copy])
      #expect(!read.stdout.contains("failed"), "\(read.stdout)")
    }
  }
}
