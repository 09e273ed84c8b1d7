// A program in a pseudo terminal: tests press its keys, watch its screen, count its bytes, end it.
// Nothing sleeps for a fixed time: every wait is for something, with a deadline.

import CPty
import Foundation

/// A running program and the emulated terminal in front of it.
package final class PtySession {
  package let process: pid_t
  package private(set) var screen: VirtualTerminal
  /// Everything the program wrote.
  package private(set) var received: [UInt8] = []
  private let master: Int32
  /// The slave stays open here, so that line settings can be read after the program ended.
  private let slave: Int32
  /// The line settings before the program started.
  package let initialSettings: String
  private var status: Int32?
  private var masterIsOpen = true
  private var slaveIsOpen = true

  /// Starts a program. Descriptors that are given replace 0, 1 and 2; the terminal takes the others.
  package init(
    _ executable: String, _ arguments: [String] = [], columns: Int = 80, rows: Int = 24,
    environment: [String: String] = testEnvironment(), stdin: Int32 = -1, stdout: Int32 = -1,
    stderr: Int32 = -1
  ) throws {
    var name = [CChar](repeating: 0, count: 128)
    master = cpty_open(Int32(columns), Int32(rows), &name, name.count)
    guard master >= 0 else { throw TestFailure("no pseudo terminal: \(String(cString: strerror(-master)))") }
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)
    initialSettings = PtySession.settings(slave)
    screen = VirtualTerminal(width: columns, height: rows)
    let path = try locate(executable)
    process = withCStrings([executable] + arguments) { argv in
      withCStrings(environmentList(environment)) { envp in
        cpty_spawn(path, argv, envp, name, stdin, stdout, stderr)
      }
    }
    guard process > 0 else {
      close(slave)
      close(master)
      slaveIsOpen = false
      masterIsOpen = false
      throw TestFailure("cannot start \(path): \(String(cString: strerror(-process)))")
    }
  }

  deinit {
    if status == nil && process > 0 {
      kill(process, SIGKILL)
      kill(process, SIGCONT)
      _ = waitForEnd(process, timeout: 5)
    }
    if slaveIsOpen { close(slave) }
    if masterIsOpen { close(master) }
  }

  private static func settings(_ descriptor: Int32) -> String {
    var text = [CChar](repeating: 0, count: 512)
    guard cpty_settings(descriptor, &text, text.count) > 0 else { return "unreadable" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The line settings now.
  package var settings: String { PtySession.settings(slave) }

  /// The number of bytes received so far.
  package var byteCount: Int { received.count }

  package func send(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { write(master, $0.baseAddress, $0.count) }
      guard written > 0 else { return }
      bytes = bytes.dropFirst(written)
    }
  }

  package func signal(_ number: Int32) { kill(process, number) }

  package func resize(columns: Int, rows: Int) {
    screen.resize(width: columns, height: rows)
    _ = cpty_resize(master, Int32(columns), Int32(rows))
  }

  /// Reads what comes within `seconds`; returns early after `quiet` seconds of silence.
  @discardableResult
  package func pump(seconds: Double, quiet: Double? = nil) -> Int {
    let deadline = Deadline(seconds)
    var silence = Deadline(quiet ?? seconds)
    var total = 0
    while !deadline.isOver && !silence.isOver {
      let got = readOnce(
        milliseconds: min(deadline.milliseconds(atMost: 50), silence.milliseconds(atMost: 50)))
      if got < 0 { break }
      if got > 0 {
        total += got
        silence = Deadline(quiet ?? seconds)
      }
    }
    return total
  }

  /// Reads until the program is silent and waits for input: not a question of how long, because on a
  /// busy machine a program that has work to do may be silent for long.
  @discardableResult
  package func settle() -> Int {
    let deadline = Deadline(30)
    var total = 0
    var idle = 0
    while idle < 6 && !deadline.isOver {
      let got = readOnce(milliseconds: 12)
      if got < 0 { break }
      total += got
      // Sleeping, stopped or dead; running and waiting for the processor are both R.
      idle = got == 0 && state != "R" ? idle + 1 : 0
    }
    return total
  }

  /// The letter of the process state, as ps shows it.
  package var state: Character { processState(process) }

  /// Whether the program sleeps although there is input: it waits for the terminal to take its output.
  package var isStuck: Bool { cpty_unread(slave) > 0 && state == "S" }

  /// Seconds of processor time that the process has had, its own and the system's for it.
  package var processorTime: Double {
    processStatistics(process).dropFirst(11).prefix(2).compactMap { Double($0) }.reduce(0, +)
      / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  private func readOnce(milliseconds: Int32) -> Int {
    var polled = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    guard poll(&polled, 1, milliseconds) > 0 else { return 0 }
    var buffer = [UInt8](repeating: 0, count: 65536)
    let got = read(master, &buffer, buffer.count)
    guard got > 0 else { return -1 }
    received.append(contentsOf: buffer.prefix(got))
    screen.feed(buffer.prefix(got))
    return got
  }

  /// Waits until the screen fulfils a condition; throws with the screen when the time is over.
  package func waitUntil(
    _ what: String, timeout: Double = 10, _ condition: (VirtualTerminal) -> Bool
  ) throws {
    let deadline = Deadline(timeout)
    while !condition(screen) {
      guard !deadline.isOver else {
        throw TestFailure("\(what) did not happen within \(timeout) s; the screen is:\n\(screen.text)")
      }
      if readOnce(milliseconds: deadline.milliseconds(atMost: 50)) < 0 {
        if condition(screen) { return }
        throw TestFailure("\(what): the program ended; the screen is:\n\(screen.text)")
      }
    }
  }

  /// Waits until a text is on the screen.
  package func waitFor(_ text: String, timeout: Double = 10) throws {
    try waitUntil("`\(text)` on the screen", timeout: timeout) { $0.text.contains(text) }
  }

  /// Waits until the program stopped itself (state T).
  package func waitUntilStopped(timeout: Double = 5) throws {
    let deadline = Deadline(timeout)
    while cpty_is_stopped(process) == 0 {
      guard !deadline.isOver else { throw TestFailure("the program did not stop within \(timeout) s") }
      pump(seconds: 0.01)
    }
  }

  /// Waits for the end; the exit code (128 + signal as a shell shows it).
  package func waitForExit(timeout: Double = 10) throws -> Int32 {
    if let status { return cpty_exit_code(status) }
    var raw: Int32 = 0
    let hasEnded = Deadline(timeout).wait {
      // Nobody ends who cannot write the last words.
      if masterIsOpen { pump(seconds: 0.02, quiet: 0.002) }
      return cpty_reap(process, &raw) == 1
    }
    guard hasEnded else {
      throw TestFailure("the program did not end within \(timeout) s; the screen is:\n\(screen.text)")
    }
    status = raw
    if masterIsOpen { pump(seconds: 0.5, quiet: 0.02) }
    return cpty_exit_code(raw)
  }

  /// Makes the terminal vanish, as a closed window does.
  package func hangUp() {
    close(slave)
    close(master)
    slaveIsOpen = false
    masterIsOpen = false
  }

  /// CPU time used so far, in milliseconds.
  package var cpuTime: Int { cpty_cpu_time(process) }
}

extension PtySession {
  /// What is wrong with the terminal after a program ended; empty when it is as it was found.
  package var leftovers: [String] {
    var problems: [String] = []
    if screen.isAlternate { problems.append("alternate screen is on") }
    if !screen.cursorIsVisible { problems.append("cursor is hidden") }
    if screen.reportsMouse { problems.append("mouse reporting is on") }
    if screen.hasBracketedPaste { problems.append("bracketed paste is on") }
    if settings != initialSettings { problems.append("line settings \(settings), were \(initialSettings)") }
    problems += screen.unknown.map { "unknown escape \($0)" }
    return problems
  }
}
