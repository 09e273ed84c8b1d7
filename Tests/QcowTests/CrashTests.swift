// The plug is pulled at every moment: each prefix of the writes, and each order in which a disk may
// bring what lies between two flushes to rest. What is left has leaks at most, and shows the old or
// the new bytes of every request.
//
// QATLAS_CRASH_SEQUENCES changes how many sequences run, QATLAS_SEED the seed of the first.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// What a sequence of requests left behind: the start, the events, and what the guest may see.
private struct Recording {
  var start: [UInt8]
  var events: [StorageEvent]
  /// Number of events when a request had ended, the disk then, and whether the guest was promised
  /// that it is on the host's disk. The first is the start.
  var moments: [(events: Int, disk: [UInt8], isDurable: Bool)]
  var requests: [GuestRequest]
  let seed: UInt64

  init(seed: UInt64) throws {
    self.seed = seed
    var random = SplitMix64(seed: seed)
    var create = Image.CreateOptions(size: 0)
    create.clusterSize = [512, 512, 1024, 4096, 16384][Int.random(in: 0..<5, using: &random)]
    create.extendedL2 = create.clusterSize == 16384
    create.size = create.clusterSize * UInt64.random(in: 8...100, using: &random)
    create.refcountBits = [1, 8, 16, 16, 64][Int.random(in: 0..<5, using: &random)]
    if Int.random(in: 0..<4, using: &random) == 0 { create.preallocation = .metadata }
    create.contiguous = create.preallocation != .off && Bool.random(using: &random)
    create.pinned = (create.contiguous || create.preallocation == .off) && Bool.random(using: &random)
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.cache = Bool.random(using: &random) ? .writeback : .writethrough
    options.discardNoUnref = Int.random(in: 0..<4, using: &random) == 0
    if Int.random(in: 0..<8, using: &random) == 0 { options.policies.mapping = .qemu }
    let isFine = Bool.random(using: &random)
    if isFine { options.policies.discardGranularity = .subcluster }
    var twin = Twin(
      bytes: [UInt8](repeating: 0, count: Int(create.size)),
      discardUnit: Int(create.clusterSize) / (isFine && create.extendedL2 ? 32 : 1))
    // A first session fills a part of the disk, so that there is something to lose.
    let first = try Image(storage, options: options)
    for _ in 0..<4 { try Self.step(&random, create, first, &twin) }
    try first.close()
    if Int.random(in: 0..<4, using: &random) == 0, create.refcountBits > 1 {
      let image = try Image(storage, options: options)
      try image.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
      try image.close()
    }
    start = try storage.bytes(at: 0, count: Int(storage.length))
    let recorder = RecordingStorage(storage)
    let image = try Image(recorder, options: options)
    moments = [(0, twin.bytes, true)]
    requests = []
    for _ in 0..<Int.random(in: 2...8, using: &random) {
      requests.append(try Self.step(&random, create, image, &twin))
      var isDurable = options.cache == .writethrough
      if case .discard = requests[requests.count - 1] { isDurable = false }
      if Int.random(in: 0..<6, using: &random) == 0 {
        try image.flush()
        isDurable = true
      }
      moments.append((recorder.events.count, twin.bytes, isDurable))
    }
    try image.close()
    events = recorder.events.filter { $0.kind != .note }
    // Moments count events without notes.
    let kinds = recorder.events.map(\.kind)
    for index in moments.indices {
      moments[index].events = kinds[..<moments[index].events].count { $0 != .note }
    }
  }

  @discardableResult
  private static func step(
    _ random: inout SplitMix64, _ create: Image.CreateOptions, _ image: Image, _ twin: inout Twin
  ) throws -> GuestRequest {
    let unit = random.one(of: [create.clusterSize, max(create.clusterSize / 32, 16)])
    let request = random.request(RequestMix(units: [unit], longest: [6 * unit]), on: create.size)
    try image.perform(request)
    twin.apply(request)
    return request
  }

  /// The disks that the guest may find if the plug is pulled while event `index` is under way: what
  /// it was promised last, or what it was after any request since then that had begun.
  func allowedDisks(at index: Int) -> [[UInt8]] {
    let oldest = moments.lastIndex { $0.isDurable && $0.events <= index } ?? 0
    let newest = moments.firstIndex { $0.events >= index } ?? moments.count - 1
    return moments[oldest...max(oldest, newest)].map(\.disk)
  }
}

@Suite("Crashes", .tags(.campaign))
struct CrashTests {
  /// What is wrong with an image in this state; empty if nothing is.
  private func problems(_ storage: MemoryStorage, _ allowed: [[UInt8]]) throws -> [String] {
    let image = try Image(storage)
    var problems = try findings(image, allowingLeaks: true)
    // Our own check must see it the same way.
    var told: [String] = []
    let check = try ImageCheck(storage) { told.append("\($0.kind)") }.run()
    if check.corruptions > 0 || check.checkErrors > 0 || check.failure != nil {
      problems.append("check: \(told.prefix(3))")
    }
    let size = Int(image.geometry.virtualSize)
    var disk = [UInt8](repeating: 0, count: size)
    try disk.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    for at in stride(from: 0, to: size, by: 512) {
      let range = at..<min(at + 512, size)
      let isKnown = disk.withUnsafeBytes { found in
        allowed.contains { disk in
          disk.withUnsafeBytes { old in
            guard let old = old.baseAddress, let new = found.baseAddress else { return false }
            return memcmp(old + at, new + at, range.count) == 0
          }
        }
      }
      // Requests may share a sector; each of its bytes is still the old or the new one.
      if !isKnown, range.contains(where: { at in !allowed.contains { $0[at] == disk[at] } }) {
        problems.append("guest bytes at \(at) are neither old nor new: \(disk[at])")
        break
      }
    }
    return problems
  }

  @Test("every prefix and every order that the flushes allow")
  func everyMoment() throws {
    try requireTool("qemu-img")
    let count = try environmentNumber("QATLAS_CRASH_SEQUENCES", default: 130)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let folder = try TemporaryDirectory(inMemory: true)
    var states = 0
    var sampled = 0
    for seed in first..<(first + count) {
      let recording = try Recording(seed: seed)
      var random = SplitMix64(seed: seed ^ 0xc4a5)
      var settled = MemoryStorage(bytes: recording.start)
      var epoch = 0
      while epoch < recording.events.count {
        let end = recording.events[epoch...].firstIndex { $0.kind == .flush } ?? recording.events.count
        for subset in Self.subsets(end - epoch, &random) {
          let storage = try copy(settled)
          for index in subset { try recording.events[epoch + index].redo(on: storage) }
          let allowed = recording.allowedDisks(at: epoch + (subset.max() ?? -1) + 1)
          var found = try problems(storage, allowed)
          states += 1
          if states % 97 == 0 {
            sampled += 1
            found += try genuineFindings(storage, folder.path("crash.qcow2"))
          }
          guard found.isEmpty else {
            Issue.record(
              "QATLAS_SEED=\(seed) QATLAS_CRASH_SEQUENCES=1, events \(subset.map { $0 + epoch }) of \(epoch)..<\(end): \(found.prefix(3))\n\(recording.requests)"
            )
            return
          }
        }
        for index in epoch..<end { try recording.events[index].redo(on: settled) }
        settled = try copy(settled)
        epoch = end + 1
      }
    }
    print(
      "crashes: \(count) sequences from seed \(first), \(states) states, \(sampled) of them also checked by qemu-img"
    )
    #expect(states > Int(count) * 10)
  }

  private func copy(_ storage: MemoryStorage) throws -> MemoryStorage {
    MemoryStorage(bytes: try storage.bytes(at: 0, count: Int(storage.length)))
  }

  /// Every subset of up to six writes; of more, every prefix and 50 random subsets.
  private static func subsets(_ count: Int, _ random: inout SplitMix64) -> [[Int]] {
    if count <= 6 {
      return (0..<(1 << count)).map { bits in (0..<count).filter { bits >> $0 & 1 == 1 } }
    }
    let prefixes = (0...count).map { Array(0..<$0) }
    let others = (0..<50).map { _ in (0..<count).filter { _ in Bool.random(using: &random) } }
    return prefixes + others
  }

  private func genuineFindings(_ storage: MemoryStorage, _ path: String) throws -> [String] {
    try Data(storage.bytes(at: 0, count: Int(storage.length))).write(to: URL(fileURLWithPath: path))
    let check = try run("qemu-img", ["check", "-f", "qcow2", path])
    return [0, 3].contains(check.status) ? [] : ["qemu-img check: \(check.stdout)\(check.stderr)"]
  }
}
