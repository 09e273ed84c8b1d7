// What the log says: copies with where they come from and how many bytes they are, numbers in one notation,
// and what other programs do to the file meanwhile.

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

@Suite(.tags(.fast)) struct LogWordsTests {
  private func lines(_ explorer: Explorer) -> [String] { explorer.session.done.last?.narration.lines ?? [] }

  /// The host cluster that the first L2 table has for a guest cluster, read from the bytes.
  private func host(_ explorer: Explorer, _ cluster: UInt64) throws -> String {
    let overlay = explorer.session.overlay
    func word(_ at: UInt64) throws -> UInt64 {
      try overlay.bytes(at: at, count: 8).reduce(0) { $0 << 8 | UInt64($1) }
    }
    let mask: UInt64 = 0x00ff_ffff_ffff_fe00
    let l2 = try word(try word(40)) & mask
    return "0x" + String(try word(l2 + cluster * 8) & mask, radix: 16)
  }

  @Test("a copy is named with its source, its target and its bytes")
  func copies() throws {
    // A snapshot shares the cluster: 4 KiB of 64 are the guest's.
    let shared = try ImageFolder()
    try shared.image(["snapshot", "-c", "one", shared.path])
    var explorer = try shared.explorer()
    let old = try host(explorer, 1)
    _ = try explorer.picture(":write 68k 4k")
    var new = try host(explorer, 1)
    #expect(old != new && lines(explorer).contains("60K copied from \(old) to \(new)"), "\(lines(explorer))")
    // Seen without looking for it.
    #expect(try explorer.picture(":log").contains("60K copied from \(old) to \(new)"))

    // Two clusters in a row make one line; what is written whole is not copied.
    let first = try host0(shared)
    _ = try explorer.picture("u\n:write 32k 128k")
    #expect(
      lines(explorer).contains { $0.hasPrefix("32K copied from \(first)") },
      "\(lines(explorer))")

    let overlay = try ImageFolder(commands: [])
    try overlay.putBelow("16M")
    let base = try #require(FileHandle(forWritingAtPath: overlay.folder.path("base.raw")))
    try base.write(contentsOf: Data(repeating: 5, count: 3 << 20))
    try base.close()
    explorer = try overlay.explorer()
    _ = try explorer.picture(":write 1M 4k")
    new = try host(explorer, 16)
    #expect(lines(explorer).contains("60K copied from the layer below to \(new)"), "\(lines(explorer))")
    _ = try explorer.picture(":write 2M 64k")
    #expect(!lines(explorer).contains { $0.contains("copied") }, "\(lines(explorer))")

    let packed = try ImageFolder(commands: ["write -c -P 1 0 64k"])
    explorer = try packed.explorer()
    _ = try explorer.picture(":write 4k 4k")
    new = try host(explorer, 0)
    #expect(lines(explorer).contains("60K copied from a compressed stream to \(new)"), "\(lines(explorer))")
  }

  private func host0(_ folder: ImageFolder) throws -> String {
    let reader = try PlainReader(folder.path)
    return "0x" + String((reader.entries[0]?.descriptor ?? 0) & 0x00ff_ffff_ffff_fe00, radix: 16)
  }

  @Test("indices are decimal, addresses begin with 0x, in every line of every kind of operation")
  func notation() throws {
    let folder = try ImageFolder(options: "extended_l2=on", size: "1G")
    try folder.image(["snapshot", "-c", "one", folder.path])
    let explorer = try folder.explorer()
    for line in [
      "write 700M 300k", "write 0 4k", "discard 0 128k", "zero 1M 4k", "write -z -u 700M 64k",
      "write 32k 128k",
      "write 10M 2M", "undo", "redo", "defrag",
    ] {
      do throws(ScriptError) { try ScriptRunner.run(":" + line, on: explorer) } catch {
        // An image with snapshots is not put in order.
        #expect(line == "defrag")
      }
    }
    let lines = explorer.session.done.flatMap { $0.narration.lines }
    #expect(lines.count > 20)
    for line in lines {
      for index in line.matches(of: /\[([^\]]*)\]/) {
        #expect(index.1.allSatisfy { $0.isNumber || $0 == "." }, "\(line)")
      }
      // The words of bitmaps are eight digits behind their name.
      let rest = line.replacing(/(alloc|zero) [0-9a-f]{8} -> [0-9a-f]{8}/, with: "")
      for word in rest.split(whereSeparator: { " [],;.".contains($0) }) where word.count > 1 {
        let isNumber = word.allSatisfy(\.isHexDigit) && word.contains(where: \.isNumber)
        #expect(!isNumber || word.allSatisfy(\.isNumber), "'\(word)' in '\(line)'")
      }
    }
    #expect(lines.contains { $0.contains("refcount[10") || $0.contains("refcount[1") }, "\(lines)")
  }

  @Test("a file that another program changed is said at once, and read again when told")
  func foreignWrite() throws {
    let folder = try ImageFolder()
    let files = try folder.files()
    let explorer = try folder.explorer(.readOnly, files)
    #expect(!explorer.lookAtFile() && !explorer.title.contains("CHANGED"))
    #expect(try explorer.picture(":goto 4M").contains("not allocated, reads zeroes"))
    try folder.io(["-c", "write -P 7 4M 64k"])
    files.currentIdentity = MemoryFiles.identity(size: 1, modified: 5)
    #expect(explorer.lookAtFile())
    #expect(explorer.messageIsError)
    #expect(explorer.message?.contains("changed by another program") == true)
    #expect(explorer.message?.contains(":reload") == true)
    #expect(explorer.title.contains("CHANGED BY OTHERS"), "\(explorer.title)")
    // It is news only once.
    #expect(!explorer.lookAtFile())
    let after = try explorer.picture(":reload\n:read -P 7 4M 64k")
    #expect(explorer.cursor.guest == 4 << 20 && after.contains("data at 0x"), "\(after)")
    #expect(!explorer.title.contains("CHANGED"))
    #expect(!explorer.lookAtFile())
  }

  @Test("what is not saved is not lost by reading again")
  func reloadAsks() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    _ = try explorer.picture(":write -P 9 8M 64k")
    _ = explorer.performLine(":reload")
    #expect(explorer.messageIsError && explorer.message?.contains(":reload!") == true)
    #expect(explorer.session.hasUnsavedChanges)
    _ = try explorer.picture(":reload!\n:read -P 0 8M 64k")
    #expect(!explorer.session.hasUnsavedChanges && explorer.session.generations == 0)
  }
}
