// Bytes as guests keep them, for tests that look at bytes: text, a file system, numbers, what has no order, and
// what is compressed; and images of every kind of table that hold them.

import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport

/// Makes a guest's bytes.
package enum GuestSample: CaseIterable, Sendable {
  case text, random, zstd, gzip, fileSystem, littleEndian, bigEndian, wideText, pattern, directory, sparse

  /// `count` bytes of the kind. Long ones repeat what they begin with.
  package func bytes(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
    let most = 32 << 10
    guard count > most, self != .fileSystem, self != .sparse, self != .pattern else {
      return piece(count, &random)
    }
    let first = piece(most, &random)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + most)
    while bytes.count < count { bytes += first }
    return Array(bytes[..<count])
  }

  private func piece(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
    switch self {
    case .text:
      let words = ["the ", "table ", "of ", "clusters\n", "is ", "lost: ", "0x1f ", "and found "]
      var bytes: [UInt8] = []
      while bytes.count < count { bytes += Array(words[Int(random.below(8))].utf8) }
      return Array(bytes.prefix(count))
    case .random: return Self.noise(count, &random)
    case .zstd: return [0x28, 0xb5, 0x2f, 0xfd] + Self.noise(count - 4, &random)
    case .gzip: return [0x1f, 0x8b, 8, 0] + Self.noise(count - 4, &random)
    case .fileSystem:
      let whole = Self.ext4
      let blocks = max(1, whole.count / 4096 - (count + 4095) / 4096)
      let start = Int(random.below(UInt64(blocks))) * 4096
      let part = whole[min(start, whole.count)..<min(whole.count, start + count)]
      return part + [UInt8](repeating: 0, count: count - part.count)
    case .littleEndian:
      var value = random.below(1 << 20)
      return Self.words(count) {
        value += random.below(300)
        return value.byteSwapped
      }
    case .bigEndian:
      var value = random.below(1 << 34)
      return Self.words(count) {
        value += random.below(4096)
        return value
      }
    case .wideText: return (0..<count).map { $0 % 2 == 0 ? UInt8(97 + random.below(26)) : 0 }
    case .pattern: return [UInt8](repeating: UInt8(random.below(256)), count: count)
    case .directory:
      var bytes: [UInt8] = [2, 0, 0, 0, 12, 0, 1, 2, 46, 0, 0, 0, 2, 0, 0, 0, 12, 0, 2, 2, 46, 46, 0, 0]
      while bytes.count < count {
        bytes +=
          [UInt8(random.below(255)), 1, 0, 0, 16, 0, 8, 1] + (0..<8).map { _ in UInt8(97 + random.below(26)) }
      }
      return Array(bytes.prefix(count))
    case .sparse:
      var bytes = [UInt8](repeating: 0, count: count)
      for _ in 0..<1 + random.below(6) { bytes[Int(random.below(UInt64(count)))] = UInt8(random.below(256)) }
      return bytes
    }
  }

  private static func noise(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
    Array(words(max(0, count)) { random.next() }.prefix(max(0, count)))
  }

  private static func words(_ count: Int, _ next: () -> UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { BigEndian.append(next(), width: 8, to: &bytes) }
    return Array(bytes.prefix(count))
  }

  /// A file system of 16 MiB, made by the host's program or, without that, a few structures by hand.
  package static let ext4: [UInt8] = {
    var whole = [UInt8](repeating: 0, count: 16 << 20)
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("sample-\(getpid()).ext4")
    defer { try? FileManager.default.removeItem(at: path) }
    for program in ["/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"] {
      guard FileManager.default.isExecutableFile(atPath: program) else { continue }
      try? Data(whole).write(to: path)
      _ = try? run(program, ["-q", "-F", path.path])
      if let made = try? Data(contentsOf: path), made.count == whole.count { return Array(made) }
    }
    whole.replaceSubrange(1080..<1082, with: [0x53, 0xef])
    for block in 1..<64 { whole[block * 4096 + 3] = UInt8(block) }
    return whole
  }()
}

/// How an image for such tests is to be.
package struct SampleImage: Sendable, CustomStringConvertible {
  package var clusterBits: Int
  package var refcountBits = 16
  package var extended = false
  package var snapshots = 0
  package var bitmaps = 0
  package var compressed = false
  package var version: UInt32 = 3
  /// The data lie in a file of their own.
  package var isExternal = false
  package var encryption: NewEncryption.Method?
  package var seed: UInt64
  /// Pieces of data that are written.
  package var pieces = 24
  /// The guest writes from the start of its disk to the end, as who fills it for the first time.
  package var isOrdered = false
  /// L2 tables that the disk has.
  package var tables: UInt64 = 3

  package init(clusterBits: Int, seed: UInt64) {
    self.clusterBits = clusterBits
    self.seed = seed
  }

  package var description: String {
    "2^\(clusterBits) v\(version) rc\(refcountBits)\(extended ? " ext" : "") s\(snapshots) b\(bitmaps)\(compressed ? " c" : "")\(isExternal ? " data file" : "")\(encryption.map { " \($0)" } ?? "") seed \(seed)"
  }

  /// All sizes of clusters with all widths and both kinds of entries, in turn.
  package static func number(_ index: Int) -> SampleImage {
    var image = SampleImage(clusterBits: 9 + index % 13, seed: UInt64(index))
    image.extended = image.clusterBits >= 14 && index / 13 % 2 == 1
    image.refcountBits = 1 << (index / 3 % 7)
    image.snapshots = image.refcountBits > 1 ? index / 2 % 3 : 0
    image.bitmaps = index / 5 % 3
    image.compressed = index % 4 == 3
    return image
  }

  /// Those, and among them version 2, data files and both encryptions.
  package static func ofEveryKind(_ index: Int) -> SampleImage {
    var image = number(index)
    // Large clusters are many bytes.
    if image.clusterBits > 15 { image.pieces = image.clusterBits > 17 ? 8 : 14 }
    switch index % 9 {
    case 2 where !image.extended:
      (image.version, image.refcountBits, image.bitmaps) = (2, 16, 0)
    case 4: (image.isExternal, image.compressed, image.snapshots) = (true, false, 0)
    case 6: (image.encryption, image.compressed) = (index % 2 == 0 ? .luks : .aes, false)
    default: break
    }
    return image
  }

  private static let password: [UInt8] = [1, 2, 3]

  private var secret: Secret { Self.password.withUnsafeBytes { Secret(copying: $0) } }

  /// Makes it in memory.
  package func make() throws -> MemoryStorage { try makeFiles().image }

  /// Makes it in memory, with its data file if it has one.
  package func makeFiles() throws -> (image: MemoryStorage, data: MemoryStorage?) {
    var random = SplitMix64(seed: seed &* 77)
    let storage = MemoryStorage()
    let data = isExternal ? MemoryStorage() : nil
    let cluster = 1 << clusterBits
    let perTable = UInt64(cluster) * UInt64(cluster / (extended ? 16 : 8))
    let size = isOrdered ? perTable * tables : max(1 << 20, perTable * tables)
    var creation = Image.CreateOptions(size: size)
    creation.clusterSize = UInt64(cluster)
    creation.extendedL2 = extended
    creation.refcountBits = refcountBits
    creation.version = version
    creation.dataFile = data.map { ("data", $0) }
    if let encryption {
      creation.encryption = NewEncryption(encryption, secret)
      creation.encryption?.milliseconds = 1
    }
    try Image.create(on: storage, creation)
    var options = Image.Options()
    options.writable = true
    options.dataFile = data
    if encryption != nil { options.secret = secret }
    options.cache = .writeback
    let image = try Image(storage, options: options)
    for number in 0..<bitmaps {
      try image.changeBitmaps(.add("bitmap\(number)", granularity: nil, recordsWrites: true))
    }
    // Large clusters are written in part only, to be quick.
    let longest = max(cluster, 128 << 10)
    for piece in 0..<pieces {
      if snapshots > 0, piece * (snapshots + 1) % pieces < snapshots + 1, piece > 0,
        image.snapshots.count < snapshots
      {
        // Narrow refcounts leave no room for some.
        try? image.createSnapshot(name: "state\(piece)", seconds: 1_700_000_000, nanoseconds: 5)
      }
      let kind = GuestSample.allCases.randomElement(using: &random) ?? .text
      let clusters = 1 + Int(random.below(UInt64(max(1, min(24, longest / cluster)))))
      let whole = size / UInt64(cluster)
      let places = whole - UInt64(min(clusters, Int(whole) - 1))
      let part = isOrdered ? places / UInt64(pieces) : places
      let at = (isOrdered ? UInt64(piece) * part + random.below(part) : random.below(part)) * UInt64(cluster)
      let count = min(clusters * cluster, Int(size - at))
      let bytes = kind.bytes(count, &random)
      try bytes.withUnsafeBytes { buffer in
        if compressed, piece % 3 == 0 {
          do { try image.writeCompressed(buffer, at: GuestOffset(at)) } catch {
            try image.write(buffer, at: GuestOffset(at))
          }
        } else {
          try image.write(buffer, at: GuestOffset(at))
        }
      }
      if piece % 7 == 6 {
        try image.writeZeroes(
          at: GuestOffset(at), count: ByteCount(UInt64(cluster)), mayUnmap: piece % 2 == 0)
      }
    }
    try image.close()
    return (storage, data)
  }
}
