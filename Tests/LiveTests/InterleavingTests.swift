// Requests of several clients that overlap: what each reads, and what is left, is that of some order of whole requests,
// the order that the disk reports. Which client goes on next is drawn from the seed at every access to the file, before
// a client takes the disk, and where one waits for others, so that a seed gives the same order each time.

import EngineSupport
import Foundation
import Live
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Interleavings", .tags(.campaign)) struct InterleavingTests {
  /// How many seeds; `QATLAS_INTERLEAVINGS` asks for more, and `QATLAS_SEED` says which is the first.
  @Test("overlapping writes, zero-writes, discards, flushes and reads equal a raw twin")
  func overlapping() throws {
    let count = try environmentNumber("QATLAS_INTERLEAVINGS", default: 200)
    let first = try environmentNumber("QATLAS_SEED", default: 0)
    let qemu = try requireTool("qemu-img")
    let folder = try TemporaryDirectory(inMemory: true)
    var all = Interleaving.Figures()
    var order: UInt64 = 0
    for seed in first..<first + count {
      let run = try Interleaving(seed)
      try run.run()
      let problems = run.problems()
      #expect(problems.isEmpty, "QATLAS_SEED=\(seed): \(problems.joined(separator: "; "))")
      all.add(run.figures)
      order = order &* 31 &+ run.digest
      // The genuine tool takes longer than all the rest.
      if seed % max(1, count / 100) == 0 {
        let told = try run.judge(qemu, folder)
        #expect(told.isEmpty, "QATLAS_SEED=\(seed): \(told)")
      }
    }
    // All of it must have happened.
    #expect(all.reads > 0 && all.changes > 0 && all.failed > 0 && all.held > 0 && all.inTheMidst > 0)
    print("\(count) seeds from \(first): \(all); their order: \(String(order, radix: 16))")
  }

  @Test("a seed gives the same order each time, and another one another")
  func sameOrder() throws {
    var digests: Set<UInt64> = []
    for seed in 0..<UInt64(30) {
      let runs = try (0..<2).map { _ in
        let run = try Interleaving(seed)
        try run.run()
        return run
      }
      #expect(runs[0].digest == runs[1].digest, "seed \(seed)")
      #expect(runs[0].figures == runs[1].figures, "seed \(seed)")
      digests.insert(runs[0].digest)
    }
    #expect(digests.count == 30)
  }
}

/// One seed: an image, clients with requests, and somebody who looks on and lets go what is held up.
final class Interleaving: @unchecked Sendable {
  /// What happened.
  struct Figures: Equatable, CustomStringConvertible {
    var reads = 0, changes = 0, flushes = 0, failed = 0, held = 0, turns = 0, inTheMidst = 0

    mutating func add(_ other: Figures) {
      reads += other.reads
      changes += other.changes
      flushes += other.flushes
      failed += other.failed
      held += other.held
      turns += other.turns
      inTheMidst += other.inTheMidst
    }

    var description: String {
      """
      \(reads) reads and \(changes) changes, \(flushes) flushes, \(failed) failed, \(held) held up, \(turns) turns, \
      \(inTheMidst) of them to another while one had the disk
      """
    }
  }

  /// What a client asks for, and what it got.
  private struct Asked {
    var kind: RequestKind
    var range: Range<Int>
    /// Where the bytes of a write begin on the tape.
    var tape = 0
    var isDone = false
    var data: [UInt8] = []
  }

  private let seed: UInt64
  private let size: Int
  private let discardUnit: Int
  private let storage: TurningStorage
  private let base: [UInt8]?
  private let image: Image
  private let tape: [UInt8]
  /// Of each client, in batches that it has done under one hold of the disk. A request that fails is followed by a
  /// read of its range in the same batch.
  private var asked: [[Asked]] = []
  private var batches: [[Int]] = []
  private var gate: Gate?
  private var shared: SharedDisk?
  private var turns: Turns?
  /// What was wrong while it ran.
  private var wrong: [String] = []
  private(set) var figures = Figures()
  private(set) var digest: UInt64 = 0

  init(_ seed: UInt64) throws {
    self.seed = seed
    var random = SplitMix64(seed: seed)
    let clusterSize = random.one(of: [512, 512, 4096, 4096, 16384, 16384, 65536] as [UInt64])
    var create = Image.CreateOptions(size: clusterSize * (4 + random.below(20)) - 512 * random.below(2))
    create.clusterSize = clusterSize
    create.extendedL2 = clusterSize >= 16384 && random.below(4) > 0
    create.refcountBits = random.one(of: [1, 16, 16, 64])
    var options = Image.Options()
    options.writable = true
    options.cache = random.below(4) == 0 ? .writethrough : .writeback
    if random.below(3) == 0 { options.policies.discardGranularity = .subcluster }
    size = Int(create.size)
    tape = randomBytes(size + 4096, &random)
    if random.below(2) == 0 {
      base = randomBytes(size, &random)
      create.backingFile = "base"
      create.backingFormat = "raw"
    } else {
      base = nil
    }
    storage = TurningStorage(random.next())
    try Image.create(on: storage, create)
    if let base { options.backing = RawLayer(MemoryStorage(bytes: base)) }
    image = try Image(storage, options: options)
    discardUnit = Int(
      options.policies.discardGranularity == .subcluster && create.extendedL2
        ? clusterSize / 32 : clusterSize)
    if random.below(3) == 0 { storage.failsOneOf = 10 + random.below(60) }
    for _ in 0..<2 + random.below(3) { ask(&random, Int(clusterSize)) }
    prepare(&random)
  }

  /// The requests of one more client: small places, so that most of them meet others.
  private func ask(_ random: inout SplitMix64, _ clusterSize: Int) {
    var list: [Asked] = []
    var sizes: [Int] = []
    let unit = random.one(of: [1, 16, 512, clusterSize])
    while list.count < 10 + Int(random.below(15)) {
      sizes.append(1 + Int(random.below(4)))
      for _ in 0..<(sizes.last ?? 0) {
        let kind = random.one(of: [
          RequestKind.read, .read, .write, .write, .write, .zeroWrite, .zeroWriteMayUnmap, .zeroWriteMayUnmap,
          .discard, .discard, .flush,
        ])
        let start = min(size - 1, Int(random.below(UInt64(size / unit + 1))) * unit)
        let count = 1 + Int(random.below(UInt64(random.below(2) == 0 ? 3 * clusterSize : 600)))
        let end = min(size, max(start + 1, (start + count) / unit * unit))
        list.append(
          Asked(kind: kind, range: kind == .flush ? 0..<0 : start..<end, tape: Int(random.below(4096))))
      }
    }
    asked.append(list)
    batches.append(sizes)
  }

  private func prepare(_ random: inout SplitMix64) {
    var bodies: [@Sendable () -> Void] = []
    for client in asked.indices { bodies.append { [unowned self] in self.serve(client) } }
    bodies.append { [unowned self] in self.lookOn() }
    let turns = Turns(random.next(), bodies)
    self.turns = turns
    let shared = SharedDisk(image) { [unowned turns] in turns.come(.waits) }
    shared.keepRequests()
    let gate = Gate(shared, random.next())
    shared.setGate(gate)
    (self.shared, self.gate) = (shared, gate)
    chances = random
  }

  /// Runs all clients to their ends.
  ///
  /// - Throws: `TestFailure` if they wait for each other for ever.
  func run() throws {
    guard let turns else { return }
    storage.turns = turns
    do { try turns.run() } catch { throw TestFailure("QATLAS_SEED=\(seed): \(error)") }
    storage.turns = nil
    storage.failsOneOf = 0
    figures.turns = turns.count
    figures.inTheMidst = turns.inTheMidst
    figures.held = gate?.count ?? 0
    digest = turns.digest
  }

  // MARK: Threads

  /// A client, which has a few requests done at a time, as a connection does.
  private func serve(_ client: Int) {
    guard let shared, let turns else { return }
    var next = 0
    for size in batches[client] {
      turns.come(.begins)
      shared.locked(by: UInt32(client + 1)) { disk in
        for _ in 0..<size {
          do throws(ImageError) { try perform(client, next, disk) } catch {
            if error.errno != ENOSPC { wrong.append("client \(client), request \(next): \(error)") }
            // What of it was done shows at once.
            let range = asked[client][next].range
            next += 1
            asked[client].insert(Asked(kind: .read, range: range), at: next)
            isLookDue = true
            defer { isLookDue = false }
            do throws(ImageError) { try perform(client, next, disk) } catch {
              wrong.append("client \(client), request \(next), behind one that failed: \(error)")
            }
          }
          next += 1
        }
      }
    }
  }

  private func perform(_ client: Int, _ number: Int, _ disk: SharedDisk.Held) throws(ImageError) {
    let request = asked[client][number]
    let (offset, count) = (UInt64(request.range.lowerBound), UInt64(request.range.count))
    switch request.kind {
    case .read: asked[client][number].data = try read(request.range, disk)
    case .write:
      let bytes = Array(tape[written(request)])
      var failure: ImageError?
      bytes.withUnsafeBytes { bytes in
        do throws(ImageError) { try disk.write(bytes, at: offset) } catch { failure = error }
      }
      if let failure { throw failure }
    case .zeroWrite: try disk.writeZeroes(at: offset, count: count, mayUnmap: false)
    case .zeroWriteMayUnmap: try disk.writeZeroes(at: offset, count: count, mayUnmap: true)
    case .discard: try disk.discard(at: offset, count: count)
    case .flush: try disk.flush()
    }
    asked[client][number].isDone = true
  }

  /// Where a write has its bytes on the tape: those of two requests differ at the same place.
  private func written(_ request: Asked) -> Range<Int> {
    request.range.lowerBound + request.tape..<request.range.upperBound + request.tape
  }

  private func read(_ range: Range<Int>, _ disk: SharedDisk.Held) throws(ImageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: range.count)
    var failure: ImageError?
    bytes.withUnsafeMutableBytes { bytes in
      do throws(ImageError) { try disk.read(at: UInt64(range.lowerBound), into: bytes) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// What is drawn while it runs, by whoever looks on.
  private var chances = SplitMix64(seed: 0)
  /// A request has failed, and its client has not looked yet what it left.
  private var isLookDue = false
  /// What was read by whoever looks on.
  private var seen: [Asked] = []

  /// The explorer: reads, and lets go what is held up, until all clients have ended.
  private func lookOn() {
    guard let shared, let turns, let gate else { return }
    while turns.left > 1 {
      turns.come(.begins)
      shared.locked { disk in
        if gate.isHolding {
          let since = shared.requests(from: gate.heldAt, most: .max >> 1).records
          if since.contains(where: { $0.asker != 0 }) { wrong.append("a request passed one that is held up") }
          if chances.below(3) == 0 { gate.letGo() }
        }
        // What a request that failed has left is known only behind its client's look, which may be held up.
        guard chances.below(8) == 0, !isLookDue else { return }
        let start = Int(chances.below(UInt64(size)))
        let range = start..<min(size, start + 1 + Int(chances.below(2000)))
        do throws(ImageError) {
          seen.append(Asked(kind: .read, range: range, isDone: true, data: try read(range, disk)))
        } catch { wrong.append("the one who looks on: \(error)") }
      }
    }
  }

  /// Holds some requests up, until they are let go.
  private final class Gate: RequestGate {
    private unowned let shared: SharedDisk
    private var random: SplitMix64
    private var mayGo = false
    private(set) var isHolding = false
    /// The number of the next request that is done, when the last one was held up.
    private(set) var heldAt: UInt64 = 0
    private(set) var count = 0

    init(_ shared: SharedDisk, _ seed: UInt64) {
      self.shared = shared
      random = SplitMix64(seed: seed)
    }

    func admit(_ request: ServedRequest, by asker: UInt32) throws(ImageError) {
      if asker != 0, random.below(16) == 0 {
        count += 1
        heldAt = shared.counts.requests - 1
        (mayGo, isHolding, shared.isHeld) = (false, true, true)
        while !mayGo { shared.wait() }
        (isHolding, shared.isHeld) = (false, false)
        shared.wake()
      }
      try shared.perform(request)
    }

    func letGo() {
      mayGo = true
      shared.wake()
    }
  }

  // MARK: Verdict

  /// What is wrong with what was read and what is left; empty if nothing is.
  func problems() -> [String] {
    var twin = base ?? [UInt8](repeating: 0, count: size)
    var problems = wrong
    problems += replay(&twin)
    var content = [UInt8](repeating: 0xee, count: size)
    do {
      try content.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
      if !sameBytes(content, twin) { problems.append("the disk differs from the twin") }
      try image.close()
      let verdict = try ImageCheck(storage) { _ in }.run()
      // What has no room to be freed in stays behind.
      if verdict.corruptions > 0 || verdict.failure != nil || verdict.leaks > 0 && storage.failures == 0 {
        problems.append("check: \(verdict)")
      }
    } catch { problems.append("\(error)") }
    return problems
  }

  /// The twin does all requests in the order that the disk reports.
  private func replay(_ twin: inout [UInt8]) -> [String] {
    guard let (records, lost) = shared?.requests(from: 0, most: .max >> 1), lost == 0 else { return ["lost"] }
    var next = asked.map { _ in 0 }
    var looks = seen[...]
    // What a request that failed may have left in its range.
    var open: (range: Range<Int>, bytes: [UInt8])?
    for record in records {
      let client = Int(record.asker) - 1
      let request: Asked
      if client < 0 {
        guard let look = looks.popFirst() else { return ["nobody looked at \(record)"] }
        request = look
      } else {
        guard next[client] < asked[client].count else {
          return ["client \(client) did not ask for \(record)"]
        }
        request = asked[client][next[client]]
        next[client] += 1
      }
      guard record.kind == request.kind, record.offset == UInt64(request.range.lowerBound),
        record.length == UInt64(request.range.count), record.failed != request.isDone
      else { return ["\(record) is not \(request.kind) \(request.range)"] }
      let range = request.range
      if let left = open {
        guard request.kind == .read, range == left.range else {
          return ["\(record) came between a request that failed and the look behind it"]
        }
        for (index, byte) in request.data.enumerated()
        where byte != twin[range.lowerBound + index] && byte != left.bytes[index] {
          return ["behind a request that failed, \(range.lowerBound + index) reads neither old nor new"]
        }
        twin.replaceSubrange(range, with: request.data)
        open = nil
        continue
      }
      if record.failed {
        figures.failed += 1
        open = (
          range,
          request.kind == .write ? Array(tape[written(request)]) : [UInt8](repeating: 0, count: range.count)
        )
        continue
      }
      switch request.kind {
      case .read:
        figures.reads += 1
        if !sameBytes(request.data, Array(twin[range])) {
          return ["client \(client) read what no order of whole requests gives at \(range)"]
        }
      case .flush: figures.flushes += 1
      case .write:
        figures.changes += 1
        twin.replaceSubrange(range, with: tape[written(request)])
      case .zeroWrite, .zeroWriteMayUnmap:
        figures.changes += 1
        clear(range, &twin)
      case .discard:
        figures.changes += 1
        let first = (range.lowerBound + discardUnit - 1) / discardUnit * discardUnit
        let last = range.upperBound == size ? size : range.upperBound / discardUnit * discardUnit
        if first < last { clear(first..<last, &twin) }
      }
    }
    for client in asked.indices where next[client] < asked[client].count {
      return ["client \(client) has requests that nobody did"]
    }
    return []
  }

  private func clear(_ range: Range<Int>, _ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { bytes in
      if let start = bytes.baseAddress { memset(start + range.lowerBound, 0, range.count) }
    }
  }

  /// What `qemu-img check` has to complain about.
  func judge(_ qemu: String, _ folder: TemporaryDirectory) throws -> String {
    func keep(_ bytes: [UInt8], _ name: String) throws {
      try Data(bytes).write(to: URL(fileURLWithPath: folder.path(name)))
    }
    try keep(try storage.bytes(at: 0, count: Int(storage.length)), "image")
    if let base { try keep(base, "base") }
    let told = try TestSupport.run(qemu, ["check", "image"], directory: folder.path, timeout: 60)
    return told.status == 0 || told.status == 3 && storage.failures > 0
      ? "" : "qemu-img check: \(told.stdout)\(told.stderr)"
  }
}
