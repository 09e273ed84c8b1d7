// The two streams of the command line tools: output is collected and written in large pieces, errors
// go out at once, and both start with the program's name where the genuine tools do.

import ArgumentParser
import Glibc

/// Output of one command. Call ``flush()`` before the program ends.
final class Streams {
  private var pending: [UInt8] = []
  private static let piece = 1 << 16

  /// Adds text to the output.
  func output(_ text: String) {
    pending.append(contentsOf: text.utf8)
    if pending.count >= Self.piece { flush() }
  }

  /// Writes text to the error stream, behind all output so far.
  func error(_ text: String) {
    flush()
    Self.write(Array(text.utf8), to: STDERR_FILENO)
  }

  /// Says why the command fails and returns what it then throws.
  /// `hint` is printed as it is.
  func failure(_ text: String, hint: String? = nil) -> ExitCode {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    error(lines.map { "qatlas: \($0)\n" }.joined() + (hint ?? ""))
    return ExitCode(1)
  }

  func flush() {
    guard !pending.isEmpty else { return }
    Self.write(pending, to: STDOUT_FILENO)
    pending.removeAll(keepingCapacity: true)
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) {
    var done = 0
    while done < bytes.count {
      let put = unsafe bytes.withUnsafeBytes { buffer in
        unsafe buffer.baseAddress.map { unsafe Glibc.write(descriptor, $0 + done, bytes.count - done) } ?? 0
      }
      if put > 0 {
        done += put
      } else if put == 0 || errno != EINTR {
        // Nobody can be told that output is gone; a full disk still shows in the exit code.
        exit(1)
      }
    }
  }
}
