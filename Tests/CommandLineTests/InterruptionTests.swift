// Ctrl-C in the middle of a copy: the exit is that of the signal, one sentence says what is left, and the same command
// finishes afterwards.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct InterruptionTests {
  /// A command that a signal ended, and what it said.
  private func interrupted(
    _ words: [String], _ number: Int32, _ folder: TemporaryDirectory, tool: String = "qatlas",
    when isReady: () -> Bool
  ) throws -> (signal: Int32, said: String) {
    let process = Process()
    // The threads of tests block signals, and what they start would too.
    let unblocked =
      "import os, signal, sys; signal.pthread_sigmask(signal.SIG_SETMASK, []); "
      + "[signal.signal(n, signal.SIG_DFL) for n in (2, 15)]; os.execv(sys.argv[1], sys.argv[1:])"
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["python3", "-c", unblocked, try tool == "qatlas" ? builtProduct("qatlas") : tool] + words
    process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    Deadline(20).wait(until: isReady)
    kill(process.processIdentifier, number)
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationReason == .uncaughtSignal else {
      throw TestFailure("\(words): ended with \(process.terminationStatus): \(text)")
    }
    return (process.terminationStatus, text)
  }

  private func size(_ folder: TemporaryDirectory, _ name: String) -> Int {
    (try? FileManager.default.attributesOfItem(atPath: folder.path(name))[.size] as? Int) ?? 0
  }

  @Test("what is left is said, and the same command finishes", arguments: [SIGINT, SIGTERM])
  func copies(_ number: Int32) throws {
    let folder = try TemporaryDirectory()
    let qatlas = try builtProduct("qatlas")
    try Data((0..<24 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 7 | 1) })
      .write(to: URL(fileURLWithPath: folder.path("raw")))
    let convert = ["convert", "-O", "qcow2", "raw", "new"]
    let slow = ["convert", "-r", "1M"] + convert.dropFirst()
    let left = try interrupted(slow, number, folder) { size(folder, "new") > 1 << 20 }
    #expect(left.signal == number)
    #expect(
      left.said == "qatlas: interrupted: 'new' holds a part of the copy; the same command makes it anew\n")
    #expect(try run(qatlas, ["check", "new"], directory: folder.path).status != 2)
    #expect(try run(qatlas, convert, directory: folder.path).status == 0)
    #expect(try run(qatlas, ["compare", "raw", "new"], directory: folder.path).status == 0)
    // In place of the genuine tool nothing is said.
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("qemu-img"), withDestinationPath: qatlas)
    try FileManager.default.removeItem(atPath: folder.path("new"))
    let silent = try interrupted(slow, number, folder, tool: folder.path("qemu-img")) {
      size(folder, "new") > 1 << 20
    }
    #expect(silent.signal == number && silent.said.isEmpty)
  }
}
