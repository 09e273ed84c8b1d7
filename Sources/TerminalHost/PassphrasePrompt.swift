// Asks for a line on the terminal, for a passphrase without showing it. The settings of the line come back
// however it ends: with an answer, a signal, a stop, or a crash.

internal import CSys
internal import Glibc

/// Asks for a passphrase on the terminal, without showing it.
package enum PassphrasePrompt {
  /// Shows a question and reads one line into `buffer`, without its end; returns how many bytes. What is
  /// typed is only seen with `isShown`.
  ///
  /// Asks the terminal of the process even when standard input and output are something else.
  ///
  /// - Throws: ``TerminalError`` without a terminal, and if nothing was typed.
  package static func ask(
    _ question: String, into buffer: UnsafeMutableRawBufferPointer, isShown: Bool = false
  ) throws(TerminalError) -> Int {
    let descriptor = unsafe open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw TerminalError(
        code: .notATerminal,
        message: "there is no terminal to ask for the passphrase; use file=PATH or env=NAME")
    }
    defer { close(descriptor) }
    guard csys_terminal_save(descriptor) == 0 else {
      throw TerminalError(code: .system(errno: EIO), message: "the settings of the terminal cannot be read")
    }
    let signals = csys_signals_open()
    guard signals >= 0 else {
      throw TerminalError(code: .system(errno: -signals), message: "signals cannot be watched")
    }
    // A crash, and a second signal while the first waits, put the settings back as well.
    let newline: [UInt8] = [10]
    _ = unsafe newline.withUnsafeBytes { unsafe csys_guard_arm(descriptor, $0.baseAddress, $0.count, -1, -1) }
    defer {
      csys_terminal_restore(descriptor)
      csys_guard_disarm()
      csys_signals_close()
    }
    try prepare(descriptor, isShown)
    write(question, to: descriptor)
    while true {
      var watched = [
        pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
      ]
      guard unsafe poll(&watched, 2, -1) > 0 else { continue }
      if watched[0].revents != 0 {
        try heed(csys_signals_next(), descriptor, question, isShown)
      } else if watched[1].revents != 0 {
        return unsafe try line(descriptor, into: buffer)
      }
    }
  }

  /// Of a hidden line only the end is shown. Editing and the keys that send signals stay as they are.
  private static func prepare(_ descriptor: Int32, _ isShown: Bool) throws(TerminalError) {
    var settings = termios()
    guard unsafe tcgetattr(descriptor, &settings) == 0 else {
      throw TerminalError(code: .system(errno: EIO), message: "the settings of the terminal cannot be read")
    }
    if !isShown { settings.c_lflag &= ~tcflag_t(ECHO) }
    settings.c_lflag |= tcflag_t(ICANON | ISIG | ECHONL)
    // What was typed before the question is no answer.
    guard unsafe tcsetattr(descriptor, TCSAFLUSH, &settings) == 0 else {
      throw TerminalError(
        code: .system(errno: EIO), message: "the terminal cannot be kept from showing the passphrase")
    }
  }

  private static func heed(
    _ signal: Int32, _ descriptor: Int32, _ question: String, _ isShown: Bool
  ) throws(TerminalError) {
    switch signal {
    case _ where csys_signal_ends(signal) == 1:
      csys_terminal_restore(descriptor)
      write("\n", to: descriptor)
      csys_die_of(signal)
    case SIGTSTP:
      csys_terminal_restore(descriptor)
      csys_stop_group()
      // Without job control nothing was stopped, and no signal to continue will come.
      try prepare(descriptor, isShown)
    case SIGCONT:
      // The shell may have set the line back.
      try prepare(descriptor, isShown)
      write(question, to: descriptor)
    default: break
    }
  }

  private static func line(
    _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer
  ) throws(TerminalError) -> Int {
    var count = 0
    while count < buffer.count {
      let got = unsafe read(descriptor, buffer.baseAddress.map { unsafe $0 + count }, buffer.count - count)
      if got < 0 && errno == EINTR { continue }
      guard got > 0 else { break }
      count += got
      if unsafe buffer[count - 1] == UInt8(ascii: "\n") { return count - 1 }
    }
    guard count == buffer.count else {
      throw TerminalError(code: .notATerminal, message: "no passphrase was given")
    }
    throw TerminalError(
      code: .notATerminal, message: "the passphrase is longer than \(buffer.count - 1) bytes")
  }

  private static func write(_ text: String, to descriptor: Int32) {
    let bytes = Array(text.utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
  }
}
