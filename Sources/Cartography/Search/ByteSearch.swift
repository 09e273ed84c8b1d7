// Looks for bytes, of the guest's disk or of a file, in pieces that can be given up between any two of them. What is
// known to be zeroes is not read.

package import Qcow
import QcowFormat
package import Storage

/// Bytes to look for.
package struct BytePattern: Equatable, Sendable {
  /// One at least.
  package let bytes: [UInt8]

  /// More are not looked for.
  package static let limit = 256

  /// The bytes that a search means: `x 514649fb` in hexadecimal, `"text` as it is typed; nil for other searches.
  ///
  /// - Throws: ``CommandError`` for digits that are no bytes, none, and too many.
  package init?(_ text: String) throws(CommandError) {
    if text.first == "\"" {
      var rest = text.dropFirst()
      if rest.last == "\"", rest.count > 1 { rest.removeLast() }
      bytes = Array(rest.utf8)
    } else if text.utf8.starts(with: "x ".utf8) {
      let digits = text.dropFirst(2).utf8.filter { $0 != UInt8(ascii: " ") }
      let values = digits.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
      guard values.count == digits.count, values.count % 2 == 0 else {
        throw CommandError("bytes are written in pairs of hexadecimal digits, such as x 514649fb")
      }
      bytes = stride(from: 0, to: values.count, by: 2).map { UInt8(values[$0] << 4 | values[$0 + 1]) }
    } else {
      return nil
    }
    guard !bytes.isEmpty else { throw CommandError("there are no bytes to look for") }
    guard bytes.count <= Self.limit else {
      throw CommandError("at most \(Self.limit) bytes can be looked for")
    }
  }
}

/// What bytes are looked for in.
package struct SearchedBytes {
  /// How many there are.
  package let length: UInt64
  /// So many of them from a place on, which all lie below ``length``; nil if they cannot be read.
  let read: (UInt64, Int) -> [UInt8]?
  /// The end of the zeroes that are known to begin at a byte; nil if none are known.
  let zeroEnd: (UInt64) -> UInt64?

  /// The bytes of a file.
  package init(_ storage: any Storage) {
    length = storage.length
    read = { try? storage.bytes(at: $0, count: $1) }
    zeroEnd = { offset in
      let extent = storage.extent(at: offset)
      return extent.isHole ? extent.end : nil
    }
  }

  /// The bytes that the guest reads.
  package init(_ image: Image) {
    length = image.virtualSize
    read = { offset, count in
      var bytes = [UInt8](repeating: 0, count: count)
      let done: Void? = try? unsafe bytes.withUnsafeMutableBytes {
        unsafe try image.read(at: GuestOffset(offset), into: $0)
      }
      return done == nil ? nil : bytes
    }
    zeroEnd = { offset in
      // Runs end where pieces of tables do; many of them are one row of zeroes.
      var at = offset
      for _ in 0..<Self.mostRuns {
        guard let end = Self.zeroEnd(at, image), end > at else { break }
        at = end
        if at >= image.virtualSize { break }
      }
      return at > offset ? at : nil
    }
  }

  /// Runs that are looked at without a question whether to stop.
  private static let mostRuns = 1024

  private static func zeroEnd(_ offset: UInt64, _ image: Image) -> UInt64? {
    var layer: (any GuestLayer)? = image
    var end = image.virtualSize
    // A chain has an end; one that does not is not searched for ever.
    for _ in 0..<256 {
      guard let here = layer else { return end }
      // Behind the end of a layer are zeroes.
      guard offset < here.virtualSize else { return end }
      // So many entries are looked at without a question whether to stop.
      let most = (here as? Image).map { $0.geometry.clusterSize << 16 } ?? .max
      let limit = ByteCount(min(min(end, here.virtualSize) - offset, most))
      guard let extent = try? here.layerExtent(at: GuestOffset(offset), limit: limit), extent.length > 0
      else {
        return nil
      }
      switch extent.kind {
      case .zero: return min(end, offset + extent.length.value)
      case .unallocated: end = min(end, offset + extent.length.value)
      case .data:
        guard let holeEnd = holeEnd(offset, extent.length, in: here) else { return nil }
        return min(end, holeEnd)
      case .missing: return nil
      }
      layer = here.layerBelow
    }
    return nil
  }
}

extension SearchedBytes {
  /// Where clusters end that were never written, from a byte of the disk on: they are a hole of the file, which reads
  /// as zeroes. nil where the file keeps bytes, and where zeroes of the file are none of the disk.
  private static func holeEnd(
    _ offset: UInt64, _ length: ByteCount, in layer: any GuestLayer
  ) -> UInt64? {
    guard let image = layer as? Image, image.header.cryptMethod == 0, let file = image.dataStorage,
      let run = try? image.mapping(at: GuestOffset(offset), limit: length), run.state == .data,
      let host = run.host, host.value < file.length
    else { return nil }
    let hole = file.extent(at: host.value)
    guard hole.isHole, hole.end > host.value else { return nil }
    return offset + min(run.length.value, hole.end - host.value)
  }
}

/// One search for bytes.
package struct ByteSearch {
  /// How it ended.
  package enum Outcome: Equatable, Sendable {
    /// `wrapped` if it went round the end, or the beginning.
    case found(UInt64, wrapped: Bool)
    case none
    case stopped
  }

  private let source: SearchedBytes
  private let pattern: [UInt8]
  private let isZero: Bool
  /// Pieces that could not be read and were passed.
  package private(set) var unreadable = 0

  private static let piece: UInt64 = 1 << 20
  /// Steps backwards over zeroes; long ones are tried behind short ones that went well.
  private static let shortestStride: UInt64 = 1 << 24
  private static let longestStride: UInt64 = 1 << 30
  /// What is passed at least if it cannot be read.
  private static let sector: UInt64 = 4096

  /// Looks for `pattern` in `source`.
  package init(_ pattern: BytePattern, in source: SearchedBytes) {
    self.source = source
    self.pattern = pattern.bytes
    isZero = pattern.bytes.allSatisfy { $0 == 0 }
  }

  private var count: UInt64 { UInt64(pattern.count) }

  /// The next place behind (or before) a byte, then round the end. `stops` is asked with the share that is done.
  package mutating func next(
    from start: UInt64, forward: Bool, stops: (Double) -> Bool
  ) -> Outcome {
    guard source.length >= count else { return .none }
    let end = source.length - count + 1
    let here = min(start, end)
    // Places that are looked at first, and those round the end.
    let parts = forward ? [min(here + 1, end)..<end, 0..<min(here + 1, end)] : [0..<here, here..<end]
    var done: UInt64 = 0
    for (number, places) in parts.enumerated() {
      var isStopped = false
      func hears(_ passed: UInt64) -> Bool {
        isStopped = stops(Double(done + passed) / Double(max(1, end)))
        return isStopped
      }
      let found = forward ? first(in: places, hears) : last(in: places, hears)
      if isStopped { return .stopped }
      if let found { return .found(found, wrapped: number > 0) }
      done += places.upperBound - places.lowerBound
    }
    return .none
  }

  /// The first match that begins in a range.
  private mutating func first(in places: Range<UInt64>, _ hears: (UInt64) -> Bool) -> UInt64? {
    var at = places.lowerBound
    while at < places.upperBound {
      if let end = source.zeroEnd(at), end > at, end - at >= count {
        if isZero { return at }
        at = end - count + 1
      } else {
        let (found, passed) = look(at..<min(places.upperBound, at + Self.piece), last: false)
        if let found { return found }
        at = passed
      }
      if hears(at - places.lowerBound) { return nil }
    }
    return nil
  }

  /// The last match that begins in a range.
  private mutating func last(in places: Range<UInt64>, _ hears: (UInt64) -> Bool) -> UInt64? {
    var end = places.upperBound
    var stride = Self.shortestStride
    while end > places.lowerBound {
      let start = end - min(end - places.lowerBound, stride)
      if !isZero, isZeroed(start..<end) {
        end = start
        stride = min(stride << 2, Self.longestStride)
      } else if !isZero, stride > Self.shortestStride {
        stride >>= 2
      } else {
        let low = end - min(end - places.lowerBound, Self.piece)
        if let found = look(low..<end, last: true).found { return found }
        end = low
      }
      if hears(places.upperBound - end) { return nil }
    }
    return nil
  }

  /// Whether known zeroes reach so far that no match begins in a range.
  private func isZeroed(_ places: Range<UInt64>) -> Bool {
    guard let known = source.zeroEnd(places.lowerBound), known >= places.upperBound else { return false }
    return known - (places.upperBound - 1) >= count
  }

  /// A match that begins in a range, and where to go on behind it.
  private mutating func look(_ places: Range<UInt64>, last: Bool) -> (found: UInt64?, passed: UInt64) {
    let size = Int(min(source.length, places.upperBound + count - 1) - places.lowerBound)
    guard let buffer = source.read(places.lowerBound, size) else { return lookAround(places, last) }
    return (match(buffer, places, last), places.upperBound)
  }

  /// The same where something cannot be read: sector by sector, with what cannot be read standing for itself.
  private mutating func lookAround(_ places: Range<UInt64>, _ last: Bool) -> (found: UInt64?, passed: UInt64)
  {
    let end = min(source.length, places.upperBound + count - 1)
    var buffer = [UInt8](repeating: 0, count: Int(end - places.lowerBound))
    var damaged: [Range<UInt64>] = []
    var at = places.lowerBound
    while at < end {
      let stop = min(end, (at / Self.sector + 1) * Self.sector)
      let range = Int(at - places.lowerBound)..<Int(stop - places.lowerBound)
      if let bytes = source.read(at, range.count) {
        buffer.replaceSubrange(range, with: bytes)
      } else {
        damaged.append(at..<stop)
        unreadable += 1
      }
      at = stop
    }
    // Bytes that cannot be read match nothing.
    var found: UInt64?
    var from = places.lowerBound
    for gap in damaged + [end..<end] {
      if gap.lowerBound >= from + count {
        let part = from..<min(places.upperBound, gap.lowerBound - count + 1)
        if part.lowerBound < part.upperBound {
          let bytes = Array(
            buffer[Int(from - places.lowerBound)..<Int(gap.lowerBound - places.lowerBound)])
          if let match = match(bytes, part, last) {
            if !last { return (match, places.upperBound) }
            found = match
          }
        }
      }
      from = gap.upperBound
    }
    return (found, places.upperBound)
  }

  private func match(_ bytes: [UInt8], _ places: Range<UInt64>, _ last: Bool) -> UInt64? {
    let starts = min(bytes.count - pattern.count + 1, Int(places.upperBound - places.lowerBound))
    guard starts > 0 else { return nil }
    let first = pattern[0]
    let found = unsafe bytes.withUnsafeBufferPointer { buffer -> Int? in
      func fits(_ index: Int) -> Bool {
        guard unsafe buffer[index] == first else { return false }
        for offset in 1..<max(1, pattern.count) where unsafe buffer[index + offset] != pattern[offset] {
          return false
        }
        return true
      }
      return last ? (0..<starts).last(where: fits) : (0..<starts).first(where: fits)
    }
    return found.map { places.lowerBound + UInt64($0) }
  }
}
