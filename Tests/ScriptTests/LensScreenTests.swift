// The lenses on the maps of real images: what they show is what the image says, they never move the cursor, and the
// cursor is seen in each of them.

import CellScreen
import EngineSupport
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct LensScreenTests {
  /// The letters of the guest map, row by row.
  private func guest(_ explorer: Explorer) throws -> [Character] {
    var cells: [Character] = []
    let digits = Set("0123456789abcdef")
    for line in explorer.canvas().text().split(separator: "\n") {
      let line = Array(line)
      guard line.count > 79, line[0] == "|", line[2...8].allSatisfy({ digits.contains($0) }) else { continue }
      cells += line[11..<79].filter { $0 != " " && $0 != "|" }
    }
    return cells
  }

  @Test func ownersOfSnapshots() throws {
    let folder = try ImageFolder(
      ScreenKindOfImage(
        name: "snapshots", size: "16M", commands: ["write 0 1M"],
        after: { folder in
          try folder.image(["snapshot", "-c", "one", folder.path])
          try folder.io(["-c", "write 256k 256k"])
        }))
    let reader = try PlainReader(folder.path)
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens owner", on: explorer)
    settle(explorer)
    let cells = try guest(explorer)
    for cluster in 0..<256 {
      let letter = reader.guest[UInt64(cluster)]?.first
      #expect(cells[cluster] == (letter == "s" ? "b" : letter == "#" ? "a" : "."), "\(cluster)")
    }
    try ScriptRunner.run("X", on: explorer)
    settle(explorer)
    let lines = explorer.canvas().text().split(separator: "\n").map(Array.init)
    let first = try #require(lines.first { $0.count > 30 && String($0[2..<8]) == "000000" })
    let host = first[10..<78].filter { $0 != " " && $0 != "|" }
    for (cluster, letter) in host.enumerated() where cluster < reader.roles.count {
      let at = UInt64(cluster)
      let expected: Character =
        reader.roles[cluster] == "."
        ? "."
        : reader.roles[cluster] != "#"
          ? "T"
          : reader.snapshotOnly.contains(at) ? "A" : reader.shared.contains(at) ? "b" : "a"
      #expect(letter == expected, "host \(cluster)")
    }
  }

  @Test func layersOfAChain() throws {
    let folder = try ImageFolder(
      ScreenKindOfImage(
        name: "chain", size: "16M", commands: ["write 0 256k", "write -z 1M 128k"],
        after: { folder in
          try folder.image(["create", "-q", "-f", "qcow2", folder.folder.path("b.qcow2"), "16M"])
          let made = try run(
            try requireTool("qemu-io"), ["-f", "qcow2", "-c", "write 128k 1M", "b.qcow2"],
            directory: folder.folder.path)
          #expect(made.status == 0)
          try folder.image(["rebase", "-u", "-F", "qcow2", "-b", "b.qcow2", folder.path])
        }))
    let explorer = try folder.explorer(.readOnly)
    try ScriptRunner.run(":lens layer", on: explorer)
    settle(explorer)
    let map = try run(
      try requireTool("qemu-img"), ["map", "--output=json", "a.qcow2"], directory: folder.folder.path)
    let extents = try #require(
      try JSONSerialization.jsonObject(with: Data(map.stdout.utf8)) as? [[String: Any]])
    let cells = try guest(explorer)
    for cluster in 0..<256 {
      let extent = try #require(
        extents.first {
          let start = $0["start"] as? Int ?? 0
          return (start..<start + ($0["length"] as? Int ?? 0)).contains(cluster << 16)
        })
      let isPresent = extent["present"] as? Bool ?? false
      let depth = Character(String(extent["depth"] as? Int ?? -1))
      #expect(cells[cluster] == (isPresent ? depth : "."), "\(cluster): \(extent)")
    }
    #expect(Set(cells.prefix(256)) == ["0", "1", "."])
  }

  @Test func ageAndDifferenceFollowTheSession() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    try ScriptRunner.run(":lens age", on: explorer)
    settle(explorer)
    #expect(Set(try guest(explorer)) == ["."])
    // The second write goes to where the first one's bytes are: no entry tells of it.
    try ScriptRunner.run(":write 4M 64k\n:write 0 64k\n:write 4M 4k", on: explorer)
    settle(explorer)
    var cells = try guest(explorer)
    #expect(cells[64] == "9" && cells[0] == "4" && cells[1] == ".")
    try ScriptRunner.run("u", on: explorer)
    settle(explorer)
    cells = try guest(explorer)
    #expect(cells[64] == "0" && cells[0] == "9")
    try ScriptRunner.run(":discard 1M 64k\n:lens difference", on: explorer)
    settle(explorer)
    cells = try guest(explorer)
    #expect(cells[64] == "+" && cells[16] == "~" && cells[0] == "=" && cells[1] == "=")
    #expect(Set(cells) == ["+", "~", "="])
  }

  @Test("the lens of the difference compares with any state, and with a file")
  func differences() throws {
    let folder = try ImageFolder(
      ScreenKindOfImage(
        name: "difference", commands: ["write 0 128k"],
        after: { folder in
          try folder.image(["snapshot", "-c", "one", folder.path])
          try folder.io(["-c", "write 128k 64k", "-c", "write 64k 64k"])
        }))
    let explorer = try folder.explorer()
    let shelf = MemoryShelf()
    let other = MemoryStorage(name: "/b.qcow2")
    try Image.create(on: other, Image.CreateOptions(size: 16 << 20))
    var options = Image.Options()
    options.writable = true
    let image = try Image(other, options: options)
    try image.perform(.write(offset: 1 << 20, count: 65536, byte: 1))
    try image.close()
    shelf.images["/b.qcow2"] = other
    explorer.shelf = shelf
    func letters(_ command: String) throws -> String {
      try ScriptRunner.run(command, on: explorer)
      _ = explorer.canvas()
      settle(explorer)
      return String(try guest(explorer).prefix(17))
    }
    #expect(try letters(":difference snapshot one") == "=~+==============")
    #expect(try letters(":difference /b.qcow2") == "+++=============-")
    #expect(explorer.canvas().text().contains("from b.qcow2"))
    #expect(try letters(":write 256k 64k\n:difference generation 0") == "====+============")
    #expect(try letters(":difference now") == "=================")
    // Seen from a snapshot.
    #expect(try letters(":look-at snapshot one") == "=~-=-============")
    #expect(try letters(":look-at now\n:difference") == "====+============")
    for line in [":difference nowhere.qcow2", ":difference snapshot two", ":difference generation 9"] {
      #expect(throws: ScriptError.self) { try ScriptRunner.run(line, on: explorer) }
    }
  }

  @Test("no lens moves the cursor, and each has a sentence in the list")
  func cursorStays() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    try ScriptRunner.run(":goto 1M", on: explorer)
    let before = explorer.cursor
    for lens in Lens.allCases {
      #expect(explorer.lens == lens)
      settle(explorer)
      let canvas = explorer.canvas()
      let cursor = try #require(canvas.cursor)
      #expect(canvas[cursor.x, cursor.y].marks.contains(.selected), "\(lens.name)")
      try ScriptRunner.run("o", on: explorer)
      #expect(explorer.cursor == before)
    }
    try ScriptRunner.run("O", on: explorer)
    let text = explorer.canvas().text()
    for lens in Lens.allCases { #expect(text.contains(" \(lens.name) ")) }
  }
}
