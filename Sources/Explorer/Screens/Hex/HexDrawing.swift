// How the hex page is drawn: rows of bytes with the names of their fields, and the field under the cursor.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// Draws a hex page.
struct HexDrawing {
  private let screen: HexScreen
  private let desk: Desk
  private let host: HostFile
  private let page: Rect
  private let below: Rect
  private var columns: Int { screen.columns }
  /// Digits of an address.
  private let digits: Int

  init(_ screen: HexScreen, _ frame: ScreenFrame) {
    self.screen = screen
    desk = screen.desk
    host = desk.host
    digits = host.digits
    (page, below) = frame.body.splitBottom(4)
  }

  /// Where the bytes of a row begin.
  var bytesX: Int { page.x + 1 + 1 + digits + 2 }

  func draw(on canvas: inout Canvas) {
    let inner = canvas.frame(
      page,
      title: desk.scene.dataFileName.map { "7 Bytes of " + (host.isData ? $0 : "the image file") }
        ?? "7 Bytes of the file", footer: "host 0x\(Notation.hex(screen.offset))", focused: true,
      glyphs: desk.glyphs)
    let width = digits
    let bytesX = bytesX
    let textX = bytesX + columns * 3 + (columns > 8 ? 1 : 0) + 1
    let namesX = textX + columns + 3
    // On the narrowest screens the bytes alone have room.
    let hasText = textX + columns <= inner.endX
    let rows = min(inner.height, screen.rows)
    let count = rows * columns
    let total = host.length
    let shown = host.total
    let bytes = (try? host.storage.bytes(at: screen.top, count: count)) ?? []
    let fields = host.isData ? [] : desk.scene.byteMap.fields(from: HostOffset(screen.top), count: count)
    for row in 0..<rows {
      let start = screen.top + UInt64(row * columns)
      guard start < shown else { break }
      let y = inner.y + row
      canvas.put(Notation.hex(start, width: width), at: inner.x + 1, y, role: .number)
      for column in 0..<columns {
        let offset = start + UInt64(column)
        let x = bytesX + column * 3 + (column >= 8 ? 1 : 0)
        guard offset < total, row * columns + column < bytes.count else { continue }
        let byte = bytes[row * columns + column]
        let role: Role = byte == 0 ? .muted : .text
        canvas.put(Notation.hex(UInt64(byte), width: 2), at: x, y, role: role)
        let letter: Unicode.Scalar = (0x20..<0x7f).contains(byte) ? Unicode.Scalar(byte) : "."
        if hasText { canvas.set(textX + column, y, letter, role: role) }
        if !host.isData, desk.isHighlighted(byte: offset) {
          canvas.restyle(Rect(x: x, y: y, width: 2, height: 1), adding: .twin)
        }
        if offset == screen.offset {
          canvas.restyle(Rect(x: x, y: y, width: 2, height: 1), adding: .selected)
          if hasText { canvas.restyle(Rect(x: textX + column, y: y, width: 1, height: 1), adding: .twin) }
          canvas.cursor = Point(x: x, y: y)
        }
      }
      let end = start + UInt64(columns)
      drawNames(fields, start, end, namesX, y, inner.endX - namesX - 1, on: &canvas)
    }
    drawField(below, on: &canvas)
  }

  /// The fields that begin on a line, or the one that goes on through it.
  private func drawNames(
    _ fields: [ByteField], _ start: UInt64, _ end: UInt64, _ x: Int, _ y: Int, _ width: Int,
    on canvas: inout Canvas
  ) {
    guard width > 4 else { return }
    var names: [String] = []
    var short: [String] = []
    var goesOn = false
    for field in fields where field.range.lowerBound.value < end && field.range.upperBound.value > start {
      if field.range.lowerBound.value >= start || start == screen.top {
        let name = field.name.isEmpty ? field.structure : field.name
        names.append(field.value.isEmpty ? name : "\(name) = \(field.value)")
        short.append(name)
      } else {
        goesOn = true
      }
    }
    // Values go before names: the pane below says the value of the field under the cursor.
    let full = names.joined(separator: ", ")
    let fitting = TextWidth.width(full) <= width ? full : short.joined(separator: ", ")
    let text = names.isEmpty ? (goesOn ? "|" : "") : fitting
    canvas.put(
      TextWidth.truncated(text, to: width, glyphs: desk.glyphs), at: x, y,
      role: names.isEmpty ? .muted : .link)
  }

  private func drawField(_ area: Rect, on canvas: inout Canvas) {
    let inner = canvas.frame(
      area, title: "8 What this byte is",
      footer: "\(desk.key(.follow)) to the host map   \(desk.key(.search)) goes to an offset   "
        + "\(desk.key(.back)) back",
      glyphs: desk.glyphs
    ).inset(1, 0)
    if host.isData {
      let owners = host.owners(HostOffset(screen.offset)).owners
      let text = owners.first.map { $0.text(snapshots: []) } ?? "nobody that is known"
      canvas.put("guest data in the data file", at: inner.x, inner.y, role: .paneTitle, maxWidth: inner.width)
      canvas.put(
        TextWidth.truncated("used by " + text, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + 1
      )
      return
    }
    let field = desk.scene.byteMap.field(at: HostOffset(screen.offset))
    let end = field.range.upperBound.value
    let name = [field.structure, field.name].filter { !$0.isEmpty }.joined(separator: ": ")
    let size = end > field.range.lowerBound.value ? end - field.range.lowerBound.value : 0
    canvas.put(name, at: inner.x, inner.y, role: .paneTitle, maxWidth: inner.width)
    let start = "0x\(Notation.hex(field.range.lowerBound.value))"
    let place = "\(start), \(counted(size, "byte"))"
    // What the bytes say goes before how many they are.
    let texts =
      field.value.isEmpty ? [place] : ["\(place):  \(field.value)", "\(start): \(field.value)", field.value]
    let text = texts.first { TextWidth.width($0) <= inner.width } ?? texts[texts.count - 1]
    canvas.put(
      TextWidth.truncated(text, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + 1)
  }
}
