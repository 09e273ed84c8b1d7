// Running programs from tests: pipes, a deadline, and the whole output; never a shell by accident.
// Children start with clean signals, because test runners block signals in their threads.

import CPty
import Foundation

/// Something a test needed and did not get; its description is what the test report shows.
package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// What a program left behind.
package struct ProcessResult {
  /// The exit code, or 128 + the signal that ended it.
  package let status: Int32
  /// The signal that ended it; 0 for an ordinary exit.
  package let signal: Int32
  package let output: [UInt8]
  package let errorOutput: [UInt8]

  package var stdout: String { String(decoding: output, as: UTF8.self) }
  package var stderr: String { String(decoding: errorOutput, as: UTF8.self) }
}

/// Runs a program to its end. A plain name is looked up in `PATH`.
///
/// `environment` replaces the ordinary one (``testEnvironment``). A program that exceeds the timeout is
/// killed and the call throws.
package func run(
  _ executable: String, _ arguments: [String] = [], stdin: [UInt8] = [],
  environment: [String: String]? = nil, directory: String? = nil, timeout: Double = 30
) throws -> ProcessResult {
  let path = try locate(executable)
  let input = try makePipe()
  let output = try makePipe()
  let errors = try makePipe()
  let process = withCStrings([executable] + arguments) { argv in
    withCStrings(environmentList(environment ?? testEnvironment())) { envp in
      cpty_spawn_plain(path, argv, envp, directory, input.read, output.write, errors.write)
    }
  }
  for descriptor in [input.read, output.write, errors.write] { close(descriptor) }
  guard process > 0 else {
    for descriptor in [input.write, output.read, errors.read] { close(descriptor) }
    throw TestFailure("cannot start \(path): \(String(cString: strerror(-process)))")
  }
  var files: [Int32: [UInt8]] = [output.read: [], errors.read: []]
  var open: Set<Int32> = [output.read, errors.read]
  var unsent = stdin[...]
  var inputIsOpen = true
  _ = fcntl(input.write, F_SETFL, O_NONBLOCK)
  let deadline = Deadline(timeout)
  defer { for descriptor in open { close(descriptor) } }
  while !open.isEmpty || inputIsOpen {
    if inputIsOpen && unsent.isEmpty {
      close(input.write)
      inputIsOpen = false
      continue
    }
    var polled = open.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    if inputIsOpen { polled.append(pollfd(fd: input.write, events: Int16(POLLOUT), revents: 0)) }
    _ = poll(&polled, nfds_t(polled.count), deadline.milliseconds(atMost: 1000))
    for entry in polled where entry.revents != 0 {
      if entry.fd == input.write {
        let sent = unsent.withUnsafeBytes { write(entry.fd, $0.baseAddress, $0.count) }
        unsent = sent > 0 ? unsent.dropFirst(sent) : (errno == EAGAIN ? unsent : [])
      } else {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let got = read(entry.fd, &buffer, buffer.count)
        if got > 0 {
          files[entry.fd]?.append(contentsOf: buffer.prefix(got))
        } else if got == 0 || (errno != EINTR && errno != EAGAIN) {
          close(entry.fd)
          open.remove(entry.fd)
        }
      }
    }
    if deadline.isOver {
      if inputIsOpen { close(input.write) }
      kill(process, SIGKILL)
      _ = waitForEnd(process, timeout: 5)
      throw TestFailure(
        "\(executable) \(arguments.joined(separator: " ")) did not end within \(timeout) s; it printed: "
          + String(decoding: files[output.read] ?? [], as: UTF8.self).suffix(2000)
          + String(decoding: files[errors.read] ?? [], as: UTF8.self).suffix(2000))
    }
  }
  guard let status = waitForEnd(process, timeout: max(1, deadline.remaining)) else {
    kill(process, SIGKILL)
    _ = waitForEnd(process, timeout: 5)
    throw TestFailure("\(executable) closed its output and did not end within \(timeout) s")
  }
  return ProcessResult(
    status: cpty_exit_code(status), signal: cpty_signal(status), output: files[output.read] ?? [],
    errorOutput: files[errors.read] ?? [])
}

/// Fails with the package to install when a tool is missing; returns its path.
@discardableResult
package func requireTool(_ name: String) throws -> String {
  let packages = [
    "qemu-img": "qemu-utils", "qemu-io": "qemu-utils", "qemu-nbd": "qemu-utils", "tmux": "tmux",
    "strace": "strace", "cmp": "diffutils", "script": "bsdutils", "stty": "coreutils", "timeout": "coreutils",
    "infocmp": "ncurses-bin", "bash": "bash",
  ]
  do {
    return try locate(name)
  } catch {
    throw TestFailure(
      "this test needs `\(name)`: install the Debian package \(packages[name] ?? "that holds it")"
        + " (apt-get install \(packages[name] ?? name))")
  }
}

/// The path of a program that this package builds, beside the running tests.
package func builtProduct(_ name: String) throws -> String {
  let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
  let path = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent(name).path
  guard FileManager.default.isExecutableFile(atPath: path) else {
    throw TestFailure("\(path) is missing: the test target must depend on `\(name)`")
  }
  return path
}

/// The environment children get unless a test says otherwise: nothing personal, a UTF-8 locale.
package func testEnvironment(_ changes: [String: String?] = [:]) -> [String: String] {
  let own = ProcessInfo.processInfo.environment
  var environment = [
    "PATH": searchPath, "HOME": "/nonexistent", "TERM": "xterm-256color",
    "LANG": "C.UTF-8", "TZ": "UTC", "SWIFT_BACKTRACE": "enable=no",
  ]
  for name in ["LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"] { environment[name] = own[name] }
  for (name, value) in changes { environment[name] = value }
  return environment
}

/// Waits for a child; its raw status, or nil when the time is over.
func waitForEnd(_ process: pid_t, timeout: Double) -> Int32? {
  var status: Int32 = 0
  var ended: Int32 = 0
  Deadline(timeout).wait {
    ended = cpty_reap(process, &status)
    return ended != 0
  }
  return ended == 1 ? status : nil
}

/// The letter of a process's state, as ps shows it; X if it is gone.
package func processState(_ process: pid_t) -> Character { processStatistics(process).first?.first ?? "X" }

/// What the system tells of a process behind its name: the state first; none if it is gone.
func processStatistics(_ process: pid_t) -> [Substring] {
  let stat = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
  // The name of the program stands in parentheses and may hold anything.
  return stat.split(separator: ")").last?.split(separator: " ") ?? []
}

func locate(_ executable: String) throws -> String {
  if executable.contains("/") { return executable }
  for folder in searchPath.split(separator: ":") {
    let path = "\(folder)/\(executable)"
    if FileManager.default.isExecutableFile(atPath: path) { return path }
  }
  throw TestFailure("there is no program `\(executable)` in PATH")
}

func environmentList(_ environment: [String: String]) -> [String] {
  environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
}

func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { buffer in
    guard let base = buffer.baseAddress else { preconditionFailure("the list has at least its end") }
    return body(base)
  }
}

private func makePipe() throws -> (read: Int32, write: Int32) {
  var ends: [Int32] = [-1, -1]
  guard pipe(&ends) == 0 else { throw TestFailure("no pipe: \(String(cString: strerror(errno)))") }
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  return (ends[0], ends[1])
}

/// Runs a program that must end with 0; returns what it printed.
@discardableResult
package func succeed(_ program: String, _ arguments: [String]) throws -> String {
  let result = try run(program, arguments, timeout: 60)
  guard result.status == 0 else {
    throw TestFailure(
      "\(program) \(arguments.joined(separator: " ")): exit \(result.status)\n\(result.stdout)\(result.stderr)"
    )
  }
  return result.stdout
}
