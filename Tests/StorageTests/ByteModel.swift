// A storage as nothing but an array of bytes, and random changes for both it and the real ones.

import Glibc
import Storage
import TestSupport

/// One change of a storage.
enum Change: CustomStringConvertible {
  case write(offset: Int, bytes: [UInt8])
  case zero(offset: Int, count: Int)
  case punch(offset: Int, count: Int)
  case truncate(Int)
  case flush

  var description: String {
    switch self {
    case .write(let offset, let bytes): "write \(bytes.count) bytes at \(offset)"
    case .zero(let offset, let count): "zero \(count) bytes at \(offset)"
    case .punch(let offset, let count): "punch \(count) bytes at \(offset)"
    case .truncate(let length): "truncate to \(length)"
    case .flush: "flush"
    }
  }

  /// A change near what matters: page boundaries, the end, and single bytes.
  static func random(_ random: inout SplitMix64, length: Int, limit: Int = 96 << 10) -> Change {
    let alignment = [1, 1, 512, Page.size][Int(random.below(4))]
    let reach = UInt64(min(limit, length + 3 * Page.size))
    let offset = Int(random.below(reach)) / alignment * alignment
    let count = min(Int(random.below(UInt64([16, 5000, 40000][Int(random.below(3))]))), limit - offset)
    switch random.below(12) {
    case 0...5:
      let isFill = random.below(3) == 0
      let fill = UInt8(truncatingIfNeeded: random.next())
      let bytes =
        isFill ? [UInt8](repeating: fill, count: max(0, count)) : randomBytes(max(0, count), &random)
      return .write(offset: offset, bytes: bytes)
    case 6, 7: return .zero(offset: offset, count: max(0, count))
    case 8, 9: return .punch(offset: offset, count: max(0, count))
    case 10: return .truncate(Int(random.below(reach)))
    default: return .flush
    }
  }

  func apply(to storage: any Storage) throws {
    switch self {
    case .write(let offset, let bytes): try storage.write(bytes, at: UInt64(offset))
    case .zero(let offset, let count):
      try storage.writeZeroes(at: UInt64(offset), count: UInt64(count), tag: .untagged)
    case .punch(let offset, let count):
      try storage.punch(at: UInt64(offset), count: UInt64(count), tag: .untagged)
    case .truncate(let length): try storage.truncate(to: UInt64(length), tag: .untagged)
    case .flush: try storage.flush()
    }
  }

  func apply(to model: inout [UInt8]) {
    func grow(to length: Int) {
      if model.count < length { model += [UInt8](repeating: 0, count: length - model.count) }
    }
    func clear(_ range: Range<Int>) {
      model.withUnsafeMutableBytes { bytes in
        if let start = bytes.baseAddress { memset(start + range.lowerBound, 0, range.count) }
      }
    }
    switch self {
    case .write(let offset, let bytes):
      guard !bytes.isEmpty else { return }
      grow(to: offset + bytes.count)
      model.withUnsafeMutableBytes { $0[offset..<offset + bytes.count].copyBytes(from: bytes) }
    case .zero(let offset, let count):
      guard count > 0 else { return }
      grow(to: offset + count)
      clear(offset..<offset + count)
    case .punch(let offset, let count):
      let end = min(offset + count, model.count)
      guard offset < end else { return }
      clear(offset..<end)
    case .truncate(let length):
      if length < model.count { model.removeLast(model.count - length) } else { grow(to: length) }
    case .flush: break
    }
  }
}

/// Everything a storage holds.
func contents(_ storage: any Storage) throws -> [UInt8] {
  try storage.bytes(at: 0, count: Int(storage.length))
}

/// The seed, for the message of a failure.
func note(_ seed: UInt64, _ history: [Change]) -> String {
  "seed \(seed): " + history.suffix(12).map(\.description).joined(separator: "; ")
}
