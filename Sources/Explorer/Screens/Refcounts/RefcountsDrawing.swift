// How the screen of refcount blocks is drawn: the list, the part of the file that each block counts, and what the
// selected one means.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

struct RefcountsDrawing {
  private let screen: RefcountsScreen
  private let layout: StripLayout
  private var desk: Desk { screen.desk }

  init(_ screen: RefcountsScreen, _ layout: StripLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.strips.isEmpty { drawStrips(on: &canvas) }
    if !layout.meaning.isEmpty { drawMeaning(on: &canvas) }
  }

  private var window: ListWindow {
    ListWindow(count: screen.count, height: layout.listRows, selected: screen.selected, top: screen.top)
  }

  private func drawList(on canvas: inout Canvas) {
    let isNarrow = layout.list.width < 78
    let inner = canvas.frame(
      layout.list, title: "1 Who counts what",
      footer: isNarrow ? "" : "\(desk.key(.follow)) goes to the block in the file", focused: true,
      glyphs: desk.glyphs)
    var columns: [Table.Column] = [
      .init("entry", width: 7, alignment: .right, role: .number),
      .init("block at", width: 14, alignment: .right),
    ]
    if !isNarrow { columns.append(.init("counts from host", width: 16, alignment: .right, role: .muted)) }
    columns += [
      .init("free", width: 8, alignment: .right, role: .number),
      .init("once", width: 8, alignment: .right, role: .number),
    ]
    if !isNarrow {
      columns += [
        .init("shared", width: 8, alignment: .right, role: .number),
        .init("most", width: 6, alignment: .right, role: .number),
      ]
    }
    let bits = UInt64(desk.geometry.clusterBits)
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs
    ) { index in
      let block = screen.image.refcountTableEntry(index).block
      let row = screen.row(index)
      func number(_ value: (RefcountBlockRow) -> UInt64) -> Table.Field {
        Table.Field(block == nil ? "" : row.map { String(value($0)) } ?? "...")
      }
      var fields = [
        Table.Field(String(index)), Table.Field(block.map { "0x\(Notation.hex($0.value))" } ?? "none"),
      ]
      if !isNarrow {
        let (first, overflow) = UInt64(index).multipliedReportingOverflow(by: desk.geometry.refcountsPerBlock)
        fields.append(Table.Field(overflow ? "" : "0x\(Notation.hex(first << bits))"))
      }
      fields += [number(\.free), number(\.once)]
      if !isNarrow { fields += [number(\.shared), number(\.highest)] }
      return fields
    }
  }

  private func drawStrips(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.strips, title: "2 The part of the file that each counts",
      footer: DiskStrip.legend("every cluster is in use", desk.glyphs), focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let room = inner.width - 8
    guard room > 0 else { return }
    for (line, index) in window.visible.enumerated() where line < inner.height {
      let y = inner.y + line
      canvas.put(
        TextWidth.padded(String(index), to: 7, .right), at: inner.x, y,
        role: index == screen.selected ? .key : .number)
      guard let row = screen.row(index) else { continue }
      DiskStrip(parts: zip(row.parts, row.wholes).map { ($0, $1) })
        .draw(at: inner.x + 8, y, width: room, desk.glyphs, on: &canvas)
    }
  }

  private func drawMeaning(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.meaning, title: "3 Entry \(screen.selected)", footer: "", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    for (line, text) in meaning.flatMap({ TextWrap.wrap($0, width: inner.width) }).enumerated()
    where line < inner.height {
      canvas.put(text, at: inner.x, inner.y + line)
    }
  }

  private var meaning: [String] {
    guard let row = screen.row(screen.selected) else { return ["not counted yet"] }
    let all = counted(row.clusters.upperBound - row.clusters.lowerBound, "cluster")
    guard let block = row.block else {
      return [
        "no block yet: all of its \(all) count as free; the first cluster that is taken here makes one"
      ]
    }
    let inFile = row.wholes.reduce(0, +)
    var lines = [
      "the block at 0x\(Notation.hex(block.value)) has a count for each of \(all)",
      inFile == 0
        ? "the file ends in front of all of them"
        : "of those that the file reaches, \(row.once) have one owner, \(row.shared) have more, \(row.free) are free",
    ]
    if row.behind > 0 {
      lines.append(
        "\(counted(row.behind, "count")) above 0 behind the end of the file: leaked, or the file was cut")
    }
    return lines
  }
}
