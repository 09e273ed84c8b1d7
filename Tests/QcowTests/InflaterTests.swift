// The fast expansion of deflate streams against zlib: on streams that are whole, cut, and damaged it says the same
// bytes or nothing.

import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Qcow

@Suite("expanding deflate streams", .tags(.fast))
struct InflaterTests {
  /// Bytes that pack well, badly or not at all, in a mixture of stretches.
  private func cluster(_ size: Int, _ random: inout SplitMix64) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < size {
      let count = Int(1 + random.below(random.below(4) == 0 ? 9000 : 300))
      let alphabet = [1, 2, 5, 40, 256][Int(random.below(5))] as UInt64
      if !bytes.isEmpty, random.below(3) == 0 {
        bytes += bytes.suffix(Int(1 + random.below(5000))).prefix(count)
      } else {
        let some = (0..<64).map { _ in UInt8(random.below(alphabet)) }
        for _ in 0...count / 64 { bytes += some.shuffled(using: &random) }
      }
    }
    return Array(bytes.prefix(size))
  }

  /// What the fast way says of a stream, and what zlib does.
  private func expand(
    _ stream: [UInt8], _ size: Int
  ) -> (fast: Int?, bytes: [UInt8], zlib: (produced: Int, consumed: Int?), zlibBytes: [UInt8]) {
    var bytes = [UInt8](repeating: 0xaa, count: size + 64)
    var zlibBytes = [UInt8](repeating: 0, count: size)
    let fast = stream.withUnsafeBytes { input in
      bytes.withUnsafeMutableBytes {
        StreamReader.inflateFast(input, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<size]))
      }
    }
    #expect(bytes[size...].allSatisfy { $0 == 0xaa }, "it wrote behind the cluster")
    let zlib = stream.withUnsafeBytes { input in
      zlibBytes.withUnsafeMutableBytes { StreamReader.inflate(input, into: $0) }
    }
    return (fast, Array(bytes.prefix(size)), zlib, zlibBytes)
  }

  @Test("sound streams of both efforts", arguments: [512, 4096, 65536])
  func sound(size: Int) {
    var random = SplitMix64(seed: UInt64(size))
    var (known, fast) = (0, 0)
    for round in 0..<(400_000 / size + 10) {
      let original = cluster(size, &random)
      let effort = round % 2 == 0 ? PackingEffort.usual : .low
      let packer = ClusterPacker(clusterSize: size, type: 0, effort: effort)
      guard let stream = original.withUnsafeBytes({ packer.stream(of: $0) }) else { continue }
      known += 1
      // Sectors reach behind the stream.
      for found in [
        expand(stream, size), expand(stream + [UInt8](repeating: 0xff, count: round % 600), size),
      ] {
        #expect(
          found.zlib.consumed == stream.count && found.zlibBytes == original, "size \(size), round \(round)")
        guard let consumed = found.fast else { continue }
        fast += 1
        #expect(consumed == stream.count && found.bytes == original, "size \(size), round \(round)")
      }
    }
    #expect(known > 5 && fast > known, "\(fast) of \(2 * known)")
  }

  @Test("damaged streams are what zlib says they are")
  func damaged() {
    var random = SplitMix64(seed: 5)
    var (accepted, refused) = (0, 0)
    for round in 0..<60 {
      let size = [300, 2048, 16384][round % 3]
      let original = cluster(size, &random)
      let packer = ClusterPacker(clusterSize: size, type: 0, effort: .usual)
      guard let sound = original.withUnsafeBytes({ packer.stream(of: $0) }) else { continue }
      for kind in 0..<24 {
        var stream = sound
        switch kind {
        case 0: stream.removeLast(Int(random.below(UInt64(stream.count))))
        case 1: stream = (0..<200).map { _ in UInt8(random.below(256)) }
        default:
          for _ in 0...random.below(3) {
            // Most of the damage at the codes, which lie in front.
            let reach = random.below(2) == 0 ? min(stream.count, 60) : stream.count
            stream[Int(random.below(UInt64(reach)))] ^= 1 << UInt8(random.below(8))
          }
        }
        let found = expand(stream, size)
        guard let consumed = found.fast else {
          refused += 1
          continue
        }
        accepted += 1
        #expect(found.zlib.produced == size && found.zlib.consumed == consumed, "round \(round), \(kind)")
        #expect(found.bytes == found.zlibBytes, "round \(round), \(kind)")
      }
    }
    #expect(accepted > 50 && refused > 200, "\(accepted) and \(refused)")
  }

  @Test("blocks that are stored, and blocks of the fixed code")
  func otherBlocks() {
    let text = Array("qatlas".utf8)
    let stored: [UInt8] = [1, 6, 0, 0xf9, 0xff] + text
    #expect(expand(stored, 6).fast == stored.count && expand(stored, 6).bytes == text)
    #expect(expand(stored, 5).fast == nil && expand(stored, 7).fast == nil)
    // "aaaaaaaaaa" of the fixed code: a literal and a repetition of nine.
    let fixed = expand([0x4b, 0x84, 0x03, 0x00], 10)
    #expect(fixed.fast == nil && fixed.zlib.consumed == 4)
    #expect(fixed.zlibBytes == [UInt8](repeating: 0x61, count: 10))
    // A literal and a repetition of a length that no code means.
    let wrong = expand([0x4b, 0x1c, 0x03, 0x00], 259)
    #expect(wrong.fast == nil && wrong.zlib.consumed == nil)
  }
}
