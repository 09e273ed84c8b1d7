// Runs a program to its end and takes its time from the operating system: the wall from a clock that
// never goes back, processor time and memory from the accounts of the finished process.

import Glibc

/// A program with its arguments, and a file for its standard input.
struct Invocation {
  var program: String
  var arguments: [String]
  var input: String?

  init(_ program: String, _ arguments: [String], input: String? = nil) {
    self.program = program
    self.arguments = arguments
    self.input = input
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
  /// KiB at its largest.
  var memory: Int
}

/// Why a race cannot be run.
struct BenchError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

extension Invocation {
  /// Runs it with its output thrown away, or kept in a file; a status other than 0 or 3 is an error.
  @discardableResult
  func run(output: String = "/dev/null") throws(BenchError) -> Cost {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, input ?? "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    let words = [program] + arguments
    var argv: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe argv.append(nil)
    defer { for index in unsafe argv.indices { unsafe free(argv[index]) } }
    let start = Self.now()
    var pid: pid_t = 0
    let spawned = unsafe posix_spawnp(&pid, program, &actions, nil, argv, environ)
    guard spawned == 0 else { throw BenchError("cannot start \(program): error \(spawned)") }
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
      wall: wall, processor: Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime),
      memory: usage.ru_maxrss)
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func seconds(_ value: timeval) -> Double {
    Double(value.tv_sec) + Double(value.tv_usec) / 1e6
  }
}
