// A file that another program writes: whenever it is at rest the screens show what a fresh look shows, and at no
// moment damage that is not there.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct FollowerTests {
  /// A session that follows a file, as the program opens it.
  private final class Desk {
    let explorer: Explorer
    let path: String
    private(set) var reopened = 0
    /// The most errors that any picture showed.
    private(set) var mostErrors: UInt64 = 0

    private final class PathFiles: SessionFiles {
      let path: String
      init(_ path: String) { self.path = path }
      func identity() -> FileIdentity? { FileStorage.identity(path: path) }
      func openForSaving() throws(StorageError) -> any Storage { throw refusal }
      func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage { throw refusal }
      func writeText(_ text: String, to path: String) throws(StorageError) { throw refusal }
      func names(beginningWith prefix: String) -> [String] { [] }
      func shouldCancel(_ progress: Double) -> Bool { false }
      func remember(_ line: String) {}
      private var refusal: StorageError { StorageError(.open, name: path, detail: "not here") }
    }

    private static func session(_ path: String, _ files: any SessionFiles) throws(ImageError) -> Session {
      let file: FileStorage
      do throws(StorageError) { file = try FileStorage(path: path, mode: .readOnly) } catch {
        throw ImageError(error)
      }
      return try Session(SeenStorage(file), title: "a.qcow2", mode: .readOnly, files: files)
    }

    /// The cells of the maps that stand out, by their marks and roles.
    func marked() -> [String] {
      let canvas = explorer.canvas()
      var found: [String] = []
      for y in 1..<24 {
        for x in 11..<79 {
          let cell = canvas[x, y]
          if cell.marks.contains(.changed) {
            found.append("fresh")
          } else if cell.role == .changed {
            found.append("fading")
          } else if cell.marks.contains(.bold) {
            found.append("faint")
          }
        }
      }
      return found
    }

    init(_ path: String) throws {
      self.path = path
      let files = PathFiles(path)
      explorer = Explorer(
        try Self.session(path, files), files: files, width: 120, height: 40, glyphs: .ascii, mouse: false)
      explorer.reopen = { [unowned self] () throws(ImageError) in
        reopened += 1
        return try Self.session(path, files)
      }
    }

    /// What the main loop does when it is woken.
    func look() {
      _ = explorer.lookAtFile()
      while !explorer.scan(budgetNanoseconds: 5_000_000) {}
      mostErrors = max(mostErrors, explorer.session.atlas.health.errors)
    }

    /// Looks until what is shown is in the file.
    func settle(_ label: String) throws {
      let end = ContinuousClock.now + .seconds(20)
      repeat {
        look()
        guard ContinuousClock.now < end else { throw TestFailure("\(label): not settled after 20 s") }
      } while explorer.session.follower?.isUpToDate != true
    }

    /// What the tables say, by whoever counted it.
    private func figures(_ atlas: Atlas) -> String {
      let totals = atlas.totals
      let count = Int(min(600, atlas.image.geometry.clusterCount))
      let cells = atlas.guestCells(first: 0, cellClustersLog2: 0, count: count)
      let users = (0..<min(600, atlas.hostClusters)).map { atlas.knownUsers(of: $0) }
      // Leaks by both ways of asking: cluster by cluster, and what was counted.
      let single = (0..<atlas.hostClusters).filter { atlas.hostFacts(of: $0)?.state == .leaked }
      let counted = (0..<atlas.hostClusters / 64 + 1).compactMap { leaf -> String? in
        let leaks = atlas.hostCounts(clusters: leaf * 64..<(leaf + 1) * 64)[.leaked]
        return leaks == 0 ? nil : "\(leaf * 64): \(leaks)"
      }
      return "\(single) \(counted) \(totals.fileLength) \(totals.guestData) \(totals.leaked) \(totals.wrong) "
        + "\(totals.sharedClusters) \(totals.snapshotClusters) \(users) \(cells)"
    }

    /// The screens show what a fresh look at the file shows: at once what the tables say, and a moment later, which
    /// a new count makes true, where the host keeps bytes.
    func compare(_ label: String) throws {
      try settle(label)
      let fresh = try Self.session(path, PathFiles(path))
      fresh.atlas.scanAll()
      let (at, once) = (figures(explorer.session.atlas), figures(fresh.atlas))
      #expect(at == once, "\(label)")
      let end = ContinuousClock.now + .seconds(20)
      while explorer.session.follower?.isRestless == true, ContinuousClock.now < end { look() }
      let (followed, expected) = (portrait(explorer.session.scene), portrait(fresh.scene))
      guard followed != expected else { return }
      let pairs = zip(followed.split(separator: "\n"), expected.split(separator: "\n"))
      let first = pairs.first { $0 != $1 }
      Issue.record("\(label): \(first.map { "\($0.0.prefix(600))\nnot\n\($0.1.prefix(600))" } ?? "length")")
    }
  }

  @Test("what changes glows, fades in steps that differ without colour, and then nothing is left to do")
  func glow() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    let desk = try Desk(judge.path("a.qcow2"))
    try desk.settle("new")
    let explorer = desk.explorer
    var now = ContinuousClock.now
    explorer.setClock { now }
    #expect(desk.marked().isEmpty && explorer.fadeInterval == nil && !explorer.hasFaded)
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1M 128k", "a.qcow2"])
    try desk.settle("written")
    // Two cells of the disk; the cursor is elsewhere.
    #expect(desk.marked() == ["fresh", "fresh"])
    let wait = try #require(explorer.fadeInterval)
    #expect(wait > 0 && wait <= 1201 && !explorer.hasFaded)
    now += .milliseconds(wait)
    #expect(explorer.hasFaded && desk.marked() == ["fading", "fading"] && !explorer.hasFaded)
    now += .milliseconds(1200)
    #expect(explorer.hasFaded && desk.marked() == ["faint", "faint"])
    now += .milliseconds(1200)
    #expect(explorer.hasFaded && desk.marked().isEmpty)
    #expect(!explorer.hasFaded && explorer.fadeInterval == nil)
  }

  private static let kinds = [
    "cluster_size=64k", "cluster_size=4k,refcount_bits=1", "cluster_size=512,refcount_bits=8",
    "extended_l2=on,cluster_size=64k", "cluster_size=2M,preallocation=metadata",
  ]

  /// One line of `qemu-io` that changes something.
  private static func line(_ random: inout SplitMix64, size: Int) -> String {
    let offset = Int.random(in: 0..<size / 512, using: &random) * 512
    let length = min(size - offset, Int.random(in: 1...600, using: &random) * 512)
    return switch Int.random(in: 0..<6, using: &random) {
    case 0: "discard \(offset) \(length)"
    case 1: "write -z -u \(offset) \(length)"
    case 2: "write -z \(offset) \(length)"
    default: "write -P \(Int.random(in: 1..<250, using: &random)) \(offset) \(length)"
    }
  }

  @Test("at rest the picture is that of a fresh look, whatever was done to the file", arguments: kinds)
  func rest(_ options: String) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "8M"])
    let desk = try Desk(judge.path("a.qcow2"))
    try desk.compare("new")
    var random = SplitMix64(seed: 11)
    for round in 0..<16 {
      var did = "requests"
      switch round % 8 {
      case 3:
        did = "snapshot"
        if options.contains("refcount_bits=1") { continue }
        try judge.must("qemu-img", ["snapshot", "-c", "s\(round)", "a.qcow2"])
      case 6 where round > 8 && !options.contains("refcount_bits=1"):
        did = "deleted snapshot"
        try judge.must("qemu-img", ["snapshot", "-d", "s\(round - 3)", "a.qcow2"])
      case 7:
        did = "resize"
        try judge.must("qemu-img", ["resize", "-q", "a.qcow2", "+\(512 * (round + 1))"])
      default:
        let lines = (0..<4).map { _ in Self.line(&random, size: 8 << 20) }
        try judge.must(
          "qemu-io", ["-d", "unmap", "-f", "qcow2"] + lines.flatMap { ["-c", $0] } + ["a.qcow2"])
      }
      try desk.compare("\(options), round \(round): \(did)")
    }
    #expect(desk.reopened == 0)
    #expect(desk.explorer.session.generation > 5)
    #expect(desk.mostErrors == 0)
  }

  @Test("while the genuine tool writes no picture shows damage", arguments: [kinds[0], kinds[1], kinds[3]])
  func writing(_ options: String) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "64M"])
    var random = SplitMix64(seed: 5)
    let rounds = Int(try environmentNumber("QATLAS_FOLLOWS", default: 1))
    for round in 0..<rounds {
      let desk = try Desk(judge.path("a.qcow2"))
      desk.look()
      let lines = (0..<1500).map { number in
        number % 7 == 6 ? "flush" : Self.line(&random, size: 64 << 20)
      }
      try Data((lines.joined(separator: "\n") + "\n").utf8).write(
        to: URL(fileURLWithPath: judge.path("lines")))
      try? FileManager.default.removeItem(atPath: judge.path("done"))
      try judge.must(
        "sh", ["-c", "(qemu-io -d unmap -f qcow2 a.qcow2 <lines >out 2>&1; touch done) >/dev/null 2>&1 &"])
      var looks = 0
      while !FileManager.default.fileExists(atPath: judge.path("done")) {
        desk.look()
        looks += 1
      }
      try desk.compare("\(options), round \(round)")
      #expect(desk.mostErrors == 0, "\(options), round \(round), \(looks) looks")
      #expect(desk.reopened == 0 && desk.explorer.session.generation > 1)
    }
  }

  /// A program that serves the disk of `a.qcow2` in a folder at a socket, and lets clients write.
  private final class Server {
    let url: String
    private let pid: String

    init(_ judge: Judge) throws {
      let socket = judge.path("s")
      url = "nbd+unix:///disk?socket=" + socket
      let tools = ProcessInfo.processInfo.environment["QATLAS_JUDGE"] ?? "/none"
      let daemon = tools + "/qemu-storage-daemon"
      let words =
        FileManager.default.isExecutableFile(atPath: daemon)
        ? "\(daemon) --blockdev driver=file,node-name=f,filename=a.qcow2,discard=unmap "
          + "--blockdev driver=qcow2,node-name=q,file=f,discard=unmap "
          + "--nbd-server addr.type=unix,addr.path=\(socket) "
          + "--export type=nbd,id=e,node-name=q,name=disk,writable=on"
        : "qemu-nbd -t -x disk -k \(socket) -f qcow2 --discard=unmap a.qcow2"
      pid = try judge.must("sh", ["-c", "\(words) >server 2>&1 & echo $!"])
        .trimmingCharacters(in: .whitespacesAndNewlines)
      guard Deadline(20).wait(until: { FileManager.default.fileExists(atPath: socket) }) else {
        throw TestFailure("the server did not begin")
      }
    }

    deinit { if let number = Int32(pid) { kill(number, SIGTERM) } }
  }

  @Test(
    "beside a server whose clients write, every quiet moment is that of a fresh look, and no picture shows damage",
    arguments: ["cluster_size=64k", "extended_l2=on,cluster_size=64k"])
  func server(_ options: String) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "256M"])
    let server = try Server(judge)
    let desk = try Desk(judge.path("a.qcow2"))
    let seconds = Int(try environmentNumber("QATLAS_FOLLOW_SECONDS", default: 3))
    let end = ContinuousClock.now + .seconds(seconds)
    var random = SplitMix64(seed: 9)
    var (rounds, looks) = (0, 0)
    repeat {
      let count = Int.random(in: 5...400, using: &random)
      let lines = (0..<count).map { number in
        number % 9 == 8 ? "flush" : Self.line(&random, size: 256 << 20)
      }
      try Data((lines.joined(separator: "\n") + "\nflush\n").utf8).write(
        to: URL(fileURLWithPath: judge.path("lines")))
      try? FileManager.default.removeItem(atPath: judge.path("done"))
      let client = "qemu-io -d unmap -f raw '\(server.url)' <lines >out 2>&1; touch done"
      try judge.must("sh", ["-c", "(\(client)) >/dev/null 2>&1 &"])
      let patience = ContinuousClock.now + .seconds(120)
      while !FileManager.default.fileExists(atPath: judge.path("done")) {
        guard ContinuousClock.now < patience else { throw TestFailure("the client does not end") }
        desk.look()
        looks += 1
      }
      let out = String(decoding: judge.bytes("out") ?? Data(), as: UTF8.self)
      guard !out.contains("failed"), !out.contains("an't open") else { throw TestFailure(out) }
      try desk.compare("\(options), round \(rounds)")
      #expect(desk.mostErrors == 0, "\(options), round \(rounds), \(looks) looks")
      rounds += 1
    } while ContinuousClock.now < end
    #expect(desk.explorer.session.generation > 1 || desk.reopened > 0)
    if seconds > 3 {
      print("\(options): \(rounds) quiet moments, \(looks) looks, reopened \(desk.reopened) times")
    }
  }

  @Test("a hint is no hint where nothing can be changed, and what is not followed is told")
  func hints() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    let desk = try Desk(judge.path("a.qcow2"))
    desk.look()
    for screen in ["1", "t", "H", "S", "M"] {
      try ScriptRunner.run(screen, on: desk.explorer)
      let hints = desk.explorer.canvas().text().split(separator: "\n", omittingEmptySubsequences: false)
        .suffix(2).joined(separator: " ")
      for word in ["write", "discard", "zero", "undo", "redo", "add", "remove", "go there"] {
        #expect(!hints.contains(" \(word)"), "\(screen): \(hints)")
      }
      try ScriptRunner.run(":explorer", on: desk.explorer)
    }
    #expect(desk.explorer.session.unfollowed == nil)
  }

  @Test("what is seen is printed, a line a change")
  func lines() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    let write =
      "(sleep 1; qemu-io -f qcow2 -c 'write 1M 128k' a.qcow2; sleep 1; qemu-io -f qcow2 -c 'discard 1M 64k' a.qcow2)"
    try judge.must("sh", ["-c", "\(write) >/dev/null 2>&1 &"])
    let printed = try judge.ours(["follow", "--for", "5", "--json", "a.qcow2"])
    let events = try printed.output.split(separator: "\n").map { line in
      try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }
    #expect(events.first?["event"] as? String == "open")
    let changes = events.filter { $0["event"] as? String == "change" }
    #expect(changes.reduce(0) { $0 + ($1["clusters-freed"] as? Int ?? 0) } >= 1, "\(printed.output)")
    #expect(changes.reduce(0) { $0 + ($1["clusters-new"] as? Int ?? 0) } >= 3, "\(printed.output)")
    let text = try judge.ours(["follow", "--for", "0.2", "a.qcow2"])
    #expect(text.status == 0 && text.output.hasPrefix("open  a.qcow2  "))
  }

  @Test("a file that is replaced, cut or no image any more is opened again or told")
  func replaced() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    let desk = try Desk(judge.path("a.qcow2"))
    try desk.compare("new")
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "b.qcow2", "16M"])
    try judge.must("mv", ["b.qcow2", "a.qcow2"])
    desk.look()
    #expect(desk.reopened == 1)
    try desk.compare("replaced")
    #expect(desk.explorer.session.geometry.virtualSize == 16 << 20)
    // What is shown stays, and the message tells why nothing newer is.
    try Data(repeating: 7, count: 100_000).write(to: URL(fileURLWithPath: judge.path("a.qcow2")))
    let end = ContinuousClock.now + .seconds(20)
    while !desk.explorer.canvas().text().contains("UNREADABLE NOW"), ContinuousClock.now < end { desk.look() }
    #expect(desk.explorer.session.geometry.virtualSize == 16 << 20)
    #expect(desk.explorer.canvas().text().contains("not read again"))
  }

  @Test("nothing is taken back, saved or written")
  func refusals() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    let desk = try Desk(judge.path("a.qcow2"))
    desk.look()
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 64k", "a.qcow2"])
    try desk.settle("written")
    let before = judge.bytes("a.qcow2")
    for line in ["undo", "w", "write 0 64k", "discard 0 64k"] {
      _ = desk.explorer.performLine(line)
      #expect(desk.explorer.canvas().text().contains("only followed"), "\(line)")
    }
    #expect(desk.explorer.session.generation == 1)
    #expect(judge.bytes("a.qcow2") == before)
  }
}
