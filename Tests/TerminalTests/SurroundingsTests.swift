// The explorer where its surroundings are not what they should be: streams closed, files limited,
// every signal that can be caught, names that are no text.

import Foundation
import TestSupport
import Testing

@Suite("qatlas surroundings", .serialized, .tags(.terminal), .waits)
struct SurroundingsTests {
  /// The explorer through a shell that does something first.
  private func start(_ before: String, _ image: String, _ after: String = "") throws -> PtySession {
    let session = try PtySession(
      "bash", ["-c", "\(before) exec \"$0\" --ascii \"$1\" \(after)", try builtProduct("qatlas"), image],
      columns: 100, rows: 30)
    try session.waitFor("1 Guest map")
    session.settle()
    return session
  }

  private func image(_ folder: TemporaryDirectory) throws -> String {
    let path = folder.path("disk.qcow2")
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", path, "64M"])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 1M", path])
    return path
  }

  private static let numbers: [Int32] =
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGSYS]
    + [16, 30] + [34, 35, 49, 63, 64]

  /// 16 is SIGSTKFLT, 30 is SIGPWR, 34 to 64 are those of the real-time kind.
  @Test("every signal that can be caught gives the terminal back", arguments: numbers)
  func signals(number: Int32) throws {
    let session = try Program.start()
    session.signal(number)
    #expect(try session.waitForExit() == 128 + number)
    #expect(session.leftovers == [])
  }

  @Test("a terminal that takes no more output does not keep the program")
  func stuckTerminal() throws {
    let session = try Program.start()
    // Far more pictures than the terminal's buffer holds, and nobody reads them.
    var looks = 0
    let isStuck = Deadline(20).wait {
      if !session.isStuck { session.send(String(repeating: "\u{0c}", count: 20)) }
      looks = session.isStuck ? looks + 1 : 0
      return looks == 6
    }
    #expect(isStuck, "the terminal took everything")
    session.signal(SIGTERM)
    #expect(Deadline(20).wait { session.state == "Z" }, "it did not end within 20 s of SIGTERM")
    #expect(session.settings == session.initialSettings)
    #expect(try session.waitForExit() == 143)
  }

  @Test("signals of lost readers and long files are no reason to end", arguments: [SIGPIPE, SIGXFSZ])
  func ignored(number: Int32) throws {
    let session = try Program.start()
    session.signal(number)
    try session.press("l", "l", expect: 0x10000)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("a save that the host refuses loses nothing and can be repeated")
  func limitedFile() throws {
    try requireTool("prlimit")
    let folder = try TemporaryDirectory()
    let path = try image(folder)
    let session = try start("ulimit -S -f 3000;", path)
    session.send(":write -P 9 2M 8M\r")
    try session.waitFor("128 new")
    for _ in 0..<2 {
      session.send(":w\r")
      try session.waitFor("File too large")
      #expect(session.screen.isAlternate && session.screen.text.contains("unsaved"))
      session.send(":goto 0\r")
      session.settle()
    }
    session.send(":w copy-of-it\r".replacingOccurrences(of: "copy-of-it", with: folder.path("copy")))
    try session.waitUntil("the copy fails") {
      $0.text.contains("copy'") && $0.text.contains("File too large")
    }
    #expect(!FileManager.default.fileExists(atPath: folder.path("copy")), "half a copy is no image")
    try succeed("qemu-img", ["check", "-U", path])
    try succeed("prlimit", ["--pid", String(session.process), "--fsize=unlimited"])
    session.send(":w\r")
    try session.waitFor("saved to")
    session.send(":q\r")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
    try succeed("qemu-img", ["check", path])
    let read = try succeed(
      "qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 9 2M 8M", "-c", "read -P 1 0 1M", path])
    #expect(!read.contains("verification failed"))
  }

  @Test(
    "closed streams beside the terminal: changes are saved all the same",
    arguments: ["<&-", "2>&-", "<&- 2>&-"])
  func closedStreams(closing: String) throws {
    let folder = try TemporaryDirectory()
    let path = try image(folder)
    let session = try start("", path, closing)
    session.send(":write -P 9 2M 64k\r")
    try session.waitFor("1 new")
    session.send(":w\r")
    try session.waitFor("saved to")
    session.send(":q\r")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
    try succeed("qemu-img", ["check", path])
    let read = try succeed("qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 9 2M 64k", path])
    #expect(!read.contains("verification failed"))
  }

  @Test("without a terminal for its output it says so and ends", arguments: [">&-", "<&- >&-"])
  func noOutput(closing: String) throws {
    let folder = try TemporaryDirectory()
    let path = try image(folder)
    let before = try sha256(ofFile: path)
    let session = try PtySession(
      "bash", ["-c", "exec \"$0\" \"$1\" \(closing)", try builtProduct("qatlas"), path], columns: 200)
    #expect(try session.waitForExit() == 2)
    #expect(session.screen.text.contains("qatlas: standard output is not a terminal"))
    #expect(session.leftovers == [])
    #expect(try sha256(ofFile: path) == before)
  }

  @Test("a name that is no text opens, is shown by its bytes, completes and is saved under")
  func byteNames() throws {
    let folder = try TemporaryDirectory()
    let path = try image(folder)
    let session = try PtySession(
      "bash",
      [
        "-c", "cd \"$1\"; mv disk.qcow2 $'caf\\xe9.qcow2'; exec \"$0\" --ascii $'caf\\xe9.qcow2'",
        try builtProduct("qatlas"), folder.path,
      ], columns: 120, rows: 30)
    try session.waitFor("1 Guest map")
    try session.waitFor("caf\\xe9.qcow2")
    session.send(":write -P 9 2M 64k\r")
    try session.waitFor("1 new")
    session.send(":w! ca\t.copy\r")
    try session.waitFor("caf\\xe9.qcow2.copy")
    session.settle()
    session.send(":w\r")
    try session.waitFor("saved to")
    session.send(":q\r")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
    let names = try run(
      "bash", ["-c", "cd \"$0\"; for n in caf*; do printf '%q ' \"$n\"; done", folder.path])
    #expect(names.stdout == "$'caf\\351.qcow2' $'caf\\351.qcow2.copy' ", "\(path): \(names.stdout)")
    let compared = try run(
      "bash",
      [
        "-c", "cd \"$0\"; qemu-img compare -f qcow2 -F qcow2 $'caf\\xe9.qcow2' $'caf\\xe9.qcow2.copy'",
        folder.path,
      ])
    #expect(compared.status == 0, "\(compared.stdout)\(compared.stderr)")
  }
}
