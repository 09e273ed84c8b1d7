// What the screens show of the demo image, as golden pictures with their styles. A picture changes only
// when somebody has looked at the new one.

import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

struct Picture: CustomTestStringConvertible, Sendable {
  var name: String
  var width: Int
  var height: Int
  /// Lines of a script.
  var script: String
  /// What is wrong with the image.
  var damage = DemoDamage.none
  var testDescription: String { "\(name) \(width)x\(height)" }

  /// Every fourth cluster from 8 MiB on, backwards, then those between them.
  static let scattered: String = {
    let first = (0..<32).map { ":write \(8192 + (31 - $0) * 256)k 64k" }
    let second = (0..<32).map { ":write \(8192 + $0 * 256 + 64)k 128k" }
    return (first + second).joined(separator: "\n")
  }()

  /// A file of requests beside the pictures.
  static let requests: String = {
    var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    parts[parts.count - 1] = "Golden/guest.requests"
    return parts.joined(separator: "/")
  }()

  static let all: [Picture] = {
    var pictures: [Picture] = []
    for (width, height) in [(120, 40), (80, 24), (60, 15)] {
      for (name, script) in [
        ("explorer", ":goto 1M"), ("host", ":goto host 0xa0000"), ("log", "4"), ("table", ":goto L2 0 19"),
        ("hex", ":goto 1M\np"), ("help", "?"), ("write", ":goto 5M\nw"), ("discard", ":goto 1M\nD"),
        ("zoomed", ":goto 0x130000\n:zoom 2k"), ("changed", ":write 6M 64k"), ("fill", ":lens fill"),
        ("refcount", ":lens refcount"), ("order", scattered + "\n:lens order"),
        ("age", ":write 6M 64k\n:write 1M 64k\n:lens age"),
        ("difference", ":write 6M 64k\n:discard 1M 64k\n:write 40M 4k\n:lens difference"),
        ("bitmap-lens", ":bitmap-add daily\n:write 2M 1M\n:lens bitmap"), ("lenses", "O"),
        ("lab", ":lab churn\nSpace\n9 8 0 ."),
        ("lab-reorder", ":lab reorder\n3 .\nl"), ("lab-two", ":lab database default,pinned"),
        ("frag", "F"), ("fragzoom", scattered + "\nF\nf\nr"), ("ladder", "i\nj j"), ("snapshots", "S"),
        ("refcounts", "R"), ("host-file", ":goto host 0xa0000\nX"), ("steps", ":write 6M 4k\ns\nG k k k"),
        ("history", ":write 6M 4k\n:discard 1M 1M\nu\nH"),
        ("discards", ":discards \(requests)\nj"),
        ("bitmaps", ":bitmap-add daily\n:write 2M 4M\nM"),
        ("quiz", ":quiz v1:predict-entry:5"), ("quiz-choices", ":quiz v1:name-operation:5:3\nI"),
        ("quiz-done", ":quiz v1:crash-stop:5\n:answer leaks new\nI I I I"),
      ] {
        pictures.append(Picture(name: name, width: width, height: height, script: script))
      }
    }
    for (width, height) in [(200, 60), (40, 12), (39, 11), (20, 5), (1, 1)] {
      pictures.append(Picture(name: "explorer", width: width, height: height, script: ":goto 1M"))
    }
    for (width, height) in [(200, 60), (120, 40), (80, 24), (40, 12)] {
      for (name, script, damage) in [
        ("check", "!", DemoDamage.none), ("check-damaged", "!\nj", .damaged),
        ("check-leaking", "!", .leaking),
        ("check-plan", "!\nr\nj", .damaged), ("salvage", "V", .none),
        ("salvage-destroyed", "V\nj j", .destroyed),
        ("salvage-header", "V\nTab\nj j", .destroyed),
      ] {
        pictures.append(
          Picture(name: name, width: width, height: height, script: script, damage: damage))
      }
    }
    for (width, height) in [(200, 60), (40, 12)] {
      for (name, script) in [("host-file", ":goto host 0xa0000\nX"), ("host-figures", "X\nTab\nj j")] {
        pictures.append(Picture(name: name, width: width, height: height, script: script))
      }
    }
    return pictures
  }()
}

@Suite(.tags(.fast)) struct ScreenTests {
  @Test(arguments: Picture.all) func golden(_ picture: Picture) throws {
    let explorer = try picture.damage.explorer(width: picture.width, height: picture.height)
    try ScriptRunner.run(picture.script, on: explorer)
    let canvas = explorer.canvas()
    let text = canvas.text()
    try checkGolden(
      "\(picture.name)-\(picture.width)x\(picture.height).txt",
      goldenPlanes(text: text, style: canvas.stylePlane()))
    // `LANG=C`: no byte above 0x7e, whatever is shown.
    #expect(text.utf8.allSatisfy { $0 == 10 || (0x20...0x7e).contains($0) })
    // The hardware cursor stands on the selected cell, for readers that follow it.
    guard picture.width >= 40, picture.height >= 12 else { return }
    let cursor = try #require(canvas.cursor)
    #expect(canvas.bounds.contains(cursor))
  }

  /// The layout does not depend on the glyphs.
  @Test(arguments: [(120, 40), (80, 24), (60, 15)]) func sameStyleInBothGlyphSets(_ size: (Int, Int)) throws {
    let explorer = try demoExplorer(width: size.0, height: size.1)
    let ascii = explorer.canvas()
    _ = explorer.perform(Command(.ascii))
    let unicode = explorer.canvas()
    #expect(ascii.stylePlane() == unicode.stylePlane())
    #expect(ascii.text() != unicode.text())
  }

  /// Every size between nothing and large draws something and never traps.
  @Test func everySize() throws {
    let explorer = try demoExplorer()
    for screen in [":explorer", "t", ":hex", "F", ":lab churn", "X", "?", ":check"] {
      try ScriptRunner.run("size 120x40\n:explorer\n" + screen, on: explorer)
      for width in [1, 3, 20, 40, 59, 80, 81, 100, 110, 119, 300] {
        for height in [1, 3, 11, 12, 16, 23, 24, 33, 34, 120] {
          _ = explorer.handle(.resize(width: width, height: height))
          let canvas = explorer.canvas()
          #expect(canvas.width == width && canvas.height == height)
          if let cursor = canvas.cursor { #expect(canvas.bounds.contains(cursor)) }
        }
      }
    }
  }

  @Test(arguments: [(39, 11, "39x11", "40x12"), (20, 5, "20x5", "40x12")])
  func tooSmallSaysBothSizes(_ width: Int, _ height: Int, _ now: String, _ needed: String) throws {
    let explorer = try demoExplorer(width: width, height: height)
    let text = explorer.canvas().text()
    #expect(text.contains(now) && text.contains(needed))
    _ = explorer.handle(.resize(width: 80, height: 24))
    #expect(explorer.canvas().text().contains("1 Guest map"))
  }

  @Test func focusIsMarkedWithoutColour() throws {
    let explorer = try demoExplorer()
    for (key, title) in [("1", "1 Guest map"), ("2", "2 Host map"), ("3", "3 Where is it?"), ("4", "4 Log")] {
      try ScriptRunner.run(key, on: explorer)
      let text = explorer.canvas().text()
      #expect(text.contains("+= " + title))
      #expect(text.split(separator: "+=", omittingEmptySubsequences: false).count >= 2)
      for other in ["1 Guest map", "2 Host map", "3 Where is it?", "4 Log"] where other != title {
        #expect(text.contains("+- " + other))
      }
    }
  }
}
