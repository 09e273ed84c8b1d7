// The engine on memory, against a twin of the guest's disk and against the oracle of refcounts.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Engine", .tags(.fast)) struct EngineTests {
  private func content(_ image: Image) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: Int(image.geometry.virtualSize))
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return bytes
  }

  private var writable: Image.Options {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    return options
  }

  @Test("random requests: content equals the twin, refcounts equal the references", arguments: 0..<150)
  func randomRequests(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed))
    let create = randomOptions(&random)
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    var twin = Twin(
      bytes: [UInt8](repeating: 0, count: Int((create.size + 511) & ~511)),
      discardUnit: Int(create.clusterSize))
    for session in 0..<3 {
      let image = try Image(storage, options: writable)
      for _ in 0..<12 {
        let request = randomRequest(create, &random)
        try image.perform(request)
        twin.apply(request)
        let isSame = sameBytes(try content(image), twin.bytes)
        #expect(isSame, "seed \(seed), session \(session), \(request)")
        if !isSame { return }
      }
      try image.close()
      let found = try findings(try Image(storage))
      #expect(found.isEmpty, "seed \(seed), session \(session), \(create)")
    }
  }

  @Test("undo and redo give back every byte, and the layout repeats", arguments: 0..<60)
  func undo(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed) + 1000)
    let create = randomOptions(&random)
    let below = MemoryStorage()
    try Image.create(on: below, create)
    let overlay = OverlayStorage(base: below)
    let image = try Image(overlay, options: writable)
    var states: [(bytes: [UInt8], session: Image.SessionState)] = []
    func snapshot() throws -> [UInt8] { try overlay.bytes(at: 0, count: Int(overlay.length)) }
    states.append((try snapshot(), image.session))
    for _ in 0..<10 {
      overlay.begin("request")
      try image.perform(randomRequest(create, &random))
      try image.flush()
      if overlay.commit() != nil { states.append((try snapshot(), image.session)) }
    }
    for state in states.dropLast().reversed() {
      #expect(try overlay.undo() != nil)
      #expect(sameBytes(try snapshot(), state.bytes), "seed \(seed)")
      try image.reload()
      image.session = state.session
      #expect(try findings(image).isEmpty)
    }
    #expect(try overlay.undo() == nil)
    for state in states.dropFirst() {
      #expect(try overlay.redo() != nil)
      #expect(sameBytes(try snapshot(), state.bytes))
    }
  }

  @Test("the host failing at any write leaves leaks at most", arguments: 0..<40)
  func failingHost(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed) + 2000)
    let create = randomOptions(&random)
    let requests = (0..<6).map { _ in randomRequest(create, &random) }
    // The host fails at write 1, 2, 3 and so on, until it is asked for fewer.
    for limit in 1..<400 {
      let below = MemoryStorage()
      try Image.create(on: below, create)
      let failing = FailingStorage(below, failingAt: limit)
      let image = try Image(failing, options: writable)
      for request in requests {
        try? image.perform(request)
        if failing.hasFailed { break }
      }
      if !failing.hasFailed { try? image.close() }
      // What is on the disk now, as after a crash.
      let found = try findings(try Image(below), allowingLeaks: true)
      #expect(found.isEmpty, "seed \(seed), failing at write \(limit)")
      guard failing.hasFailed, found.isEmpty else { return }
    }
  }

  @Test("every write and every change in memory says what it is for")
  func purposes() throws {
    let below = MemoryStorage()
    var create = Image.CreateOptions(size: 64 << 20)
    create.extendedL2 = true
    try Image.create(on: below, create)
    let overlay = OverlayStorage(base: below)
    let image = try Image(overlay, options: writable)
    overlay.begin("write")
    try image.perform(.write(offset: 5 << 20, count: 65536, byte: 3))
    try image.flush()
    let operation = try #require(overlay.commit())
    let notes = operation.events.filter { $0.kind == .note }.map(\.tag)
    #expect(
      notes == [
        WriteTag(.refcountBlock, .claim, table: 0x20000, index: 4, before: (0, 0), after: (1, 0)),
        WriteTag(.l1Table, .link, table: 0x30000, index: 0, before: (0, 0), after: (1 << 63 | 0x40000, 0)),
        WriteTag(.refcountBlock, .claim, table: 0x20000, index: 5, before: (0, 0), after: (1, 0)),
        WriteTag(
          .l2Table, .link, table: 0x40000, index: 80, before: (0, 0), after: (1 << 63 | 0x50000, 0xffff_ffff)),
      ])
    let writes = operation.events.filter { $0.kind == .write }.map {
      "\($0.tag.target) \($0.tag.why) \($0.offset)+\($0.count)"
    }
    #expect(
      writes == [
        "refcountBlock writeBack 131072+65536", "l2Table writeBack 262144+65536", "l1Table link 196608+8",
        "data guestData 327680+65536", "refcountBlock writeBack 131072+65536",
        "l2Table writeBack 262144+65536",
      ])
  }

  /// Clusters that are compressed (c), normal (n), zeroes with a place (z) or absent (a), each made by a session of its
  /// own, and where one write over all of them leaves them; what the genuine tools do. Up to eight pieces are on
  /// their way before the first place is free again, unless an L2 table is made meanwhile.
  @Test(
    "pieces of a write find their places before those of the pieces in front are free",
    arguments: [
      (4096, 0, "cncn", [9, 6, 10, 8]), (4096, 0, "cnzcanc", [11, 6, 7, 12, 13, 9, 14]),
      (512, 60, "cncna", [9, 6, 10, 8, 5]),
      (
        4096, 0, "cncncncncncncncncn",
        [23, 6, 24, 8, 25, 10, 26, 12, 27, 14, 5, 16, 7, 18, 9, 20, 11, 22]
      ),
    ] as [(UInt64, UInt64, String, [UInt64])])
  func piecesInFlight(_ cluster: UInt64, _ first: UInt64, _ kinds: String, _ places: [UInt64]) throws {
    let storage = MemoryStorage()
    let count = UInt64(kinds.count)
    var create = Image.CreateOptions(size: (first + count) * cluster)
    create.clusterSize = cluster
    try Image.create(on: storage, create)
    for (index, kind) in kinds.enumerated() where kind != "a" {
      let offset = (first + UInt64(index)) * cluster
      let image = try Image(storage, options: writable)
      try image.perform(
        kind == "c"
          ? .compress(offset: offset, count: cluster, byte: 1)
          : .write(offset: offset, count: cluster, byte: 2))
      if kind == "z" { try image.perform(.zero(offset: offset, count: cluster, mayUnmap: false)) }
      try image.close()
    }
    let image = try Image(storage, options: writable)
    try image.perform(.write(offset: first * cluster, count: count * cluster, byte: 3))
    let found = try (first..<first + count).map {
      try image.l2Entry(at: GuestOffset($0 * cluster)).offsetBits / cluster
    }
    #expect(found == places, "\(kinds)")
    try image.close()
    #expect(try findings(try Image(storage)).isEmpty)
  }

  @Test("requests that leave the disk, or go to a read-only image, are refused")
  func refusals() throws {
    let storage = MemoryStorage()
    try Image.create(on: storage, Image.CreateOptions(size: 1 << 20))
    let before = try storage.bytes(at: 0, count: Int(storage.length))
    let image = try Image(storage, options: writable)
    for request: GuestRequest in [
      .write(offset: 1 << 20, count: 1, byte: 1), .write(offset: (1 << 20) - 1, count: 2, byte: 1),
      .discard(offset: .max, count: 65536),
      .zero(offset: 1 << 63, count: 1, mayUnmap: true),
    ] {
      #expect(throws: ImageError.self) { try image.perform(request) }
    }
    let reader = try Image(storage)
    #expect(throws: ImageError.self) { try reader.perform(.write(offset: 0, count: 1, byte: 1)) }
    #expect(sameBytes(try storage.bytes(at: 0, count: Int(storage.length)), before))
  }

  @Test("a damaged image is not written over its own tables")
  func overlap() throws {
    // The entry of guest cluster 0 points to each table in turn.
    for (target, name) in [
      (1, "refcount table"), (2, "refcount block"), (3, "active L1 table"), (4, "active L2 table"),
    ] {
      let storage = MemoryStorage()
      try Image.create(on: storage, Image.CreateOptions(size: 1 << 20))
      let first = try Image(storage, options: writable)
      try first.perform(.write(offset: 0, count: 65536, byte: 1))
      try first.close()
      var entry: [UInt8] = []
      BigEndian.append(1 << 63 | UInt64(target) << 16, width: 8, to: &entry)
      try storage.write(entry, at: 0x40000)
      let before = try storage.bytes(at: 0, count: Int(storage.length))
      let image = try Image(storage, options: writable)
      let error = #expect(throws: ImageError.self) {
        try image.perform(.write(offset: 0, count: 4096, byte: 1))
      }
      #expect(error?.description == "Preventing invalid write on metadata (overlaps with \(name))")
      // The header says so now, and nothing else has changed.
      let after = try storage.bytes(at: 0, count: Int(storage.length))
      #expect(sameBytes(Array(after[65536...]), Array(before[65536...])))
      #expect(try Image(storage).header.incompatible.contains(.corrupt))
      #expect(throws: ImageError.self) { try image.perform(.write(offset: 1 << 19, count: 4096, byte: 1)) }
      #expect(throws: ImageError.self) { _ = try Image(storage, options: writable) }
    }
  }
}

/// A storage that refuses one write and all behind it.
private final class FailingStorage: Storage {
  let below: MemoryStorage
  private var left: Int
  var hasFailed: Bool { left < 0 }

  init(_ below: MemoryStorage, failingAt number: Int) {
    self.below = below
    left = number
  }

  var name: String { below.name }
  var isWritable: Bool { true }
  var length: UInt64 { below.length }

  private func count() throws(StorageError) {
    left -= 1
    if left < 0 { throw StorageError(.write, name: name, errno: 28, detail: "No space left on device") }
  }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try below.read(at: offset, into: buffer)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try count()
    try below.write(bytes, at: offset, tag: tag)
  }
  func writeZeroes(at offset: UInt64, count bytes: UInt64, tag: WriteTag) throws(StorageError) {
    try count()
    try below.writeZeroes(at: offset, count: bytes, tag: tag)
  }
  func punch(at offset: UInt64, count bytes: UInt64, tag: WriteTag) throws(StorageError) {
    try count()
    try below.punch(at: offset, count: bytes, tag: tag)
  }
  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try count()
    try below.truncate(to: length, tag: tag)
  }
  func flush() throws(StorageError) { try below.flush() }
}
