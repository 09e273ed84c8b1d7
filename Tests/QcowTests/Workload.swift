// Seeded random images and requests, and a twin of the guest's disk as plain bytes.

import Glibc
import Qcow
import QcowFormat
import Storage
import TestSupport

/// One request of a guest.
enum Request: CustomStringConvertible {
  case write(UInt64, Int, UInt8)
  case zero(UInt64, Int, mayUnmap: Bool)
  case discard(UInt64, Int)

  var description: String {
    switch self {
    case .write(let offset, let count, let byte): "write -P \(byte) \(offset) \(count)"
    case .zero(let offset, let count, let mayUnmap): "write -z \(mayUnmap ? "-u " : "")\(offset) \(count)"
    case .discard(let offset, let count): "discard \(offset) \(count)"
    }
  }
}

/// Sends a request to an image.
func perform(_ request: Request, on image: Image) throws {
  switch request {
  case .write(let offset, let count, let byte):
    let bytes = [UInt8](repeating: byte, count: count)
    try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(offset)) }
  case .zero(let offset, let count, let mayUnmap):
    try image.writeZeroes(at: GuestOffset(offset), count: UInt64(count), mayUnmap: mayUnmap)
  case .discard(let offset, let count):
    try image.discard(at: GuestOffset(offset), count: UInt64(count))
  }
}

/// What the guest must read afterwards. A discard zeroes whole units, which are clusters or by option
/// subclusters, and leaves the rest.
struct Twin {
  var bytes: [UInt8]
  let discardUnit: Int

  mutating func apply(_ request: Request) {
    switch request {
    case .write(let offset, let count, let byte): fill(Int(offset), Int(offset) + count, byte)
    case .zero(let offset, let count, _): fill(Int(offset), Int(offset) + count, 0)
    case .discard(let offset, let count):
      let end = Int(offset) + count
      let first = (Int(offset) + discardUnit - 1) / discardUnit * discardUnit
      let last = end == bytes.count ? end : end / discardUnit * discardUnit
      if first < last { fill(first, last, 0) }
    }
  }

  private mutating func fill(_ from: Int, _ to: Int, _ byte: UInt8) {
    guard from < to else { return }
    bytes.withUnsafeMutableBytes { bytes in
      if let start = bytes.baseAddress { memset(start + from, Int32(byte), to - from) }
    }
  }
}

/// A random small image with any geometry.
func randomOptions(_ random: inout SplitMix64) -> Image.CreateOptions {
  let version: UInt32 = Int.random(in: 0..<6, using: &random) == 0 ? 2 : 3
  let clusterSize = [512, 1024, 4096, 16384, 65536].randomElement(using: &random) ?? 65536
  let sectors = UInt64.random(in: 1...UInt64(min(4 << 20, clusterSize * 40) / 512), using: &random)
  var options = Image.CreateOptions(size: sectors * 512)
  options.version = version
  options.clusterSize = UInt64(clusterSize)
  if version == 3 {
    options.extendedL2 = clusterSize >= 16384 && Bool.random(using: &random)
    options.refcountBits = 1 << Int.random(in: 0...6, using: &random)
  }
  options.preallocation = Int.random(in: 0..<4, using: &random) == 0 ? .metadata : .off
  return options
}

/// A random request, often aligned to something that matters.
func randomRequest(_ options: Image.CreateOptions, _ random: inout SplitMix64) -> Request {
  let size = (options.size + 511) & ~511
  let alignments: [UInt64] = [1, 512, options.clusterSize / 32, options.clusterSize]
  let alignment = alignments.randomElement(using: &random) ?? 1
  let step = max(1, min(alignment, size))
  let offset = UInt64.random(in: 0..<size, using: &random) / step * step
  let wanted = UInt64.random(in: 1...(6 * options.clusterSize), using: &random)
  var count = min(wanted, size - offset)
  if count > step && Int.random(in: 0..<3, using: &random) > 0 { count = count / step * step }
  let byte = UInt8.random(in: 1...255, using: &random)
  switch Int.random(in: 0..<8, using: &random) {
  case 0...3: return .write(offset, Int(count), byte)
  case 4: return .zero(offset, Int(count), mayUnmap: false)
  case 5: return .zero(offset, Int(count), mayUnmap: true)
  default: return .discard(offset, Int(count))
  }
}
