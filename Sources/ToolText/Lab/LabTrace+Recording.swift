// How a trace is written: lines of `qatlas io`, and notes behind a `#` that a reader may skip.

import Cartography
import QcowFormat

extension LabTrace {
  /// What a line asks for.
  package enum Kind: Sendable, CaseIterable { case read, write, zero, zeroMayUnmap, discard, flush }

  /// The notes at the start of a trace: whose requests they are, and the bytes of the disk.
  package static func head(_ name: String, size: UInt64) -> String {
    "# requests of \(Escaping.human(name))\n# size \(size)\n"
  }

  /// The note in front of requests that were done that long after the first one, for that client.
  package static func timeNote(milliseconds: UInt64, client: Int) -> String {
    let rest = String(milliseconds % 1000)
    let padding = String(repeating: "0", count: 3 - rest.count)
    return "# at \(milliseconds / 1000).\(padding)\(rest) client \(client)\n"
  }

  /// The note in place of requests that are missing.
  package static func lossNote(_ count: UInt64) -> String { "# lost \(count)\n" }

  /// The line of a request; several where it is longer than a line may ask for, and a note if it failed.
  package static func lines(_ kind: Kind, _ offset: UInt64, _ length: UInt64, failed: Bool) -> String {
    let mark = failed ? "# failed: " : ""
    let name =
      switch kind {
      case .read: "read"
      case .write: "write"
      case .zero: "write -z"
      case .zeroMayUnmap: "write -z -u"
      case .discard: "discard"
      case .flush: "flush"
      }
    if kind == .flush { return "\(mark)flush\n" }
    var text = ""
    var done: UInt64 = 0
    while done < length {
      let piece = min(length - done, 1 << 30)
      text += "\(mark)\(name) \(offset + done) \(piece)\n"
      done += piece
    }
    return text
  }

  /// Bytes of the disk as the notes at the start of a trace have them; nil if they do not say.
  package static func size(of text: String) -> UInt64? {
    for line in text.split(whereSeparator: \.isNewline) {
      guard line.hasPrefix("#") else { return nil }
      let words = line.split(separator: " ")
      if words.count == 3, words[1] == "size", let size = UInt64(words[2]) { return size }
    }
    return nil
  }
}
