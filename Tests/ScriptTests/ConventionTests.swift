// Conventions of the keyboard and the screen that are easily lost: names cannot turn text around, what help
// promises is accepted, counts leave the panes alone, the cursor is seen, sentences keep their ends.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct ConventionTests {
  /// Marks that turn text around, hide it or pretend to be a line end.
  static let evil = "\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\u{ad}"

  @Test("names do not turn the screen around")
  func names() throws {
    let folder = try ImageFolder(commands: ["write 0 64k"])
    let name = "b\(Self.evil)c.raw"
    try Data(repeating: 1, count: 65536).write(to: URL(fileURLWithPath: folder.folder.path(name)))
    try folder.image(["rebase", "-u", "-F", "raw", "-b", name, folder.path])
    try folder.image(["snapshot", "-c", "s\(Self.evil)t", folder.path])
    try folder.io(["-c", "write 0 4k"])
    let explorer = try folder.explorer(width: 160)
    for script in [":goto 0", ":goto 1M", "x", "4", ":goto host 0x50000", ":l2", "p", "?"] {
      do throws(ScriptError) { try ScriptRunner.run(script, on: explorer) } catch {}
      let canvas = explorer.canvas()
      for y in 0..<canvas.height {
        for x in 0..<canvas.width {
          let cell = canvas[x, y]
          for scalar in [cell.scalar, cell.combining1, cell.combining2] {
            #expect(!Self.evil.unicodeScalars.contains(scalar), "\(script): \(canvas.rowText(y))")
          }
        }
      }
    }
    #expect(explorer.session.image.backingFileName?.contains("\u{202e}") == true)
    // An error that names a file.
    _ = explorer.performLine(":search \(Self.evil)")
    let text = explorer.canvas().text()
    #expect(!text.unicodeScalars.contains { Self.evil.unicodeScalars.contains($0) })
  }

  @Test("every state that a map has is found by its name from either map")
  func searches() throws {
    let folder = try ImageFolder(
      commands: ["write 0 192k", "write 7M 64k", "write -z 1M 64k", "write -c 2M 64k", "discard 7M 64k"])
    let free = try #require(try PlainReader(folder.path).roles.firstIndex(of: "."))
    try folder.change { $0.setRefcount(free, 1) }
    let explorer = try folder.explorer(.readOnly)
    for start in [":goto 0", ":goto host 0"] {
      _ = try explorer.picture("\(start)\n/\ntype leaked\nEnter")
      #expect(explorer.cursor.side == .host && explorer.cursor.host == UInt64(free) << 16, "\(start)")
      #expect(explorer.focus == 2)
      _ = try explorer.picture("\(start)\n/\ntype zero\nEnter")
      #expect(explorer.cursor.side == .guest && explorer.cursor.guest == 1 << 20, "\(start)")
    }
    // The names in the help are those that the search takes.
    let help = try explorer.picture("size 160x200\n?")
    let row = try #require(help.firstMatch(of: /a state \(([a-z, ]+), ...\)/), "\(help)")
    for word in row.1.split(separator: ",") {
      let name = word.drop { $0 == " " }
      do throws(ScriptError) {
        try ScriptRunner.run("size 120x40\n:explorer\n:goto 0\n:search \(name)", on: explorer)
      } catch { #expect(error.message.contains("was not found"), "\(name): \(error.message)") }
    }
  }

  @Test("a count moves, and the pane stays", arguments: [("2 l", 2), ("3 l", 3), ("4 l", 4), ("1 l", 1)])
  func counts(_ keys: String, _ cluster: UInt64) throws {
    let explorer = try demoExplorer()
    _ = try explorer.picture(":goto 0\n\(keys)")
    #expect(explorer.focus == 1 && explorer.cursor.side == .guest)
    #expect(explorer.cursor.guest == cluster << 16)
    _ = try explorer.picture(":goto 40M\n4 k\n2 h")
    #expect(explorer.focus == 1 && explorer.cursor.guest == UInt64(640 - 4 * 64 - 2) << 16)
    // Alone it names the pane, and what comes after a pause is no count.
    _ = try explorer.picture("2")
    #expect(explorer.focus == 2)
    explorer.forgetCount()
    let before = explorer.cursor.host
    _ = try explorer.picture("l")
    #expect(explorer.focus == 2 && explorer.cursor.host == before + 0x10000)
  }

  @Test("the cursor on a full cell is a letter, not a hole", arguments: [1, 2])
  func fullCell(_ pane: Int) throws {
    let explorer = try demoExplorer()
    _ = explorer.perform(Command(.ascii))
    _ = try explorer.picture(pane == 1 ? ":goto 1M" : ":goto host 0x60000")
    let canvas = explorer.canvas()
    let at = try #require(canvas.cursor)
    #expect(canvas[at.x, at.y].scalar == "#" && canvas[at.x, at.y].marks.contains(.selected))
    // Its neighbour of the same kind is the full block.
    #expect(canvas[at.x + 1, at.y].scalar == "\u{2588}")
  }

  @Test(
    "hints at 80 columns are keys with words",
    arguments: [":goto 1M", ":goto host 0x60000", "3", "4", "t", ":hex", "F", ":lab churn"])
  func hints(_ opening: String) throws {
    let explorer = try demoExplorer(width: 80, height: 24)
    _ = try explorer.picture(opening)
    let row = explorer.canvas().rowText(22)
    let words = row.split(separator: " ").map(String.init)
    #expect(words.count >= 6 && row.contains("? help"), "\(row)")
    for (first, second) in zip(words, words.dropFirst()) {
      let isPair = first.count == 1 && second.count == 1 && first != "["
      #expect(!isPair, "'\(first) \(second)' in \(row)")
    }
    #expect(words.last.map { $0.count > 1 } == true, "\(row)")
  }

  @Test("why an image is only read is said to the end on a small screen")
  func startMessages() throws {
    let folder = try ImageFolder(options: "lazy_refcounts=on")
    try folder.change { $0.bytes[79] |= 1 }
    for (width, height) in [(80, 24), (60, 15), (120, 40)] {
      let explorer = try folder.explorer(width: width, height: height)
      let message = try #require(explorer.message)
      #expect(message.count > 80, "\(message)")
      let shown = explorer.canvas().text().split(whereSeparator: \.isWhitespace).map(String.init)
      let words = message.split(separator: " ").map(String.init)
      #expect(shown.suffix(words.count) == words[...], "\(explorer.canvas().text())")
      // The next key gives the rows back.
      _ = explorer.handle(.key(.right))
      #expect(!explorer.canvas().text().contains(words.suffix(3).joined(separator: " ")))
    }
  }
}
