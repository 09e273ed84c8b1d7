// A small write into a new cluster takes over what lies around it and goes to the host in one request: the guest reads
// the same as with three, wherever the old bytes come from, and a host that takes only a part of it leaves the old ones.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// What lies under the cluster that is written, and how.
enum JoinedPlace: String, CaseIterable, Sendable {
  case shortBacking, longBacking, snapshot, compressed, extended, dataFile, rawDataFile, legacyCipher, luks

  var clusterSize: UInt64 { self == .extended ? 16384 : 4096 }
  /// What the guest reads before, and where a write makes a new cluster.
  var size: Int { Int(clusterSize) * 6 }
  var isJoined: Bool {
    switch self {
    case .legacyCipher, .luks: false
    default: true
    }
  }
  /// Nothing uses clusters but the tables of the disk.
  var canBeCounted: Bool { [.shortBacking, .longBacking, .compressed, .extended].contains(self) }
}

@Suite("Joined writes", .tags(.fast)) struct JoinedWriteTests {
  /// An image, what its guest reads, and the storage that new clusters are written to.
  private struct Stage {
    let image: Image
    let target: PartialStorage
    var twin: [UInt8]
    let options: Image.Options
    let storage: any Storage
  }

  private func stage(_ place: JoinedPlace, _ random: inout SplitMix64) throws -> Stage {
    let cluster = Int(place.clusterSize)
    let file = PartialStorage(MemoryStorage())
    let data = PartialStorage(MemoryStorage(name: "data"))
    var create = Image.CreateOptions(size: UInt64(place.size))
    create.clusterSize = place.clusterSize
    create.extendedL2 = place == .extended
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    var twin = [UInt8](repeating: 0, count: place.size)
    let old = randomBytes(place.size, &random)
    switch place {
    case .shortBacking, .longBacking, .extended:
      // The short one ends in a sector of the middle of the third cluster, and its last sector is a part of one.
      let held = place == .longBacking ? place.size : cluster * 2 + cluster / 2 + 100
      (create.backingFile, create.backingFormat) = ("below", "raw")
      options.backing = RawLayer(MemoryStorage(bytes: Array(old[..<held])))
      twin.replaceSubrange(0..<held, with: old[..<held])
    case .dataFile, .rawDataFile:
      create.dataFile = ("data", data)
      create.dataFileRaw = place == .rawDataFile
      options.dataFile = data
      if place == .dataFile {
        (create.backingFile, create.backingFormat) = ("below", "raw")
        options.backing = RawLayer(MemoryStorage(bytes: old))
        twin = old
      }
    case .legacyCipher, .luks:
      let secret = [UInt8]([1, 2, 3]).withUnsafeBytes { Secret(copying: $0) }
      create.encryption = NewEncryption(place == .luks ? .luks : .aes, secret)
      create.encryption?.milliseconds = 1
      options.secret = secret
    case .snapshot, .compressed: break
    }
    try Image.create(on: file, create)
    let image = try Image(file, options: options)
    switch place {
    case .snapshot, .legacyCipher, .luks:
      try old.withUnsafeBytes { try image.write($0, at: GuestOffset(0)) }
      try image.createSnapshot(name: "before", seconds: 0, nanoseconds: 0)
      twin = old
    case .compressed:
      for index in 0..<6 {
        let byte = UInt8(index + 1)
        try image.perform(
          .compress(offset: UInt64(index * cluster), count: UInt64(cluster), byte: byte))
        twin.replaceSubrange(
          index * cluster..<(index + 1) * cluster, with: repeatElement(byte, count: cluster))
      }
    default: break
    }
    try image.flush()
    let isExternal = place == .dataFile || place == .rawDataFile
    return Stage(
      image: image, target: isExternal ? data : file, twin: twin, options: options, storage: file)
  }

  private func content(_ image: Image, _ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: count)
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return bytes
  }

  /// Offsets within a cluster and counts around everything that matters, all within one cluster.
  private func ranges(_ place: JoinedPlace) -> [Range<Int>] {
    let cluster = Int(place.clusterSize)
    let edges = place.isJoined ? [0, 1, 511, 512, 513, 2048, 2147, 2148, 2149] : [0, 512, 1024, 2048]
    let whole =
      place.isJoined ? [cluster - 513, cluster - 512, cluster - 1, cluster] : [cluster - 512, cluster]
    let places = edges + whole
    return places.flatMap { start in places.filter { $0 > start }.map { start..<$0 } }
  }

  @Test("at every alignment the guest reads what its twin does", arguments: JoinedPlace.allCases)
  func alignments(_ place: JoinedPlace) throws {
    let cluster = Int(place.clusterSize)
    for (number, range) in ranges(place).enumerated() {
      var random = SplitMix64(seed: UInt64(number))
      // The second cluster, the one that the short backing file ends in, and the last one.
      for index in [1, 2, 5] {
        var stage = try stage(place, &random)
        let bytes = randomBytes(range.count, &random)
        let offset = index * cluster + range.lowerBound
        try bytes.withUnsafeBytes { try stage.image.write($0, at: GuestOffset(UInt64(offset))) }
        stage.twin.replaceSubrange(offset..<offset + range.count, with: bytes)
        let note = "\(place) \(range) of cluster \(index)"
        try #require(sameBytes(try content(stage.image, place.size), stage.twin), "\(note)")
        try stage.image.close()
        let again = try Image(stage.storage, options: stage.options)
        try #require(sameBytes(try content(again, place.size), stage.twin), "\(note), opened again")
        if place == .rawDataFile {
          let raw = try stage.target.bytes(at: 0, count: place.size)
          try #require(sameBytes(raw, stage.twin), "\(note), the raw file")
        }
        if place.canBeCounted { #expect(try findings(again).isEmpty, "\(note)") }
      }
    }
  }

  @Test("is one request to the host, and its parts are told in the old order")
  func oneRequest() throws {
    for place in [JoinedPlace.shortBacking, .longBacking, .snapshot, .compressed, .dataFile] {
      var random = SplitMix64(seed: 9)
      let stage = try stage(place, &random)
      stage.target.forget()
      let bytes = randomBytes(700, &random)
      try bytes.withUnsafeBytes { try stage.image.write($0, at: GuestOffset(place.clusterSize * 2 + 1000)) }
      let cluster = Int(place.clusterSize)
      #expect(stage.target.joined.map(\.ranges) == [[0..<1000, 1700..<cluster, 1000..<1700]], "\(place)")
      #expect(
        stage.target.joined.first?.tags.map(\.why) == [.copyOnWrite, .copyOnWrite, .guestData],
        "\(place)")
      // What is written besides it is no guest data.
      #expect(stage.target.single.allSatisfy { $0.target != .data }, "\(place)")
    }
  }

  @Test("is as many as there are parts for who follows the moments of an image")
  func moments() throws {
    var random = SplitMix64(seed: 4)
    var stage = try stage(.longBacking, &random)
    let followed = PartialStorage(stage.target.below)
    followed.followsMoments = true
    let image = try Image(followed, options: stage.options)
    followed.forget()
    let bytes = randomBytes(700, &random)
    try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(9192)) }
    #expect(followed.joined.isEmpty)
    #expect(
      followed.single.filter { $0.target == .data }.map(\.why) == [.copyOnWrite, .copyOnWrite, .guestData])
    stage.twin.replaceSubrange(9192..<9892, with: bytes)
    #expect(sameBytes(try content(image, stage.twin.count), stage.twin))
  }

  @Test("old bytes that cannot be read matter only where they are needed")
  func unreadable() throws {
    let cluster = 4096
    for (bad, isFine) in [(1500, true), (100, false), (3000, false)] {
      let old = [UInt8](repeating: 7, count: 4 * cluster)
      let below = UnreadableStorage(MemoryStorage(bytes: old), at: UInt64(cluster + bad))
      var create = Image.CreateOptions(size: UInt64(old.count))
      create.clusterSize = UInt64(cluster)
      (create.backingFile, create.backingFormat) = ("below", "raw")
      let storage = MemoryStorage()
      try Image.create(on: storage, create)
      var options = Image.Options()
      options.writable = true
      options.backing = RawLayer(below)
      let image = try Image(storage, options: options)
      let bytes = [UInt8](repeating: 9, count: 1000)
      func write() throws {
        try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(UInt64(cluster + 1000))) }
      }
      if isFine {
        try write()
        var read = [UInt8](repeating: 0, count: cluster)
        try read.withUnsafeMutableBytes { try image.read(at: GuestOffset(UInt64(cluster)), into: $0) }
        #expect(read[..<1000].allSatisfy { $0 == 7 } && read[2000...].allSatisfy { $0 == 7 })
        #expect(read[1000..<2000].allSatisfy { $0 == 9 })
      } else {
        #expect(throws: ImageError.self) { try write() }
      }
      #expect(try findings(image).isEmpty, "byte \(bad)")
    }
  }

  @Test(
    "that the host takes only a part of leaves the old bytes, and the next try succeeds",
    arguments: JoinedPlace.allCases)
  func partly(_ place: JoinedPlace) throws {
    let cluster = Int(place.clusterSize)
    let (start, count) = place.isJoined ? (1000, 700) : (1024, 512)
    // With subclusters less is taken over, and where nothing was there are zeroes, which are asked for otherwise.
    let head = place == .extended ? start - 512 : place == .rawDataFile ? 0 : start
    let all = place == .extended ? 1536 : place == .rawDataFile ? count : cluster
    // Within the bytes in front, at their end, within the data, and within the bytes behind.
    for taken in Set([0, 1, head - 1, head, head + 300, head + count, all - 1])
    where (0..<all).contains(taken) {
      var random = SplitMix64(seed: UInt64(taken))
      var stage = try stage(place, &random)
      let bytes = randomBytes(count, &random)
      func write() throws {
        try bytes.withUnsafeBytes { try stage.image.write($0, at: GuestOffset(UInt64(2 * cluster + start))) }
      }
      stage.target.take = taken
      do {
        try write()
        Issue.record("\(place): the host failed after \(taken) bytes and nobody said so")
      } catch let error as ImageError {
        #expect(error.code == .storage, "\(place) \(taken): \(error)")
      }
      // A raw file has one place for old and new bytes.
      if place != .rawDataFile {
        #expect(
          sameBytes(try content(stage.image, place.size), stage.twin), "\(place), \(taken) taken")
      }
      if place.canBeCounted { #expect(try findings(stage.image).isEmpty, "\(place), \(taken) taken") }
      try write()
      stage.twin.replaceSubrange(2 * cluster + start..<2 * cluster + start + count, with: bytes)
      #expect(sameBytes(try content(stage.image, place.size), stage.twin), "\(place), \(taken), second try")
      try stage.image.close()
      let again = try Image(stage.storage, options: stage.options)
      #expect(sameBytes(try content(again, place.size), stage.twin), "\(place), \(taken), opened again")
    }
  }
}

/// A storage of which a request of guest data may fail midway; it keeps what it was asked.
private final class PartialStorage: Storage {
  let below: MemoryStorage
  /// Bytes of guest data that are taken before the next request fails; nil for none that fails.
  var take: Int?
  var followsMoments = false
  private(set) var joined: [(ranges: [Range<Int>], tags: [WriteTag])] = []
  private(set) var single: [WriteTag] = []

  init(_ below: MemoryStorage) { self.below = below }

  func forget() { (joined, single) = ([], []) }

  var name: String { below.name }
  var isWritable: Bool { true }
  var length: UInt64 { below.length }
  func extent(at offset: UInt64) -> HostExtent { below.extent(at: offset) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try below.read(at: offset, into: buffer)
  }

  private func put(_ bytes: UnsafeRawBufferPointer, _ offset: UInt64, _ tag: WriteTag) throws(StorageError) {
    guard let most = take, tag.target == .data else { return try below.write(bytes, at: offset, tag: tag) }
    let part = min(most, bytes.count)
    try below.write(UnsafeRawBufferPointer(rebasing: bytes[..<part]), at: offset, tag: tag)
    if part < bytes.count {
      take = nil
      throw StorageError(
        .write, name: name, offset: offset + UInt64(part), errno: 28, detail: "No space left on device")
    }
    take = most - part
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    single.append(tag)
    try put(bytes, offset, tag)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]) throws(StorageError) {
    joined.append((parts.map(\.range), parts.map(\.tag)))
    try put(bytes, offset, parts[0].tag)
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

/// Bytes of which one cannot be read.
private final class UnreadableStorage: LookedAtStorage {
  private let below: MemoryStorage
  private let bad: UInt64

  init(_ below: MemoryStorage, at bad: UInt64) { (self.below, self.bad) = (below, bad) }

  var name: String { below.name }
  var refusal: String { "it is only looked at" }
  var length: UInt64 { below.length }
  var hasFixedLength: Bool { false }
  var allocatedBytes: UInt64 { below.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { below.extent(at: offset) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if bad >= offset, bad < offset + UInt64(buffer.count) {
      throw StorageError(.read, name: name, offset: bad, errno: 5, detail: "Input/output error")
    }
    try below.read(at: offset, into: buffer)
  }
}
