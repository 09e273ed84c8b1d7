// One poke: a few bytes of an image's structures are overwritten, and one operation follows. Where, what and
// which operation come from a seed.

import Foundation
import TestSupport

/// A sound image that pokes damage copies of.
struct PokeBase: Sendable {
  var recipe: ImageRecipe
  var bytes: [UInt8]

  static let backing = "base.raw"

  static let recipes = [
    ImageRecipe(name: "64k", options: "", size: "1M", steps: ["write 0 192k", "write 512k 64k"]),
    ImageRecipe(
      name: "4k", options: "cluster_size=4k", size: "1M", steps: ["write 0 64k", "write 300k 20k"]),
    ImageRecipe(
      name: "extended", options: "extended_l2=on", size: "1M", steps: ["write 32k 128k", "write 512k 10k"]),
    ImageRecipe(
      name: "compressed", options: "", size: "1M",
      steps: ["write -c 0 64k", "write -c 64k 64k", "write 256k 64k"]),
    ImageRecipe(
      name: "snapshots", options: "cluster_size=4k", size: "1M",
      steps: [
        "write 0 64k", "!snapshot -c one @", "write 0 8k", "write 128k 8k", "!snapshot -c two @",
        "write 4k 4k",
      ]),
    ImageRecipe(
      name: "backing file", options: "backing_file=\(backing),backing_fmt=raw", size: "1M",
      steps: ["write 0 64k", "write 128k 4k"]),
    ImageRecipe(
      name: "bitmaps", options: "cluster_size=4k", size: "1M",
      steps: ["write 0 64k", "!bitmap --add @ b0", "write 8k 8k"]),
    ImageRecipe(name: "version 2", options: "compat=0.10", size: "1M", steps: ["write 0 192k"]),
    ImageRecipe(
      name: "1 bit", options: "refcount_bits=1,cluster_size=4k", size: "1M", steps: ["write 0 64k"]),
  ]

  static func make(_ judge: Judge) throws -> [PokeBase] {
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", backing, "1M"])
    try judge.must("qemu-io", ["-f", "raw", "-c", "write -P 9 0 1M", backing])
    return try recipes.enumerated().map { number, recipe in
      try recipe.make(judge, as: "base\(number)")
      let file = URL(fileURLWithPath: judge.path("base\(number)"))
      return PokeBase(recipe: recipe, bytes: try [UInt8](Data(contentsOf: file)))
    }
  }

  /// A big-endian number of the image.
  func number(_ at: Int, _ width: Int) -> Int {
    guard at >= 0, at + width <= bytes.count else { return 0 }
    return Int(truncatingIfNeeded: bytes[at..<at + width].reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
  }

  var clusterSize: Int { 1 << number(20, 4) }

  /// Where the L2 tables lie that the snapshots name.
  var snapshotTables: [Range<Int>] {
    var (at, tables) = (number(64, 8), [Range<Int>]())
    for _ in 0..<number(60, 4) {
      let l1 = number(at, 8)
      for index in 0..<number(at + 8, 4) {
        let table = number(l1 + 8 * index, 8) & 0x00ff_ffff_ffff_fe00
        if table != 0 { tables.append(table..<table + clusterSize) }
      }
      at = (at + 40 + number(at + 36, 4) + number(at + 12, 2) + number(at + 14, 2) + 7) & ~7
    }
    return tables
  }
}

/// A place that is overwritten, and what runs on the image then.
struct Poke: CustomStringConvertible, Sendable {
  /// What is run: requests of `qemu-io`, or a command that has no request.
  enum Operation: Sendable, Equatable {
    case requests([String])
    case check, snapshotList, defrag
  }

  var seed: UInt64
  var base: Int
  var area: String
  var offset: Int
  var bytes: [UInt8]
  var operation: Operation

  static let operations: [Operation] = [
    .requests(["read 0 1M"]), .requests(["write -P 3 4k 100k"]), .requests(["write -z 8k 128k"]),
    .requests(["write -z -u 0 64k"]), .requests(["discard 0 256k"]),
    .requests(["write 600k 64k", "write 0 64k", "read 0 64k"]),
    .requests(["read 0 512", "write -P 5 700k 4k", "discard 0 1M"]), .check, .snapshotList, .defrag,
  ]

  init(seed: UInt64, _ bases: [PokeBase]) {
    var random = SplitMix64(seed: seed)
    func below(_ limit: Int) -> Int { Int(random.below(UInt64(max(1, limit)))) }
    self.seed = seed
    base = below(bases.count)
    let image = bases[base]
    let mask = 0x00ff_ffff_ffff_fe00
    let table = image.number(48, 8)
    let (l1, l1Count) = (image.number(40, 8), min(16, image.number(36, 4)))
    let (snapshots, snapshotCount) = (image.number(64, 8), image.number(60, 4))
    let l2Tables = (0..<l1Count).map { image.number(l1 + 8 * $0, 8) & mask }.filter { $0 != 0 }
    let block = image.number(table, 8) & mask
    let cluster = image.clusterSize
    area = ["header", "extensions", "L1", "L2", "L2", "refcount table", "refcounts", "snapshots"][below(8)]
    switch area {
    case "header": offset = below(112)
    case "extensions": offset = 104 + below(316)
    case "L1": offset = l1 + below(8 * l1Count)
    case "L2": offset = l2Tables[below(l2Tables.count)] + below(8 * min(40, cluster / 8))
    case "refcount table": offset = table + below(16)
    case "refcounts": offset = block + below(2 * min(40, cluster / 2))
    // Images without snapshots are poked where bitmaps have their directory or tables.
    default: offset = snapshotCount > 0 ? snapshots + below(120) : image.bytes.count - cluster + below(120)
    }
    switch below(4) {
    case 0: bytes = [UInt8(below(256))]
    case 1: bytes = [(offset < image.bytes.count ? image.bytes[offset] : 0) ^ 1 << UInt8(below(8))]
    case 2:
      offset &= ~7
      let value = UInt64(below(image.bytes.count / cluster + 3) * cluster) | (below(3) == 1 ? 1 << 63 : 0)
      bytes = (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
    default:
      offset &= ~7
      bytes = [UInt8](repeating: 0, count: 8)
    }
    operation = Self.operations[below(Self.operations.count)]
  }

  /// The damaged image.
  func damaged(_ bases: [PokeBase]) -> [UInt8] {
    var image = bases[base].bytes
    if image.count < offset + bytes.count {
      image.append(contentsOf: repeatElement(0, count: offset + bytes.count - image.count))
    }
    image.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    return image
  }

  var description: String {
    let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return
      "QATLAS_SEED=\(seed), \(PokeBase.recipes[base].name), \(area): 0x\(String(offset, radix: 16)) = \(hex)"
      + ", \(operation)"
  }
}
