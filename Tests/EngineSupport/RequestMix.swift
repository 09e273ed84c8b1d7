// The one place that invents requests: a campaign says what it wants more of, and a seed gives them in the
// same order in every run.

import TestSupport

/// What the requests of a campaign are like. Where something is drawn from a list, what stands there twice
/// comes twice as often.
package struct RequestMix: Sendable {
  package enum Kind: Sendable {
    case write, zero, zeroUnmap, discard, flush
    /// A write whose bytes are all zero.
    case writeZeroes
    /// A compressed write of one unit.
    case compress
  }

  package var kinds: [Kind]
  /// What offsets and lengths are multiples of, in bytes.
  package var units: [UInt64]
  /// The greatest length, in bytes.
  package var longest: [UInt64]
  /// The greatest length of a write, whose bytes somebody has to make; in bytes.
  package var longestWrite: UInt64 = 1 << 20
  /// One request of so many goes to the end of the disk; 0 for none.
  package var oneToTheEndOf: UInt64 = 0
  /// The parts of the disk in which requests begin, in bytes; all of it if there are none.
  package var parts: [Range<UInt64>] = []
  /// The bytes that are written.
  package var bytes: ClosedRange<UInt8> = 1...255

  /// `kinds` is the usual mix unless it is given: half of the requests write.
  package init(units: [UInt64], longest: [UInt64], kinds: [Kind]? = nil) {
    self.units = units
    self.longest = longest
    self.kinds = kinds ?? [.write, .write, .write, .write, .zero, .zeroUnmap, .discard, .discard]
  }
}

extension SplitMix64 {
  /// One of a list that is not empty.
  package mutating func one<Element>(of list: [Element]) -> Element { list[Int(below(UInt64(list.count)))] }

  /// A request that lies on a disk of `size` bytes, which is not empty.
  package mutating func request(_ mix: RequestMix, on size: UInt64) -> GuestRequest {
    let kind = one(of: mix.kinds)
    if kind == .flush { return .flush }
    let part = mix.parts.isEmpty ? 0..<size : one(of: mix.parts)
    let unit = one(of: mix.units)
    // The last unit of a disk may be cut.
    let places = (part.upperBound - part.lowerBound + unit - 1) / unit
    let offset = min(size - 1, part.lowerBound / unit * unit + below(places) * unit)
    var count = (1 + below(max(1, one(of: mix.longest) / unit))) * unit
    if mix.oneToTheEndOf > 0, below(mix.oneToTheEndOf) == 0 { count = size - offset }
    if kind == .compress { count = unit }
    count = min(count, size - offset)
    switch kind {
    case .zero: return .zero(offset: offset, count: count, mayUnmap: false)
    case .zeroUnmap: return .zero(offset: offset, count: count, mayUnmap: true)
    case .discard: return .discard(offset: offset, count: count)
    case .compress: return .compress(offset: offset, count: count, byte: byte(mix))
    case .writeZeroes: return .write(offset: offset, count: min(count, mix.longestWrite), byte: 0)
    case .write, .flush: return .write(offset: offset, count: min(count, mix.longestWrite), byte: byte(mix))
    }
  }

  private mutating func byte(_ mix: RequestMix) -> UInt8 { UInt8.random(in: mix.bytes, using: &self) }
}
