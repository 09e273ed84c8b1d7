// What `qatlas bench` was asked for: how many requests of which size, where each begins, and when the disk has to
// keep what was written.

import Cartography

/// A row of requests of one size.
package struct BenchRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// The words of the command line; nil for what was not given.
  package struct Words {
    /// `-c`, `-d`, `-o`, `-s`, `-S`.
    package var count, depth, offset, size, step: String?
    /// `--pattern` and `--flush-interval`.
    package var pattern, flushInterval: String?
    package var writes = false

    package init() {}
  }

  /// Requests, at least one.
  package let count: UInt64
  /// Bytes of a request, 1 to 2^31 - 1.
  package let size: UInt64
  /// What the bytes that are written look like.
  package let pattern: UInt8
  package let writes: Bool
  /// Requests between two flushes, counted from the last one; 0 for none.
  package let flushInterval: UInt64
  private let depth: UInt64
  private let start: UInt64
  private let step: UInt64

  /// - Throws: ``Refusal`` with the sentences of the genuine tool.
  package init(_ words: Words) throws(Refusal) {
    let most = UInt64(Int32.max)
    func number(
      _ what: String, _ text: String?, _ least: UInt64 = 0, _ most: UInt64 = UInt64(Int32.max)
    ) throws(Refusal) -> UInt64? {
      try ConvertRequest.number(what, text, in: least...most)
    }
    count = try number("request count", words.count, 1) ?? 75_000
    depth = try number("queue depth", words.depth, 1) ?? 64
    start = try number("offset", words.offset, 0, Notation.maximum) ?? 0
    size = try number("buffer size", words.size, 1, most) ?? 4096
    step = try number("step size", words.step).flatMap { $0 == 0 ? nil : $0 } ?? size
    pattern = UInt8(clamping: try number("pattern byte", words.pattern, 0, 255) ?? 0)
    flushInterval = try number("flush interval", words.flushInterval) ?? 0
    writes = words.writes
    guard writes || flushInterval == 0 else {
      throw Refusal("--flush-interval is only available in write tests")
    }
    guard flushInterval == 0 || flushInterval >= depth else {
      throw Refusal("Flush interval can't be smaller than depth")
    }
  }

  /// The lines in front of the run.
  package var headline: String {
    var text =
      "Sending \(count) \(writes ? "write" : "read") requests, \(size) bytes each, \(depth) in parallel "
    text += "(starting at offset \(start), step size \(step))\n"
    if flushInterval > 0 { text += "Sending flush every \(flushInterval) requests\n" }
    return text
  }

  /// Where each request begins on a disk of `bytes`. One that would reach the end goes round instead, as with the
  /// newest genuine tool: the last buffer of a disk is not touched by a row that begins at 0.
  package func offsets(on bytes: UInt64) -> Offsets {
    Offsets(place: start, left: count, step: step, size: size, end: bytes)
  }

  /// See ``offsets(on:)``.
  package struct Offsets: Sequence, IteratorProtocol {
    var place: UInt64
    var left: UInt64
    let step, size, end: UInt64

    package mutating func next() -> UInt64? {
      guard left > 0 else { return nil }
      left -= 1
      let offset = place
      // Both are far below 2^64: the first below 2^63, the others below 2^31.
      place += step
      if place + size >= end { place = end == 0 ? 0 : (place + size) % end }
      return offset
    }
  }
}
