// Long reads: over holes and over the end, of files that became shorter, and where they fail the place is that of the
// first byte that could not be read. What a disk begins with early is no flush, and threads that stay do all there is.

import CSys
import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite("Long reads", .tags(.fast)) struct LongReadTests {
  private static let counts: [Int] = [256, 1024, 4096].flatMap { kib in
    [-4096, -1, 0, 1, 4097].map { (kib << 10) + $0 }
  }

  @Test("of every length, over holes and over the end", arguments: counts)
  func lengths(_ count: Int) throws {
    let folder = try TemporaryDirectory()
    var random = SplitMix64(seed: UInt64(count))
    let file = try FileStorage(path: folder.path("file"), mode: .create)
    let data = randomBytes(700_001, &random)
    var model = [UInt8](repeating: 0, count: 5 << 20)
    // Data, a hole, data, and a hole at the end.
    for start in [0, 2_000_003] {
      try file.write(data, at: UInt64(start))
      model.replaceSubrange(start..<start + data.count, with: data)
    }
    try file.truncate(to: UInt64(model.count), tag: .untagged)
    for offset in [0, 1, 4095, 650_000, model.count - count - 1, model.count - count / 2, model.count - 1] {
      let inside = max(0, min(count, model.count - offset))
      let expected = Array(model[offset..<offset + inside]) + [UInt8](repeating: 0, count: count - inside)
      var read = [UInt8](repeating: 0xee, count: count + 64)
      try read.withUnsafeMutableBytes {
        try file.read(at: UInt64(offset), into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
      }
      #expect(sameBytes(Array(read[..<count]), expected), "\(count) bytes at \(offset)")
      #expect(read[count...].allSatisfy { $0 == 0xee }, "it wrote behind the buffer")
    }
  }

  @Test("of a file that another program has cut give zeroes behind its end")
  func cut() throws {
    let folder = try TemporaryDirectory()
    var random = SplitMix64(seed: 5)
    let bytes = randomBytes(3 << 20, &random)
    let file = try FileStorage(path: folder.path("file"), mode: .create)
    try file.write(bytes, at: 0)
    for length: Int in [2_500_001, 1_000_000, 262_144, 10, 0] {
      try #require(truncate(folder.path("file"), off_t(length)) == 0)
      let read = try file.bytes(at: 0, count: bytes.count)
      #expect(sameBytes(Array(read[..<length]), Array(bytes[..<length])), "cut to \(length)")
      #expect(isFilled(Array(read[length...]), with: 0), "cut to \(length)")
    }
  }

  @Test(
    "that fail on the way say where",
    arguments: [0, 1, 5, 11])
  func failing(page: Int) throws {
    // The memory of this process as a file: what has no bytes cannot be read.
    let (unit, units) = (256 << 10, 12)
    let mapped = try #require(
      mmap(nil, unit * units, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    try #require(mapped != MAP_FAILED)
    memset(mapped, 7, unit * units)
    let bad = page * unit + 8192
    // A page of a file without bytes.
    let folder = try TemporaryDirectory()
    let empty = open(folder.path("empty"), O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(empty >= 0)
    defer {
      close(empty)
      munmap(mapped, unit * units)
    }
    try #require(mmap(mapped + bad, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, empty, 0) == mapped + bad)
    let memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC)
    try #require(memory >= 0)
    defer { close(memory) }
    let file = try FileStorage(path: folder.path("file"), mode: .create)
    try #require(dup2(memory, file.descriptor) == file.descriptor)
    try #require(fcntl(file.descriptor, F_SETFD, FD_CLOEXEC) == 0)
    file.length = UInt64(Int64.max)
    let start = UInt64(UInt(bitPattern: mapped))
    do throws(StorageError) {
      _ = try file.bytes(at: start, count: unit * units)
      Issue.record("what cannot be read was read")
    } catch {
      #expect(error.operation == .read && error.offset == start + UInt64(bad) && error.errno == EIO)
    }
  }
}

@Suite("Writing behind", .tags(.fast)) struct WriteBehindTests {
  /// `O_PATH`: a descriptor that only names a file.
  private static let pathOnly: Int32 = 0o10000000

  private func total(_ writes: [Range<UInt64>]) -> [Range<UInt64>] {
    var behind = WriteBehind()
    return writes.compactMap { behind.add($0) }
  }

  @Test("begins with what was written in a row, whole and once")
  func inARow() {
    let step: UInt64 = 64 << 10
    let writes = (0..<400).map { UInt64($0) * step..<UInt64($0 + 1) * step }
    let asked = total(writes)
    let eight: UInt64 = 8 << 20
    #expect(asked == (0..<3).map { $0 * eight..<($0 + 1) * eight })
  }

  @Test("lets small writes here and there wait for the flush")
  func scattered() {
    var random = SplitMix64(seed: 3)
    let writes = (0..<20_000).map { _ in
      let start = random.below(1 << 20) << 20
      return start..<start + 4096
    }
    #expect(total(writes).isEmpty)
    let far: [Range<UInt64>] = [1 << 63..<UInt64.max, 0..<8 << 20]
    #expect(total(far).count >= 1)
  }

  @Test("is no flush: the disk is still waited for, once")
  func isNoFlush() throws {
    let folder = try TemporaryDirectory()
    for waits in [true, false] {
      let file = try FileStorage(path: folder.path("file"), mode: .create)
      file.waitsForDisk = waits
      let piece = [UInt8](repeating: 1, count: 1 << 20)
      for index in 0..<24 { try file.write(piece, at: UInt64(index) << 20) }
      // In the place of the file comes one that cannot be flushed: whether it is asked for is seen by the failure.
      let own = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
      let other = open(folder.path("file"), Self.pathOnly | O_CLOEXEC)
      try #require(own >= 0 && other >= 0)
      func put(_ descriptor: Int32) throws {
        try #require(dup2(descriptor, file.descriptor) == file.descriptor)
        try #require(fcntl(file.descriptor, F_SETFD, FD_CLOEXEC) == 0)
      }
      defer {
        close(own)
        close(other)
      }
      try put(other)
      if waits {
        #expect(throws: StorageError.self, "nobody asked the disk") { try file.flush() }
        // It failed, so it is owed still.
        #expect(throws: StorageError.self) { try file.flush() }
      } else {
        try file.flush()
      }
      try put(own)
      try file.flush()
      try put(other)
      // Nothing was written since.
      try file.flush()
    }
  }

  @Test("asks nothing that fails: of a pipe, of a file for reading, of what is closed")
  func elsewhere() throws {
    let folder = try TemporaryDirectory()
    try FileStorage(path: folder.path("file"), mode: .create).write([1, 2, 3], at: 0)
    let reading = open(folder.path("file"), O_RDONLY | O_CLOEXEC)
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0 && reading >= 0)
    for descriptor in ends + [reading, -1] { csys_start_writing(descriptor, 0, 8 << 20) }
    for descriptor in ends + [reading] { #expect(close(descriptor) == 0) }
    let file = try FileStorage(path: folder.path("file"), mode: .readOnly)
    let piece = [UInt8](repeating: 1, count: 16 << 20)
    #expect(throws: StorageError.self) { try file.write(piece, at: 0) }
    #expect(try file.bytes(at: 0, count: 4) == [1, 2, 3, 0])
  }
}

/// Counts what threads did; a class, so that all of them mean the same memory.
private final class Marks {
  let memory: UnsafeMutablePointer<UInt8>
  let count: Int
  init(_ count: Int) {
    self.count = count
    memory = .allocate(capacity: count)
    memory.initialize(repeating: 0, count: count)
  }
  deinit { memory.deallocate() }
  /// Calls the body for all; true if each number came exactly once.
  func run() -> Bool {
    csys_each(
      count,
      { context, index in
        let memory = context?.assumingMemoryBound(to: UInt8.self)
        memory?[index] &+= 1
      }, memory)
    return UnsafeBufferPointer(start: memory, count: count).allSatisfy { $0 == 1 }
  }
}

@Suite("Threads that stay", .tags(.fast)) struct KeptThreadTests {
  @Test("do everything exactly once, whoever asks at the same time, and are few")
  func once() async throws {
    for count in [0, 1, 2, 3, 7, 8, 9, 16, 1000] { #expect(Marks(count).run(), "\(count)") }
    let sound = await withTaskGroup(of: Bool.self) { group in
      for task in 0..<8 {
        group.addTask { (0..<300).allSatisfy { Marks(($0 * 7 + task) % 40).run() } }
      }
      return await group.allSatisfy { $0 }
    }
    #expect(sound)
  }

  @Test("work within work is done as well")
  func nested() {
    let marks = Marks(64)
    csys_each(
      8,
      { context, outer in
        guard let memory = context?.assumingMemoryBound(to: UInt8.self) else { return }
        csys_each(
          8, { context, inner in context?.assumingMemoryBound(to: UInt8.self)[inner] &+= 1 },
          memory + outer * 8)
      }, marks.memory)
    #expect(UnsafeBufferPointer(start: marks.memory, count: 64).allSatisfy { $0 == 1 })
  }

  @Test("are no hindrance to starting a program")
  func programs() throws {
    for _ in 0..<10 {
      #expect(Marks(100).run())
      #expect(try run("echo", ["done"]).stdout == "done\n")
    }
  }
}
