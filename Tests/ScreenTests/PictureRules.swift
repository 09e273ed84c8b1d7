// What holds for every picture whatever it shows, without a recorded one.

import CellScreen
import Explorer
import ExplorerSupport
import QcowFormat
import Storage

struct PictureRules {
  let image: PictureImage
  let kind: ScreenKind
  let explorer: Explorer
  let glyphs: GlyphSet

  /// What is wrong, in words; empty for a picture as it should be.
  func faults(of canvas: Canvas) -> [String] {
    var faults: [String] = []
    faults += cells(canvas)
    faults += frames(canvas)
    if explorer.screen != kind, !explorer.messageIsError {
      faults.append("it shows the screen '\(explorer.screen.name)' and does not say why")
    }
    let title = canvas.rowText(0)
    let program = canvas.width < 60 ? "" : "qatlas "
    if !title.hasPrefix(" \(program)disk.qcow2 [\(explorer.session.modeName)") {
      faults.append("the title does not name image and mode")
    }
    if canvas.cursor == nil { faults.append("there is no cursor") }
    faults += hints(canvas)
    faults += sizes(canvas)
    return faults
  }

  // MARK: Cells

  private func cells(_ canvas: Canvas) -> [String] {
    if let fault = canvas.fault { return [fault] }
    guard glyphs == .ascii else { return [] }
    for y in 0..<canvas.height {
      for x in 0..<canvas.width {
        let cell = canvas[x, y]
        if [cell.scalar, cell.combining1, cell.combining2].contains(where: { $0.value > 0x7e }) {
          return ["more than ASCII at \(x), \(y)"]
        }
      }
    }
    return []
  }

  // MARK: Frames

  /// Every corner at the top has its sides below it down to a corner at the bottom, and the same corner at its
  /// right. A message of several rows may cover the bottom.
  private func frames(_ canvas: Canvas) -> [String] {
    guard glyphs == .unicode else { return [] }
    let (topLeft, topRight) = (
      Set<Unicode.Scalar>(["\u{250c}", "\u{2552}"]), Set<Unicode.Scalar>(["\u{2510}", "\u{2555}"])
    )
    let (bottomLeft, bottomRight) = (
      Set<Unicode.Scalar>(["\u{2514}", "\u{2558}"]), Set<Unicode.Scalar>(["\u{2518}", "\u{255b}"])
    )
    let isCovered = explorer.message != nil
    func isBorder(_ x: Int, _ y: Int) -> Bool {
      [.border, .borderFocus].contains(canvas[x, y].role)
    }
    for y in 0..<canvas.height {
      for x in 0..<canvas.width where isBorder(x, y) {
        let scalar = canvas[x, y].scalar
        let ends = topLeft.contains(scalar) ? bottomLeft : topRight.contains(scalar) ? bottomRight : []
        guard !ends.isEmpty else { continue }
        var row = y + 1
        while row < canvas.height, canvas[x, row].scalar == "\u{2502}", isBorder(x, row) { row += 1 }
        let isWhole = row < canvas.height && ends.contains(canvas[x, row].scalar)
        if !isWhole, !(isCovered && row >= canvas.height * 2 / 3) {
          return ["a frame is broken at \(x), \(row)"]
        }
        guard topLeft.contains(scalar) else { continue }
        var right = x + 1
        while right < canvas.width, !(isBorder(right, y) && topRight.contains(canvas[right, y].scalar)) {
          if isBorder(right, y), topLeft.contains(canvas[right, y].scalar) { break }
          right += 1
        }
        if right >= canvas.width || !topRight.contains(canvas[right, y].scalar) {
          return ["a frame has no right side, from \(x), \(y)"]
        }
      }
    }
    return []
  }

  // MARK: Words

  /// The keys of the line of hints mean something here.
  private func hints(_ canvas: Canvas) -> [String] {
    let y = canvas.height - 2
    guard !explorer.isPrompting, !explorer.isInDialog else { return [] }
    var words: [String] = []
    var word = ""
    for x in 0..<canvas.width {
      let cell = canvas[x, y]
      if cell.role == .key, cell.scalar != " " {
        word.unicodeScalars.append(cell.scalar)
      } else if !word.isEmpty {
        words.append(word)
        word = ""
      }
    }
    if !word.isEmpty { words.append(word) }
    if words.isEmpty, explorer.message == nil { return ["there is no hint of a key"] }
    return words.flatMap { word -> [String] in
      let isKnown = { (text: String) -> Bool in
        Key(text).map { KeyMap.standard.meaning(of: $0, in: explorer.context) != nil } ?? false
      }
      if isKnown(word) { return [] }
      // "hjkl", "h/l", "1-6", "hjkl/arrows".
      let parts = word.split(separator: "/").map(String.init)
      for part in parts where part != "arrows" && !isKnown(part) {
        let ends = part.split(separator: "-").map(String.init)
        let isRange = ends.count == 2 && ends.allSatisfy(isKnown)
        if !isRange, !part.allSatisfy({ isKnown(String($0)) }) { return ["'\(word)' is not a key here"] }
      }
      return []
    }
  }

  /// The sizes of the ladder are those of the engine.
  private func sizes(_ canvas: Canvas) -> [String] {
    guard kind == .ladder, explorer.screen == kind, canvas.height >= 24 else { return [] }
    let text = canvas.text()
    var faults: [String] = []
    for (name, value) in [
      ("virtual size", explorer.session.geometry.virtualSize),
      ("file length", explorer.session.overlay.length),
    ] {
      if !text.contains(" \(value) ") { faults.append("the \(name) \(value) is not on it") }
    }
    return faults
  }

  // MARK: Numbers that are cut

  /// Numbers that end at the right side of a pane and of which a larger picture of the same screen has more.
  static func cutNumbers(in album: PictureAlbum) -> [String] {
    var faults: [String] = []
    for screen in Set(album.pictures.map(\.screen)).sorted() {
      let pictures = album.pictures.filter { $0.screen == screen && $0.glyphs == .ascii }
      guard let largest = pictures.max(by: { $0.canvas.width < $1.canvas.width }) else { continue }
      let whole = Set(numbers(largest.canvas).map(\.text))
      for picture in pictures where picture.canvas.width < largest.canvas.width {
        for number in numbers(picture.canvas) where number.isAtSide && number.text.count > 1 {
          guard !whole.contains(number.text),
            let longer = whole.first(where: { $0.count > number.text.count && $0.hasPrefix(number.text) })
          else { continue }
          faults.append("\(picture.name): \(number.text) in row \(number.row) looks like a part of \(longer)")
        }
      }
    }
    return faults
  }

  private static func numbers(_ canvas: Canvas) -> [(text: String, row: Int, isAtSide: Bool)] {
    var numbers: [(text: String, row: Int, isAtSide: Bool)] = []
    for y in 0..<canvas.height {
      var word = ""
      for x in 0...canvas.width {
        let cell = canvas[x, y]
        let isPart =
          x < canvas.width && !cell.role.isMap && cell.scalar != " "
          && (Character(cell.scalar).isHexDigit || ",.x".unicodeScalars.contains(cell.scalar))
        if isPart {
          word.unicodeScalars.append(cell.scalar)
        } else {
          let isSide = x == canvas.width || [.border, .borderFocus].contains(cell.role) && cell.scalar == "|"
          if word.first?.isNumber == true { numbers.append((word, y, isSide)) }
          word = ""
        }
      }
    }
    return numbers
  }
}
