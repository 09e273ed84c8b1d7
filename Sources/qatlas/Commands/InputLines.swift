// The lines of standard input, read in pieces of a fixed size: whoever sends them is not known, and a
// line without an end must not fill the memory.

import Glibc
import Storage

/// Standard input, line by line.
struct InputLines {
  enum Line {
    case text(String)
    /// A line that was read over because no command is that long; its number, from 1.
    case tooLong(Int)
    /// Nothing more can be read, for this reason of the host.
    case unreadable(Int32)
  }

  /// Bytes of the longest line that is taken; the longest command line of the host is not longer.
  static let longest = 1 << 17

  private var buffer: [UInt8] = []
  private var taken = 0
  private var isAtEnd = false
  private var number = 0

  /// The next line without its end; nil behind the last.
  mutating func next() -> Line? {
    var line: [UInt8] = []
    var isTooLong = false
    while true {
      if taken == buffer.count {
        let problem = refill()
        if problem != 0 {
          isAtEnd = true
          return .unreadable(problem)
        }
        if isAtEnd { break }
      }
      let end = buffer[taken...].firstIndex(of: UInt8(ascii: "\n"))
      let piece = buffer[taken..<(end ?? buffer.count)]
      taken = end.map { $0 + 1 } ?? buffer.count
      isTooLong = isTooLong || line.count + piece.count > Self.longest
      if isTooLong { line = [] } else { line += piece }
      if end != nil { return finished(line, isTooLong) }
    }
    return line.isEmpty && !isTooLong ? nil : finished(line, isTooLong)
  }

  private mutating func finished(_ line: [UInt8], _ isTooLong: Bool) -> Line {
    number += 1
    if isTooLong { return .tooLong(number) }
    // Scripts with the line ends of other systems are taken as well.
    return .text(ByteText.text(line.last == UInt8(ascii: "\r") ? line.dropLast() : line[...]))
  }

  /// Reads the next piece; the error number if that fails.
  private mutating func refill() -> Int32 {
    guard !isAtEnd else { return 0 }
    var piece = [UInt8](repeating: 0, count: 1 << 14)
    while true {
      let got = unsafe piece.withUnsafeMutableBytes { unsafe read(STDIN_FILENO, $0.baseAddress, $0.count) }
      if got >= 0 {
        isAtEnd = got == 0
        buffer = Array(piece.prefix(got))
        taken = 0
        return 0
      }
      if errno == EAGAIN {
        // Somebody else set the stream to not waiting.
        var watched = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&watched, 1, -1)
      } else if errno != EINTR {
        return errno
      }
    }
  }
}
