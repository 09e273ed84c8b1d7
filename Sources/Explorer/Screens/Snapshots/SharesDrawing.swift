// Who shares what: the clusters that each pair of the disk and its snapshots has in common, and what the files of the
// chain hold. The rows are those of the list above.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

struct SharesDrawing {
  private let screen: SnapshotsScreen
  private let area: Rect
  private let window: ListWindow
  private let words: SnapshotsWords
  private var desk: Desk { screen.desk }

  init(_ screen: SnapshotsScreen, _ layout: StripLayout, _ window: ListWindow) {
    self.screen = screen
    self.window = window
    area = layout.strips
    words = SnapshotsWords(screen)
  }

  func draw(on canvas: inout Canvas) {
    if screen.view == .pairs { drawPairs(on: &canvas) } else { drawLayers(on: &canvas) }
  }

  // MARK: Pairs

  /// The number of a row among the holders; nil for those that are not told apart.
  private func holder(_ row: SnapshotsScreen.Row) -> Int? {
    switch row {
    case .now: screen.holders.together.isEmpty ? nil : 0
    case .snapshot(let index): screen.holders.snapshots.contains(index) ? index + 1 : nil
    case .layer: nil
    }
  }

  private func drawPairs(on canvas: inout Canvas) {
    let room = max(0, area.width - 4)
    let names = min(16, room / 4)
    let width = 9
    let holders = screen.holders.together.count
    // With many, the columns around the selected row.
    let fitting = max(1, (room - names - 1) / width)
    let wanted = holder(screen.row) ?? 0
    let first = max(0, min(wanted - fitting / 2, holders - fitting))
    let columns = first..<min(holders, first + fitting)
    let isCut = columns.count < holders
    let inner = canvas.frame(
      area,
      title: "2 Clusters in common" + (isCut ? ", \(columns.count) of \(holders) columns" : ""),
      footer: "in the own column: only here   \(desk.key(.lens)) shows the layers", focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    screen.drawRows(window, inner, names: names, on: &canvas) { row, y, canvas in
      guard let holder = holder(row) else {
        if case .layer = row { return }
        canvas.put(
          "not told apart", at: inner.x + names + 1, y, role: .muted, maxWidth: inner.width - names - 1)
        return
      }
      for (column, other) in columns.enumerated() {
        let text = screen.holders.isDone ? Notation.count(screen.holders.together[holder][other]) : "..."
        let name = other == 0 ? "now" : Escaping.human(screen.image.snapshots[other - 1].id)
        let label = TextWidth.truncated(name, to: 3, glyphs: desk.glyphs) + ":"
        let x = inner.x + names + 1 + column * width
        canvas.put(label, at: x, y, role: .muted)
        canvas.put(
          text, at: x + label.count, y, role: other == holder ? .key : .number,
          maxWidth: width - 1 - label.count)
      }
    }
  }

  // MARK: Layers

  private func drawLayers(on canvas: inout Canvas) {
    let shares = screen.layerShares
    let none =
      shares.isDone
      ? "no layer answers for \(Notation.compact(shares.unanswered))"
        + (shares.unknown > 0 ? ", not known of \(Notation.compact(shares.unknown))" : "")
      : "not counted yet"
    let inner = canvas.frame(
      area, title: "2 What each layer holds", footer: none, focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let names = min(16, inner.width / 4)
    screen.drawRows(window, inner, names: names, on: &canvas) { row, y, canvas in
      let text: String
      if case .snapshot = row { text = "in the file of the image" } else { text = words.share(row) }
      canvas.put(text, at: inner.x + names + 1, y, role: .muted, maxWidth: inner.width - names - 1)
    }
  }
}
