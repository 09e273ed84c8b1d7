// `:look-at`: every screen shows another state of the image as it would show that state itself, nothing can be
// changed there, and no byte is.

import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LookAtTests {
  private static let screens = ["explorer", "l2", "hex", "frag", "frag standard"]

  private func explorer() throws -> Explorer {
    let base = MemoryStorage()
    var create = Image.CreateOptions(size: 4 << 20)
    create.clusterSize = 4096
    try Image.create(on: base, create)
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: 120, height: 40,
      glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func perform(_ line: String, _ explorer: Explorer) {
    _ = explorer.performLine(line)
    settle(explorer)
  }

  /// All screens below the title, without the log and the message.
  private func pictures(_ explorer: Explorer) -> [String] {
    Self.screens.map { screen in
      perform(screen, explorer)
      let lines = explorer.canvas().text().split(separator: "\n", omittingEmptySubsequences: false)
      return lines.dropFirst().prefix(screen == "explorer" ? 18 : 36).joined(separator: "\n")
    }
  }

  /// The lines that are not the same.
  private func differences(_ a: [String], _ b: [String]) -> [String] {
    zip(a, b).flatMap { a, b in
      zip(a.split(separator: "\n"), b.split(separator: "\n")).filter { $0 != $1 }.map {
        "\($0) instead of \($1)"
      }
    }
  }

  @Test func everyScreenShowsTheState() throws {
    let explorer = try explorer()
    perform("write -P 1 0 300k", explorer)
    perform("write -P 2 1M 64k", explorer)
    perform("goto 0", explorer)
    let first = pictures(explorer)
    perform("explorer", explorer)
    perform("snapshot-create one", explorer)
    perform("write -P 3 64k 100k", explorer)
    perform("discard 1M 64k", explorer)
    perform("goto 0", explorer)
    let last = pictures(explorer)
    let bytes = try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length))
    for (a, b) in zip(first, last) { #expect(a != b) }

    perform("look-at generation 2", explorer)
    #expect(explorer.canvas().text().contains("[generation 2]"))
    // What the host keeps for the file is known only of the file as it is, and only that can be written.
    #expect(
      differences(pictures(explorer), first).allSatisfy {
        $0.contains("host blocks         -  not known") || $0.contains("write here")
      })
    perform("write 0 64k", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("generation 2") == true)
    perform("look-at snapshot one", explorer)
    #expect(explorer.canvas().text().contains("[snapshot one]"))
    // The same disk, in a file that has a snapshot now.
    #expect(pictures(explorer)[3].contains("allocated clusters                91"))
    perform("undo", explorer)
    #expect(explorer.messageIsError)
    for line in [
      "look-at snapshot none", "look-at generation 77", "look-at layer 1", "look-at", "look-at cloud 1",
    ] {
      perform(line, explorer)
      #expect(explorer.messageIsError, "\(line)")
    }
    perform("look-at now", explorer)
    #expect(differences(pictures(explorer), last) == [])
    #expect(
      try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length)) == bytes)
    perform("undo", explorer)
    #expect(!explorer.messageIsError)
  }
}
