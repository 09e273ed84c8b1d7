// Random sessions over all combinations, through the genuine tools and through qatlas: after every step
// the image and its data file hold the same bytes.
//
// QATLAS_COMBINATIONS changes how many run, QATLAS_SEED the seed of the first one.

import EngineSupport
import Foundation
import Qcow
import Storage
import Synchronization
import TestSupport
import Testing

/// One side of the comparison: a folder with its own files.
private struct Side {
  let folder: String
  let isGenuine: Bool

  var image: String { folder + "/i.qcow2" }

  func run(_ tool: String, _ arguments: [String], stdin: String = "") throws {
    let program = isGenuine ? tool : try builtProduct("qatlas")
    let result = try TestSupport.run(
      program, arguments, stdin: Array(stdin.utf8), directory: folder, timeout: 120)
    guard result.status == 0, !result.stdout.contains("failed"), result.stderr.isEmpty else {
      throw TestFailure(
        "\(program) \(arguments.prefix(6)) ended with \(result.status): \(result.stdout)\(result.stderr)")
    }
  }

  func make(_ combination: Combination) throws {
    let create = isGenuine ? ["create", "-q", "-f", "qcow2"] : ["create", "-q"]
    try run("qemu-img", create + combination.createOptions + ["i.qcow2", String(combination.create.size)])
  }

  func perform(_ step: Combination.Step) throws {
    switch step {
    case .session(let options, let cache, let requests):
      let script = requests.map(\.quietIoCommand).joined(separator: "\n") + "\n"
      try run(
        "qemu-io",
        (isGenuine ? [] : ["io"]) + [
          "-t", cache, "--image-opts", "driver=qcow2,file.filename=i.qcow2,\(options)",
        ], stdin: script)
    case .resize(let size, let preallocation, let shrink):
      try run(
        "qemu-img",
        ["resize", "-q", "--preallocation=\(preallocation)"] + (shrink ? ["--shrink"] : []) + [
          "i.qcow2", String(size),
        ])
    case .createSnapshot(let name):
      try snapshot(["-c", name]) {
        try $0.createSnapshot(name: name, seconds: 0, nanoseconds: 0, leavesHalf: true)
      }
    case .applySnapshot(let name): try snapshot(["-a", name]) { try $0.applySnapshot(name) }
    case .deleteSnapshot(let name): try snapshot(["-d", name]) { try $0.deleteSnapshot(name: name) }
    }
  }

  private func snapshot(_ arguments: [String], _ body: (Image) throws -> Void) throws {
    if isGenuine { return try run("qemu-img", ["snapshot", "-q"] + arguments + ["i.qcow2"]) }
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.discard = .ignore
    let opener = ChainOpener(image)
    let opened = try opener.openImage(on: opener.openFile(writable: true), options)
    try body(opened)
    try opened.close()
  }
}

extension Combination {
  /// Runs all steps on both sides; throws what differs.
  func compare(in place: String) throws {
    let sides = try [true, false].map { isGenuine in
      let side = Side(folder: "\(place)/\(seed)-\(isGenuine ? "genuine" : "qatlas")", isGenuine: isGenuine)
      try FileManager.default.createDirectory(atPath: side.folder, withIntermediateDirectories: false)
      return side
    }
    defer { for side in sides { try? FileManager.default.removeItem(atPath: side.folder) } }
    if let backing {
      // Some of it is data; the rest is holes.
      var random = SplitMix64(seed: seed)
      let writes = (0..<8).map { _ in
        let offset = random.below(backing.size)
        return
          "write -q -P \(1 + random.below(255)) \(offset) \(min(backing.size - offset, 1 + random.below(200_000)))\n"
      }
      // Made twice, because a copy has other holes, and those decide what counts as zeroes.
      for side in sides {
        let maker = Side(folder: side.folder, isGenuine: true)
        try maker.run("qemu-img", ["create", "-q", "-f", backing.format, "base", String(backing.size)])
        try maker.run("qemu-io", ["-f", backing.format, "base"], stdin: writes.joined())
      }
    }
    for side in sides { try side.make(self) }
    try same(sides, "create")
    for (index, step) in steps.enumerated() {
      do { try sides[0].perform(step) } catch let error as TestFailure
        where "\(error)".contains("Cannot use preallocation for shrinking files")
      {
        // The genuine tool gives up where free clusters lie at the end of the file; ours goes on.
        break
      }
      try sides[1].perform(step)
      try same(sides, "step \(index + 1) of \(steps.count)")
    }
    let check = try TestSupport.run(
      "qemu-img", ["check", "-q", "-f", "qcow2", "i.qcow2"], directory: sides[1].folder)
    guard check.status == 0 else { throw TestFailure("check: \(check.stdout)\(check.stderr)") }
  }

  private func same(_ sides: [Side], _ step: String) throws {
    if dataFile != nil {
      let difference = try firstDifference(sides[0].folder + "/d.raw", sides[1].folder + "/d.raw")
      if let difference { throw TestFailure("\(step): the data files differ at byte \(difference)") }
    }
    guard try firstDifference(sides[0].image, sides[1].image) != nil else { return }
    guard try imageHash(sides[0].image) != imageHash(sides[1].image) else { return }
    let structure = try ImageStructure.difference(file: sides[0].image, sides[1].image)
    let byte = try firstDifference(sides[0].image, sides[1].image) ?? 0
    throw TestFailure(
      "\(step): the files differ, first at byte \(byte); \(structure == "" ? "the tables agree" : structure)")
  }
}

@Suite("Combinations", .tags(.campaign))
struct CombinationTests {
  @Test("random sessions over all combinations leave the bytes that the genuine tools leave")
  func combinations() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let count = try environmentNumber("QATLAS_COMBINATIONS", default: 80)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let folder = try TemporaryDirectory(inMemory: true)
    let place = folder.path
    let totals = Mutex((steps: 0, failures: [(UInt64, String)]()))
    let began = Date()
    DispatchQueue.concurrentPerform(iterations: Int(count)) { index in
      let combination = Combination(seed: first &+ UInt64(index))
      var failure: String?
      do { try combination.compare(in: place) } catch { failure = "\(error)" }
      totals.withLock { totals in
        totals.steps += combination.steps.count
        if let failure { totals.failures.append((combination.seed, failure)) }
      }
    }
    withExtendedLifetime(folder) {}
    let result = totals.withLock { $0 }
    print(
      "combinations: \(count) from seed \(first), \(result.steps) steps, "
        + "\(Int(count) - result.failures.count) byte-identical, \(Int(Date().timeIntervalSince(began))) s")
    for (seed, failure) in result.failures.sorted(by: { $0.0 < $1.0 }).prefix(10) {
      let combination = Combination(seed: seed)
      Issue.record(
        "QATLAS_SEED=\(seed) QATLAS_COMBINATIONS=1: \(failure)\nqemu-img create \(combination.createOptions.joined(separator: " ")) i.qcow2 \(combination.create.size), backing \(combination.backing.map { "\($0)" } ?? "none")\n\(combination.steps.map(\.description).joined(separator: "\n"))"
      )
    }
    #expect(result.failures.isEmpty)
  }
}
