// A session of all verbs over a chain of images, in two folders: one for the genuine tools, one for this program under
// their names. After every step both are compared with the twins and with each other.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport

/// What a step left.
enum MixedOutcome {
  /// Every file has the same bytes.
  case same
  /// The genuine tool leaves other bytes at another time.
  case chance
  /// Both were right, and are not alike.
  case differs(MixedPurpose)
}

/// Where ours differs under the genuine names as well, and why.
enum MixedPurpose: String, CaseIterable {
  case older = "an older genuine tool makes other requests of the same copy"
  case harm = "the genuine tool changes what somebody reads, or leaves errors; ours does not"
  case dies = "the genuine tool stops with a failed assertion, or does not come to an end; ours goes through"
  case refused =
    "a line that is refused: the genuine tool stores bitmaps anew or leaks a cluster; ours leaves the file as it was"
  case bitmaps =
    "an older version of the format has no bitmaps: the genuine tool loses them; ours refuses and names them"
  case repaired = "a base that was not closed is repaired before something is written into it"
}

final class MixedSession {
  let seed: UInt64
  private let root: TemporaryDirectory
  private let program: [String: String]
  private var steps: MixedSteps
  private(set) var twin: LayeredTwin
  private(set) var script: [String]
  private var genuine: String { root.path("genuine") }
  private var ours: String { root.path("ours") }
  /// The files before the last step.
  private var before: String { root.path("before") }
  /// What both folders hold.
  private var files: [String: Data]

  init(seed: UInt64) throws {
    self.seed = seed
    root = try TemporaryDirectory(inMemory: true)
    var program: [String: String] = [:]
    for tool in ["qemu-img", "qemu-io"] {
      program[tool] = root.path(tool)
      try FileManager.default.createSymbolicLink(
        atPath: root.path(tool), withDestinationPath: try builtProduct("qatlas"))
    }
    self.program = program
    let folder = root.path("made")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    steps = MixedSteps(seed: seed)
    (twin, script) = try steps.start(in: folder)
    files = try ToolPair.contents(folder)
    for name in [genuine, ours] { try Self.copy(folder, to: name) }
    try compareWithTwins(twin.all.map(\.name), checks: [])
  }

  /// Draws a step, does it on both sides and compares.
  /// - Throws: ``TestFailure`` that says what is wrong.
  func step() throws -> (verb: MixedStep.Verb, isRefused: Bool, outcome: MixedOutcome) {
    let step = steps.next(twin)
    script.append(step.line)
    if step.verb == .check {
      for folder in [genuine, ours] { try VerbStage.leak(folder + "/" + step.layer) }
    }
    try Self.copy(genuine, to: before)
    // One that does not come to an end is killed.
    let theirs = try run(
      "timeout", ["-s", "KILL", "10", step.tool] + step.words, directory: genuine, timeout: 60)
    let mine = try run(program[step.tool] ?? step.tool, step.words, directory: ours, timeout: 60)
    let dies = (theirs.signal != 0 || theirs.status == 137) && step.verb != .abort
    guard mine.signal == (step.verb == .abort ? theirs.signal : 0) else {
      throw TestFailure("ours died of signal \(mine.signal): \(mine.stderr)")
    }
    if step.verb == .take {
      for folder in [genuine, ours] { try SnapshotTimes.clear(folder + "/" + step.layer) }
    }
    // Where ours refuses and the genuine tool does not, or the other way round, ours is followed.
    try step.effect(&twin, theirs.status == mine.status ? theirs : mine)
    try removeOthers()
    let (a, b) = (try ToolPair.contents(genuine), try ToolPair.contents(ours))
    let changed = Set(b.keys.filter { b[$0] != files[$0] })
    files = b
    let isSame = a == b
    let saidSame = Self.said(theirs) == Self.said(mine)
    var outcome = MixedOutcome.same
    if !isSame || !saidSame || dies {
      outcome = try judge(
        step, theirs, mine, dies: dies, sameFiles: isSame, sameWords: saidSame,
        names: a.keys.filter { a[$0] != b[$0] }.sorted())
    }
    try settle(dies || theirs.status != mine.status ? ours : genuine)
    try compareWithTwins(
      twin.all.map(\.name).filter { !changed.isEmpty && !$0.isEmpty },
      checks: twin.all.filter {
        !$0.isRaw && (changed.contains($0.name) || changed.contains($0.name + ".data"))
      })
    if !isSame {
      // From here on both are alike again.
      try Self.copy(ours, to: before)
      for folder in [genuine, ours] { try Self.copy(before, to: folder) }
    }
    return (step.verb, theirs.status != 0, outcome)
  }

  // MARK: Differences

  private struct Said: Equatable {
    var output: String
    var errors: String
    var status: Int32
  }

  private static func said(_ result: ProcessResult) -> Said {
    Said(
      output: Judge.withoutTimes(result.stdout), errors: VerbStage.neutral(result.stderr),
      status: result.status)
  }

  /// Why the two sides may differ; throws if they may not.
  private func judge(
    _ step: MixedStep, _ theirs: ProcessResult, _ mine: ProcessResult, dies: Bool,
    sameFiles: Bool, sameWords: Bool, names: [String]
  ) throws -> MixedOutcome {
    if dies { return .differs(.dies) }
    if theirs.status == mine.status {
      if !sameFiles, try areTheirsHarmed() { return .differs(.harm) }
      let isOlder = JudgeVersion.current < .newest
      if isOlder, sameFiles { return .same }
      if sameWords || isOlder {
        if try isByChance(step) { return .chance }
        if isOlder { return .differs(.older) }
      }
      if theirs.status == 1, sameWords, try isAsBefore() || isSounder(step.layer) {
        return .differs(.refused)
      }
      if step.verb == .commit, mine.stderr.contains("Repairing") { return .differs(.repaired) }
    }
    if step.verb == .amend, mine.stderr.contains("persistent bitmaps, which would be lost") {
      return .differs(.bitmaps)
    }
    throw TestFailure(
      "\(names) differ; exit \(theirs.status) and \(mine.status)\n--- genuine\n\(theirs.stdout)\(theirs.stderr)"
        + "--- ours\n\(mine.stdout)\(mine.stderr)")
  }

  /// Whether the genuine tool leaves other bytes when it does the same again. A commit writes sixteen areas at once.
  private func isByChance(_ step: MixedStep) throws -> Bool {
    if step.verb == .commit { return true }
    let folder = root.path("again")
    var first: [String: Data]?
    for _ in 0..<8 {
      try Self.copy(before, to: folder)
      _ = try run(step.tool, step.words, directory: folder, timeout: 60)
      let after = try ToolPair.contents(folder)
      if let first, first != after { return true }
      first = after
    }
    return false
  }

  /// Whether ours are the files from before the step.
  private func isAsBefore() throws -> Bool { try ToolPair.contents(ours) == ToolPair.contents(before) }

  /// Whether only the genuine tool's file has leaks.
  private func isSounder(_ name: String) throws -> Bool {
    guard let layer = twin.all.first(where: { $0.name == name }) else { return false }
    let status = try [genuine, ours].map {
      try run("qemu-img", ["check"] + layer.target, directory: $0, timeout: 60).status
    }
    return status == [3, 0]
  }

  private func areTheirsHarmed() throws -> Bool {
    guard twin.all.allSatisfy({ $0.disk.mayRead.isEmpty }) else { return false }
    if try readWithTool(twin.all, in: genuine) != nil { return true }
    for layer in twin.all where !layer.isRaw {
      if try run("qemu-img", ["check"] + layer.target, directory: genuine, timeout: 60).status == 2,
        try run("qemu-img", ["check"] + layer.target, directory: ours, timeout: 60).status != 2
      {
        return true
      }
      for snapshot in layer.snapshots where snapshot.disk.mayRead.isEmpty {
        if try readSnapshotWithTool(snapshot, of: layer, in: genuine) != nil { return true }
      }
    }
    return false
  }

  // MARK: Twins

  /// Takes over what is not known of the twins from a folder, as this program reads it.
  private func settle(_ folder: String) throws {
    for index in twin.chain.indices {
      let layer = twin.chain[index]
      guard !layer.disk.mayRead.isEmpty || layer.snapshots.contains(where: { !$0.disk.mayRead.isEmpty })
      else {
        continue
      }
      if !layer.disk.mayRead.isEmpty {
        let read = try read(layer, nil, in: folder, size: layer.disk.size)
        if let wrong = twin.chain[index].disk.settle(read) {
          throw TestFailure("\(layer.name) reads at \(wrong) what nobody has written there: \(read[wrong])")
        }
      }
      for (number, snapshot) in layer.snapshots.enumerated() where !snapshot.disk.mayRead.isEmpty {
        let read = try read(layer, snapshot, in: folder, size: snapshot.disk.size)
        if let wrong = twin.chain[index].snapshots[number].disk.settle(read) {
          throw TestFailure(
            "snapshot \(snapshot.id) of \(layer.name) reads at \(wrong) what nobody has written: \(read[wrong])"
          )
        }
      }
    }
  }

  /// The disk of a layer or of one of its snapshots.
  private func read(_ layer: TwinLayer, _ snapshot: TwinLayer.Snapshot?, in folder: String, size: UInt64)
    throws
    -> [UInt8]
  {
    let below = twin.chain.firstIndex { $0.name == layer.name }.map { twin.chain[...$0] } ?? [layer]
    if below.contains(where: { $0.has(.encryption) || $0.has(.dataFile) }) {
      // These ask for a passphrase, and data files are looked for from where a program runs.
      let copy = root.path("content")
      let words = snapshot.map { ["-l", "snapshot.id=\($0.id),snapshot.name=\($0.name)"] } ?? []
      let result = try run(
        program["qemu-img"] ?? "", ["convert", "-O", "raw"] + words + layer.target + [copy],
        directory: folder,
        timeout: 60)
      guard result.status == 0 else { throw TestFailure("\(layer.name): \(result.stderr)") }
      var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: copy)))
      if bytes.count < size { bytes += [UInt8](repeating: 0, count: Int(size) - bytes.count) }
      return Array(bytes[..<Int(size)])
    }
    let opener = ChainOpener(folder + "/" + layer.name)
    let image = try opener.openImage(on: opener.openFile(writable: false), Image.Options())
    if let snapshot {
      guard let entry = image.snapshots.first(where: { $0.id == "\(snapshot.id)" }) else {
        throw TestFailure("\(layer.name) has no snapshot \(snapshot.id)")
      }
      try image.show(entry)
    }
    // A snapshot is seen as far as the disk goes now.
    var bytes = [UInt8](repeating: 0, count: Int(size))
    let count = Int(min(size, image.virtualSize))
    if snapshot == nil, image.virtualSize != size {
      throw TestFailure("\(layer.name) has \(image.virtualSize) bytes instead of \(size)")
    }
    try bytes.withUnsafeMutableBytes { buffer in
      try image.read(at: GuestOffset(0), into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
    }
    try image.close()
    return bytes
  }

  /// How many bytes of a snapshot can be seen.
  private func visible(_ snapshot: TwinLayer.Snapshot, of layer: TwinLayer) -> Int {
    min(snapshot.disk.bytes.count, layer.disk.bytes.count)
  }

  private func compareWithTwins(_ names: [String], checks: [TwinLayer]) throws {
    guard !names.isEmpty else { return }
    let layers = twin.all.filter { names.contains($0.name) }
    for layer in layers where !layer.isRaw {
      guard sameBytes(try read(layer, nil, in: ours, size: layer.disk.size), layer.disk.bytes) else {
        throw TestFailure("this program reads \(layer.name) otherwise than was written")
      }
      for snapshot in layer.snapshots {
        let count = visible(snapshot, of: layer)
        let read = try read(layer, snapshot, in: ours, size: snapshot.disk.size)
        guard sameBytes(Array(read[..<count]), Array(snapshot.disk.bytes[..<count])) else {
          throw TestFailure("this program reads snapshot \(snapshot.id) of \(layer.name) otherwise")
        }
      }
    }
    if let wrong = try readWithTool(layers, in: ours) {
      throw TestFailure("the genuine tool reads otherwise: \(wrong)")
    }
    for layer in layers {
      for snapshot in layer.snapshots {
        if let wrong = try readSnapshotWithTool(snapshot, of: layer, in: ours) { throw TestFailure(wrong) }
      }
    }
    for layer in checks { try check(layer) }
  }

  /// Both checkers say the same of an image, and none of an error, unless it was not closed.
  private func check(_ layer: TwinLayer) throws {
    let theirs = try run("qemu-img", ["check"] + layer.target, directory: ours, timeout: 60)
    let mine = try run(program["qemu-img"] ?? "", ["check"] + layer.target, directory: ours, timeout: 60)
    guard Self.said(theirs) == Self.said(mine) else {
      throw TestFailure(
        "the checkers disagree about \(layer.name): \(theirs.stdout)\(theirs.stderr)\(mine.stdout)\(mine.stderr)"
      )
    }
    let isDirty = files[layer.name].map { $0.count > 80 && $0[79] & 1 == 1 } == true
    if theirs.status != 0 && theirs.status != 3 && !isDirty {
      throw TestFailure("errors in \(layer.name): \(theirs.stdout)\(theirs.stderr)")
    }
  }

  /// Lets one process of the genuine tool read all disks; returns what it found else.
  private func readWithTool(_ layers: [TwinLayer], in folder: String) throws -> String? {
    var lines: [String] = []
    for layer in layers {
      let options =
        layer.isRaw ? "driver=raw" : "driver=qcow2" + (layer.has(.encryption) ? ",encrypt.key-secret=s0" : "")
      lines.append("open -r -o \(options) \(layer.name)")
      for run in layer.disk.runs { lines.append("read -q -P \(run.byte) \(run.start) \(run.count)") }
      // Behind the end there is nothing.
      lines += ["length", "close"]
    }
    let result = try run(
      "qemu-io", GenuineEncryption.object, stdin: Array((lines.joined(separator: "\n") + "\n").utf8),
      directory: folder, timeout: 60)
    let said = result.stdout.replacingOccurrences(of: "qemu-io> ", with: "").split(separator: "\n").filter {
      $0 != " " && !$0.isEmpty
    }
    let lengths = layers.map { Self.length($0.disk.size) }
    guard said.map(String.init) == lengths, result.stderr.isEmpty else {
      return "\(layers.map(\.name)), \(lengths): \(result.stdout.suffix(600))\(result.stderr)"
    }
    return nil
  }

  /// As `length` says it.
  private static func length(_ bytes: UInt64) -> String {
    if bytes < 1024 { return "\(bytes) bytes" }
    let (value, unit) = bytes < 1 << 20 ? (Double(bytes) / 1024, "KiB") : (Double(bytes) / 1_048_576, "MiB")
    return (value == value.rounded() ? "\(Int(value))" : String(format: "%.3f", value)) + " " + unit
  }

  private func readSnapshotWithTool(
    _ snapshot: TwinLayer.Snapshot, of layer: TwinLayer, in folder: String
  ) throws -> String? {
    let copy = root.path("content")
    let words = ["convert", "-O", "raw", "-l", "snapshot.id=\(snapshot.id),snapshot.name=\(snapshot.name)"]
    let result = try run("qemu-img", words + layer.target + [copy], directory: folder, timeout: 60)
    guard result.status == 0 else { return "\(words): \(result.stderr)" }
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: copy)))
    let count = visible(snapshot, of: layer)
    guard bytes.count >= count, sameBytes(Array(bytes[..<count]), Array(snapshot.disk.bytes[..<count])) else {
      return "the genuine tool reads snapshot \(snapshot.id) of \(layer.name) otherwise"
    }
    return nil
  }

  // MARK: Files

  /// Makes a folder a copy of another, with the same holes in its files: both tools look for these.
  private static func copy(_ folder: String, to other: String) throws {
    try? FileManager.default.removeItem(atPath: other)
    try succeed("cp", ["-a", "--sparse=auto", folder, other])
  }

  /// Removes files that belong to no twin.
  private func removeOthers() throws {
    let kept = Set(twin.all.flatMap { [$0.name, $0.name + ".data"] })
    for folder in [genuine, ours] {
      for name in try FileManager.default.contentsOfDirectory(atPath: folder) where !kept.contains(name) {
        try FileManager.default.removeItem(atPath: folder + "/" + name)
      }
    }
  }
}
