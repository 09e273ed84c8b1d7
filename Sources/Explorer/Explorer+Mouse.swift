// The mouse: a click selects, a double click follows, the wheel scrolls, a click on a hint is its key.

import Cartography
import CellScreen
import QcowFormat

extension Explorer {
  func click(_ mouse: Mouse) {
    let layout = ScreenLayout(ui)
    let point = Point(x: mouse.x, y: mouse.y)
    switch mouse.kind {
    case .wheelUp, .wheelDown:
      guard ui.dialog == nil, ui.prompt == nil, ui.lensMenu == nil else { return }
      focus(at: point, layout)
      move(mouse.kind == .wheelUp ? .up : .down, 3)
    case .press, .doubleClick:
      guard mouse.button == .left else { return }
      if layout.hints.contains(point) {
        clickHint(point, layout)
        return
      }
      guard ui.dialog == nil, ui.prompt == nil, ui.lensMenu == nil else { return }
      ui.message = nil
      focus(at: point, layout)
      select(at: point, layout)
      if mouse.kind == .doubleClick { execute(Command(.follow)) }
    case .release: break
    }
  }

  private func clickHint(_ point: Point, _ layout: ScreenLayout) {
    var scratch = Canvas(width: ui.width, height: ui.height)
    let regions = HintLine.draw(
      hints(), on: &scratch, at: layout.hints.x + 1, layout.hints.y, width: layout.hints.width - 2)
    guard let region = regions.first(where: { $0.area.contains(point) }) else { return }
    effects += handleNested(.key(region.key))
  }

  private func focus(at point: Point, _ layout: ScreenLayout) {
    guard ui.screen == .explorer else { return }
    for (pane, frame) in [
      (1, layout.guestFrame), (2, layout.hostFrame), (3, layout.placeFrame), (4, layout.logFrame),
    ]
    where frame.contains(point) && ui.focus != pane {
      setFocus(pane)
    }
  }

  private func select(at point: Point, _ layout: ScreenLayout) {
    switch ui.screen {
    case .explorer:
      selectCell(at: point, guestShape(layout), layout.guestMap, .guest, ui.guest.top)
      selectCell(at: point, hostShape(layout), layout.host, .host, ui.host.top)
    case .table:
      let row = point.y - layout.tableFrame.y - 2
      guard layout.tableFrame.contains(point), row >= 0, let view = tableView(),
        view.row(ui.tableTop + row) != nil
      else { return }
      select(ui.tableTop + row, view)
      pullCursorToEntry()
    case .hex:
      let width = max(6, String(max(1, hostTotal) - 1, radix: 16).count)
      let x = point.x - (layout.body.x + 1 + 1 + width + 2)
      let row = point.y - layout.body.y - 1
      guard x >= 0, row >= 0, row < hexRows else { return }
      let column = x < 24 ? x / 3 : (x - 1) / 3
      guard column < hexColumns else { return }
      let offset = ui.hexTop + UInt64(row * hexColumns + column)
      if offset < hostTotal {
        ui.hexOffset = offset
        setCursor(.host, offset)
      }
    case .lab:
      if let column = labColumns(layout).first(where: { $0.area.contains(point) }) {
        ui.lab.selected = column.index
      }
    case .fragmentation: selectDot(at: point, layout)
    case .help: break
    }
  }

  private func selectCell(at point: Point, _ shape: MapShape, _ room: Rect, _ side: Side, _ top: UInt64) {
    guard room.contains(point), point.y - room.y < shape.rows,
      let column = shape.column(atX: point.x - room.x)
    else {
      return
    }
    let cell = (top + UInt64(point.y - room.y)) * UInt64(shape.columns) + UInt64(column)
    guard cell < shape.cellCount else { return }
    setCursor(side, shape.start(ofCell: cell))
  }
}
