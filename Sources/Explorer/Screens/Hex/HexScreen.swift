// The hex page: bytes of the file with the names of their fields on the same line, and the field
// under the cursor in full below.

import Cartography
import CellScreen
import QcowFormat
import Storage

extension ScreenKind {
  /// The page of bytes.
  package static let hex = ScreenKind("hex")
}

extension Context {
  /// Where its keys are.
  package static let hex = Context("hex", title: "Hex page", [.image, .searched])
}

extension Address {
  /// A byte of one of the files.
  static func hex(_ offset: UInt64, _ file: HostFileKind) -> Address {
    Address(.hex, [offset, file == .data ? 1 : 0])
  }
}

final class HexScreen: Screen {
  static let kind = ScreenKind.hex
  static let contexts: [Context] = [.hex]

  let desk: Desk
  private(set) var offset: UInt64 = 0
  private(set) var top: UInt64 = 0
  private var file = HostFileKind.image

  init(_ desk: Desk) { self.desk = desk }

  var context: Context { .hex }
  var titles: [String] { [" bytes of the file, with the names of their fields", "hex page"] }
  var hints: [HintRule] {
    [
      HintRule([.left, .down, .up, .right], "move"), HintRule(.follow), HintRule(.back), HintRule(.search),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }
  var cursorText: String { "host 0x\(Notation.hex(offset))" }
  var hostFile: HostFileKind { file }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    HexDrawing(self, frame).draw(on: &canvas)
  }

  // MARK: Places

  var address: Address { .hex(offset, file) }

  func restore(_ address: Address) {
    offset = address[0]
    file = address[1] == 1 ? .data : .image
  }

  /// The byte stands near the top, so that one sees what follows.
  func go(to address: Address) {
    restore(address)
    let row = UInt64(columns)
    let start = offset / row * row
    top = start - min(start, 2 * row)
  }

  func go(toHost offset: UInt64) -> Bool {
    desk.remember()
    desk.show(.hex(offset, file))
    return true
  }

  var hexStart: (offset: UInt64, file: HostFileKind)? { (offset, file) }

  var searched: (side: Side, offset: UInt64, file: HostFileKind)? { (.host, offset, file) }

  /// Bytes in a row: as many as leave room for the names of the fields, or at least for themselves.
  var columns: Int {
    if desk.width >= 110 { return 16 }
    return desk.host.digits + 30 <= desk.width ? 8 : 4
  }
  /// Rows of bytes.
  var rows: Int { max(1, desk.frame.body.height - 6) }

  func settle() {
    offset = min(offset, max(1, desk.host.total) - 1)
    let columns = UInt64(columns)
    let rows = UInt64(rows)
    let row = offset / columns
    var top = top / columns
    if row < top { top = row }
    if row - top >= rows { top = row - rows + 1 }
    self.top = top * columns
  }

  // MARK: Answers

  func move(_ movement: Movement, _ count: Int) {
    let total = desk.host.total
    guard total > 0 else { return }
    let columns = UInt64(columns)
    let steps = UInt64(count)
    let page = UInt64(rows) &* columns
    let half = page / 2 / columns * columns
    let above = offset / columns * columns
    let below = (total - 1 - min(offset, total - 1)) / columns * columns
    switch movement {
    case .left: offset -= min(steps, offset)
    case .right: offset += min(steps, total - 1 - min(offset, total - 1))
    case .up: offset -= min(offset / columns, steps) * columns
    case .down: offset += min(below / columns, steps) * columns
    case .pageUp: offset -= min(above, page &* steps)
    case .pageDown: offset += min(below, page &* steps)
    case .halfUp: offset -= min(above, half &* steps)
    case .halfDown: offset += min(below, half &* steps)
    case .first: offset = 0
    case .last: offset = total - 1
    case .rowStart: offset -= offset % columns
    case .rowEnd: offset = min(total - 1, offset - offset % columns + columns - 1)
    case .nextUsed, .previousUsed: break
    }
    desk.cursor.file = file
    desk.setCursor(.host, offset)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let drawing = HexDrawing(self, frame)
    let x = point.x - drawing.bytesX
    let row = point.y - frame.body.y - 1
    guard x >= 0, row >= 0, row < rows else { return }
    let column = x < 24 ? x / 3 : (x - 1) / 3
    guard column < columns else { return }
    let clicked = top + UInt64(row * columns + column)
    guard clicked < desk.host.total else { return }
    offset = clicked
    desk.setCursor(.host, clicked)
  }

  /// To the place on the host map.
  func follow() throws(CommandError) {
    desk.remember()
    let (offset, file) = (offset, file)
    desk.show(.maps(.hostMap))
    desk.cursor.file = file
    desk.setCursor(.host, offset)
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    guard let offset = try? Quantity.bytes(text) else {
      throw CommandError("on the hex page \(desk.key(.search)) takes a host offset such as 0x40000, or bytes")
    }
    try desk.go(to: .host(offset))
    return true
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .hex, .looking, keys: [KeyRule("p", in: .image)], hint: "hex page",
      help: "the bytes of this place in the file, with the names of their fields",
      run: { explorer, _ throws(CommandError) in
        let desk = explorer.desk
        guard let start = desk.current.hexStart else {
          throw CommandError("no bytes of the file belong to this place")
        }
        desk.remember()
        desk.show(.hex(start.offset, start.file))
      })
  ]
}

extension CommandID {
  static let hex = CommandID("hex")
}

extension Explorer {
  /// The byte of the file that the hex page has selected.
  package var hexOffset: UInt64 { desk.screen(HexScreen.self)?.offset ?? 0 }
}
