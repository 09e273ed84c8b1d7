// Random damage to the tables of an image: words of L1 and L2 tables, refcounts, refcount table, snapshot
// table, header and its extensions are flipped, cleared, or made to point elsewhere.

import Foundation
import TestSupport

/// Finds the tables of an image and damages them.
struct Damage {
  private let image: [UInt8]
  private let clusterBits: UInt64
  private var l2Tables: [UInt64] = []
  private var refcountBlocks: [UInt64] = []
  private var snapshotL1: [(offset: UInt64, count: UInt64)] = []
  /// Entries of the bitmap directory and the tables they name.
  private var bitmapEntries: [(entry: UInt64, table: UInt64, count: UInt64)] = []
  private var random: SplitMix64

  private static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00

  /// What is changed: an offset and the new bytes.
  typealias Patch = (offset: UInt64, bytes: [UInt8])

  init(_ image: [UInt8], seed: UInt64) {
    self.image = image
    random = SplitMix64(seed: seed)
    clusterBits = Self.number(image, 20, 4)
    l2Tables = (0..<l1Count).map { word(l1 + 8 * $0) & Self.offsetMask }.filter { $0 != 0 }
    refcountBlocks = (0..<tableClusters * clusterSize / 8).map { word(table + 8 * $0) & ~511 }.filter {
      $0 != 0
    }
    readBitmaps()
    var at = snapshots
    for _ in 0..<snapshotCount {
      at = (at + 7) & ~7
      snapshotL1.append((word(at), Self.number(image, at + 8, 4)))
      at +=
        40 + Self.number(image, at + 36, 4) + Self.number(image, at + 12, 2) + Self.number(image, at + 14, 2)
    }
  }

  private mutating func readBitmaps() {
    var at: UInt64 = 112
    while at + 32 <= length, Self.number(image, at, 4) != 0, Self.number(image, at, 4) != 0x2385_2875 {
      at += 8 + (Self.number(image, at + 4, 4) + 7) & ~7
    }
    guard Self.number(image, at, 4) == 0x2385_2875, Self.number(image, 4, 4) >= 3 else { return }
    var entry = word(at + 24)
    for _ in 0..<Self.number(image, at + 8, 4) {
      bitmapEntries.append((entry, word(entry), Self.number(image, entry + 8, 4)))
      entry += (24 + Self.number(image, entry + 18, 2) + 7) & ~7
    }
  }

  private var clusterSize: UInt64 { 1 << clusterBits }
  private var length: UInt64 { UInt64(image.count) }
  private var l1: UInt64 { word(40) }
  private var l1Count: UInt64 { Self.number(image, 36, 4) }
  private var table: UInt64 { word(48) }
  private var tableClusters: UInt64 { Self.number(image, 56, 4) }
  private var snapshotCount: UInt64 { Self.number(image, 60, 4) }
  private var snapshots: UInt64 { word(64) }

  private static func number(_ bytes: [UInt8], _ at: UInt64, _ width: UInt64) -> UInt64 {
    guard at + width <= UInt64(bytes.count) else { return 0 }
    return bytes[Int(at)..<Int(at + width)].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func word(_ at: UInt64) -> UInt64 { Self.number(image, at, 8) }

  private static func bytes(_ value: UInt64, _ width: Int) -> [UInt8] {
    (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - $0))) }
  }

  private mutating func pick<T>(_ list: [T]) -> T { list[Int(random.below(UInt64(list.count)))] }

  /// Some patches, and where the file is cut, if it is.
  mutating func make() -> (patches: [Patch], length: UInt64?) {
    let count = pick([1, 1, 1, 2, 3, 6])
    var patches: [Patch] = []
    while patches.count < count {
      let patch = patch()
      if patch.offset <= length && UInt64(patch.bytes.count) <= length - patch.offset {
        patches.append(patch)
      }
    }
    return (patches, random.below(12) == 0 ? length / 2 + random.below(length / 2) : nil)
  }

  private mutating func patch() -> Patch {
    switch random.below(15) {
    case 0...4: return l2Patch()
    case 5 where !snapshotL1.isEmpty:
      let snapshot = pick(snapshotL1)
      return wordPatch(snapshot.offset + 8 * random.below(max(1, snapshot.count)))
    case 6: return wordPatch(l1 + 8 * random.below(max(1, l1Count)))
    case 7, 8:
      let block = pick(refcountBlocks)
      let byte = pick([0, 1, 2, 3, 0xff, UInt8(random.below(256))])
      return (block + random.below(min(clusterSize, 4 * (length / clusterSize + 4))), [byte])
    case 9: return wordPatch(table + 8 * random.below(UInt64(refcountBlocks.count) + 2))
    case 10 where snapshotCount > 0:
      // Neither lengths of names, which reach into other bytes, nor the first words of a row of them.
      let value = pick([0, 1, 8, 16, 0x10000, random.below(1 << 32)])
      return (snapshots + 4 * pick([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]), Self.bytes(value, 4))
    case 11:
      let value = pick([0, 1, 2, clusterSize, 0x2385_2875, random.below(1 << 32)])
      return (112 + 4 * random.below(24), Self.bytes(value, 4))
    case 12, 13:
      guard !bitmapEntries.isEmpty else { return l2Patch() }
      let bitmap = pick(bitmapEntries)
      if random.below(2) == 0 { return wordPatch(bitmap.table + 8 * random.below(bitmap.count)) }
      let (field, width) = pick([(0, 8), (8, 4), (12, 4), (12, 4), (16, 1), (17, 1), (18, 2), (20, 4)])
      let value = pick([0, 1, 2, 3, 9, 12, 16, 0x1000, 0x10000, random.next()])
      return (bitmap.entry + UInt64(field), Self.bytes(value, width))
    default:
      let value = pick([0, 1, 2, 4, 8, clusterSize, 2 * clusterSize, random.below(32), random.below(1 << 32)])
      return (4 * (6 + random.below(20)), Self.bytes(value, 4))
    }
  }

  private mutating func l2Patch() -> Patch {
    guard !l2Tables.isEmpty else { return wordPatch(l1) }
    let table = pick(l2Tables)
    let used = stride(from: table, to: min(length, table + clusterSize), by: 8).filter { word($0) != 0 }
    if !used.isEmpty && random.below(10) < 7 { return wordPatch(pick(used)) }
    return wordPatch(table + 8 * random.below(clusterSize / 8))
  }

  private mutating func wordPatch(_ offset: UInt64) -> Patch {
    let old = word(offset)
    let new: UInt64
    switch random.below(12) {
    case 0: new = 0
    case 1: new = old ^ 1 << random.below(64)
    case 2: new = old ^ 1 << 63
    case 3: new = old ^ 1 << random.below(9)
    case 4: new = random.next()
    case 5: new = old ^ 1 << 62
    case 6: new = random.below(length / clusterSize + 3) << clusterBits | random.below(2) << 63
    case 7: new = old & ~Self.offsetMask | pick(l2Tables + refcountBlocks + [0, l1, table])
    case 8: new = old ^ 1 << (9 + random.below(clusterBits - 9))
    case 9: new = old &+ clusterSize
    case 10: new = old ^ 1 << (9 + random.below(21))
    default: new = .max
    }
    return (offset, Self.bytes(new, 8))
  }
}
