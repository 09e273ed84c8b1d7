// Names for parts of the disk: from a file of the user, and from the partition table of the guest.

import Qcow
import QcowFormat
import Storage

/// A named part of the disk.
package struct GuestLabel: Equatable, Sendable {
  /// Bytes of the disk.
  package let range: Range<UInt64>
  /// As it was given, whatever is in it.
  package let name: String

  /// A label of a part of the disk, which is not empty.
  package init(_ range: Range<UInt64>, _ name: String) {
    self.range = range
    self.name = name
  }

  /// "root, guest 0x100000 to 0x1fffff"; control characters are escaped.
  package var words: String {
    "\(Escaping.human(name)), guest 0x\(Notation.hex(range.lowerBound)) to 0x\(Notation.hex(range.upperBound - 1))"
  }
}

/// The labels of a disk.
package struct GuestLabels: Equatable, Sendable {
  /// Bytes of a file that are read, and labels that are taken from it.
  package static let maximumBytes = 1 << 20
  package static let maximumCount = 10_000
  /// Characters of a name.
  package static let longestName = 100

  /// In the order in which they begin, the longer one first.
  package let list: [GuestLabel]

  package init(_ list: [GuestLabel]) {
    self.list = list.sorted {
      ($0.range.lowerBound, $1.range.upperBound) < ($1.range.lowerBound, $0.range.upperBound)
    }
  }

  /// The labels that a byte of the disk lies in, the outermost first.
  package func labels(at guest: UInt64) -> [GuestLabel] { list.filter { $0.range.contains(guest) } }

  /// Reads lines of `START-END NAME`, where both are bytes of the disk, the last one included, in any form of numbers;
  /// `START+LENGTH NAME` is the same. Empty lines and those that begin with `#` are skipped.
  ///
  /// - Throws: ``CommandError`` with the number of a line that is none of these.
  package init(parsing text: String) throws(CommandError) {
    var list: [GuestLabel] = []
    // A return and a line feed are one character.
    let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    for (number, raw) in lines.enumerated() {
      let line = raw.drop { $0 == " " || $0 == "\t" }
      if line.isEmpty || line.hasPrefix("#") { continue }
      guard list.count < Self.maximumCount else {
        throw CommandError("line \(number + 1): there are more than \(Self.maximumCount) labels")
      }
      do throws(CommandError) { list.append(try Self.label(line)) } catch {
        throw CommandError("line \(number + 1): \(error.description)")
      }
    }
    self.init(list)
  }

  /// The labels of a file.
  ///
  /// - Throws: ``CommandError`` for a file that cannot be read, is too long or has other lines.
  package init(file path: String) throws(CommandError) {
    let bytes: [UInt8]
    do throws(StorageError) {
      let file = try FileOpener().open(path, for: .text)
      guard file.length <= UInt64(Self.maximumBytes) else {
        throw StorageError(
          .read, name: path, detail: "a file of labels has at most \(Self.maximumBytes) bytes")
      }
      bytes = try file.bytes(at: 0, count: Int(file.length))
    } catch { throw CommandError(error.description) }
    do throws(CommandError) { try self.init(parsing: ByteText.text(bytes[...])) } catch {
      throw CommandError("\(Escaping.human(path)), \(error.description)")
    }
  }

  private static func label(_ line: Substring) throws(CommandError) -> GuestLabel {
    let form = "a label is START-END NAME or START+LENGTH NAME"
    guard let blank = line.firstIndex(where: { $0 == " " || $0 == "\t" }) else { throw CommandError(form) }
    var name = line[blank...].drop { $0 == " " || $0 == "\t" }
    while let last = name.last, last == " " || last == "\t" { name.removeLast() }
    let range = line[..<blank]
    guard !name.isEmpty, let middle = range.firstIndex(where: { $0 == "-" || $0 == "+" }) else {
      throw CommandError(form)
    }
    guard name.unicodeScalars.count <= longestName else {
      throw CommandError("a name has at most \(longestName) characters")
    }
    let start = try Quantity.bytes(String(range[..<middle]))
    let second = try Quantity.bytes(String(range[range.index(after: middle)...]))
    let (end, overflow) =
      range[middle] == "-" ? second.addingReportingOverflow(1) : start.addingReportingOverflow(second)
    guard !overflow, start < end else { throw CommandError("the range is empty, or ends too far away") }
    return GuestLabel(start..<end, String(name))
  }
}
