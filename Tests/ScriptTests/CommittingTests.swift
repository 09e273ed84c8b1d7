// An image is committed in a session: both files are touched by :w alone, hold what the genuine tool leaves, and
// go back and forth together.

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

@Suite(.tags(.genuine)) struct CommittingTests {
  /// How the files are made.
  enum Chain: String, CaseIterable {
    case plain, smallBase, rawBase, clusters, subclusters, snapshots, dataFiles

    /// Data files are looked for from where the program runs, so that they need whole names.
    func base(_ folder: TemporaryDirectory) -> String {
      switch self {
      case .smallBase: "create -q -f qcow2 base 1M"
      case .rawBase: "create -q -f raw base 2M"
      case .clusters: "create -q -f qcow2 -o cluster_size=4k base 2M"
      case .dataFiles: "create -q -f qcow2 -o data_file=\(folder.path("base.data")) base 2M"
      default: "create -q -f qcow2 base 2M"
      }
    }
    func options(_ folder: TemporaryDirectory) -> String {
      switch self {
      case .clusters: "cluster_size=128k"
      case .subclusters: "extended_l2=on"
      case .dataFiles: "data_file=\(folder.path("top.data"))"
      default: "cluster_size=64k"
      }
    }
    var isRaw: Bool { self == .rawBase }
    var files: [String] {
      ["top", "base"] + (self == .dataFiles ? ["top.data", "base.data"] : [])
    }
  }

  private func prepare(_ chain: Chain, _ folder: TemporaryDirectory) throws {
    func must(_ tool: String, _ arguments: [String]) throws {
      let result = try run(try requireTool(tool), arguments, directory: folder.path)
      guard result.status == 0 else { throw TestFailure("\(tool) \(arguments): \(result.stderr)") }
    }
    let format = chain.isRaw ? "raw" : "qcow2"
    try must("qemu-img", chain.base(folder).split(separator: " ").map(String.init))
    try must("qemu-io", ["-f", format, "-c", "write -P 1 0 300k", "-c", "write -P 2 700k 100k", "base"])
    try must(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-b", "base", "-F", format, "-o", chain.options(folder), "top", "2M"])
    if chain == .snapshots { try must("qemu-img", ["snapshot", "-c", "one", "top"]) }
    try must(
      "qemu-io",
      [
        "-f", "qcow2", "-c", "write -P 3 100k 70k", "-c", "write -z 200k 64k", "-c", "write -P 4 1M 1k",
        "-c", "write -P 5 1500k 200k", "-c", "discard 256k 64k", "top",
      ])
  }

  /// The host with files whose names are those of the test's folder.
  private func open(_ chain: Chain, _ folder: TemporaryDirectory) throws -> (Explorer, MemoryFiles) {
    let path = folder.path("top")
    let files = MemoryFiles(image: try FileStorage(path: path, mode: .readWrite))
    for name in chain.files.dropFirst() {
      files.others[folder.path(name)] = try FileStorage(path: folder.path(name), mode: .readWrite)
    }
    var policy = ChainPolicy()
    policy.takesLocks = false
    policy.allowsOutside = true
    let opener = ImageOpening.sessionChain(path, policy)
    let session = try Session(
      try opener.openFile(writable: false), title: "top", mode: .scratch, files: files, layers: opener)
    let explorer = Explorer(session, files: files, width: 120, height: 40, glyphs: .ascii)
    settle(explorer)
    return (explorer, files)
  }

  private func contents(_ chain: Chain, _ folder: TemporaryDirectory) throws -> [Data] {
    try chain.files.map { try Data(contentsOf: URL(fileURLWithPath: folder.path($0))) }
  }

  private func disk(_ image: Image) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(image.virtualSize))
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return bytes
  }

  /// What the maps show must be what a look at the same bytes for the first time shows.
  private func expectTrueMaps(_ explorer: Explorer, _ label: String) throws {
    let session = explorer.session
    settle(explorer)
    let fresh = Atlas(session.image)
    fresh.scanAll()
    #expect(fresh.totals == session.atlas.totals, "\(label)")
    let clusters = Int(session.geometry.clusterCount)
    #expect(
      fresh.guestCells(first: 0, cellClustersLog2: 0, count: clusters)
        == session.atlas.guestCells(first: 0, cellClustersLog2: 0, count: clusters), "\(label)")
    #expect(
      fresh.hostCells(first: 0, cellClustersLog2: 0, count: Int(fresh.hostClusters))
        == session.atlas.hostCells(first: 0, cellClustersLog2: 0, count: Int(fresh.hostClusters)), "\(label)")
  }

  @Test(
    "all files are what the genuine tool leaves, and go back and forth together", arguments: Chain.allCases)
  func sameBytes(_ chain: Chain) throws {
    let folder = try TemporaryDirectory()
    try prepare(chain, folder)
    let before = try contents(chain, folder)
    let (explorer, _) = try open(chain, folder)
    let bytes = try disk(explorer.session.image)
    try ScriptRunner.run(":commit", on: explorer)
    let told = try #require(explorer.session.done.last?.narration.lines)
    #expect(told.contains { $0.hasPrefix("the backing file base: ") }, "\(told)")
    #expect(try disk(explorer.session.image) == bytes)
    try expectTrueMaps(explorer, "committed")
    #expect(try contents(chain, folder).elementsEqual(before), "before :w")
    try ScriptRunner.run(":w", on: explorer)
    #expect(!explorer.session.hasUnsavedChanges)
    let after = try contents(chain, folder)
    try ScriptRunner.run("u", on: explorer)
    #expect(try disk(explorer.session.image) == bytes)
    try expectTrueMaps(explorer, "taken back")
    try ScriptRunner.run(":w", on: explorer)
    #expect(try contents(chain, folder).elementsEqual(before), "taken back")
    let judge = try run(try requireTool("qemu-img"), ["commit", "-q", "top"], directory: folder.path)
    #expect(judge.status == 0, "\(judge.stderr)")
    let genuine = try contents(chain, folder)
    // Where clusters of the base lie is by chance there.
    for (name, (a, b)) in zip(chain.files, zip(after, genuine)) where name != "base" || chain.isRaw {
      #expect(a.elementsEqual(b), "\(name)")
    }
    guard !chain.isRaw else { return }
    try after[1].write(to: URL(fileURLWithPath: folder.path("ours")))
    let compared = try run(
      try requireTool("qemu-img"), ["compare", "-s", "-f", "qcow2", "-F", "qcow2", "ours", "base"],
      directory: folder.path)
    #expect(compared.status == 0 || chain == .dataFiles, "\(compared.stdout)")
    let checked = try run(try requireTool("qemu-img"), ["check", "ours"], directory: folder.path)
    #expect(checked.status == 0, "\(checked.stdout)\(checked.stderr)")
  }

  @Test func lookedAtAndRefused() throws {
    let folder = try TemporaryDirectory()
    try prepare(.plain, folder)
    let (explorer, _) = try open(.plain, folder)
    let bytes = try disk(explorer.session.image)
    let preview = try explorer.session.preview(CommitDown())
    #expect(preview?.lines.contains { $0.hasPrefix("the backing file base: ") } == true)
    #expect(!explorer.session.hasUnsavedChanges)
    try ScriptRunner.run(":write -P 9 0 64k", on: explorer)
    try ScriptRunner.run(":commit -d", on: explorer)
    try ScriptRunner.run(":write -P 8 1M 64k", on: explorer)
    // The past has the past of the layers as well.
    let first = try explorer.session.scene(at: HistoryMoment(generation: 0))
    #expect(try disk(first.image) == bytes)
    let second = try explorer.session.scene(at: HistoryMoment(generation: 1))
    let base = try #require(second.image.backing as? Image)
    #expect(try disk(base)[0] == 1)
    let third = try explorer.session.scene(at: HistoryMoment(generation: 2))
    #expect(try disk(try #require(third.image.backing as? Image))[0] == 9)
    // A copy would stand on a file that lacks the changes.
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":w copy.qcow2", on: explorer) }
    try ScriptRunner.run("u\nu\nu", on: explorer)
    #expect(!explorer.session.hasUnsavedChanges)
    #expect(try disk(explorer.session.image) == bytes)
  }
}
