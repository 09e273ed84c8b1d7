// Single damaged bytes in any structure, then one operation by the genuine tool and by ours on copies of one
// file: never a trap or a hang, never an image that is worse afterwards, the corrupt bit where it belongs.
//
// QATLAS_POKES=2000 pokes more, QATLAS_SEED changes the first seed.

import Foundation
import TestSupport
import Testing

@Suite("pokes", .tags(.campaign))
struct PokeTests {
  /// Differences that are chosen, each with its reason.
  enum Chosen: String, CaseIterable, Sendable {
    case bitmaps =
      "persistent bitmaps cannot be kept up to date yet: the write is refused, the file untouched"
    case settled =
      "what was unlinked reaches the disk before its place is given out again: a mark right behind leaks more"
    case snapshotKept =
      "after the mark no new table is made: the genuine tool makes one over a table of a snapshot, and has less to count"
    case copied =
      "an L1 entry named an unused cluster, and its table was copied there: which counts reach the disk before the mark differs"
    case lostExtension =
      "bitmaps are announced without an extension: the genuine tool takes an empty directory for one that is everywhere"
    case judgeFails = "the genuine tool crashes, hangs, or leaves a file that it cannot open itself"
  }

  /// The folder of the images and our program, for all workers.
  struct Ground: Sendable {
    var folder: String
    var qatlas: String
    func path(_ name: String) -> String { folder + "/" + name }
  }

  /// How one poke ended.
  struct Ending: Sendable {
    var problems: [String] = []
    var chosen: Chosen?
    var isSame = false
    var isBetter = false
    var exitsDiffer = false
    var isMarked = false
  }

  /// A file after the operation.
  struct Left: Sendable {
    var head: [UInt8]
    var size: UInt64
    /// Nil if it is too large to look at.
    var bytes: Data?

    init(_ path: String) throws {
      let attributes = try FileManager.default.attributesOfItem(atPath: path)
      size = (attributes[.size] as? NSNumber)?.uint64Value ?? 0
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }
      head = [UInt8](try handle.read(upToCount: 112) ?? Data())
      try handle.seek(toOffset: 0)
      bytes = size <= 64 << 20 ? try handle.readToEnd() ?? Data() : nil
    }

    var isMarkedCorrupt: Bool { head.count > 79 && head[7] == 3 && head[79] & 2 != 0 }
  }

  /// What the genuine check says; nil numbers if it does not open the image.
  struct Sight: Sendable, Equatable, CustomStringConvertible {
    var corruptions: Int?
    var leaks = 0
    var failures = 0

    /// `corruptions` first: whoever has fewer of them may leak more.
    func isWorse(than other: Sight) -> Bool {
      guard let theirs = other.corruptions else { return false }
      guard let own = corruptions else { return true }
      return (own, failures, leaks) > (theirs, other.failures, other.leaks)
    }

    var description: String {
      corruptions.map { "\($0) errors, \(leaks) leaks, \(failures) failures" } ?? "not opened"
    }
  }

  private static func see(_ ground: Ground, _ name: String) throws -> Sight {
    let result = try TestSupport.run(
      "qemu-img", ["check", "--output=json", "-f", "qcow2", name], directory: ground.folder, timeout: 120)
    guard
      let report = try? JSONSerialization.jsonObject(with: Data(result.output)) as? [String: Any]
    else { return Sight() }
    func count(_ key: String) -> Int { (report[key] as? NSNumber)?.intValue ?? 0 }
    return Sight(corruptions: count("corruptions"), leaks: count("leaks"), failures: count("check-errors"))
  }

  private static func arguments(_ operation: Poke.Operation, _ file: String, isOurs: Bool) -> [String]? {
    switch operation {
    case .requests(let lines):
      (isOurs ? ["io", "-f", "qcow2", file] : ["-f", "qcow2", file]) + lines.flatMap { ["-c", $0] }
    case .check: ["check", "-f", "qcow2", file]
    case .snapshotList: ["snapshot", "-l", file]
    case .defrag: isOurs ? ["defrag", "-q", file] : nil
    }
  }

  private static func end(
    _ ground: Ground, _ poke: Poke, _ bases: [PokeBase], worker: Int
  ) throws -> Ending {
    var ending = Ending()
    let damaged = Data(poke.damaged(bases))
    let (own, other) = ("own\(worker)", "other\(worker)")
    for name in [own, other] {
      // Not written over: what the last poke left may be large.
      try? FileManager.default.removeItem(atPath: ground.path(name))
      try damaged.write(to: URL(fileURLWithPath: ground.path(name)))
    }
    let folder = ground.folder
    guard let words = arguments(poke.operation, own, isOurs: true) else { return ending }
    let ours: ProcessResult
    do { ours = try TestSupport.run(ground.qatlas, words, directory: folder, timeout: 60) } catch {
      ending.problems.append("hangs")
      return ending
    }
    if ours.signal != 0 || ours.status >= 128 { ending.problems.append("died of signal \(ours.signal)") }
    var theirs: ProcessResult?
    if let words = arguments(poke.operation, other, isOurs: false) {
      var tool = "qemu-img"
      if case .requests = poke.operation { tool = "qemu-io" }
      theirs = try? TestSupport.run(tool, words, directory: folder, timeout: 60)
      if theirs == nil || theirs?.signal != 0 { ending.chosen = .judgeFails }
      if let theirs { ending.exitsDiffer = (ours.status == 0) != (theirs.status == 0) }
    }
    try compare(
      ground, poke, ours, damaged, bases[poke.base], theirs?.stderr ?? "", own, other, &ending)
    if let theirs, !ending.problems.isEmpty {
      ending.problems.append("\nours: \(ours.stdout)\(ours.stderr)\ntheirs: \(theirs.stdout)\(theirs.stderr)")
    }
    return ending
  }

  private static func compare(
    _ ground: Ground, _ poke: Poke, _ ours: ProcessResult, _ damaged: Data, _ base: PokeBase,
    _ theirWords: String, _ own: String, _ other: String, _ ending: inout Ending
  ) throws {
    let left = try Left(ground.path(own))
    let theirs = try Left(ground.path(other))
    ending.isMarked = theirs.isMarkedCorrupt
    if poke.operation == .check || poke.operation == .snapshotList {
      if left.bytes != damaged { ending.problems.append("looking changed the file") }
      return
    }
    if let bytes = left.bytes, bytes == theirs.bytes {
      ending.isSame = true
      return
    }
    if ours.stderr.contains("persistent bitmaps"), ours.status == 1, left.bytes == damaged {
      ending.chosen = .bitmaps
      return
    }
    if ending.chosen == .judgeFails { return }
    if poke.operation != .defrag, theirs.isMarkedCorrupt, !left.isMarkedCorrupt,
      base.recipe.name == "bitmaps", theirWords.contains("(overlaps with bitmap directory)")
    {
      ending.chosen = .lostExtension
      return
    }
    if left.isMarkedCorrupt != theirs.isMarkedCorrupt {
      ending.problems.append("corrupt bit: ours \(left.isMarkedCorrupt), theirs \(theirs.isMarkedCorrupt)")
    }
    guard left.bytes != nil, theirs.bytes != nil else {
      // Sparse files of gigabytes: not longer than what the genuine tool leaves.
      if left.size > theirs.size { ending.problems.append("size: ours \(left.size), theirs \(theirs.size)") }
      ending.isBetter = left.size < theirs.size
      return
    }
    let (sight, theirSight) = (try see(ground, own), try see(ground, other))
    ending.isBetter = theirSight.isWorse(than: sight)
    guard sight.isWorse(than: theirSight) else { return }
    let areMarked = left.isMarkedCorrupt && theirs.isMarkedCorrupt
    let tables = base.snapshotTables
    func kept(_ bytes: Data?) -> Bool {
      tables.allSatisfy { bytes?.dropFirst($0.lowerBound).prefix($0.count) == damaged[$0] }
    }
    if areMarked, sight.corruptions == theirSight.corruptions, sight.failures == theirSight.failures {
      ending.chosen = .settled
    } else if areMarked, kept(left.bytes), !kept(theirs.bytes) {
      ending.chosen = .snapshotKept
    } else if areMarked, poke.area == "L1" {
      ending.chosen = .copied
    } else {
      ending.problems.append("worse: ours \(sight); theirs \(theirSight)")
    }
  }

  @Test("nothing worse than the genuine tool leaves")
  func pokes() async throws {
    let judge = try Judge()
    let count = try environmentNumber("QATLAS_POKES", default: 40)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let bases = try PokeBase.make(judge)
    let ground = Ground(folder: judge.folder.path, qatlas: judge.qatlas)
    let workers = UInt64(max(1, min(8, ProcessInfo.processInfo.activeProcessorCount)))
    let endings = try await withThrowingTaskGroup(of: [(Poke, Ending)].self) { group in
      for worker in 0..<workers {
        group.addTask {
          try stride(from: first + worker, to: first + count, by: Int(workers)).map { seed in
            let poke = Poke(seed: seed, bases)
            return (poke, try Self.end(ground, poke, bases, worker: Int(worker)))
          }
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    for (poke, ending) in endings where !ending.problems.isEmpty {
      Issue.record("\(poke): \(ending.problems.joined(separator: "; "))")
    }
    func number(_ predicate: (Ending) -> Bool) -> Int { endings.filter { predicate($0.1) }.count }
    print(
      "pokes: \(endings.count) from seed \(first), judge \(JudgeVersion.current): "
        + "\(number(\.isSame)) changed to the same bytes, \(number(\.isMarked)) marked as corrupt, "
        + "\(number(\.isBetter)) left better, \(number(\.exitsDiffer)) with other exit codes, "
        + "\(number { !$0.problems.isEmpty }) wrong")
    for kind in Chosen.allCases where number({ $0.chosen == kind }) > 0 {
      print("pokes: \(number { $0.chosen == kind }) chosen: \(kind.rawValue)")
    }
    #expect(UInt64(endings.count) == count)
    #expect(count < 40 || number { $0.isSame } > 0)
  }
}
