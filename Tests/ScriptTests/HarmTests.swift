// Damage that the scan has seen is not made worse: what would take, free or overwrite a cluster that somebody
// else uses is refused with names and places. The engine alone does as QEMU does.

import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct HarmTests {
  /// 64 KiB clusters: header, refcount table, block, L1, L2 in clusters 0 to 4, guest clusters 0 to 3 from 5 on.
  private func image(_ damage: (MemoryStorage) throws -> Void) throws -> MemoryStorage {
    let storage = MemoryStorage(name: "disk")
    try Image.create(on: storage, Image.CreateOptions(size: 64 << 20))
    var options = Image.Options()
    options.writable = true
    let image = try Image(storage, options: options)
    for cluster in 0..<4 {
      let bytes = [UInt8](repeating: UInt8(cluster + 1), count: 65536)
      try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(UInt64(cluster) << 16)) }
    }
    try image.close()
    try damage(storage)
    return storage
  }

  private func explorer(_ storage: MemoryStorage, _ mode: Session.Mode) throws -> Explorer {
    let files = MemoryFiles(image: storage)
    let copy = MemoryStorage(name: "disk", bytes: try storage.contents())
    let explorer = Explorer(
      try Session(copy, title: "disk", mode: mode, files: files), files: files, width: 120, height: 40,
      glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func refused(
    _ line: String, _ storage: MemoryStorage, _ mode: Session.Mode, _ words: [String]
  ) throws {
    let explorer = try explorer(storage, mode)
    let before = try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length))
    _ = explorer.performLine(line)
    let message = explorer.message ?? ""
    #expect(explorer.messageIsError && message.contains("refused"), "\(line): \(message)")
    for word in words { #expect(message.contains(word), "\(line): \(message)") }
    let after = try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length))
    #expect(before == after, "\(line) left something")
    #expect(explorer.session.done.isEmpty && !explorer.session.hasUnsavedChanges)
  }

  /// Refcount of guest cluster 1's host cluster 6 is 0.
  private func lostRefcount() throws -> MemoryStorage {
    try image { try $0.write([0, 0], at: 0x20000 + 6 * 2) }
  }

  @Test("a used cluster with refcount 0 is not given out", arguments: [Session.Mode.scratch, .readWrite])
  func taken(_ mode: Session.Mode) throws {
    let words = ["0x60000", "refcount 0", "guest 0x10000..0x1ffff", "L2[1]"]
    for line in [":write -P 0x77 1M 64k", ":write -P 1 50M 4k"] {
      try refused(line, try lostRefcount(), mode, words)
    }
  }

  @Test("the engine by itself takes the cluster, as QEMU does")
  func engine() throws {
    let storage = try lostRefcount()
    var options = Image.Options()
    options.writable = true
    let image = try Image(storage, options: options)
    let bytes = [UInt8](repeating: 0x77, count: 65536)
    try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(1 << 20)) }
    try image.close()
    #expect(try storage.bytes(at: 0x60000, count: 1) == [0x77])
  }

  @Test("tables are not put over data, nor copies")
  func others() throws {
    // A disk of two L2 tables: the write needs the second one, which would go to the used cluster.
    let far = try image {
      try $0.write([0, 0], at: 0x20000 + 6 * 2)
    }
    try refused(":write -P 1 63M 4k", far, .scratch, ["guest 0x10000..0x1ffff"])
  }

  @Test("a cluster of two guest clusters is neither freed nor written in place")
  func shared() throws {
    // L2[1] points to the cluster of L2[0]; its own one is leaked.
    func twice() throws -> MemoryStorage {
      try image { try $0.write([0x80, 0, 0, 0, 0, 5, 0, 0], at: 0x40000 + 8) }
    }
    let both = ["guest 0x0..0xffff", "guest 0x10000..0x1ffff", "0x50000"]
    try refused(":discard 0 64k", try twice(), .scratch, both)
    try refused(":write -P 9 0 4k", try twice(), .scratch, both)
    try refused(":write -P 9 64k 64k", try twice(), .scratch, both)
    // What does not touch it goes on.
    let explorer = try explorer(try twice(), .scratch)
    _ = explorer.performLine(":write -P 9 128k 64k")
    #expect(!explorer.messageIsError && explorer.session.done.count == 1)
  }

  @Test("what an operation freed may be used again")
  func reuse() throws {
    // Guest cluster 3's host cluster 8, behind the one that is freed, has lost its refcount.
    let explorer = try explorer(try image { try $0.write([0, 0], at: 0x20000 + 8 * 2) }, .scratch)
    _ = explorer.performLine(":discard 128k 64k")
    #expect(!explorer.messageIsError, "\(explorer.message ?? "")")
    _ = explorer.performLine(":write -P 9 1M 64k")
    #expect(!explorer.messageIsError && explorer.session.done.count == 2, "\(explorer.message ?? "")")
    #expect(try explorer.session.overlay.bytes(at: 0x70000, count: 1) == [9])
    #expect(try explorer.session.overlay.bytes(at: 0x80000, count: 1) == [4])
    // The next one would take it.
    _ = explorer.performLine(":write -P 9 2M 64k")
    #expect(explorer.messageIsError && explorer.session.done.count == 2, "\(explorer.message ?? "")")
    _ = explorer.performLine(":undo")
    #expect(!explorer.messageIsError && explorer.session.done.count == 1)
  }

  /// The scan that follows an operation has not got far when the next operation comes.
  @Test("what the scan knew is known while it looks again")
  func knownWhileScanning() throws {
    let explorer = try explorer(try lostRefcount(), .scratch)
    _ = explorer.performLine(":discard 128k 64k")
    #expect(!explorer.messageIsError && explorer.session.done.count == 1, "\(explorer.message ?? "")")
    _ = explorer.performLine(":write -P 9 1M 64k")
    #expect(
      explorer.messageIsError && explorer.message?.contains("0x60000 has refcount 0") == true,
      "\(explorer.message ?? "")")
    #expect(try explorer.session.overlay.bytes(at: 0x60000, count: 1) == [2])
  }
}
