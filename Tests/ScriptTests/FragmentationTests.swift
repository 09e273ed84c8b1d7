// The fragmentation screen by its keys: the cursor of the plot, zoom, lens, the worst part, the dry run, the
// way to the maps and back, and the figures as text.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

@Suite(.tags(.fast)) struct FragmentationKeyTests {
  /// The demo with 16 clusters from 8 MiB on, written backwards.
  private func explorer(_ files: MemoryFiles = MemoryFiles(), width: Int = 120, height: Int = 40) throws
    -> Explorer
  {
    let explorer = try demoExplorer(width: width, height: height, files: files)
    let lines = (0..<16).map { ":write \(8192 + (15 - $0) * 64)k 64k" }
    try ScriptRunner.run(lines.joined(separator: "\n"), on: explorer)
    return explorer
  }

  private func text(_ explorer: Explorer) -> String { explorer.canvas().text() }

  @Test func openAndClose() throws {
    let explorer = try explorer()
    try ScriptRunner.run("F", on: explorer)
    #expect(explorer.screen == .fragmentation && explorer.context == .fragmentation)
    #expect(text(explorer).contains("2 Numbers, all") && text(explorer).contains("runs, in guest order"))
    try ScriptRunner.run("b", on: explorer)
    #expect(explorer.screen == .explorer)
    try ScriptRunner.run(":frag\nq", on: explorer)
    #expect(explorer.screen == .explorer)
    // The help of the screen lists its keys first.
    try ScriptRunner.run("F\n?", on: explorer)
    #expect(text(explorer).contains("Fragmentation: the keys here"))
  }

  /// 16 clusters in 16 runs, and the image is the same afterwards.
  @Test func figuresFollowChanges() throws {
    let files = MemoryFiles()
    let explorer = try explorer(files)
    try ScriptRunner.run("F\n:copy a", on: explorer)
    let before = try #require(files.texts["a"])
    // Three stretches of the demo in one run each, and 16.
    #expect(before.contains("all  guest order  runs 19  best possible 4  "))
    #expect(before.contains("all  jumps backward  count 16  "))
    // What a write changes is counted again, and what is taken back is as before.
    try ScriptRunner.run(":write 50M 64k\n:copy b\n:undo\n:copy c", on: explorer)
    #expect(files.texts["b"]?.contains("runs 20  best possible 5  ") == true)
    #expect(files.texts["c"] == before)
    try ScriptRunner.run(":json d", on: explorer)
    #expect(files.texts["d"]?.hasPrefix("{\"disk\": {\"size\": 67108864") == true)
  }

  @Test func copyGoesToTheTerminal() throws {
    let explorer = try explorer()
    try ScriptRunner.run("F", on: explorer)
    guard case .copy(let text)? = explorer.handle(.key(.character("y"))).first else {
      Issue.record("y copies nothing")
      return
    }
    #expect(text.hasPrefix("disk  size 67108864  "))
    guard case .copy(let json)? = explorer.handle(.key(.character("J"))).first else {
      Issue.record("J copies nothing")
      return
    }
    #expect(json.hasPrefix("{"))
    // Before anything is counted there is nothing to copy.
    let other = try demoExplorer()
    #expect(other.performLine(":copy").isEmpty && other.messageIsError)
  }

  @Test func cursorZoomAndTheMaps() throws {
    let explorer = try explorer()
    try ScriptRunner.run("F\ng", on: explorer)
    // Bottom left is the start of both; a row is two clusters.
    #expect(text(explorer).contains("guest 0x0 host 0x0: "))
    try ScriptRunner.run("5 k", on: explorer)
    #expect(text(explorer).contains("guest 0x0 host 0xa0000: "))
    try ScriptRunner.run("j $", on: explorer)
    #expect(text(explorer).contains("host 0x80000: 0 clusters"))
    // The plot of the worst part begins where the 16 clusters do; x goes to the first of them.
    try ScriptRunner.run("f", on: explorer)
    #expect(text(explorer).contains("guest 0x800000 host "))
    try ScriptRunner.run("r", on: explorer)
    #expect(
      explorer.message?.hasPrefix("dry run: rewriting 8M-9M in order needs 1M free, leaves 1 run of 16, ")
        == true)
    try ScriptRunner.run("x", on: explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.guest == 8 << 20 && explorer.cursor.isTwinned)
    // And back to the part that was plotted.
    try ScriptRunner.run("b\nr", on: explorer)
    #expect(explorer.message?.contains("8M-9M") == true)
    try ScriptRunner.run("0\nr", on: explorer)
    #expect(explorer.message?.contains("rewriting 0-64M in order") == true)
    try ScriptRunner.run("/\ntype 8M\nEnter\nEnter\nEnter\nr", on: explorer)
    #expect(explorer.message?.contains("rewriting 6.12M-10.1M in order") == true)
    #expect(throws: ScriptError.self) { try ScriptRunner.run("0\n-", on: explorer) }
  }

  /// A letter of the plot is blank where no cluster lies below it and nowhere else, in dots of Braille and in their
  /// twin.
  @Test(arguments: GlyphSet.allCases) func everyLetterOfThePlotIsTrue(_ glyphs: GlyphSet) throws {
    let explorer = try explorer()
    explorer.adopt(glyphs: glyphs)
    // A second disk of clusters, so that there are more of them than letters.
    try ScriptRunner.run(
      (0..<40).map { ":write \(20 + $0)M 64k" }.joined(separator: "\n") + "\nF", on: explorer)
    let picture = text(explorer)
    let lines = picture.split(separator: "\n", omittingEmptySubsequences: false).map {
      Array($0.unicodeScalars)
    }
    let isBraille: (Unicode.Scalar) -> Bool = { (0x2801...0x28ff).contains($0.value) }
    #expect(lines.joined().contains(where: isBraille) == (glyphs == .unicode))
    #expect(picture.contains("a dot is") == (glyphs == .unicode))
    var shown = 0
    for y in 2..<25 {
      // Between the axis and the frame of the plot.
      for x in stride(from: 9, to: 78, by: 3) where lines[y].indices.contains(x) {
        _ = explorer.handle(.mouse(Mouse(x: x, y: y, kind: .press)))
        let told = text(explorer)
        guard
          let count = told.split(separator: "\n").last(where: {
            $0.contains("host 0x") && $0.contains("cluster")
          })
        else { continue }
        let scalar = lines[y][x]
        let isAxis = ["\u{2500}", "-", "+", "\u{2514}"].contains(scalar) || scalar.properties.isAlphabetic
        if isAxis || explorer.canvas().cursor != Point(x: x, y: y) { continue }
        shown += scalar == " " ? 0 : 1
        #expect((scalar == " ") == count.contains(": 0 clusters"), "\(x) \(y) '\(scalar)' \(count)")
      }
    }
    #expect(shown > 10)
  }

  @Test func lens() throws {
    let explorer = try explorer()
    try ScriptRunner.run("F\no", on: explorer)
    #expect(text(explorer).contains("2 Numbers, standard"))
    try ScriptRunner.run("o", on: explorer)
    #expect(text(explorer).contains("2 Numbers, compressed") && text(explorer).contains(": 0 clusters"))
    try ScriptRunner.run(":lens all", on: explorer)
    #expect(text(explorer).contains("2 Numbers, all"))
    // The lens of the maps is another one.
    #expect(explorer.lens == .kind)
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":lens fill", on: explorer) }
  }

  /// On a small screen there is one pane at a time.
  @Test func panes() throws {
    let explorer = try explorer(width: 60, height: 15)
    try ScriptRunner.run("F", on: explorer)
    for (keys, title) in [
      ("Tab", "2 Numbers"), ("Tab", "3 How long"), ("Tab", "1 Guest / host"), ("S-Tab", "3 How long"),
      ("2", "2 Numbers"),
    ] {
      try ScriptRunner.run(keys, on: explorer)
      #expect(text(explorer).contains("+= " + title), "\(keys)")
    }
    #expect(explorer.screen == .fragmentation && explorer.focus == 1)
  }

  @Test func mouse() throws {
    let explorer = try explorer()
    try ScriptRunner.run("F\nG", on: explorer)
    // The lowest cell on the left.
    _ = explorer.handle(.mouse(Mouse(x: 8, y: 23, kind: .press)))
    #expect(text(explorer).contains("guest 0x0 host 0x0: "))
  }
}
