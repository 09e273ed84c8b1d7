// The hex page: bytes of the file with the names of their fields on the same line, and the field
// under the cursor in full below.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Explorer {
  func drawHex(_ layout: ScreenLayout, on canvas: inout Canvas) {
    let (page, below) = layout.body.splitBottom(4)
    let columns = hexColumns
    let inner = canvas.frame(
      page,
      title: dataFileName.map { "7 Bytes of " + (showsDataFile ? $0 : "the image file") }
        ?? "7 Bytes of the file", footer: "host 0x\(Notation.hex(ui.hexOffset))", focused: true,
      glyphs: ui.glyphs)
    let width = max(6, String(max(1, hostTotal) - 1, radix: 16).count)
    let bytesX = inner.x + 1 + width + 2
    let textX = bytesX + columns * 3 + (columns > 8 ? 1 : 0) + 1
    let namesX = textX + columns + 3
    let rows = min(inner.height, hexRows)
    let count = rows * columns
    let total = hostLength
    let bytes = (try? hostStorage.bytes(at: ui.hexTop, count: count)) ?? []
    let fields = showsDataFile ? [] : session.byteMap.fields(from: HostOffset(ui.hexTop), count: count)
    for row in 0..<rows {
      let start = ui.hexTop + UInt64(row * columns)
      guard start < hostTotal else { break }
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
        canvas.set(textX + column, y, letter, role: role)
        if offset == ui.hexOffset {
          canvas.restyle(Rect(x: x, y: y, width: 2, height: 1), adding: .selected)
          canvas.restyle(Rect(x: textX + column, y: y, width: 1, height: 1), adding: .twin)
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
      if field.range.lowerBound.value >= start || start == ui.hexTop {
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
      TextWidth.truncated(text, to: width, glyphs: ui.glyphs), at: x, y, role: names.isEmpty ? .muted : .link)
  }

  private func drawField(_ area: Rect, on canvas: inout Canvas) {
    let inner = canvas.frame(
      area, title: "8 What this byte is", footer: "Enter to the host map   / goes to an offset   b back",
      glyphs: ui.glyphs
    ).inset(1, 0)
    if showsDataFile {
      let owners = hostOwners(HostOffset(ui.hexOffset)).owners
      let text = owners.first.map { $0.text(snapshots: []) } ?? "nobody that is known"
      canvas.put("guest data in the data file", at: inner.x, inner.y, role: .paneTitle, maxWidth: inner.width)
      canvas.put(
        TextWidth.truncated("used by " + text, to: inner.width, glyphs: ui.glyphs), at: inner.x, inner.y + 1)
      return
    }
    let field = session.byteMap.field(at: HostOffset(ui.hexOffset))
    let end = field.range.upperBound.value
    let name = [field.structure, field.name].filter { !$0.isEmpty }.joined(separator: ": ")
    let size = end > field.range.lowerBound.value ? end - field.range.lowerBound.value : 0
    canvas.put(name, at: inner.x, inner.y, role: .paneTitle, maxWidth: inner.width)
    let place = "0x\(Notation.hex(field.range.lowerBound.value)), \(counted(size, "byte"))"
    canvas.put(
      TextWidth.truncated(
        place + (field.value.isEmpty ? "" : ":  " + field.value), to: inner.width, glyphs: ui.glyphs),
      at: inner.x,
      inner.y + 1)
  }
}
