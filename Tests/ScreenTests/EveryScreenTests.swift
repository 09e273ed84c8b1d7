// Every screen on every kind of image, in every size that is promised and with both glyph sets: about fifteen
// hundred pictures, compared with what was last looked at and with rules that hold for all of them.
//
// QATLAS_PICTURES=FOLDER writes all of them there as text, to be looked at, beside the images.

import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

extension PictureImage: CustomTestStringConvertible {
  package var testDescription: String { rawValue }
}

/// How the screens are opened: keys and lines as in a script. A screen that is not here fails the test.
private enum Opening {
  /// Done once before the pictures of the screen.
  static let before: [ScreenKind: String] = [
    .steps: ":write PLACE+1M 4k", .three: "", .history: ":write PLACE+2M 68k\n:discard PLACE+2M 64k",
  ]
  /// Done for every size, behind the way to the place of the image.
  static let script: [ScreenKind: String] = [
    .explorer: "", .table: "t", .hex: "p", .fragmentation: "F", .snapshots: "S", .bitmaps: "M",
    .refcounts: "R", .check: "!", .salvage: "V", .ladder: "i", .host: "X", .steps: "s", .three: "E",
    .history: "H", .lab: ":lab churn", .help: "?", .discards: ":discards \(Picture.requests)", .lessons: "L",
    .live: "U", .fleet: ":fleet",
  ]
  /// Screens that need no change of the image come first, so that they show it as it is.
  static var order: [ScreenKind] {
    ScreenList.kinds.filter { before[$0] == nil } + ScreenList.kinds.filter { before[$0] != nil }
  }
  static let sizes = [(40, 12), (80, 24), (120, 40), (200, 60)]
}

@Suite(.tags(.fast)) struct EveryScreenTests {
  @Test func everyScreenHasAnOpening() {
    for kind in ScreenList.kinds {
      #expect(Opening.script[kind] != nil, "the pictures do not know how to open the screen '\(kind.name)'")
    }
  }

  @Test func imagesAreTheSameInEveryRun() throws {
    for image in PictureImage.allCases where image != .preallocated {
      let (one, other) = (try image.fingerprint(), try image.fingerprint())
      #expect(one == other, "\(image)")
    }
  }

  @Test(arguments: PictureImage.allCases) func pictures(_ image: PictureImage) throws {
    let explorer = try image.explorer(width: 120, height: 40, glyphs: .unicode)
    settle(explorer)
    var album = PictureAlbum()
    for kind in Opening.order {
      guard let script = Opening.script[kind] else { continue }
      if let before = Opening.before[kind] { play(before, of: image, on: explorer) }
      for (width, height) in Opening.sizes {
        _ = explorer.handle(.resize(width: width, height: height))
        play(":explorer\n1\n:goto PLACE\n" + script, of: image, on: explorer)
        for glyphs in [GlyphSet.unicode, .ascii] {
          explorer.adopt(glyphs: glyphs)
          explorer.beginFrame()
          settle(explorer)
          let canvas = explorer.canvas()
          let picture = PictureAlbum.Picture(screen: kind.name, glyphs: glyphs, canvas: canvas)
          album.pictures.append(picture)
          let faults = PictureRules(image: image, kind: kind, explorer: explorer, glyphs: glyphs).faults(
            of: canvas)
          if !faults.isEmpty {
            Issue.record("\(image) \(picture.name): \(faults.joined(separator: "; "))\n\(canvas.text())")
          }
        }
        explorer.adopt(glyphs: .unicode)
      }
    }
    try album.writePictures(of: image.rawValue, files: image.files)
    for fault in PictureRules.cutNumbers(in: album) { Issue.record("\(image) \(fault)") }
    try checkGolden("every/\(image.rawValue).txt", album.text) { album.difference(from: $0) }
  }

  /// Plays a script of which some lines may be refused, as a write to an image that cannot be written: the
  /// picture then shows what the person at the keys sees.
  private func play(_ script: String, of image: PictureImage, on explorer: Explorer) {
    for line in script.split(separator: "\n") {
      var line = String(line)
      for (word, offset) in [("PLACE+1M", 1 << 20), ("PLACE+2M", 2 << 20), ("PLACE", 0)] as [(String, UInt64)]
      {
        line = line.replacing(word, with: String(image.place + offset))
      }
      try? ScriptRunner.run(line, on: explorer)
    }
  }
}
