// Pages by their number, in chunks of 64: what a range of one and the same page costs is its chunks and not its
// pages, so that giving up twenty gigabytes is a matter of milliseconds. A copy shares its chunks.

/// Pages by number; a number may have none.
package struct PageMap: Sendable {
  /// Up to 64 pages side by side. All 64 may be one page, which then stands once.
  private struct Chunk: Sendable {
    /// A bit for each place that has a page.
    var mask: UInt64
    /// The pages of those places in order.
    var pages: [Page]

    var isUniform: Bool { mask == .max && pages.count == 1 }
    var count: Int { mask.nonzeroBitCount }

    /// How many pages stand in front of a place.
    @inline(__always)
    private func rank(_ place: UInt64) -> Int { (mask & (1 << place &- 1)).nonzeroBitCount }

    @inline(__always)
    func page(_ place: UInt64) -> Page? {
      guard mask & 1 << place != 0 else { return nil }
      return pages.count == 1 ? pages[0] : pages[rank(place)]
    }

    mutating func set(_ page: Page?, _ places: Range<UInt64>) {
      if isUniform { pages = Array(repeating: pages[0], count: 64) }
      for place in places {
        let rank = rank(place)
        let bit: UInt64 = 1 << place
        switch (mask & bit != 0, page) {
        case (true, let page?): pages[rank] = page
        case (true, nil):
          pages.remove(at: rank)
          mask &= ~bit
        case (false, let page?):
          pages.insert(page, at: rank)
          mask |= bit
        case (false, nil): break
        }
      }
      if mask == .max, let first = pages.first, pages.allSatisfy({ $0 === first }) { pages = [first] }
    }
  }

  private var chunks: [UInt64: Chunk] = [:]
  /// How many numbers have a page.
  package private(set) var count = 0

  package init() {}
  package var isEmpty: Bool { chunks.isEmpty }

  /// The page of a number.
  package subscript(number: UInt64) -> Page? { chunks[number >> 6]?.page(number & 63) }

  /// The page of a number, or that it has none, and the end of the row of numbers in front of `limit` of which the
  /// same is true. The row may go on behind that.
  func run(at number: UInt64, before limit: UInt64) -> (page: Page?, end: UInt64) {
    let chunkEnd = min(limit, (number | 63) &+ 1)
    guard let chunk = chunks[number >> 6] else { return (nil, chunkEnd) }
    let page = chunk.page(number & 63)
    if chunk.isUniform { return (page, chunkEnd) }
    var end = number + 1
    while end < chunkEnd, chunk.page(end & 63) === page { end += 1 }
    return (page, end)
  }

  /// Gives the same page to every number of a range, or takes their pages away.
  mutating func set(_ page: Page?, _ range: Range<UInt64>) {
    let whole = page.map { [$0] } ?? []
    var at = range.lowerBound
    while at < range.upperBound {
      let end = min(range.upperBound, (at | 63) &+ 1)
      let key = at >> 6
      if end - at == 64 {
        let new = page == nil ? nil : Chunk(mask: .max, pages: whole)
        count += (new?.count ?? 0) - (chunks.updateOrRemove(new, key)?.count ?? 0)
      } else if page != nil || chunks[key] != nil {
        count -= chunks[key]?.count ?? 0
        chunks[key, default: Chunk(mask: 0, pages: [])].set(page, at & 63..<(at & 63) + (end - at))
        let now = chunks[key]?.count ?? 0
        count += now
        if now == 0 { chunks[key] = nil }
      }
      at = end
    }
  }

  /// Every number that has a page, with it, in no order.
  func forEach(_ body: (UInt64, Page) -> Void) {
    for (key, chunk) in chunks {
      for place in 0..<UInt64(64) {
        if let page = chunk.page(place) { body(key << 6 | place, page) }
      }
    }
  }

  /// Takes the pages away for which `keeps` is not true.
  mutating func keep(where keeps: (UInt64) -> Bool) {
    var gone: [UInt64] = []
    forEach { number, _ in
      if !keeps(number) { gone.append(number) }
    }
    for number in gone { set(nil, number..<number + 1) }
  }

  /// Fills a buffer with the bytes from `offset` on; `below` reads what has no page, a row of such numbers at once.
  ///
  /// - Throws: what `below` throws.
  func read(
    at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer,
    below: (UInt64, UnsafeMutableRawBufferPointer) throws(StorageError) -> Void
  ) throws(StorageError) {
    let size = UInt64(Page.size)
    let end = offset + UInt64(buffer.count)
    let limit = (end + size - 1) / size
    var pending = offset
    func readPending(to at: UInt64) throws(StorageError) {
      guard pending < at else { return }
      let range = Int(pending - offset)..<Int(at - offset)
      try unsafe below(pending, UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
    }
    var at = offset
    while at < end {
      let (page, next) = run(at: at / size, before: limit)
      let stop = min(end, next * size)
      if let page {
        try readPending(to: at)
        while at < stop {
          let part = min(stop, (at / size + 1) * size)
          let range = Int(at - offset)..<Int(part - offset)
          unsafe page.copy(from: Int(at % size), into: UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
          at = part
        }
        pending = stop
      }
      at = stop
    }
    try readPending(to: end)
  }
}

extension Dictionary {
  /// Sets or removes a value, and returns the one that was there.
  fileprivate mutating func updateOrRemove(_ value: Value?, _ key: Key) -> Value? {
    if let value { return updateValue(value, forKey: key) }
    return removeValue(forKey: key)
  }
}
