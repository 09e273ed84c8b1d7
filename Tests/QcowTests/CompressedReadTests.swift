// Compressed clusters that are expanded several at a time: every byte is the one that a single read gives, damage is told
// where it is and only to who asks for it, and nothing old is given.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Compressed reads", .tags(.fast)) struct CompressedReadTests {
  fileprivate static let clusters = 24

  private struct Stage {
    let file: BadByteStorage
    let image: Image
    var twin: [UInt8]
    let cluster: Int

    func read(_ offset: Int, _ count: Int) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0xee, count: count)
      try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(UInt64(offset)), into: $0) }
      return bytes
    }

    func isTrue(_ offset: Int, _ count: Int) throws -> Bool {
      sameBytes(try read(offset, count), Array(twin[offset..<offset + count]))
    }

    /// Where the streams lie, by the number of the cluster.
    func streams() throws -> [Int: CompressedExtent] {
      var found: [Int: CompressedExtent] = [:]
      let bytes = try #require(try image.l2TableBytes(l1Index: 0))
      for index in 0..<CompressedReadTests.clusters {
        let entry = L2Entry(
          descriptor: BigEndian.u64(bytes, index * 8), bitmap: SubclusterBitmap(raw: 0))
        if entry.isCompressed { found[index] = image.geometry.compressedExtent(of: entry.descriptor) }
      }
      return found
    }
  }

  /// An image whose clusters are compressed, but for some; the disk ends within the last one.
  private func stage(
    _ cluster: Int, _ type: UInt8, plain: Set<Int> = [], writable: Bool = true
  ) throws -> Stage {
    let file = BadByteStorage(MemoryStorage())
    let size = Self.clusters * cluster - 512
    var create = Image.CreateOptions(size: UInt64(size))
    create.clusterSize = UInt64(cluster)
    create.compressionType = type
    try Image.create(on: file, create)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    let made = try Image(file, options: options)
    var twin: [UInt8] = []
    for index in 0..<Self.clusters {
      let count = min(cluster, size - index * cluster)
      let all = MixedBytes.sources[1 + index % 3]
      let start = index * 4099
      let bytes = Array(all[start..<start + count])
      try bytes.withUnsafeBytes {
        let guest = GuestOffset(UInt64(index * cluster))
        if plain.contains(index) {
          try made.write($0, at: guest)
        } else {
          try made.writeCompressed($0, at: guest)
        }
      }
      twin += bytes
    }
    try made.close()
    options.writable = writable
    return Stage(file: file, image: try Image(file, options: options), twin: twin, cluster: cluster)
  }

  @Test("in order, back, here and there, of every length", arguments: [512, 4096, 65536], [0, 1])
  func orders(cluster: Int, type: Int) throws {
    let stage = try stage(cluster, UInt8(type), plain: [5, 6, 13])
    // The smallest do not all become shorter.
    let streams = try stage.streams()
    #expect(streams.count >= 10 && streams[5] == nil && streams[13] == nil)
    let size = stage.twin.count
    var random = SplitMix64(seed: UInt64(cluster + type))
    for step in [cluster / 4, cluster, cluster * 3 / 2, cluster * 2, cluster * 5] {
      for offset in stride(from: 0, to: size, by: step) {
        try #require(try stage.isTrue(offset, min(step, size - offset)), "\(step) at \(offset)")
      }
      for offset in stride(from: 0, to: size, by: step).reversed() {
        try #require(try stage.isTrue(offset, min(step, size - offset)), "\(step) at \(offset), back")
      }
    }
    for _ in 0..<400 {
      let offset = Int(random.below(UInt64(size)))
      let count = min(size - offset, 1 + Int(random.below(UInt64(cluster * 3))))
      try #require(try stage.isTrue(offset, count), "\(count) at \(offset)")
    }
  }

  @Test("what was expanded goes with every change", arguments: 0..<30)
  func changes(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed))
    var stage = try stage(4096, UInt8(seed % 2))
    for _ in 0..<40 {
      let first = Int(random.below(UInt64(Self.clusters - 4)))
      for index in first..<first + 2 { try #require(try stage.isTrue(index * 4096, 4096)) }
      let changed = first + 1 + Int(random.below(2))
      let offset = UInt64(changed * 4096)
      switch random.below(4) {
      case 0:
        let source = Int(random.below(4))
        try stage.image.perform(.discard(offset: offset, count: 4096))
        try stage.image.perform(.compressMixed(offset: offset, count: 4096, source: source))
        stage.twin.replaceSubrange(
          changed * 4096..<changed * 4096 + 4096, with: MixedBytes.sources[source][..<4096])
      case 1:
        try stage.image.perform(.write(offset: offset + 100, count: 300, byte: UInt8(seed)))
        stage.twin.replaceSubrange(
          changed * 4096 + 100..<changed * 4096 + 400, with: repeatElement(UInt8(seed), count: 300))
      case 2:
        try stage.image.perform(.discard(offset: offset, count: 4096))
        stage.twin.replaceSubrange(
          changed * 4096..<changed * 4096 + 4096, with: repeatElement(0, count: 4096))
      default:
        // The place of a stream that went is given to another one.
        try stage.image.perform(.discard(offset: offset, count: 4096))
        try stage.image.perform(.compress(offset: offset, count: 4096, byte: UInt8(seed + 1)))
        stage.twin.replaceSubrange(
          changed * 4096..<changed * 4096 + 4096, with: repeatElement(UInt8(seed + 1), count: 4096))
      }
      for index in first..<first + 4 {
        try #require(try stage.isTrue(index * 4096, 4096), "seed \(seed), cluster \(index)")
      }
    }
  }

  @Test(
    "one that is damaged or cannot be read is told by who asks for it, at its own place",
    arguments: [0, 1, 7, 22], [false, true])
  func damage(bad: Int, isUnreadable: Bool) throws {
    for step in [1024, 4096, 8192, 5 * 4096, 64 * 4096] {
      let stage = try stage(4096, 0, writable: false)
      let streams = try stage.streams()
      let extent = try #require(streams[bad])
      if isUnreadable {
        // No other stream reads the middle of it.
        stage.file.bad = extent.offset.value + extent.byteCount / 2
      } else {
        let junk = [UInt8](repeating: 0xff, count: 512)
        try stage.file.write(junk, at: extent.offset.value + 8)
      }
      let size = stage.twin.count
      for offset in stride(from: 0, to: size, by: step) {
        let count = min(step, size - offset)
        let meets = offset < (bad + 1) * 4096 && offset + count > bad * 4096
        do {
          let isTrue = try stage.isTrue(offset, count)
          #expect(isTrue && !meets, "\(step): \(offset)")
        } catch let error as ImageError {
          #expect(meets, "\(step): \(offset) told of another cluster: \(error)")
          #expect(error.code == (isUnreadable ? .storage : .unreadable), "\(error)")
          let place = isUnreadable ? stage.file.bad ?? 0 : extent.offset.value
          #expect(error.description.contains("0x" + String(place, radix: 16)), "\(step): \(error)")
        }
      }
    }
  }
}

/// A storage of which one byte may be unreadable.
private final class BadByteStorage: Storage {
  let below: MemoryStorage
  var bad: UInt64?

  init(_ below: MemoryStorage) { self.below = below }

  var name: String { below.name }
  var isWritable: Bool { true }
  var length: UInt64 { below.length }
  func extent(at offset: UInt64) -> HostExtent { below.extent(at: offset) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    let range = offset..<offset + UInt64(buffer.count)
    if let bad, range.contains(bad) {
      throw StorageError(
        .read, name: name, offset: bad, errno: 5, detail: "Input/output error")
    }
    try below.read(at: offset, into: buffer)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try below.write(bytes, at: offset, tag: tag)
  }
  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try below.writeZeroes(at: offset, count: count, tag: tag)
  }
  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try below.punch(at: offset, count: count, tag: tag)
  }
  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try below.truncate(to: length, tag: tag)
  }
  func flush() throws(StorageError) { try below.flush() }
}
