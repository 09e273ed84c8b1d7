// A verb that is killed in the middle of a write: at its n-th write to a file, for seeded n.

import Foundation
import TestSupport
import Testing

/// A line of this program that changes images, and what it may change of what guests read.
struct KilledVerb {
  /// What a guest may read afterwards.
  enum Effect {
    /// Every disk and every snapshot as before; a disk may have become larger.
    case none
    /// The same, but for layers below and for snapshots that read from them.
    case layersBelow
    /// The disk as far as that many bytes as before.
    case cut(Int)
    /// The disk as before or as a snapshot.
    case becomes(String)
  }

  var features: [ImageFeature]
  var line: [String]
  var effect = Effect.none
  /// Counts rise before flags say so: until the line is done again, tables may look as if they had one user. There is no
  /// snapshot yet that a writer could change by that.
  var flagsLag = false
  /// What the same line may say instead of being done once more.
  var refusal: String?

  /// Two for each of the verbs that change images.
  static let all: [KilledVerb] = [
    KilledVerb(features: [.backing, .smallClusters], line: ["commit", "t"], effect: .layersBelow),
    KilledVerb(features: [.backing, .snapshots], line: ["commit", "t"], effect: .layersBelow),
    KilledVerb(features: [.backing, .smallClusters], line: ["rebase", "-b", "", "t"]),
    KilledVerb(features: [.backing, .subclusters], line: ["rebase", "-c", "-b", "", "t"]),
    KilledVerb(features: [.smallClusters, .bitmaps], line: ["amend", "-o", "refcount_bits=64", "t"]),
    KilledVerb(features: [.backing, .snapshots], line: ["amend", "-o", "compat=0.10", "t"]),
    KilledVerb(features: [.smallClusters, .snapshots], line: ["amend", "-o", "size=64M", "t"]),
    KilledVerb(features: [.smallClusters, .snapshots], line: ["resize", "t", "40M"]),
    KilledVerb(
      features: [.subclusters, .compression], line: ["resize", "--preallocation=falloc", "t", "5M"]),
    KilledVerb(
      features: [.smallClusters, .snapshots], line: ["resize", "--shrink", "t", "1M"], effect: .cut(1 << 20)),
    KilledVerb(features: [.smallClusters, .leaking], line: ["check", "-r", "leaks", "t"]),
    KilledVerb(features: [.snapshots, .leaking], line: ["check", "-r", "all", "t"]),
    KilledVerb(features: [.smallClusters, .backing], line: ["snapshot", "-c", "new", "t"], flagsLag: true),
    KilledVerb(features: [.snapshots, .compression], line: ["snapshot", "-c", "new", "t"], flagsLag: true),
    KilledVerb(
      features: [.smallClusters, .snapshots], line: ["snapshot", "-a", "one", "t"], effect: .becomes("one")),
    KilledVerb(
      features: [.subclusters, .snapshots], line: ["snapshot", "-a", "one", "t"], effect: .becomes("one")),
    KilledVerb(
      features: [.smallClusters, .snapshots], line: ["snapshot", "-d", "one", "t"],
      refusal: "snapshot not found"),
    KilledVerb(
      features: [.compression, .snapshots], line: ["snapshot", "-d", "one", "t"],
      refusal: "snapshot not found"),
    KilledVerb(
      features: [.bitmaps, .smallClusters],
      line: ["bitmap", "--merge", "b0", "--disable", "--clear", "t", "b1"]),
    KilledVerb(features: [.bitmaps, .otherWidth], line: ["bitmap", "--remove-all", "t"]),
    KilledVerb(features: [.smallClusters, .snapshots], line: ["convert", "-O", "qcow2", "t", "x"]),
    KilledVerb(features: [.backing, .subclusters], line: ["convert", "-c", "-O", "qcow2", "t", "x"]),
  ]

  /// For each of `kills` moments: the images then have leaks at most and read as before, and the same line, done again,
  /// ends well.
  func run(kills: Int, seed: UInt64) throws {
    guard kills > 0 else { return }
    let stage = try VerbStage(features, seed: seed)
    let original = try ToolPair.contents(stage.ours)
    var random = SplitMix64(seed: seed)
    let contents = try Self.contents(stage)
    let calls = try countedCalls(stage)
    #expect(calls > 0, "\(line) changes nothing")
    for _ in 0..<kills {
      try Self.put(original, in: stage.ours)
      let stop = 1 + random.below(UInt64(calls))
      let killed = try run(stage, stopAt: Int(stop))
      let place = "\(features.map(\.rawValue)) \(line), seed \(seed), killed before call \(stop) of \(calls)"
      #expect(killed.signal == SIGKILL, "\(place): exit \(killed.status) \(killed.stderr)")
      try compare(stage, contents, place, isFirst: true)
      let again = try run(stage, stopAt: nil)
      if again.status != 0 || again.signal != 0 {
        let isDone = refusal.map { again.stderr.contains($0) } ?? false
        #expect(isDone, "\(place), again: \(again.status) \(again.stderr)")
      }
      try compare(stage, contents, place + ", again")
      if line.contains("x") {
        #expect(try Self.disk(stage.ours, "x", nil) == contents["t"], "\(place): the copy")
      }
    }
  }

  private func compare(_ stage: VerbStage, _ contents: [String: Data], _ place: String, isFirst: Bool = false)
    throws
  {
    for name in ["base", "t"] where contents[name] != nil {
      let check = try TestSupport.run(
        "qemu-img", ["check", "-f", "qcow2", name], directory: stage.ours, timeout: 60)
      let errors = check.stderr.split(separator: "\n").filter { $0.hasPrefix("ERROR") }
      let lags =
        flagsLag && isFirst && errors.allSatisfy { $0.contains("OFLAG_COPIED") && $0.hasSuffix("refcount=2") }
      #expect(
        check.status == 0 || check.status == 3 || lags, "\(place): \(name): \(check.stdout)\(check.stderr)")
    }
    for (name, before) in contents {
      if case .layersBelow = effect, name != "t" { continue }
      let parts = name.split(separator: "@").map(String.init)
      guard let now = try Self.disk(stage.ours, parts[0], parts.count > 1 ? parts[1] : nil) else {
        // A snapshot that is deleted may be gone.
        #expect(refusal == "snapshot not found" && parts.last == line[2], "\(place): \(name) cannot be read")
        continue
      }
      var isRight = now.starts(with: before)
      switch effect {
      // Snapshots are seen as far as the disk goes.
      case .cut(let end): isRight = now.prefix(end) == before.prefix(end)
      case .becomes(let snapshot) where name == "t": isRight = isRight || now == contents["t@" + snapshot]
      default: break
      }
      #expect(isRight, "\(place): \(name) reads otherwise")
    }
  }

  private static func put(_ files: [String: Data], in folder: String) throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) where files[name] == nil {
      try FileManager.default.removeItem(atPath: folder + "/" + name)
    }
    for (name, bytes) in files { try bytes.write(to: URL(fileURLWithPath: folder + "/" + name)) }
  }

  /// What guests read: of the image "t", of what lies below it, and of its snapshots.
  private static func contents(_ stage: VerbStage) throws -> [String: Data] {
    var contents: [String: Data] = [:]
    for (name, file, snapshot) in [
      ("t", "t", nil), ("base", "base", nil), ("t@one", "t", "one"), ("t@two", "t", "two"),
    ] as [(String, String, String?)] {
      contents[name] = try disk(stage.ours, file, snapshot)
    }
    return contents
  }

  /// What a guest reads of a disk or of a snapshot; nil without one.
  private static func disk(_ folder: String, _ file: String, _ snapshot: String?) throws -> Data? {
    let copy = folder + "/../content"
    let words = snapshot.map { ["-l", "snapshot.name=\($0)"] } ?? []
    let result = try TestSupport.run(
      "qemu-img", ["convert", "-f", "qcow2", "-O", "raw"] + words + [file, copy], directory: folder,
      timeout: 60)
    return result.status == 0 ? try Data(contentsOf: URL(fileURLWithPath: copy)) : nil
  }

  private static let changing = "pwrite64"

  /// How many calls that change files the line makes.
  private func countedCalls(_ stage: VerbStage) throws -> Int {
    let log = stage.root.path("calls")
    let result = try TestSupport.run(
      "strace", ["-f", "-o", log, "-e", "trace=" + Self.changing, stage.root.path("qemu-img")] + line,
      directory: stage.ours, timeout: 60)
    guard result.status == 0 else { throw TestFailure("\(line): \(result.stderr)") }
    let text = try String(contentsOfFile: log, encoding: .utf8)
    return text.split(separator: "\n").count { $0.contains("(") }
  }

  private func run(_ stage: VerbStage, stopAt: Int?) throws -> ProcessResult {
    guard let stopAt else {
      return try TestSupport.run(stage.root.path("qemu-img"), line, directory: stage.ours, timeout: 60)
    }
    return try TestSupport.run(
      "strace",
      [
        "-f", "-o", "/dev/null", "-e", "trace=" + Self.changing, "-e",
        "inject=\(Self.changing):signal=KILL:when=\(stopAt)",
        stage.root.path("qemu-img"),
      ] + line, directory: stage.ours, timeout: 60)
  }
}

/// `QATLAS_KILLS` changes how many moments there are, `QATLAS_SEED` which; by default every case has its turn in time.
@Suite(.tags(.campaign)) struct KilledVerbTests {
  @Test("killed at any moment nothing is lost, and the same line finishes")
  func killed() throws {
    let kills = Int(try environmentNumber("QATLAS_KILLS", default: 11))
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    let count = KilledVerb.all.count
    for (number, verb) in KilledVerb.all.enumerated() {
      // The first of each verb by default.
      let share = kills >= count ? kills / count + (number < kills % count ? 1 : 0) : number % 2 == 0 ? 1 : 0
      try verb.run(kills: share, seed: seed &* 1000 &+ UInt64(number))
    }
  }
}
