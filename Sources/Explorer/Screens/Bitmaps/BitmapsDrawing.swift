// How the screen of bitmaps is drawn: the list, the disk as each bitmap marks it, and what the selected one means.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

struct BitmapsDrawing {
  private let screen: BitmapsScreen
  private let layout: StripLayout
  private var desk: Desk { screen.desk }

  init(_ screen: BitmapsScreen, _ layout: StripLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.strips.isEmpty { drawStrips(on: &canvas) }
    if !layout.meaning.isEmpty { drawMeaning(on: &canvas) }
  }

  private var window: ListWindow {
    ListWindow(
      count: screen.bitmaps.count, height: layout.listRows, selected: screen.selected, top: screen.top)
  }

  private static func state(_ bitmap: BitmapCount) -> String {
    if !bitmap.isKnown { return "left in use" }
    return bitmap.recordsWrites ? "records" : "stopped"
  }

  private func marked(_ bitmap: BitmapCount) -> String {
    guard bitmap.isKnown else { return "?" }
    return bitmap.isDone ? Notation.compact(bitmap.marked.value) : "..."
  }

  private func drawList(on canvas: inout Canvas) {
    let isNarrow = layout.list.width < 78
    let inner = canvas.frame(
      layout.list, title: "1 What changed since when",
      footer: isNarrow ? "" : "\(desk.key(.follow)) goes to its table in the file", focused: true,
      glyphs: desk.glyphs)
    guard !screen.bitmaps.isEmpty else {
      let key = desk.key(CommandID(AddBitmap.words.name))
      canvas.put("none yet; \(key) adds one", at: inner.x + 1, inner.y, maxWidth: inner.width - 2)
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    var columns: [Table.Column] = [
      .init("name", width: isNarrow ? 14 : 24), .init("a bit is", width: 8, alignment: .right, role: .number),
      .init("state", width: 11), .init("marked", width: 8, alignment: .right, role: .number),
    ]
    if !isNarrow {
      columns += [
        .init("of disk", width: 7, alignment: .right, role: .number),
        .init("table at", width: 14, alignment: .right, role: .muted),
      ]
    }
    let size = screen.image.virtualSize
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs
    ) { index in
      let bitmap = screen.bitmaps[index]
      var fields = [
        Table.Field(Escaping.human(bitmap.entry.name)),
        Table.Field(Notation.compact(bitmap.entry.granularity)),
        Table.Field(Self.state(bitmap), role: bitmap.isKnown ? nil : .warning), Table.Field(marked(bitmap)),
      ]
      if !isNarrow {
        let share = size == 0 ? 0 : Double(bitmap.marked.value) / Double(size) * 100
        let table = bitmap.entry.tableOffset.value
        fields += [
          Table.Field(bitmap.isKnown && bitmap.isDone ? Notation.decimals(share, 1) + "%" : ""),
          Table.Field(table == 0 ? "not stored yet" : "0x\(Notation.hex(table))"),
        ]
      }
      return fields
    }
  }

  private func drawStrips(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.strips, title: "2 The guest disk, 0 to its end: what each marks",
      footer: DiskStrip.legend("everything is marked", desk.glyphs), focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let names = min(16, inner.width / 4)
    let room = inner.width - names - 1
    guard room > 0 else { return }
    for (line, index) in window.visible.enumerated() where line < inner.height {
      let bitmap = screen.bitmaps[index]
      let y = inner.y + line
      canvas.put(
        TextWidth.padded(Escaping.human(bitmap.entry.name), to: names, glyphs: desk.glyphs), at: inner.x, y,
        role: index == screen.selected ? .key : .text)
      let x = inner.x + names + 1
      guard bitmap.isKnown, bitmap.isDone else {
        canvas.put(bitmap.isKnown ? "" : "not known", at: x, y, role: .muted, maxWidth: room)
        continue
      }
      let parts = bitmap.parts.enumerated().map { part, count in
        (count.value, bitmap.start(ofPart: part + 1) - bitmap.start(ofPart: part))
      }
      DiskStrip(parts: parts).draw(at: x, y, width: room, desk.glyphs, on: &canvas)
    }
  }

  private func drawMeaning(on canvas: inout Canvas) {
    let bitmap = screen.bitmaps.indices.contains(screen.selected) ? screen.bitmaps[screen.selected] : nil
    let inner = canvas.frame(
      layout.meaning, title: "3 " + (bitmap.map { Escaping.human($0.entry.name) } ?? "Bitmaps"), footer: "",
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let lines = meaning(bitmap).flatMap { TextWrap.wrap($0, width: inner.width) }
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(text, at: inner.x, inner.y + line)
    }
  }

  private func meaning(_ bitmap: BitmapCount?) -> [String] {
    guard let bitmap else {
      return ["a bitmap records which parts of the disk are written, so that a backup copies only these"]
    }
    guard bitmap.isKnown else {
      return [
        "the program that used it last did not store it: what it should say is not known, and it is never used",
        "it can only be removed, and a full backup be made",
      ]
    }
    let each = Notation.compact(bitmap.entry.granularity)
    let table = bitmap.entry.tableOffset.value
    return [
      bitmap.recordsWrites
        ? "every write marks the \(each) around it; a backup copies what is marked and clears it"
        : "it does not record what is written; \(desk.key(CommandID(EnableBitmap.words.name))) starts it",
      bitmap.isDone ? "\(bitmap.marked.value) bytes are marked" : "not counted yet",
      table == 0
        ? "it is not in the file yet"
        : "in the file as it was last stored: a table of \(counted(bitmap.entry.tableSize, "entry", "entries")) at "
          + "0x\(Notation.hex(table))",
    ]
  }
}
