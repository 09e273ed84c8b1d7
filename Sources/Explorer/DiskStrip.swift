// The guest disk in one row of cells: how full each part of it is, from its first byte to its last. And where the
// panes of a screen stand that has such a row for every row of its list.

import CellScreen
import Storage

/// Parts of a disk and how much of each is there.
struct DiskStrip {
  /// What is there of a part, and what all of it would be.
  let parts: [(count: UInt64, whole: UInt64)]

  /// Draws it over `width` cells; a part may take several of them.
  func draw(at x: Int, _ y: Int, width: Int, _ glyphs: GlyphSet, on canvas: inout Canvas) {
    guard !parts.isEmpty else { return }
    for column in 0..<max(0, width) {
      let part = parts[column * parts.count / width]
      let role: Role = part.count == 0 ? .guestNone : part.count >= part.whole ? .guestData : .guestPart
      canvas.set(x + column, y, Glyphs.fill(part.count, of: part.whole, glyphs), role: role)
    }
  }

  /// "· nothing  ▄ part  █ ..."; the last word says what a full cell is.
  static func legend(_ full: String, _ glyphs: GlyphSet) -> String {
    [(UInt64(0), "nothing"), (1, "part"), (2, full)].map { part, word in
      "\(Glyphs.fill(part, of: 2, glyphs)) \(word)"
    }.joined(separator: "  ")
  }
}

/// Where the panes stand; empty for those not shown.
struct StripLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var strips = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var meaning = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, rows: Int) {
    guard !frame.isTooSmall else { return }
    guard !frame.isOnePane else {
      list = frame.body
      return
    }
    // Both lists show the same rows, and take no more than these; the first has a head line.
    let shown = min(rows, max(1, (frame.body.height - 6 - 5) / 2))
    let below: Rect
    (list, below) = frame.body.splitTop(shown + 3)
    (strips, meaning) = below.splitTop(shown + 2)
  }

  /// The row of a list whose window begins with `top` that a point is on; nil beside the rows.
  func row(at point: Point, top: Int, of count: Int) -> Int? {
    list.row(at: point, heading: 2, top: top, of: count)
      ?? strips.row(at: point, heading: 1, top: top, of: count)
  }

  /// Rows of the list.
  var listRows: Int { max(1, list.height - 3) }
}

extension Rect {
  /// The row of a list in this frame that a point is on, below `heading` lines; nil beside the rows. `top` is the
  /// first row that is seen.
  func row(at point: Point, heading: Int, top: Int, of count: Int) -> Int? {
    let line = point.y - y - heading
    return contains(point) && line >= 0 && top + line < count ? top + line : nil
  }
}
