// Esc and Ctrl-C in everything that takes long, with the real binary: the work ends at once, and what it
// leaves is the state before or a whole part of it.

import Foundation
import TestSupport
import Testing

@Suite("qatlas gives up at once", .serialized, .tags(.terminal), .waits)
struct GivingUpTests {
  /// Seconds from the key to the words on the screen, at best.
  static let limit = 0.2
  /// The same on a machine that is busy with other things, where the program's own time must be within
  /// ``limit``.
  static let patience = 8.0

  /// Starts work with a line, presses a key while it goes on, and measures until a text appears: on the clock,
  /// or by what the program itself took of the processor. The best of a few.
  private func time(
    _ session: PtySession, _ line: String, key: String, until text: String, tries: Int = 4
  ) throws -> Double {
    var best = Double.infinity
    for _ in 1...tries where best >= Self.limit {
      session.send(line)
      try session.waitUntil("`\(line)` is under way", timeout: 120) { $0.text.contains("gives it up") }
      let (before, used) = (Date(), session.processorTime)
      session.send(key)
      try session.waitFor(text, timeout: 30)
      let passed = Date().timeIntervalSince(before)
      let own = session.processorTime - used
      best = min(best, passed < Self.patience ? min(passed, own) : passed)
      session.settle()
    }
    return best
  }

  @Test("requests of many GiB, undo, copies, the plot and the scan end within 200 ms and leave no trace")
  func everything() throws {
    let folder = try TemporaryDirectory()
    let image = try Program.largeImage(in: folder)
    let session = try PtySession(
      try builtProduct("qatlas"), ["--ascii", "--no-config", image], columns: 120, rows: 40,
      environment: testEnvironment([:]))
    try session.waitFor("1 Guest map")

    // The scan: stopped it says so, and goes on when told.
    try session.waitFor("scanning")
    var before = Date()
    session.send("\u{1b}")
    try session.waitFor("scan stopped at", timeout: 30)
    #expect(Date().timeIntervalSince(before) < Self.patience)
    session.settle()
    #expect(session.screen.text.contains("scan stopped at"), "it stays stopped")
    session.send(":scan\r")
    try session.waitUntil("the end of the scan", timeout: 120) { $0.line(0).contains("sound") }

    let work: [(String, String)] = [
      (":discard 100G 20G\r", "\u{1b}"), (":discard 100G 20G\r", "\u{3}"),
      (":write -P 3 7G 20G\r", "\u{1b}"), (":write -z -u 100G 200G\r", "\u{3}"), (":read 0 20G\r", "\u{1b}"),
    ]
    for (line, key) in work {
      let best = try time(session, line, key: key, until: "given up; nothing was changed")
      #expect(best < Self.limit, "\(line)")
      let title = session.screen.line(0)
      #expect(title.contains("generation 0 of 0") && title.contains("saved"))
    }

    // A copy that was given up is not left lying around.
    let copy = folder.path("copy.qcow2")
    let best = try time(session, ":w \(copy)\r", key: "\u{3}", until: "given up")
    #expect(best < Self.limit)
    #expect(!FileManager.default.fileExists(atPath: copy))

    // The plot.
    session.send("F")
    try session.waitFor("counting", timeout: 30)
    before = Date()
    session.send("\u{1b}")
    try session.waitFor("stopped; what was not looked at yet is unknown", timeout: 30)
    #expect(Date().timeIntervalSince(before) < Self.patience)
    session.send("q")
    try session.waitFor("1 Guest map")
  }

  @Test("undo of a long write ends at once as it was, or is done")
  func undoing() throws {
    let folder = try TemporaryDirectory()
    let image = folder.path("disk.qcow2")
    #expect(
      try run(try requireTool("qemu-img"), ["create", "-q", "-f", "qcow2", image, "1G"]).status == 0)
    let session = try Program.start(["--ascii", "--no-config", image])
    // Long enough to be asked for Esc, short enough for a busy machine.
    session.send(":write -P 3 0 256M\r")
    try session.waitUntil("the write", timeout: 180) { $0.line(0).contains("generation 1 of 1") }
    session.send("u\u{3}")
    try session.waitUntil("undone, or as it was", timeout: 60) {
      $0.text.contains("given up; nothing was changed") || $0.line(0).contains("generation 0 of 1")
    }
    session.settle()
    let isUndone = session.screen.line(0).contains("generation 0 of 1")
    session.send(":read -P \(isUndone ? 0 : 3) 0 64M\r")
    try session.waitFor("every byte is 0x0\(isUndone ? 0 : 3)", timeout: 60)
  }

  @Test("a run of the lab stops and goes on")
  func lab() throws {
    let session = try Program.start()
    session.send(":lab churn\r")
    try session.waitFor("lab")
    let time = session.cpuTime
    try session.waitUntil("a run that is under way") { _ in session.cpuTime > time + 100 }
    session.send("\u{3}")
    try session.waitUntil("stopped", timeout: 10) {
      $0.text.contains("Space goes on") || $0.text.contains("the run is over")
    }
  }

  @Test("a preview that takes long closes with its dialog")
  func preview() throws {
    let folder = try TemporaryDirectory()
    let image = folder.path("small.qcow2")
    #expect(
      try run(
        try requireTool("qemu-img"),
        ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", image, "1G"]
      ).status == 0)
    let session = try Program.start(["--ascii", "--no-config", image])
    session.send("w")
    try session.waitFor("What would happen:")
    session.send("\u{15}256M")
    session.send("\u{1b}")
    try session.waitUntil("the dialog is gone", timeout: 20) { !$0.text.contains("What would happen:") }
    session.settle()
    #expect(session.screen.text.contains("given up; nothing was changed"))
    #expect(session.screen.line(0).contains("saved"))
  }
}
