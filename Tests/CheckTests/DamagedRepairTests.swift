// Images of all kinds, damaged at random, and what `check -r all` under our own name makes of them beside the genuine
// repair: both checkers must agree afterwards, and what could be read before must still be there.

import Foundation
import TestSupport
import Testing

@Suite("check -r all of damaged images", .tags(.campaign))
struct DamagedRepairTests {
  /// An image, and what its disk and its oldest snapshot hold.
  private struct Base {
    var recipe: ImageRecipe
    var bytes: [UInt8]
    var views: [View]
  }

  /// The disk, or a snapshot by its name.
  private struct View {
    var snapshot: String?
    var content: [UInt8]
  }

  /// What a repair left, in numbers.
  private struct Left: Equatable {
    /// Pieces of a disk that were right in front of it and are not behind it.
    var lost = 0
    /// Snapshots that could be listed in front of it and cannot behind it.
    var snapshots = 0
    /// Host clusters with data whose count it has cleared: perhaps the last copy.
    var freed = 0

    var all: Int { lost + snapshots + freed }
  }

  /// A case in which the genuine repair lost something.
  private struct Loss {
    var what: String
    var theirs: Left
    var ours: Left
  }

  /// Disks that the genuine tool could not read to their end in time.
  private final class Unread { var count = 0 }
  private let unread = Unread()

  /// Pieces of a disk are compared in this size.
  private static let piece = 4096

  /// `QATLAS_REPAIRS=2000` damages more of them.
  @Test("nothing is lost that could be kept, and both checkers agree")
  func damaged() throws {
    let judge = try Judge(inMemory: true)
    let bases = try (ImageRecipe.all.filter { !$0.options.contains("data_file") } + CheckRepairTests.extra)
      .enumerated().map { try base(judge, $1, "base\($0)") }
    let stage = try RepairStage(judge)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let count = try environmentNumber("QATLAS_REPAIRS", default: 16)
    var losses: [Loss] = []
    var (clean, told, refused, better, sparse) = (0, 0, 0, 0, 0)
    for seed in first..<first + count {
      let base = bases[Int(seed) % bases.count]
      var damage = Damage(base.bytes, seed: seed)
      let (patches, length) = damage.make()
      var bytes = base.bytes
      for patch in patches {
        bytes.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
      }
      if let length { bytes.removeSubrange(Int(length)...) }
      let list = patches.map {
        "\($0.offset): " + $0.bytes.map { String($0, radix: 16) }.joined(separator: " ")
      }
      let what =
        "\(base.recipe.name), seed \(seed): \(list.joined(separator: ", "))\(length.map { ", cut at \($0)" } ?? "")"
      try stage.put(bytes)
      let before = try base.views.map { try content(judge, 0, $0, base) }
      let snapshots = try snapshotCount(judge, 0)
      let theirs = try stage.theirs(["check", "-r", "all", "a"])
      let ours = try stage.ownNotes(["check", "-r", "all", "a"])
      guard ours.signal == 0 else {
        Issue.record("\(what): died of signal \(ours.signal)")
        continue
      }
      // Giving back what a bitmap says it has far behind the end makes a file of holes, with both tools.
      guard try stage.length(1) <= 1 << 30 else {
        #expect(try stage.length(0) == stage.length(1), "\(what)")
        sparse += 1
        continue
      }
      let after = try judgement(stage, ours, hasBitmaps: RepairImage(bytes).hasBitmaps, what)
      switch after {
      case .clean: clean += 1
      case .told: told += 1
      case .refused:
        refused += 1
        #expect(
          sameBytes(try stage.bytes(1), bytes),
          "\(what): refused, and the file is another: \(ours.stderr.suffix(800))")
      }
      // What the genuine repair brings to a clean end, ours brings there too, unless it is by deleting snapshots
      // or by leaving a table that is somebody's data as well.
      if theirs.status == 0, after != .clean,
        RepairImage(try stage.bytes(0)).snapshots >= RepairImage(bytes).snapshots
      {
        let isTold =
          ours.status == 3
          ? ours.stderr.contains("keeps its count")
          // A table of data is not emptied entry by entry.
          : ["has several owners", "l2 entry with reserved bits"].contains { ours.stderr.contains($0) }
        #expect(isTold, "\(what): \(ours.stderr)")
      }
      if theirs.status != 0, after == .clean { better += 1 }
      let orphans = orphans(RepairImage(bytes), theirs)
      let left = try [0, 1].map { folder in
        let image =
          folder == 0 ? (try? stage.bytes(0)).map { RepairImage($0) } : RepairImage(try stage.bytes(1))
        return Left(
          lost: try zip(base.views, before).reduce(0) { sum, view in
            sum + lost(view.0.content, view.1, try content(judge, folder, view.0, base))
          },
          snapshots: max(0, snapshots - (try snapshotCount(judge, folder))),
          freed: image.map { freed(orphans, $0) } ?? 0)
      }
      #expect(left[1] == Left(), "\(what): \(left[1])\n\(ours.stderr.prefix(2000))")
      if left[0].all > 0 { losses.append(Loss(what: what, theirs: left[0], ours: left[1])) }
    }
    print(
      "check -r all: \(count) damaged images, \(clean) clean afterwards, \(told) with what is left told, \(refused) refused; \(better) clean where the genuine repair was not; \(unread.count) disks the genuine tool did not read to an end, \(sparse) that became files of holes"
    )
    func sum(_ part: (Left) -> Int) -> String {
      "\(losses.reduce(0) { $0 + part($1.theirs) }) and \(losses.reduce(0) { $0 + part($1.ours) })"
    }
    print(
      "  the genuine repair lost something in \(losses.count); lost by it and by ours: \(sum(\.lost)) pieces of a disk of 4 KiB, \(sum(\.snapshots)) snapshots, \(sum(\.freed)) clusters with what may be the last copy. The worst:"
    )
    for loss in losses.sorted(by: { $0.theirs.all > $1.theirs.all }).prefix(10) {
      print("  \(loss.theirs.lost), \(loss.theirs.snapshots), \(loss.theirs.freed): \(loss.what)")
    }
  }

  private func base(_ judge: Judge, _ recipe: ImageRecipe, _ name: String) throws -> Base {
    try recipe.make(judge, as: name)
    let names = recipe.steps.contains { $0.hasPrefix("!snapshot -c one") } ? [nil, "one"] : [nil]
    let views = try names.map { snapshot in
      let view = View(snapshot: snapshot, content: [])
      return View(snapshot: snapshot, content: try #require(try content(judge, name, view)))
    }
    return Base(recipe: recipe, bytes: [UInt8](try #require(judge.bytes(name))), views: views)
  }

  // MARK: What is there

  private func content(_ judge: Judge, _ folder: Int, _ view: View, _ base: Base) throws -> [UInt8]? {
    guard let content = try content(judge, "\(folder)/a", view), content.count == view.content.count else {
      return nil
    }
    return content
  }

  /// What a disk reads, with zeroes where it cannot be read; nil if nothing can.
  private func content(_ judge: Judge, _ file: String, _ view: View) throws -> [UInt8]? {
    // A size that is damaged may be larger than anything that can be written.
    guard try virtualSize(judge, file) <= 64 << 20 else { return nil }
    let from = view.snapshot.map { ["-l", $0] } ?? []
    let result: ProcessResult
    do {
      result = try run(
        "qemu-img", ["convert", "--salvage", "-f", "qcow2", "-O", "raw"] + from + [file, "raw"],
        directory: judge.folder.path, timeout: 20)
    } catch is TestFailure {
      // It reads the same over and over: nobody gets anything from it.
      unread.count += 1
      return nil
    }
    guard result.status == 0 else { return nil }
    return judge.bytes("raw").map { [UInt8]($0) }
  }

  private func virtualSize(_ judge: Judge, _ file: String) throws -> UInt64 {
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: judge.path(file)))
    defer { try? handle.close() }
    try handle.seek(toOffset: 24)
    return try handle.read(upToCount: 8)?.reduce(0) { $0 << 8 | UInt64($1) } ?? 0
  }

  private func snapshotCount(_ judge: Judge, _ folder: Int) throws -> Int {
    let result = try run(
      "qemu-img", ["snapshot", "-l", "\(folder)/a"], directory: judge.folder.path, timeout: 60)
    // Two lines stand above the list.
    return max(0, result.stdout.split(separator: "\n").count - 2)
  }

  /// Pieces that were right before and are not any more.
  private func lost(_ right: [UInt8], _ before: [UInt8]?, _ after: [UInt8]?) -> Int {
    guard let before else { return 0 }
    guard let after else { return right.count / Self.piece }
    return right.withUnsafeBytes { right in
      before.withUnsafeBytes { before in
        after.withUnsafeBytes { after in
          guard let right = right.baseAddress, let b = before.baseAddress, let a = after.baseAddress else {
            return 0
          }
          return stride(from: 0, to: before.count - Self.piece + 1, by: Self.piece).count {
            memcmp(right + $0, b + $0, Self.piece) == 0 && memcmp(right + $0, a + $0, Self.piece) != 0
          }
        }
      }
    }
  }

  /// Clusters with data that nothing points to: numbers of those that the genuine repair calls leaked.
  private func orphans(_ damaged: RepairImage, _ theirs: Printed) -> [Int] {
    let told = theirs.errors.components(separatedBy: "Rebuilding refcount structure")[0]
    return told.split(separator: "\n").compactMap { line in
      guard line.hasPrefix("Leaked cluster "), line.hasSuffix(" reference=0") else { return nil }
      return Int(line.dropFirst(15).prefix { $0 != " " })
    }.filter {
      // A snapshot table that is written anew leaves its old place, which nothing else uses.
      $0 < damaged.clusters && $0 != damaged.snapshotTableCluster
        && !isFilled(damaged.content(of: $0), with: 0)
    }
  }

  /// How many of these have no count any more.
  private func freed(_ orphans: [Int], _ after: RepairImage) -> Int {
    guard after.hasReadableCounts else { return 0 }
    return orphans.count { after.count($0) == 0 }
  }

  // MARK: How it ended

  private enum Ending { case clean, told, refused }

  private func judgement(
    _ stage: RepairStage, _ ours: ProcessResult, hasBitmaps: Bool, _ what: String
  ) throws -> Ending {
    if ours.status == 1 || ours.status == 63 {
      #expect(!ours.stderr.isEmpty, "\(what): no word of why")
      return .refused
    }
    let check = try stage.theirsOnOurs(["check", "a"])
    // The genuine tool wants a secret, which a check does not need.
    if check.status == 1, check.errors.contains("encrypt") { return ours.status == 0 ? .clean : .told }
    // Both tools close the image after their last check, which may set a bitmap right that was counted there.
    let isBetter = hasBitmaps && ours.status == 2 && check.status != 2
    #expect(
      check.status == ours.status || isBetter,
      "\(what): \(ours.stdout)\(ours.stderr.prefix(2000))\n\(check)")
    #expect(try stage.own(["check", "a"]) == check, "\(what)")
    guard ours.status != 0 else { return .clean }
    // Errors that are left are lines of their own, and so are leaks that keep their count.
    let isNamed =
      ours.status == 3
      ? ours.stderr.contains("without an owner") : ours.stderr.contains("ERROR")
    #expect(isNamed, "\(what): \(ours.stderr.prefix(2000))")
    return .told
  }
}
