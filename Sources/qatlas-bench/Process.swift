// Runs a program to its end and takes its time from the operating system: the wall from a clock that
// never goes back, processor time from the accounts of the finished process.

import CSys
import Glibc

/// A program with its arguments, and a file for its standard input or keys for its terminal.
struct Invocation {
  var program: String
  var arguments: [String]
  var input: String?
  /// What is typed, in a terminal of 120 columns and 40 rows; nil without a terminal.
  var keys: Keys?

  init(_ program: String, _ arguments: [String], input: String? = nil, keys: Keys? = nil) {
    self.program = program
    self.arguments = arguments
    self.input = input
    self.keys = keys
  }

  /// As it would be typed.
  var text: String {
    let name = program.split(separator: "/").last.map(String.init) ?? program
    return ([name] + arguments).joined(separator: " ") + (input.map { " < \($0)" } ?? "")
  }
}

/// What one run cost.
struct Cost {
  /// Seconds.
  var wall: Double
  var processor: Double

  subscript(measure: Measure) -> Double { measure == .wall ? wall : processor }
}

/// Why a race cannot be run.
struct BenchError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

extension Invocation {
  /// Runs it `repeats` times with its output thrown away, or the last kept in a file; a status other than 0 or 3
  /// is an error. The cost is that of all.
  @discardableResult
  func run(output: String = "/dev/null", repeats: Int = 1) throws(BenchError) -> Cost {
    var total = Cost(wall: 0, processor: 0)
    for _ in 0..<repeats {
      let cost = try once(output: output)
      total = Cost(wall: total.wall + cost.wall, processor: total.processor + cost.processor)
    }
    return total
  }

  /// KiB of one run at its largest. Another run than those that are timed: what the host tells of those counts this
  /// program's own memory, which a new process has until it becomes another program. This one is started by a small
  /// shell, which ends at once and leaves it to be waited for here.
  func peak() throws(BenchError) -> Int {
    guard csys_adopt_orphans() == 0 else { throw BenchError("cannot wait for what a shell started") }
    var shell = Invocation("sh", ["-c", "\"$@\" &", "sh", program] + arguments)
    shell.input = input
    try shell.once(output: "/dev/null")
    var status: Int32 = 0
    var usage = rusage()
    while unsafe wait4(-1, &status, 0, &usage) < 0 {
      guard errno == EINTR else { throw BenchError("cannot wait for \(program)") }
    }
    guard status & 0x7f == 0, [0, 3].contains((status >> 8) & 0xff) else {
      throw BenchError("\(text) ended with status \(status)")
    }
    return usage.ru_maxrss
  }

  @discardableResult
  private func once(output: String) throws(BenchError) -> Cost {
    let terminal = try keys.map { (_) throws(BenchError) in try Terminal() }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    if let terminal {
      // The first terminal that the leader of a session opens becomes its own.
      unsafe posix_spawnattr_setflags(&attributes, Self.newSession)
      unsafe posix_spawn_file_actions_addopen(&actions, 0, terminal.name, O_RDWR, 0)
      unsafe posix_spawn_file_actions_adddup2(&actions, 0, 1)
    } else {
      unsafe posix_spawn_file_actions_addopen(&actions, 0, input ?? "/dev/null", O_RDONLY, 0)
      unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    }
    let words = [program] + arguments
    var argv: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe argv.append(nil)
    defer { for index in unsafe argv.indices { unsafe free(argv[index]) } }
    let start = Self.now()
    var pid: pid_t = 0
    let spawned = unsafe posix_spawnp(&pid, program, &actions, &attributes, argv, environ)
    guard spawned == 0 else { throw BenchError("cannot start \(program): error \(spawned)") }
    if let terminal, let keys { try terminal.play(keys, text) }
    var status: Int32 = 0
    var usage = rusage()
    while unsafe wait4(pid, &status, 0, &usage) < 0 {
      guard errno == EINTR else { throw BenchError("cannot wait for \(program)") }
    }
    let wall = Self.now() - start
    guard status & 0x7f == 0, [0, 3].contains((status >> 8) & 0xff) else {
      throw BenchError("\(text) ended with status \(status)")
    }
    return Cost(
      wall: wall, processor: Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime))
  }

  /// POSIX_SPAWN_SETSID, which the headers show only to whoever asks for more than the standard.
  private static let newSession: Int16 = 0x80

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func seconds(_ value: timeval) -> Double {
    Double(value.tv_sec) + Double(value.tv_usec) / 1e6
  }
}
