// Every storage behaves like an array of bytes, whatever is done to it in whatever order.

import Foundation
import Storage
import TestSupport
import Testing

/// The storages, each as people use it.
enum StorageKind: String, CaseIterable {
  case memory, file, overlayOnMemory, overlayOnFile, recording

  /// A storage with the given bytes to start with.
  func make(_ bytes: [UInt8], in folder: TemporaryDirectory) throws -> any Storage {
    switch self {
    case .memory: return MemoryStorage(bytes: bytes)
    case .recording: return RecordingStorage(MemoryStorage(bytes: bytes))
    case .overlayOnMemory: return OverlayStorage(base: MemoryStorage(bytes: bytes))
    case .file:
      let file = try FileStorage(path: folder.path("storage"), mode: .create)
      try file.write(bytes, at: 0)
      return file
    case .overlayOnFile:
      try FileStorage(path: folder.path("below"), mode: .create).write(bytes, at: 0)
      return OverlayStorage(base: try FileStorage(path: folder.path("below"), mode: .readOnly))
    }
  }
}

@Suite("Storages against plain bytes", .tags(.fast))
struct StorageModelTests {
  @Test("random changes", arguments: StorageKind.allCases, 0..<24)
  func changes(_ kind: StorageKind, _ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let folder = try TemporaryDirectory()
    var model = randomBytes(Int(random.below(30000)), &random)
    let storage = try kind.make(model, in: folder)
    var history: [Change] = []
    for _ in 0..<40 {
      let change = Change.random(&random, length: model.count)
      history.append(change)
      try change.apply(to: storage)
      change.apply(to: &model)
      try #require(storage.length == UInt64(model.count), "\(kind), \(note(seed, history))")
      try #require(sameBytes(try contents(storage), model), "\(kind), \(note(seed, history))")
      try checkPartialRead(storage, model, &random)
      try checkExtents(storage, model)
    }
  }

  /// A read anywhere, also across the end, where zeroes follow.
  private func checkPartialRead(
    _ storage: any Storage, _ model: [UInt8], _ random: inout SplitMix64
  ) throws {
    let offset = Int(random.below(UInt64(model.count + 5000)))
    let count = Int(random.below(9000))
    let inside = offset < model.count ? Array(model[offset..<min(model.count, offset + count)]) : []
    let expected = inside + [UInt8](repeating: 0, count: count - inside.count)
    try #require(sameBytes(try storage.bytes(at: UInt64(offset), count: count), expected))
  }

  /// Extents cover the whole length, move forward, and holes read as zeroes.
  private func checkExtents(_ storage: any Storage, _ model: [UInt8]) throws {
    var position = 0
    while position < model.count {
      let extent = storage.extent(at: UInt64(position))
      try #require(extent.end > UInt64(position) && extent.end <= UInt64(model.count))
      if extent.isHole {
        let hole = Array(model[position..<Int(extent.end)])
        try #require(isFilled(hole, with: 0), "a hole at \(position) holds data")
      }
      position = Int(extent.end)
    }
    try #require(storage.extent(at: UInt64(model.count)).isHole)
  }

  @Test("a terabyte with little in it is cheap in memory")
  func sparse() throws {
    let storage = MemoryStorage()
    try storage.truncate(to: 1 << 40, tag: .untagged)
    try storage.write([1, 2, 3], at: 1 << 39)
    try storage.writeZeroes(at: 1 << 20, count: 1 << 38, tag: .untagged)
    try storage.punch(at: 0, count: 1 << 38, tag: .untagged)
    #expect(storage.allocatedBytes == UInt64(Page.size))
    #expect(try storage.bytes(at: (1 << 39) - 1, count: 5) == [0, 1, 2, 3, 0])
    try storage.truncate(to: 1 << 39, tag: .untagged)
    #expect(storage.allocatedBytes == 0)
  }

  @Test("ranges that no host can address are refused", arguments: StorageKind.allCases)
  func unaddressable(_ kind: StorageKind) throws {
    let storage = try kind.make([1, 2, 3], in: TemporaryDirectory())
    for offset: UInt64 in [1 << 63, .max, .max - 1, UInt64(Int64.max)] {
      #expect(throws: StorageError.self, "\(offset)") { try storage.write([9, 9], at: offset) }
      #expect(throws: StorageError.self, "\(offset)") {
        try storage.writeZeroes(at: offset, count: 2, tag: .untagged)
      }
      #expect(try storage.bytes(at: offset, count: 1) == [0])
      try storage.punch(at: offset, count: 2, tag: .untagged)
    }
    #expect(throws: StorageError.self) { try storage.truncate(to: 1 << 63, tag: .untagged) }
    try storage.punch(at: 1, count: .max, tag: .untagged)
    #expect(try contents(storage) == [1, 0, 0])
  }
}

@Suite("Files", .tags(.fast))
struct FileStorageTests {
  @Test("what is not a file is refused in plain words")
  func kinds() throws {
    let folder = try TemporaryDirectory()
    func message(_ path: String, _ mode: FileStorage.Mode = .readOnly) -> String? {
      do throws(StorageError) {
        _ = try FileStorage(path: path, mode: mode)
        return nil
      } catch {
        return error.description
      }
    }
    let fifo = folder.path("fifo")
    #expect(mkfifo(fifo, 0o600) == 0)
    let missing = folder.path("missing")
    #expect(message(missing) == "cannot open '\(missing)': No such file or directory")
    #expect(message(folder.path) == "cannot open '\(folder.path)': Is a directory")
    #expect(message(fifo) == "cannot open '\(fifo)': not a regular file or a block device")
    #expect(message("/dev/null") == "cannot open '/dev/null': not a regular file or a block device")
  }

  @Test("a file opened read-only cannot be changed")
  func readOnly() throws {
    let folder = try TemporaryDirectory()
    try FileStorage(path: folder.path("f"), mode: .create).write([1, 2, 3], at: 0)
    let file = try FileStorage(path: folder.path("f"), mode: .readOnly)
    #expect(!file.isWritable)
    #expect(throws: StorageError.self) { try file.write([9], at: 0) }
    #expect(throws: StorageError.self) { try file.writeZeroes(at: 0, count: 1, tag: .untagged) }
    #expect(throws: StorageError.self) { try file.punch(at: 0, count: 1, tag: .untagged) }
    #expect(throws: StorageError.self) { try file.truncate(to: 0, tag: .untagged) }
    #expect(try contents(file) == [1, 2, 3])
    #expect(file.length == 3)
  }

  @Test("the identity changes when somebody else writes or replaces the file")
  func identity() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("f")
    let file = try FileStorage(path: path, mode: .create)
    try file.write([1, 2, 3], at: 0)
    let before = try #require(file.identity)
    #expect(FileStorage.identity(path: path) == before)
    try FileStorage(path: path, mode: .readWrite).write([1, 2, 3, 4], at: 0)
    #expect(file.identity != before)
    let now = try #require(file.identity)
    _ = try FileStorage(path: folder.path("g"), mode: .create)
    #expect(rename(folder.path("g"), path) == 0)
    // The open file is no longer the one the path names.
    #expect(FileStorage.identity(path: path)?.inode != now.inode)
    #expect(FileStorage.identity(path: folder.path("gone")) == nil)
  }

  @Test("punching gives bytes back to the host")
  func punching() throws {
    let folder = try TemporaryDirectory()
    let file = try FileStorage(path: folder.path("f"), mode: .create)
    try file.write([UInt8](repeating: 7, count: 1 << 20), at: 0)
    try file.flush()
    let full = file.allocatedBytes
    try file.punch(at: 65536, count: 1 << 19, tag: .untagged)
    #expect(file.allocatedBytes <= full - 1 << 19)
    #expect(file.length == 1 << 20)
    #expect(file.extent(at: 65536) == HostExtent(isHole: true, end: 65536 + 1 << 19))
  }
}
