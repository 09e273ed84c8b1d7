// Runs the commands of `qatlas io` on one open image and prints what `qemu-io` prints. A session
// lasts as long as the image is open, because allocation continues from command to command.

import Cartography
import Glibc
package import Qcow
import QcowFormat
import Storage

/// One open image and the two streams its commands write to.
package final class IoSession {
  /// Where texts go, and the one thing commands need from the host.
  package struct Terminal {
    /// Takes text for the output.
    package var output: (String) -> Void
    /// Takes text for the error stream.
    package var error: (String) -> Void
    /// The bytes of a file named by `write -s`; throws the reason as text.
    ///
    /// - Throws: ``LoadError`` for a file that cannot be read.
    package var load: (String) throws(LoadError) -> [UInt8]
    /// Opens what the words of `open` name; nil if that failed, which has been said then.
    package var open: ([String]) -> (any GuestDisk)?
    /// Opens the same disk with other options; nil if that failed, which has been said then.
    package var reopen: (Reopening) -> (any GuestDisk)?

    /// What a session prints to and reads from.
    package init(
      output: @escaping (String) -> Void, error: @escaping (String) -> Void,
      load: @escaping (String) throws(LoadError) -> [UInt8],
      open: @escaping ([String]) -> (any GuestDisk)? = { _ in nil },
      reopen: @escaping (Reopening) -> (any GuestDisk)? = { _ in nil }
    ) {
      self.output = output
      self.error = error
      self.load = load
      self.open = open
      self.reopen = reopen
    }
  }

  /// Why a pattern file could not be read.
  package struct LoadError: Error, Sendable {
    /// Why, in words of the host.
    package var reason: String
    package init(_ reason: String) { self.reason = reason }
  }

  /// How a command ended.
  package enum Outcome: Equatable, Sendable { case done, failed, quit }

  /// Requests that are longer are refused: 2 GiB less a sector.
  static let largestRequest: UInt64 = 2_147_483_136

  /// Nil if no file was named, or the last one was closed.
  package private(set) var disk: (any GuestDisk)?
  let terminal: Terminal
  /// What messages call the program.
  let program: String
  /// The bytes of the request under way; a request that stands still is the only one.
  let memory = RequestMemory()
  /// Where requests in the background stand still.
  var breakpoints = Breakpoints()
  /// The request that stands still, if one does: the image must not be touched then.
  package var stoppedRequest: String? { breakpoints.stoppedTag }

  /// A session on a disk, or without one until `open`.
  package init(_ disk: (any GuestDisk)?, terminal: Terminal, program: String = "qatlas") {
    self.disk = disk
    self.terminal = terminal
    self.program = program
    listen()
  }

  private func listen() {
    let error = terminal.error
    disk?.report = { error("\(Escaping.human($0))\n") }
  }

  /// Runs one line; an empty one does nothing.
  package func run(_ line: String) -> Outcome {
    let words = Self.words(line)
    guard let name = words.first else { return .done }
    guard let command = IoCommand.named(name) else {
      terminal.error("command \"\(Escaping.human(name))\" not found\n")
      return .failed
    }
    if command.needsImage && disk == nil {
      terminal.error("no file open, try 'help open'\n")
      return .failed
    }
    if let refusal = refusalWhileStopped(command) {
      terminal.error(refusal)
      return .failed
    }
    let rest = Array(words.dropFirst())
    if let complaint = Self.countComplaint(rest.count, name, command) {
      terminal.error(complaint)
      return .failed
    }
    if command.writes, let disk, !disk.isWritable {
      terminal.error("\(program): \(disk.readOnlyReason ?? "Block node is read-only")\n")
      return .failed
    }
    switch command.verb {
    case .quit: return .quit
    case .help: return help(rest)
    default: break
    }
    let arguments = IoArguments(rest, options: command.options)
    do throws(Failure) { try checkValues(arguments, command) } catch {
      if let line = error.line { terminal.output(line + "\n") }
      return .failed
    }
    if let problem = arguments.problem {
      switch problem {
      case .unknown(let letter):
        terminal.error("\(name): invalid option -- '\(Escaping.human(String(letter)))'\n")
      case .missingValue(let letter): terminal.error("\(name): option requires an argument -- '\(letter)'\n")
      }
      terminal.output(command.usage)
      return .failed
    }
    do throws(Failure) {
      if command.verb == .reopen {
        try reopen(arguments)
      } else if let disk, command.needsImage {
        try perform(command, arguments, disk)
      } else {
        try perform(command, arguments, rest)
      }
      return .done
    } catch {
      if case .usage = error { terminal.output(command.usage) }
      if let line = error.line { terminal.output(line + "\n") }
      return .failed
    }
  }

  /// What stands between blanks. By bytes: a mark behind a blank does not join it.
  private static func words(_ line: String) -> [String] {
    var words: [String] = []
    words.reserveCapacity(8)
    var line = line
    line.withUTF8 { bytes in
      var start = 0
      for at in 0...bytes.count where unsafe at == bytes.count || bytes[at] == UInt8(ascii: " ") {
        if at > start {
          unsafe words.append(
            String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<at]), as: UTF8.self))
        }
        start = at + 1
      }
    }
    return words
  }

  /// The numbers among the options are read as they are met, before a later word can be wrong.
  private func checkValues(_ arguments: IoArguments, _ command: IoCommand) throws(Failure) {
    switch command.verb {
    case .read, .readv, .aioRead, .write, .writev, .aioWrite: break
    default: return
    }
    for (letter, value) in arguments.values.met {
      if letter == "P" { _ = try Self.pattern(value) }
      if letter == "l" || letter == "s" && command.verb == .read { _ = try Self.number(value) }
    }
  }

  /// Why a command stops early.
  enum Failure: Error {
    /// The usage line says it.
    case usage
    /// Everything has been said.
    case said
    case text(String)
    /// A request that ended with a number of the host, as the genuine tool tells it.
    case request(verb: String, Int32)

    /// The line that tells it; nil if there is none.
    var line: String? {
      switch self {
      case .usage, .said: nil
      case .text(let text): text
      case .request(let verb, let number): "\(verb) failed: \(FileStorage.reason(number))"
      }
    }
  }

  private static func countComplaint(_ count: Int, _ name: String, _ command: IoCommand) -> String? {
    guard count < command.minimum || count > command.maximum ?? .max else { return nil }
    let expected: String
    switch command.maximum {
    case nil: expected = "at least \(command.minimum) arguments"
    case command.minimum: expected = "\(command.minimum) arguments"
    case .some(let maximum): expected = "between \(command.minimum) and \(maximum) arguments"
    }
    return "bad argument count \(count) to \(name), expected \(expected)\n"
  }

  private func help(_ words: [String]) -> Outcome {
    guard let name = words.first else {
      for command in IoCommand.all { terminal.output(command.usage) }
      terminal.output("\nUse 'help commandname' for extended help.\n")
      return .done
    }
    guard let command = IoCommand.named(name) else {
      terminal.output("command \(Escaping.human(name)) not found\n")
      return .failed
    }
    terminal.output(command.help)
    return .done
  }

  private func perform(_ command: IoCommand, _ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure)
  {
    switch command.verb {
    case .read: try read(arguments, disk)
    case .readv: try readPieces(arguments, disk)
    case .write: try write(arguments, disk)
    case .writev: try writePieces(arguments, disk, verb: "writev")
    case .discard: try discard(arguments, disk, verb: "discard", reported: "discard")
    case .aioRead: try inBackground { [self] () throws(Failure) in try readPieces(arguments, disk) }
    case .aioWrite: try inBackground { [self] () throws(Failure) in try writeInBackground(arguments, disk) }
    case .aioDiscard:
      try inBackground { [self] () throws(Failure) in
        try discard(arguments, disk, verb: "aio_discard", reported: "discarded ")
      }
    case .aioFlush: break
    case .breakpoint, .resume, .removeBreak, .waitBreak:
      try breakpoint(command.verb, arguments.operands, on: disk)
    case .zones: throw .text("\(command.name.replacing("_", with: " ")) failed: Operation not supported")
    case .truncate: try truncate(arguments, disk)
    case .close: try close()
    case .flush: try flush(disk)
    case .map: try map(disk)
    case .alloc: try alloc(arguments.operands, disk)
    case .length: terminal.output(IoFormat.size(disk.virtualSize) + "\n")
    case .info: try info(disk)
    case .help, .quit, .open, .reopen, .sleep, .raise, .abort: break
    }
  }

  /// The commands that need no image.
  private func perform(_ command: IoCommand, _ arguments: IoArguments, _ words: [String]) throws(Failure) {
    switch command.verb {
    case .open:
      guard disk == nil else {
        terminal.error("\(program): file open already, try 'help close'\n")
        throw .said
      }
      disk = terminal.open(words)
      guard disk != nil else { throw .said }
      listen()
    case .sleep: try pause(words[0])
    case .raise: try raiseSignal(words[0])
    case .abort:
      // The crash is asked for; nobody wants a trace of it.
      _ = signal(SIGABRT, SIG_DFL)
      Glibc.abort()
    default: break
    }
  }

  /// Opens the disk anew with other options; the search for free clusters goes on where it was. Nobody may
  /// keep the old one meanwhile, for it holds the lock.
  private func reopen(_ arguments: IoArguments) throws(Failure) {
    guard arguments.operands.isEmpty else { throw .usage }
    let switches = arguments.order.filter { $0 == "r" || $0 == "w" }
    guard switches.count < 2 else {
      terminal.error("\(program): Only one -r/-w option may be given\n")
      throw .said
    }
    let request = Reopening(
      isReadOnly: switches.first.map { $0 == "r" } ?? (disk?.isWritable != true),
      cache: arguments.values["c"], options: arguments.values["o"])
    if let problem = request.refusal(isRaw: disk is RawDisk) {
      terminal.error("\(program): \(problem)\n")
      throw .said
    }
    let session = (disk as? Image)?.session
    try close()
    disk = terminal.reopen(request)
    guard disk != nil else { throw .said }
    if let session, let image = disk as? Image { image.session = session }
    listen()
  }

  /// The genuine tool says nothing of a flush that fails.
  private func flush(_ disk: any GuestDisk) throws(Failure) {
    do throws(ImageError) { try disk.flush() } catch {
      if !error.isInjected { terminal.error("\(program): \(Escaping.human(error.description))\n") }
      throw .said
    }
  }

  /// Closes the image; whatever happens, it is not used any more.
  private func close() throws(Failure) {
    guard let open = disk else { return }
    disk = nil
    try engine("close") { () throws(ImageError) in try open.close() }
  }

  // MARK: What commands share

  /// A number of the command line, in the words of the genuine tool.
  static func number(_ text: String) throws(Failure) -> UInt64 {
    do throws(Notation.ParseError) {
      return try Notation.parse(text)
    } catch {
      if case .tooLarge = error {
        throw .text("Parsing error: argument too large -- \(Escaping.human(text))")
      }
      throw .text(
        "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- \(Escaping.human(text))")
    }
  }

  /// A byte in decimal, octal (leading 0) or hexadecimal (leading 0x).
  static func pattern(_ text: String) throws(Failure) -> UInt8 {
    let value: UInt8?
    if text.hasPrefix("0x") || text.hasPrefix("0X") {
      value = UInt8(text.dropFirst(2), radix: 16)
    } else if text.hasPrefix("0"), text != "0" {
      value = UInt8(text.dropFirst(), radix: 8)
    } else {
      value = UInt8(text)
    }
    // "+5" is a number to some parsers, and not a byte here.
    guard let value, text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }) else {
      throw .text("\(Escaping.human(text)) is not a valid pattern byte")
    }
    return value
  }

  /// Runs a call of the engine and turns its errors into the line of the genuine tool; whatever it
  /// does not tell goes to the error stream.
  func engine<T>(_ verb: String, _ body: () throws(ImageError) -> T) throws(Failure) -> T {
    do throws(ImageError) {
      return try body()
    } catch {
      // Damage has been told by the engine already.
      let isTold = [
        .invalidRequest, .misaligned, .unsupported, .corrupt, .overlap, .outOfService, .unreadable,
      ]
      .contains(error.code)
      if !isTold && !error.isInjected { terminal.error("\(program): \(Escaping.human(error.description))\n") }
      throw .request(verb: verb, error.hostNumber)
    }
  }

  func report(_ arguments: IoArguments, _ report: IoFormat.Report) {
    if arguments.flags.contains("q") { return }
    terminal.output(arguments.flags.contains("C") ? report.machine : report.human)
  }
}
