// The same random script through the genuine `qemu-io` and through qatlas: after every session the
// two files hold the same bytes, `qemu-img check` is content, and both read what was written.
//
// QATLAS_SESSIONS changes how many scripts run, QATLAS_SEED the seed of the first one, and
// QATLAS_THROUGH=library|program whether qatlas is called as a library or as `qatlas io`.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import Synchronization
import TestSupport
import Testing

/// How the requests reach our engine.
enum Route: String {
  case library, program

  /// The program if it has the command, because that is what people use.
  static func chosen() throws -> Route {
    if let name = ProcessInfo.processInfo.environment["QATLAS_THROUGH"] {
      guard let route = Route(rawValue: name) else {
        throw TestFailure("QATLAS_THROUGH must be library or program, not `\(name)`")
      }
      return route
    }
    return try programHas("io") ? .program : .library
  }

  /// Whether the built program knows a subcommand.
  static func programHas(_ command: String) throws -> Bool {
    try run(builtProduct("qatlas"), [command, "--help"]).stdout.contains("qatlas \(command)")
  }
}

extension RandomScript {
  /// Runs the script on both sides; throws what differs.
  func compare(_ route: Route, in folder: String) throws {
    let genuine = "\(folder)/\(seed)-genuine.qcow2"
    let ours = "\(folder)/\(seed)-qatlas.qcow2"
    defer { for path in [genuine, ours] { try? FileManager.default.removeItem(atPath: path) } }
    try expectSuccess("qemu-img", createArguments + [genuine, String(create.size)])
    switch route {
    case .library: try createImage(ours, create)
    case .program: try expectSuccess(builtProduct("qatlas"), createArguments + [ours, String(create.size)])
    }
    try compareFiles(genuine, ours, "create")
    for (index, session) in sessions.enumerated() {
      let theirs = try perform("qemu-io", ["-f", "qcow2", genuine] + Self.ioArguments(session), in: folder)
      switch route {
      case .library:
        var options = Image.Options()
        options.writable = true
        try withImage(ours, options) { image in for request in session { try image.carryOut(request) } }
      case .program:
        let own = try perform(builtProduct("qatlas"), ["io", ours] + Self.ioArguments(session), in: folder)
        guard own == theirs else {
          throw TestFailure("session \(index + 1): qatlas says\n\(own)and the genuine tool\n\(theirs)")
        }
      }
      try compareFiles(genuine, ours, "session \(index + 1) of \(sessions.count)")
    }
    try expectSuccess("qemu-img", ["check", "-q", "-f", "qcow2", ours])
    if compresses { try readBackAll(ours) } else { try readBack(ours) }
  }

  /// A session that must succeed, unless a compressed write may be refused; returns what was said.
  private func perform(_ program: String, _ arguments: [String], in folder: String) throws -> String {
    guard compresses else {
      try expectSuccess(program, arguments)
      return ""
    }
    let result = try run(program, arguments, directory: folder, timeout: 120)
    let refusal = "write failed: Input/output error"
    guard result.signal == 0, result.stdout.split(separator: "\n").allSatisfy({ $0 == refusal }) else {
      throw TestFailure("\(program) ended with \(result.status): \(result.stdout)\(result.stderr)")
    }
    return result.stdout
  }

  /// Our engine reads what the genuine tool reads.
  private func readBackAll(_ path: String) throws {
    let raw = path + ".raw"
    defer { try? FileManager.default.removeItem(atPath: raw) }
    try expectSuccess("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", path, raw])
    let expected = try [UInt8](Data(contentsOf: URL(fileURLWithPath: raw)))
    try withImage(path, Image.Options()) { image in
      guard sameBytes(try image.bytes(at: 0, count: Int(image.geometry.virtualSize)), expected) else {
        throw TestFailure("qatlas and the genuine tool read different bytes")
      }
    }
  }

  private func expectSuccess(_ program: String, _ arguments: [String]) throws {
    let result = try run(program, arguments, timeout: 120)
    // A pattern that does not match is said on standard output, with status 1 in new versions only.
    guard result.status == 0, !result.stdout.contains("failed") else {
      throw TestFailure(
        "\(program) \(arguments.prefix(3)) ended with \(result.status): \(result.stdout)\(result.stderr)")
    }
  }

  private func compareFiles(_ genuine: String, _ ours: String, _ step: String) throws {
    guard let offset = try firstDifference(genuine, ours) else { return }
    let structure = try ImageStructure.difference(file: genuine, ours)
    throw TestFailure(
      "\(step): the files differ first at byte \(offset), host cluster \(offset / create.clusterSize); "
        + (structure == "" ? "the tables agree" : structure))
  }

  /// Both sides read what the model says; the genuine tool reads our file.
  private func readBack(_ path: String) throws {
    let sample = disk.segments.prefix(200)
    let reads = sample.flatMap { ["-c", "read -q -P \($0.byte) \($0.start) \($0.end - $0.start)"] }
    try expectSuccess("qemu-io", ["-r", "-f", "qcow2", path] + reads)
    try withImage(path, Image.Options()) { image in
      for segment in disk.segments {
        let bytes = try image.bytes(at: segment.start, count: Int(segment.end - segment.start))
        guard isFilled(bytes, with: segment.byte) else {
          throw TestFailure("qatlas reads other bytes than \(segment)")
        }
      }
    }
  }
}

@Suite("Random scripts", .tags(.campaign))
struct RandomScriptTests {
  @Test("random scripts leave the bytes that the genuine tools leave")
  func scripts() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    try compareScripts(try environmentNumber("QATLAS_SESSIONS", default: 50), compresses: false)
  }

  @Test("random scripts with compressed writes leave the bytes that the genuine tools leave")
  func compressedScripts() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    try compareScripts(try environmentNumber("QATLAS_SESSIONS", default: 32), compresses: true)
  }

  private func compareScripts(_ count: UInt64, compresses: Bool) throws {
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let route = try Route.chosen()
    let folder = try TemporaryDirectory(inMemory: true)
    let place = folder.path
    if compresses { try MixedBytes.write(to: place) }
    let name = compresses ? "random scripts with compressed writes" : "random scripts"
    let totals = Mutex((sessions: 0, requests: 0, failures: [(UInt64, String)]()))
    let began = Date()
    DispatchQueue.concurrentPerform(iterations: Int(count)) { index in
      let script = RandomScript(seed: first &+ UInt64(index), compresses: compresses)
      var failure: String?
      do { try script.compare(route, in: place) } catch { failure = "\(error)" }
      totals.withLock { totals in
        totals.sessions += script.sessions.count
        totals.requests += script.sessions.reduce(0) { $0 + $1.count }
        if let failure { totals.failures.append((script.seed, failure)) }
      }
    }
    withExtendedLifetime(folder) {}
    let result = totals.withLock { $0 }
    print(
      "\(name): \(count) from seed \(first), \(result.sessions) sessions, \(result.requests) requests, through"
        + " the \(route.rawValue): \(Int(count) - result.failures.count) byte-identical, \(Int(Date().timeIntervalSince(began))) s"
    )
    for (seed, failure) in result.failures.sorted(by: { $0.0 < $1.0 }).prefix(10) {
      Issue.record(
        "QATLAS_SEED=\(seed) QATLAS_SESSIONS=1: \(name): \(failure)\n\(RandomScript(seed: seed, compresses: compresses).description)"
      )
    }
    #expect(result.failures.isEmpty)
  }
}
