// Doing an event again on another storage, or taking it back there. Saving, undo of what was saved
// and the crash tests replay the same events in the same way.

extension StorageEvent {
  /// Does to `target` what the event did; a note does nothing.
  ///
  /// `target` must hold what the event found, as far as the event's range goes.
  ///
  /// - Throws: ``StorageError`` if the target cannot be written.
  package func redo(on target: any Storage) throws(StorageError) {
    switch kind {
    case .note: return
    case .flush: try target.flush()
    case .truncate: try target.truncate(to: lengthAfter, tag: tag)
    case .zero: try target.writeZeroes(at: offset, count: count, tag: tag)
    case .punch: try target.punch(at: offset, count: count, tag: tag)
    case .write: try put(change?.after, on: target)
    }
  }

  /// Takes back from `target` what the event did; needs the pages from before it.
  ///
  /// - Throws: ``StorageError`` if the target cannot be written.
  package func undo(on target: any Storage) throws(StorageError) {
    switch kind {
    case .note: return
    case .flush: try target.flush()
    case .truncate:
      try target.truncate(to: lengthBefore, tag: tag)
      try put(change?.before, on: target)
    case .write, .zero, .punch:
      try put(change?.before, on: target)
      if lengthBefore < lengthAfter { try target.truncate(to: lengthBefore, tag: tag) }
    }
  }

  /// Writes the event's range from the given pages, in pieces of at most 1 MiB.
  private func put(_ pages: PageRuns?, on target: any Storage) throws(StorageError) {
    guard let pages else { return }
    var buffer = [UInt8](repeating: 0, count: min(Int(truncatingIfNeeded: count), 1 << 20))
    var filled = 0
    var start = offset
    var walk = PagePieces(offset: offset, count: count)
    var numbers = pages.numbers
    for run in pages.runs {
      for number in numbers.lowerBound..<numbers.lowerBound + run.count {
        guard let piece = walk.next() else { return }
        let page: Page
        if let known = run.page { page = known } else { page = try pages.page(number) }
        unsafe buffer.withUnsafeMutableBytes { bytes in
          unsafe page.copy(
            from: piece.start,
            into: UnsafeMutableRawBufferPointer(rebasing: bytes[filled..<(filled + piece.range.count)]))
        }
        filled += piece.range.count
        if filled + Page.size > buffer.count || UInt64(piece.range.upperBound) == count {
          try target.write(
            filled == buffer.count ? buffer : Array(buffer.prefix(filled)), at: start, tag: tag)
          start += UInt64(filled)
          filled = 0
        }
      }
      numbers = numbers.lowerBound + run.count..<numbers.upperBound
    }
  }
}
