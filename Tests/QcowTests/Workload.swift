// Seeded random images and requests, and a twin of the guest's disk as plain bytes.

import EngineSupport
import Glibc
import Qcow
import QcowFormat
import Storage
import TestSupport

/// What the guest must read afterwards. A discard zeroes whole units, which are clusters or by option
/// subclusters, and leaves the rest.
struct Twin {
  var bytes: [UInt8]
  let discardUnit: Int

  mutating func apply(_ request: GuestRequest) {
    switch request {
    case .write(let offset, let count, let byte): fill(Int(offset), Int(offset + count), byte)
    case .zero(let offset, let count, _): fill(Int(offset), Int(offset + count), 0)
    case .discard(let offset, let count):
      let end = Int(offset + count)
      let first = (Int(offset) + discardUnit - 1) / discardUnit * discardUnit
      let last = end == bytes.count ? end : end / discardUnit * discardUnit
      if first < last { fill(first, last, 0) }
    case .compress(let offset, let count, let byte): fill(Int(offset), Int(offset + count), byte)
    case .compressMixed, .flush: break
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
func randomRequest(_ options: Image.CreateOptions, _ random: inout SplitMix64) -> GuestRequest {
  let cluster = options.clusterSize
  let mix = RequestMix(units: [1, 512, cluster / 32, cluster], longest: [6 * cluster])
  return random.request(mix, on: (options.size + 511) & ~511)
}
