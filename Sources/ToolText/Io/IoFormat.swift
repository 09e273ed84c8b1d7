// The numbers of `qatlas io`, written the way `qemu-io` writes them: three decimals, binary units,
// and reports with the time they took.

import Cartography

/// Texts of the exerciser.
package enum IoFormat {
  private static let units: [(size: Double, name: String)] = [
    (0x1p60, "EiB"), (0x1p50, "PiB"), (0x1p40, "TiB"), (0x1p30, "GiB"), (0x1p20, "MiB"), (0x1p10, "KiB"),
  ]

  /// "64 KiB", "1.062 MiB", "512 bytes": three decimals that are left out when all are zero.
  package static func size(_ bytes: Double) -> String {
    for unit in units where bytes >= unit.size {
      return trimmed(Notation.decimals(bytes / unit.size, 3)) + " " + unit.name
    }
    return trimmed(Notation.decimals(bytes, 6)) + " bytes"
  }

  /// The same of whole bytes.
  package static func size(_ bytes: UInt64) -> String { size(Double(bytes)) }

  /// Cuts from ".000" on.
  private static func trimmed(_ text: String) -> String {
    guard let point = text.firstIndex(of: "."), text[point...].hasPrefix(".000") else { return text }
    return String(text[..<point])
  }

  /// One finished request.
  package struct Report: Sendable {
    /// "read", "wrote", "discard".
    package var verb: String
    /// Where it began, in bytes of the disk.
    package var offset: UInt64
    /// Bytes.
    package var count: UInt64
    /// How long it took.
    package var seconds: Double

    package init(verb: String, offset: UInt64, count: UInt64, seconds: Double) {
      self.verb = verb
      self.offset = offset
      self.count = count
      self.seconds = seconds
    }

    /// A time of 0 would divide to infinity.
    private var time: Double { seconds > 0 ? seconds : 1e-9 }

    /// Two lines for people.
    package var human: String {
      let rate = IoFormat.size(Double(count) / time)
      return "\(verb) \(count)/\(count) bytes at offset \(offset)\n"
        + "\(IoFormat.size(count)), 1 ops; \(clock(verbose: false)) (\(rate)/sec and \(Notation.decimals(1 / time, 4)) ops/sec)\n"
    }

    /// One line for programs: bytes, operations, time, bytes per second, operations per second.
    package var machine: String {
      "\(count),1,\(clock(verbose: true)),\(Notation.decimals(Double(count) / time, 3)),\(Notation.decimals(1 / time, 3))\n"
    }

    private func clock(verbose: Bool) -> String {
      // A request cannot take a century; the clamp keeps the conversion safe.
      let hundredths = Int(min(max(seconds, 0), 3.2e9) * 100)
      let (hours, minutes) = (hundredths / 360_000, hundredths / 6000 % 60)
      let rest = two(hundredths / 100 % 60) + "." + two(hundredths % 100)
      if verbose || hours > 0 { return "\(hours):\(two(minutes)):\(rest)" }
      return minutes > 0 ? "\(two(minutes)):\(rest)" : "\(rest) sec"
    }

    private func two(_ value: Int) -> String { value < 10 ? "0\(value)" : String(value) }
  }

  /// Lines of sixteen bytes: offset, hexadecimal, and letters and digits as they are.
  package static func dump(_ bytes: UnsafeRawBufferPointer, offset: UInt64) -> String {
    var text = ""
    var at = 0
    while at < bytes.count {
      let end = min(at + 16, bytes.count)
      let address = String(offset &+ UInt64(at), radix: 16)
      text += String(repeating: "0", count: max(0, 8 - address.utf8.count)) + address + ":  "
      for i in at..<end { text += hexByte(unsafe bytes[i]) + " " }
      text += " "
      for i in at..<end { text.unicodeScalars.append(letter(unsafe bytes[i])) }
      text += "\n"
      at = end
    }
    return text
  }

  private static func hexByte(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }

  private static func letter(_ byte: UInt8) -> Unicode.Scalar {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      return Unicode.Scalar(byte)
    default: return "."
    }
  }
}
