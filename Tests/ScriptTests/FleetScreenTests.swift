// The fleet in the explorer: rows come while it is looked at, in any order, some of them or all; one is opened, and
// closing it comes back to the list as it was; and none of that costs more with ten thousand rows than with ten.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite("The fleet on the screen", .tags(.fast)) struct FleetScreenTests {
  private struct Stage {
    let explorer: Explorer
    let fleet: MemoryFleet
    let shelf: MemoryShelf

    init(width: Int = 120, height: Int = 40, _ rows: [FleetRow]? = nil) throws {
      explorer = try demoExplorer(width: width, height: height)
      fleet = MemoryFleet()
      shelf = MemoryShelf()
      explorer.shelf = shelf
      FleetBrowsing.begin(with: fleet, on: explorer)
      if let rows { show(rows) }
    }

    func show(_ rows: [FleetRow]) { take(rows.map { .row($0) }) }
    func take(_ news: [FleetNews]) {
      fleet.waiting += news
      explorer.beginFrame()
    }
    func play(_ keys: String) throws { try ScriptRunner.run(keys, on: explorer) }
    var text: String { explorer.canvas().text() }
    /// The first words of the rows, from the top.
    var names: [String] {
      text.split(separator: "\n").dropFirst(3).prefix { !$0.contains(" file") }.map { line in
        String(line.drop { "|> ".contains($0) }.prefix { $0 != " " })
      }.filter { !$0.isEmpty }
    }
    /// The row that the cursor is on.
    var selected: String {
      let canvas = explorer.canvas()
      let row = canvas.cursor.map { canvas.rowText($0.y) } ?? ""
      return String(row.drop { "|> ".contains($0) }.prefix { $0 != " " })
    }
    /// What a line is refused with.
    func refusal(_ line: String) -> String {
      do throws(ScriptError) { try ScriptRunner.run(line, on: explorer) } catch { return error.message }
      return ""
    }
  }

  private static let three = [
    MemoryFleet.row("/images/a.qcow2", virtual: 4 << 30, file: 3 << 20, reclaimable: 1 << 20, leaks: 16),
    MemoryFleet.row("/images/b.qcow2", virtual: 2 << 30, file: 9 << 20, errors: 2),
    MemoryFleet.row("/images/sub/c.qcow2", virtual: 8 << 30, file: 1 << 20, reclaimable: 5 << 20),
    FleetRow("/images/broken.qcow2", error: "Permission denied"),
  ]

  @Test("rows have the figures, what is not known is no number, and the sums count it apart")
  func figures() throws {
    let stage = try Stage(Self.three)
    let text = stage.text
    #expect(stage.names == ["a.qcow2", "b.qcow2", "broken.qcow2", "sub/c.qcow2"], "\(text)")
    let lines = text.split(separator: "\n").map(String.init)
    let broken = try #require(lines.first { $0.contains("broken.qcow2 ") })
    #expect(broken.contains("unreadable") && broken.contains("?") && !broken.contains(" 0 "))
    #expect(lines.contains { $0.contains("a.qcow2") && $0.contains("16 leaks") && $0.contains("12.5%") })
    #expect(lines.contains { $0.contains("b.qcow2") && $0.contains("2 errors") })
    let sum = try #require(lines.first { $0.contains("4 files ") && !$0.contains("fleet") })
    #expect(sum.contains(" 14G ") && sum.contains(" 13M ") && sum.contains(" 6M "), "\(sum)")
    #expect(text.contains("not known: virtual of 1, file of 1, mapped of 1, reclaim of 1"))
    #expect(text.hasPrefix(" qatlas /images/ "), "\(text)")
    // All of the error stands below.
    try stage.play("j j")
    #expect(stage.selected == "broken.qcow2" && stage.text.contains("Permission denied"))
  }

  @Test("any column orders the rows, what is not known stays last, and a key reverses")
  func order() throws {
    let stage = try Stage(Self.three)
    try stage.play(":sort virtual")
    #expect(stage.names == ["sub/c.qcow2", "a.qcow2", "b.qcow2", "broken.qcow2"])
    try stage.play("I")
    #expect(stage.names == ["b.qcow2", "a.qcow2", "sub/c.qcow2", "broken.qcow2"])
    try stage.play(":sort check")
    #expect(stage.names == ["broken.qcow2", "b.qcow2", "a.qcow2", "sub/c.qcow2"])
    try stage.play(":sort recl")
    #expect(stage.names.first == "sub/c.qcow2" && stage.text.contains("by reclaimable, the largest first"))
    try stage.play(":sort name\nI")
    #expect(stage.names == ["sub/c.qcow2", "broken.qcow2", "b.qcow2", "a.qcow2"])
    // The key goes from column to column, and back.
    try stage.play(":sort name\no")
    #expect(stage.names.first == "sub/c.qcow2")
    try stage.play("<")
    #expect(stage.names.first == "a.qcow2")
    #expect(stage.refusal(":sort colour").contains("reclaimable"))
    // A row keeps the cursor, wherever it goes.
    try stage.play("G\n:sort virtual")
    #expect(stage.selected == "sub/c.qcow2" && stage.names.first == "sub/c.qcow2")
    // A click on the head of a column.
    let head = try #require(
      stage.text.split(separator: "\n").first { $0.contains("virtual") && $0.contains("file") })
    let x = head.distance(from: head.startIndex, to: try #require(head.range(of: "file")).lowerBound)
    _ = stage.explorer.handle(.mouse(Mouse(x: x, y: 2, kind: .press)))
    #expect(stage.names == ["b.qcow2", "a.qcow2", "sub/c.qcow2", "broken.qcow2"])
    _ = stage.explorer.handle(.mouse(Mouse(x: x, y: 2, kind: .press)))
    #expect(stage.names == ["sub/c.qcow2", "a.qcow2", "b.qcow2", "broken.qcow2"])
  }

  @Test("the column that orders is shown, however narrow the screen is", arguments: [40, 60, 80])
  func orderIsSeen(_ width: Int) throws {
    let stage = try Stage(width: width, height: 24, Self.three)
    try stage.play(":sort snapshots")
    #expect(stage.text.contains("snaps"))
    #expect(stage.names.contains("a.qcow2"))
  }

  @Test("a filter leaves some rows, adds up those, and Esc shows all again")
  func filter() throws {
    let stage = try Stage(Self.three)
    try stage.play(":only errors")
    #expect(stage.names == ["b.qcow2", "broken.qcow2"])
    #expect(stage.text.contains("2 of 4 files") && stage.text.contains(" 2G "))
    try stage.play(":only leaks")
    #expect(stage.names == ["a.qcow2"])
    try stage.play(":only SUB/c")
    #expect(stage.names == ["sub/c.qcow2"])
    try stage.play(":only permission")
    #expect(stage.names == ["broken.qcow2"])
    try stage.play(":only nothing like it")
    #expect(stage.text.contains("There are no files with 'nothing like it' among 4 files"))
    try stage.play("Esc")
    #expect(stage.names.count == 4 && stage.explorer.screen == .fleet)
    // The key asks.
    try stage.play("f")
    #expect(stage.explorer.promptText == "only ")
    try stage.play("type clean\nEnter")
    #expect(stage.names == ["sub/c.qcow2"])
    try stage.play(":only\n/\ntype broken\nEnter")
    #expect(stage.names.count == 4 && stage.selected == "broken.qcow2")
  }

  @Test("rows that come later stand in their order, and the selected one stays selected")
  func rowsComeLater() throws {
    let stage = try Stage()
    stage.fleet.progress = FleetProgress(done: 0, all: 4)
    #expect(stage.explorer.isAnimating && stage.text.contains("Looking at 4 files of /images/"))
    stage.show([Self.three[1]])
    stage.fleet.progress = FleetProgress(done: 1, all: 4)
    #expect(stage.text.contains("looked at 1 of 4"))
    stage.show([Self.three[2]])
    try stage.play("j")
    #expect(stage.selected == "sub/c.qcow2")
    stage.show([Self.three[0], Self.three[3]])
    #expect(stage.names == ["a.qcow2", "b.qcow2", "broken.qcow2", "sub/c.qcow2"])
    #expect(stage.selected == "sub/c.qcow2")
    // Looked at again, a row has its new figures, and one that is gone has none.
    stage.take([.row(MemoryFleet.row("/images/a.qcow2", virtual: 77 << 30)), .gone("/images/b.qcow2")])
    #expect(stage.names == ["a.qcow2", "broken.qcow2", "sub/c.qcow2"] && stage.text.contains(" 77G "))
    // Esc ends the look and nothing else.
    try stage.play("Esc")
    #expect(stage.fleet.asked == ["stop"] && stage.explorer.screen == .fleet)
    #expect(stage.text.contains("stopped, 3 not looked at"))
    try stage.play("r\nR")
    #expect(stage.fleet.asked == ["stop", "/images/sub/c.qcow2", "all 3"])
    #expect(!stage.explorer.isAnimating)
  }

  @Test("a row opens as an atlas, and closing it comes back to the list as it was")
  func openAndBack() throws {
    let stage = try Stage(width: 80, height: 24, Self.three)
    for name in ["/images/a.qcow2", "/images/b.qcow2"] {
      let image = MemoryStorage(name: name)
      try Image.create(on: image, Image.CreateOptions(size: 5 << 20))
      stage.shelf.images[name] = image
    }
    try stage.play(":sort file\n:only qcow2\nj")
    let before = stage.explorer.canvas().text()
    #expect(stage.selected == "a.qcow2")
    try stage.play("Enter")
    #expect(stage.explorer.screen == .explorer && stage.explorer.session.title == "a.qcow2")
    #expect(stage.explorer.message?.contains("opened a.qcow2") == true)
    #expect(stage.text.contains("back"))
    func list(_ text: String) -> [Substring] { text.split(separator: "\n").dropFirst().dropLast() }
    // From a screen of the image as well, one thing after the other.
    try stage.play("i\nq")
    #expect(stage.explorer.screen == .explorer)
    try stage.play("q")
    #expect(stage.explorer.screen == .fleet && list(stage.text) == list(before))
    #expect(stage.fleet.asked == ["if changed /images/a.qcow2"])
    // What was changed is not lost for another image, and is there when its row is opened again.
    try stage.play("Enter\n:write 0 4k\nEsc")
    #expect(stage.explorer.screen == .fleet && stage.text.contains("UNSAVED"))
    #expect(stage.refusal("k Enter").contains(":open-row! drops them"))
    #expect(stage.explorer.screen == .fleet && stage.explorer.session.title == "a.qcow2")
    #expect(stage.refusal("q").contains("unsaved"))
    try stage.play("j Enter")
    #expect(stage.explorer.session.generation == 1 && stage.explorer.screen == .explorer)
    try stage.play("q\nk\n:open-row!")
    #expect(stage.explorer.session.title == "b.qcow2" && stage.explorer.screen == .explorer)
    // What cannot be opened says why, and the list stays.
    try stage.play("q")
    #expect(stage.refusal("G Enter").contains("No such file"))
    #expect(stage.explorer.screen == .fleet && stage.explorer.session.title == "b.qcow2")
    // Here the program ends, and not before.
    #expect(stage.explorer.handle(.key(.escape)).isEmpty && stage.explorer.screen == .fleet)
    #expect(stage.explorer.handle(.key(.escape)).isEmpty && stage.explorer.screen == .fleet)
    #expect(stage.explorer.handle(.key(.character("q"))) == [.quit])
  }

  @Test("a fleet that is asked for within an image goes back to it")
  func within() throws {
    let explorer = try demoExplorer()
    let fleet = MemoryFleet()
    FleetBrowsing.allow(fleet, on: explorer)
    try ScriptRunner.run(":fleet /other/", on: explorer)
    #expect(fleet.places == ["/other/"] && explorer.screen == .fleet)
    try ScriptRunner.run("q", on: explorer)
    #expect(explorer.screen == .explorer)
    #expect(explorer.handle(.key(.character("q"))) == [.quit])
    // And without anybody who could look there is a sentence.
    let plain = try demoExplorer(width: 80, height: 24)
    try ScriptRunner.run(":fleet", on: plain)
    #expect(plain.canvas().text().contains("There is no fleet."))
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":fleet /x", on: plain) }
  }

  @Test("names and errors cannot reach the terminal, and tell two names apart that look alike")
  func hostileNames() throws {
    let names = [
      "/images/\u{1b}[31mred\u{7}", "/images/\u{202e}2wocq", "/images/line\nend", "/images/caf\u{e9}",
      "/images/cafe\u{301}", "/images/" + String(repeating: "long", count: 60),
      "/images/\u{65e5}\u{672c}.qcow2",
      "/images/\t\u{9b}31m",
    ]
    for (width, height) in [(40, 12), (80, 24), (120, 40), (200, 60)] {
      let stage = try Stage(
        width: width, height: height,
        names.map { MemoryFleet.row($0, parent: "/images/\u{1b}]0;title\u{7}") }
          + [FleetRow("/images/\u{1b}c", error: "bad \u{1b}[2J \u{202e} name")])
      for _ in 0..<names.count + 1 {
        let canvas = stage.explorer.canvas()
        #expect(canvas.fault == nil)
        let scalars = canvas.text().unicodeScalars
        #expect(scalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && $0.value < 0x7f }, "\(canvas.text())")
        try stage.play("j")
      }
      #expect(stage.explorer.canvas().text().contains("9 files"))
    }
  }

  @Test("sizes that have no room in a number are more than that, not less")
  func largeSums() throws {
    let stage = try Stage([
      MemoryFleet.row("/a", virtual: 1 << 63), MemoryFleet.row("/b", virtual: 1 << 63 + 5),
    ])
    #expect(stage.text.contains(">16E"), "\(stage.text)")
  }

  @Test("images that share a parent are counted")
  func parents() throws {
    let stage = try Stage(
      (0..<3).map { MemoryFleet.row("/images/\($0)", parent: "/images/base.qcow2") } + [
        MemoryFleet.row("/images/9", parent: "/images/other")
      ])
    #expect(stage.text.contains("the parent of 3 of these"))
    try stage.play(":sort sharing")
    #expect(stage.names == ["0", "1", "2", "9"])
    stage.show((4..<8).map { MemoryFleet.row("/images/\($0)", parent: "/images/other") })
    #expect(stage.names.prefix(5) == ["4", "5", "6", "7", "9"])
  }

  @Test("a folder without an image says so")
  func nothing() throws {
    let stage = try Stage(width: 80, height: 24)
    #expect(stage.text.contains("There is no file in /images/."))
    stage.fleet.leftOut = 12
    let words = stage.text.split { " \n|".contains($0) }.joined(separator: " ")
    #expect(words.contains("There is no qcow2 image in /images/: 12 files are something else."))
    try stage.play("j k G")
    #expect(stage.refusal("Enter").contains("no image is selected"))
  }

  @Test("ten thousand rows cost a picture what ten do")
  func manyRows() throws {
    func rows(_ count: Int) -> [FleetRow] {
      (0..<count).map { number in
        MemoryFleet.row("/images/\(number * 7919 % 100_003)", virtual: UInt64(number) << 20)
      }
    }
    /// The time of movements with their pictures, the shortest of some rounds.
    func cost(_ stage: Stage) throws -> Duration {
      let clock = ContinuousClock()
      return try (0..<3).map { _ in
        try clock.measure {
          for key in ["j", "PgDn", "G", "g"] {
            try stage.play(key)
            _ = stage.explorer.canvas()
          }
        }
      }.min() ?? .zero
    }
    let small = try Stage(rows(100))
    let large = try Stage(rows(10_000))
    #expect(large.text.contains("10,000 files"))
    let (one, other) = (try cost(small), try cost(large))
    #expect(other < one * 4 + .milliseconds(20), "\(one), \(other)")
    // News in small portions do not order everything again.
    let clock = ContinuousClock()
    let time = clock.measure {
      for number in 0..<5 { large.show([MemoryFleet.row("/images/new\(number)")]) }
    }
    #expect(time < .seconds(5))
    #expect(large.text.contains("10,005 files"))
  }
}
