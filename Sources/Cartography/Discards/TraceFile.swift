// A file of requests, read in pieces from front to back as often as wanted: whatever its length, it takes the memory of
// one piece and one line.

package import Storage

/// The lines of a file of requests.
package final class TraceFile {
  /// Bytes of the longest line that is looked at.
  private static let longestLine = 4096
  private static let piece = 1 << 16

  private let file: any Storage
  private var parser = TraceParser()
  private var buffer: [UInt8] = []
  private var taken = 0
  private var offset: UInt64 = 0
  /// The number of the line that was read last, from 1.
  package private(set) var line: UInt64 = 0

  /// Begins at the front.
  package init(_ file: any Storage) { self.file = file }

  /// How much of it was read, 0 ... 1.
  package var progress: Double {
    file.length == 0 ? 1 : min(1, Double(offset) / Double(file.length))
  }

  /// Begins again.
  package func rewind() {
    parser = TraceParser()
    (buffer, taken, offset, line) = ([], 0, 0, 0)
  }

  /// What the next line says; nil behind the last.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package func next() throws(StorageError) -> TraceLine? {
    var start: [UInt8] = []
    var isTooLong = false
    while true {
      if taken == buffer.count {
        let count = Int(min(UInt64(Self.piece), file.length - min(offset, file.length)))
        guard count > 0 else {
          guard !start.isEmpty || isTooLong else { return nil }
          return parsed(start[...], isTooLong)
        }
        buffer = try file.bytes(at: offset, count: count)
        taken = 0
        offset += UInt64(count)
      }
      let end = buffer[taken...].firstIndex(of: UInt8(ascii: "\n"))
      let part = buffer[taken..<(end ?? buffer.count)]
      taken = end.map { $0 + 1 } ?? buffer.count
      if end != nil, start.isEmpty, !isTooLong { return parsed(part, part.count > Self.longestLine) }
      isTooLong = isTooLong || start.count + part.count > Self.longestLine
      if isTooLong { start = [] } else { start += part }
      if end != nil { return parsed(start[...], isTooLong) }
    }
  }

  private func parsed(_ text: ArraySlice<UInt8>, _ isTooLong: Bool) -> TraceLine {
    line += 1
    if isTooLong { return .notUnderstood("the line is too long") }
    return parser.read(text.last == UInt8(ascii: "\r") ? text.dropLast() : text)
  }
}
