// A terminal that types by itself: what is played there is what a person's keys cost.

import Glibc

/// What is typed into a program, and when.
struct Keys {
  /// Strokes or lines. Each is typed when the screen has been quiet since the one before.
  var strokes: [String]
  /// Bytes that the screen must have shown before the first of them, so that no figure is one of an error message.
  var shown: String
  /// Milliseconds without output after which a screen counts as quiet; 0 types at once what there is.
  var quiet: Int32
}

struct Terminal {
  private let descriptor: Int32
  /// The end that the program opens.
  let name: String

  /// TIOCSPTLCK and TIOCGPTN of Linux, made by macros that Swift does not see.
  private static let setLock: UInt = 0x4004_5431
  private static let getNumber: UInt = 0x8004_5430

  init() throws(BenchError) {
    descriptor = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    var locked: Int32 = 0
    var number: UInt32 = 0
    guard descriptor >= 0, unsafe ioctl(descriptor, Self.setLock, &locked) == 0,
      unsafe ioctl(descriptor, Self.getNumber, &number) == 0
    else { throw BenchError("cannot make a terminal") }
    name = "/dev/pts/\(number)"
    var size = winsize(ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0)
    guard unsafe ioctl(descriptor, UInt(TIOCSWINSZ), &size) == 0 else {
      throw BenchError("a terminal has no size")
    }
  }

  /// Types the keys and reads what is drawn, until the program closes the terminal.
  func play(_ keys: Keys, _ text: String) throws(BenchError) {
    defer { close(descriptor) }
    var tail: [UInt8] = []
    let wanted = Array(keys.shown.utf8)
    while !Self.contains(tail, wanted) {
      guard let more = read(within: 60_000) else {
        throw BenchError("\(text) did not show '\(keys.shown)'")
      }
      tail = tail.suffix(wanted.count) + more
    }
    for stroke in keys.strokes {
      if keys.quiet > 0 { while read(within: keys.quiet) != nil {} }
      let bytes = Array(stroke.utf8)
      guard unsafe write(descriptor, bytes, bytes.count) == bytes.count else {
        throw BenchError("\(text) takes no keys")
      }
      // The answer to a key; one that changes nothing has none.
      if keys.quiet > 0 { _ = read(within: 200) }
    }
    while read(within: 60_000) != nil {}
  }

  /// What the program wrote; nil if that was nothing for so long, or it has ended.
  private func read(within milliseconds: Int32) -> [UInt8]? {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&waiting, 1, milliseconds) > 0 else { return nil }
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
    return count > 0 ? Array(buffer[..<count]) : nil
  }

  private static func contains(_ bytes: [UInt8], _ wanted: [UInt8]) -> Bool {
    guard bytes.count >= wanted.count else { return false }
    return (0...bytes.count - wanted.count).contains { bytes[$0..<$0 + wanted.count].elementsEqual(wanted) }
  }
}
