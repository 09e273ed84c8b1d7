// A trace: lines of `qatlas io`, read once and replayed on every policy. Reads and questions are skipped, and
// a line that cannot be replayed is told with its number.

package import Cartography
import QcowFormat
import Storage

/// Reads the requests of a trace.
package enum LabTrace {
  /// Bytes of text that are read at most: 256 MiB.
  package static let maximumBytes: UInt64 = 1 << 28

  /// The requests of a trace for a disk of `size` bytes. Empty lines and lines that begin with `#` are
  /// skipped; `quit` ends it.
  ///
  /// - Throws: ``CommandError`` with the number of the line that is no request or cannot be replayed.
  package static func requests(_ text: String, size: UInt64) throws(CommandError) -> [Request] {
    var requests: [Request] = []
    // To Swift a carriage return and the newline behind it are one character.
    let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    for (index, raw) in lines.enumerated() {
      let words = raw.split { $0 == " " || $0 == "\t" }.map(String.init)
      guard let name = words.first, !name.hasPrefix("#") else { continue }
      do throws(CommandError) {
        guard let command = IoCommand.named(name) else {
          throw CommandError("command \"\(Escaping.human(name))\" not found")
        }
        if command.verb == .quit { break }
        if let request = try request(command, Array(words.dropFirst()), size) { requests.append(request) }
      } catch { throw CommandError("line \(index + 1): \(error.description)") }
    }
    return requests
  }

  /// The requests of a guest that was recorded, for a disk of ``exampleSize`` bytes: it made a file system, filled it, deleted
  /// half of the files, trimmed, and filled it again.
  package static var example: [Request] {
    // The file is the program's own, and tested.
    (try? requests(ByteText.text(PackageResources.boot_trace), size: exampleSize)) ?? []
  }

  /// Bytes of the disk of ``example``.
  package static var exampleSize: UInt64 { size(of: ByteText.text(PackageResources.boot_trace)) ?? 0 }

  private static func request(_ command: IoCommand, _ words: [String], _ size: UInt64) throws(CommandError)
    -> Request?
  {
    guard command.writes else { return nil }
    guard command.verb != .truncate else { throw CommandError("truncate cannot be replayed") }
    let arguments = IoArguments(words, options: command.options)
    if let problem = arguments.problem {
      switch problem {
      case .unknown(let letter): throw CommandError("invalid option -- '\(Escaping.human(String(letter)))'")
      case .missingValue(let letter): throw CommandError("option requires an argument -- '\(letter)'")
      }
    }
    let operands = arguments.operands
    guard operands.count == 2 else {
      throw CommandError("\(command.name) needs an offset and a length, not \(operands.count) numbers")
    }
    let flags = arguments.flags
    for letter: Unicode.Scalar in ["b", "c"] where flags.contains(letter) {
      if command.verb == .write { throw CommandError("write -\(letter) cannot be replayed") }
    }
    if flags.contains("u") && !flags.contains("z") { throw CommandError("-u requires -z to be specified") }
    let offset = try Quantity.bytes(operands[0])
    let length = try Quantity.bytes(operands[1])
    guard length <= IoSession.largestRequest else {
      throw CommandError("length cannot exceed \(IoSession.largestRequest)")
    }
    guard offset <= size, length <= size - offset else {
      throw CommandError("the request reaches behind the end of the disk (\(size) bytes)")
    }
    guard length > 0 else { return nil }
    if command.verb == .discard || command.verb == .aioDiscard {
      return Request(.discard, at: offset, length: length)
    }
    if flags.contains("z") {
      return Request(.zero(mayUnmap: flags.contains("u")), at: offset, length: length)
    }
    return Request(.write(pattern: 0), at: offset, length: length)
  }
}
