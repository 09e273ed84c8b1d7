// A script of requests on any image. If a check finds nothing wrong with the image at the start, the
// disk must read as the requests say, and a check must find nothing but leaks at the end.
//
// Input: two bytes of options, then up to 21 requests of 6 bytes each (kind and unit, position, length,
// value), then, from byte 128 on, the image.

import Cartography
import Qcow
import QcowFormat
import Storage

extension FuzzTarget {
  package static let scriptLength = 128

  func runScript(_ input: [UInt8]) throws {
    guard input.count >= Self.scriptLength else { return }
    let storage = SmallStorage(
      Array(input[Self.scriptLength...]),
      limit: input[1] & 128 == 0 ? SmallStorage.short : SmallStorage.longest)
    guard let session = ScriptSession(storage, input[0], input[1]) else { return }
    for at in stride(from: 2, to: Self.scriptLength, by: 6) {
      let words = input[at..<at + 6]
      guard words.contains(where: { $0 != 0 }) else { break }
      guard try session.perform(ScriptRequest(Array(words), session.image.geometry)) else { break }
    }
    try session.finish()
  }
}

/// One request, cut to what the disk and the time allow.
struct ScriptRequest {
  enum Kind: UInt8 {
    case write, writeZeroBytes, zeroUnmap, zeroKeep, discard, read, snapshot, apply, delete, resize, compress
    case flush, check, reopen, undo, scan
  }

  let kind: Kind
  var offset: UInt64
  /// Bytes; the range lies on the disk.
  var count: UInt64
  let value: UInt8
  /// Position and length before they were cut, for requests without a range.
  let position: UInt64
  let length: UInt64

  /// Bytes that one request writes at most.
  static let mostBytes: UInt64 = 256 << 10

  init(_ words: [UInt8], _ geometry: Geometry) {
    kind = Kind(rawValue: words[0] & 15) ?? .read
    position = UInt64(words[1]) << 8 | UInt64(words[2])
    length = UInt64(words[3]) << 8 | UInt64(words[4])
    value = words[5]
    // Positions count bytes, sectors, subclusters, clusters, or whole L2 tables with a remainder.
    let size = geometry.virtualSize
    let unit: UInt64
    switch words[0] >> 4 & 7 {
    case 0: unit = 1
    case 1: unit = 512
    case 2: unit = geometry.subclusterSize
    case 3, 4: unit = geometry.clusterSize
    default: unit = geometry.bytesPerL2Table | 512
    }
    let (place, overflow) = position.multipliedReportingOverflow(by: unit)
    offset = size == 0 ? 0 : (overflow ? position : place) % size
    let lengthUnit = words[0] & 0x80 == 0 ? min(unit, geometry.clusterSize) : 1
    var most = Self.mostBytes
    switch kind {
    case .zeroUnmap, .zeroKeep, .discard: most = max(most, 64 * geometry.clusterSize)
    case .compress:
      offset = geometry.roundDown(offset)
      most = 4 * geometry.clusterSize
    default: break
    }
    count = min(size - offset, most, length * lengthUnit)
    if kind == .compress, offset + count < size { count = geometry.roundDown(count) }
  }

  var range: Range<UInt64> { offset..<offset + count }

  /// The bytes a write writes: even and odd, so that they can be compressed or not.
  var bytes: [UInt8] {
    var state = UInt64(value) | 1
    return (0..<Int(count)).map { index in
      if value < 128 { return value &+ UInt8(truncatingIfNeeded: index >> 9) }
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 56)
    }
  }
}
