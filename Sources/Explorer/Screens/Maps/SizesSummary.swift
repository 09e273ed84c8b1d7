// The sizes of the image in room that no pane can fill: what the file consists of, with its snapshots beside it.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

struct SizesSummary {
  private let desk: Desk
  private let ladder: SizeLadder

  init(_ desk: Desk) {
    self.desk = desk
    // Scratch changes are in no file yet.
    let isNow = desk.session.hasFile && desk.scene === desk.session.scene
    ladder = SizeLadder(desk.scene.atlas, blocks: isNow ? desk.session.overlay.base.allocatedBytes : nil)
  }

  func draw(_ area: Rect, on canvas: inout Canvas) {
    let snapshots = desk.scene.image.snapshots
    let (left, right) = area.splitLeft(
      snapshots.isEmpty || area.width < 120 ? area.width : area.width - area.width / 3)
    drawSizes(left, on: &canvas)
    if !right.isEmpty { drawSnapshots(snapshots, right, on: &canvas) }
  }

  private func drawSizes(_ area: Rect, on canvas: inout Canvas) {
    let atlas = desk.scene.atlas
    let inner = canvas.frame(
      area, title: "Sizes",
      footer: atlas.isDone
        ? "\(desk.key(.ladder)) tells what moves them" : "so far, \(Int(atlas.progress * 100))%",
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let parts = Set(ladder.parts.map(\.kind))
    let whole = max(1, ladder.parts.reduce(0) { $0 &+ $1.bytes })
    let barX = inner.x + 34
    let room = inner.endX - barX
    // What there is nothing of is not worth a row here.
    let rungs = ladder.rungs.filter { $0.bytes > 0 || !parts.contains($0.kind) }
    for (row, rung) in rungs.prefix(inner.height).enumerated() {
      let y = inner.y + row
      let isPart = parts.contains(rung.kind)
      canvas.put(
        (isPart ? "  " : "") + rung.kind.rawValue, at: inner.x, y,
        role: rung.kind == .leaked ? .warning : .text,
        maxWidth: 18)
      canvas.put(
        TextWidth.padded(Notation.compact(rung.bytes), to: 8, .right), at: inner.x + 18, y, role: .number)
      guard isPart, room > 8 else { continue }
      let share = Double(rung.bytes) / Double(whole)
      canvas.put(
        TextWidth.padded("\(Int((share * 100).rounded()))%", to: 5, .right), at: barX - 7, y, role: .number)
      let glyph = Glyphs.guest(.data)
      canvas.fill(
        Rect(x: barX, y: y, width: max(1, min(room, Int((share * Double(room)).rounded()))), height: 1),
        glyph.scalar(desk.glyphs), role: glyph.role)
    }
  }

  private func drawSnapshots(_ snapshots: [SnapshotEntry], _ area: Rect, on canvas: inout Canvas) {
    let inner = canvas.frame(
      area, title: "Snapshots", footer: "\(desk.key(.snapshots)) tells what each holds", focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    for (row, snapshot) in snapshots.prefix(inner.height).enumerated() {
      // The last row says how many are not there.
      if row == inner.height - 1, snapshots.count > inner.height {
        canvas.put("and \(snapshots.count - row) more", at: inner.x, inner.y + row, role: .muted)
        break
      }
      let state = snapshot.vmStateSize > 0 ? "  state \(Notation.compact(snapshot.vmStateSize))" : ""
      canvas.put(
        TextWidth.truncated(
          Escaping.human("\(snapshot.id)  \(snapshot.name)") + state, to: inner.width, glyphs: desk.glyphs),
        at: inner.x, inner.y + row)
    }
  }
}
