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
    guard event.count > 0, let before = event.before, let after = event.after else { return ([], false) }
    var isMore = false
    before.forEachRun(with: after) { first, count, areSame in
      if areSame { return true }
      for number in first..<first + count {
        // What is no longer kept cannot be told.
        guard let old = try? before.page(number), let new = try? after.page(number) else { continue }
        if old === new || old.fillByte != nil && old.fillByte == new.fillByte { continue }
        isMore = !add(old, new, of: event, number * UInt64(Page.size), to: &found, limit)
        if isMore { return false }
      }
      return true
    }
    return (found, isMore)
  }

  /// Adds the words of one page, whose first byte is at `page`; false if there are more than may be added.
  private static func add(
    _ old: Page, _ new: Page, of event: StorageEvent, _ page: UInt64, to found: inout [ByteChange],
    _ limit: Int
  ) -> Bool {
    let (a, b) = (bytes(of: old), bytes(of: new))
    for word in stride(from: 0, to: Page.size, by: 8) where a[word..<word + 8] != b[word..<word + 8] {
      if found.count == limit { return false }
      let start = max(page + UInt64(word), event.offset)
      let end = min(page + UInt64(word) + 8, event.offset + event.count)
      guard start < end else { continue }
      let range = Int(start - page)..<Int(end - page)
      found.append(ByteChange(offset: start, before: Array(a[range]), after: Array(b[range])))
    }
    return true
  }

  private static func bytes(of page: Page) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Page.size)
    unsafe bytes.withUnsafeMutableBytes { unsafe page.copy(from: 0, into: $0) }
    return bytes
  }
}
