// The bytes that a step changes, word by word: where, what they were, what they are.

package import Storage

/// Eight bytes of a file that a step changed; fewer at the ends of its range.
package struct ByteChange: Equatable, Sendable {
  /// Bytes from the start of the file.
  package let offset: UInt64
  package let before: [UInt8]
  package let after: [UInt8]

  /// The words that an event changes, in order, at most `limit`; and whether there are more. Pages of one byte that
  /// stay what they are cost nothing.
  package static func changes(
    of event: StorageEvent, limit: Int
  ) -> (changes: [ByteChange], isMore: Bool) {
    var found: [ByteChange] = []
    guard event.count > 0, event.kind != .note, event.kind != .flush else { return ([], false) }
    for (index, (old, new)) in zip(event.before, event.after).enumerated() {
      if old === new || old.fillByte != nil && old.fillByte == new.fillByte { continue }
      let page = (event.firstPage + UInt64(index)) * UInt64(Page.size)
      let (a, b) = (bytes(of: old), bytes(of: new))
      for word in stride(from: 0, to: Page.size, by: 8) where a[word..<word + 8] != b[word..<word + 8] {
        if found.count == limit { return (found, true) }
        let start = max(page + UInt64(word), event.offset)
        let end = min(page + UInt64(word) + 8, event.offset + event.count)
        guard start < end else { continue }
        let range = Int(start - page)..<Int(end - page)
        found.append(ByteChange(offset: start, before: Array(a[range]), after: Array(b[range])))
      }
    }
    return (found, false)
  }

  private static func bytes(of page: Page) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Page.size)
    unsafe bytes.withUnsafeMutableBytes { unsafe page.copy(from: 0, into: $0) }
    return bytes
  }
}
