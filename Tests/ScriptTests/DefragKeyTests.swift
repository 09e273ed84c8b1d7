// `:defrag` in the explorer: it runs between two pictures, can be stopped, and is one step of undo.

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

@Suite(.tags(.fast)) struct DefragKeyTests {
  /// An explorer of an image whose clusters lie the wrong way round.
  private func explorer(on base: MemoryStorage = MemoryStorage()) throws -> Explorer {
    var create = Image.CreateOptions(size: 1 << 20)
    create.clusterSize = 4096
    try Image.create(on: base, create)
    var options = Image.Options()
    options.writable = true
    let image = try Image(base, options: options)
    for guest in (0..<200).reversed() {
      let bytes = [UInt8](repeating: UInt8(guest), count: 4096)
      try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(UInt64(guest) * 4096)) }
    }
    try image.close()
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: 120, height: 40,
      glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func hosts(_ session: Session) throws -> [UInt64] {
    try (0..<200).map { try session.image.l2Entry(at: GuestOffset($0 * 4096)).offsetBits / 4096 }
  }

  @Test func inStepsAndBack() throws {
    let explorer = try explorer()
    let session = explorer.session
    let before = try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
    let disorder = try hosts(session)
    _ = explorer.performLine("defrag!")
    #expect(explorer.message?.hasPrefix("defrag: ") == true && !explorer.messageIsError)
    settle(explorer)
    #expect(explorer.message == "defrag: in order, 200 clusters moved   (u takes it back)")
    #expect(session.done.count > 3)
    let order = try hosts(session)
    #expect(order == (0..<200).map { order[0] + $0 })
    #expect(session.overlay.length == (order[0] + 200) * 4096)
    let after = try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
    let check = try ImageCheck(session.overlay) { _ in }.run()
    #expect(check.leaks == 0 && check.corruptions == 0)

    _ = explorer.performLine("undo")
    settle(explorer)
    #expect(session.done.isEmpty)
    #expect(try hosts(session) == disorder)
    #expect(try session.overlay.bytes(at: 0, count: Int(session.overlay.length)) == before)
    _ = explorer.performLine("redo")
    settle(explorer)
    #expect(try session.overlay.bytes(at: 0, count: Int(session.overlay.length)) == after)
    _ = explorer.performLine("w")
    #expect(!explorer.messageIsError)
  }

  /// What would be done is told first; the history has one row for it, and its end says what it did to the file.
  @Test func asksFirstAndIsOneRow() throws {
    let explorer = try explorer()
    let session = explorer.session
    _ = explorer.performLine("write 0 4k")
    // Room in the file that moving the clusters closes.
    _ = explorer.performLine("discard 256k 64k")
    _ = explorer.performLine("defrag")
    var text = explorer.canvas().text()
    #expect(text.contains("Put the clusters in order") && text.contains(" of data to move"), "\(text)")
    #expect(text.contains(" shorter: "), "\(text)")
    #expect(session.generation == 2 && session.defrag == nil)
    _ = explorer.handle(.key(.escape))
    settle(explorer)
    #expect(session.generation == 2)
    _ = explorer.performLine("defrag")
    _ = explorer.handle(.key(.enter))
    settle(explorer)
    #expect(explorer.message?.contains(" shorter: ") == true, "\(explorer.message ?? "")")
    #expect(session.generation > 4)
    _ = explorer.performLine("history")
    settle(explorer)
    text = explorer.canvas().text()
    #expect(text.split(separator: "\n").count { $0.contains(" batches)") } == 1, "\(text)")
    #expect(text.contains("defrag (\(session.generation - 2) batches)"), "\(text)")
    // To the row above and back is one step each.
    let last = session.generation
    _ = explorer.handle(.key(.character("k")))
    _ = explorer.handle(.key(.character("a")))
    #expect(session.generation == 2)
    _ = explorer.performLine("generation \(last)")
    #expect(session.generation == last)
  }

  /// A leak that holds nothing, and a count that is too high for its flag to be set.
  @Test func leaksAreSeen() throws {
    let base = MemoryStorage()
    var create = Image.CreateOptions(size: 1 << 20)
    create.clusterSize = 4096
    try Image.create(on: base, create)
    var options = Image.Options()
    options.writable = true
    let image = try Image(base, options: options)
    let bytes = [UInt8](repeating: 7, count: 4096)
    for guest in 0..<4 as Range<UInt64> {
      try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(guest * 4096)) }
    }
    try image.close()
    let entry = try image.l2Entry(at: GuestOffset(8192)).offsetBits
    let table = try #require(image.l1Entry(0).table).value
    let block = try #require(image.refcountTableEntry(0).block).value
    let empty = base.length / 4096
    try base.truncate(to: base.length + 4096, tag: .untagged)
    try base.write([0, 1], at: block + 2 * empty)
    try base.write([0, 2], at: block + 2 * (entry / 4096))
    try base.write([0], at: table + 16)
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: 120, height: 40,
      glyphs: .ascii)
    settle(explorer)
    #expect(explorer.session.atlas.hostFacts(of: empty)?.state == .leaked)
    _ = explorer.performLine("defrag!")
    settle(explorer)
    #expect(!explorer.messageIsError, "\(explorer.message ?? "")")
    let lines = explorer.session.done.flatMap(\.narration.lines)
    for change in ["1 -> 0", "2 -> 1"] {
      #expect(lines.contains { $0.hasPrefix("refcount[") && $0.hasSuffix("] " + change) }, "\(lines)")
    }
    #expect(lines.contains("L2[2] COPIED set"), "\(lines)")
    #expect(explorer.session.atlas.hostFacts(of: empty)?.state != .leaked)
    let check = try ImageCheck(explorer.session.overlay) { _ in }.run()
    #expect(check.leaks == 0 && check.corruptions == 0)
  }

  @Test func stopped() throws {
    let explorer = try explorer()
    _ = explorer.performLine("defrag! --contiguous")
    while explorer.session.done.count < 2 { _ = explorer.scan(budgetNanoseconds: 10_000_000) }
    _ = explorer.handle(.key(.escape))
    #expect(explorer.session.defrag == nil)
    #expect(explorer.message == "defrag stopped; :defrag goes on, u takes it back")
    settle(explorer)
    let check = try ImageCheck(explorer.session.overlay) { _ in }.run()
    #expect(check.corruptions == 0 && check.failure == nil)
    // Any other change stops it too.
    _ = explorer.performLine("defrag! --contiguous")
    _ = explorer.performLine("write 0 4k")
    #expect(explorer.session.defrag == nil && !explorer.messageIsError)
    _ = explorer.performLine("defrag sideways")
    #expect(explorer.messageIsError)
    _ = explorer.performLine("defrag! --contiguous")
    settle(explorer)
    let order = try hosts(explorer.session)
    #expect(order == (0..<200).map { order[0] + $0 })
  }
}
