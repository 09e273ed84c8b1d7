// The sizes of the image in room that no pane can fill: what the file consists of, with its snapshots and the
// layers below it beside it.

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
    ladder = SizeLadder(desk.scene.atlas, blocks: desk.hostBlocks)
  }

  func draw(_ area: Rect, on canvas: inout Canvas) {
    let snapshots = desk.scene.image.snapshots
    let layers = desk.scene.image.layers
    let hasNone = snapshots.isEmpty && layers.count < 2
    let (left, right) = area.splitLeft(
      hasNone || area.width < 120 ? area.width : area.width - area.width / 3)
    drawSizes(left, on: &canvas)
    guard !right.isEmpty else { return }
    // The layers take what they need, up to the half.
    let (upper, lower) = right.splitBottom(
      layers.count < 2 ? 0 : snapshots.isEmpty ? right.height : min(layers.count + 2, right.height / 2))
    if !upper.isEmpty { drawSnapshots(snapshots, upper, on: &canvas) }
    if !lower.isEmpty { drawLayers(layers, lower, on: &canvas) }
  }

  private func drawSizes(_ area: Rect, on canvas: inout Canvas) {
    let atlas = desk.scene.atlas
    let inner = canvas.frame(
      area, title: "Sizes",
      footer: atlas.isDone
        ? "\(desk.key(.ladder)) tells what moves them" : "so far, \(Int(atlas.progress * 100))%",
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let whole = max(1, ladder.parts.reduce(0) { $0 &+ $1.bytes })
    let barX = inner.x + 34
    let room = inner.endX - barX
    // What there is nothing of is not worth a row here.
    let rungs = ladder.rungs.filter { $0.bytes > 0 || !$0.kind.isPart }
    for (row, rung) in rungs.prefix(inner.height).enumerated() {
      let y = inner.y + row
      let isPart = rung.kind.isPart
      canvas.put(
        (rung.kind.parent == nil ? "" : "  ") + rung.kind.rawValue, at: inner.x, y,
        role: rung.kind == .leaked ? .warning : .text,
        maxWidth: 18)
      canvas.put(
        TextWidth.padded(Notation.compact(rung.bytes), to: 8, .right), at: inner.x + 18, y, role: .number)
      guard isPart, room > 8 else { continue }
      let share = Double(rung.bytes) / Double(whole)
      canvas.put(
        TextWidth.padded(
          share < 0.0005 ? "<0.1%" : Notation.decimals(share * 100, share < 0.1 ? 1 : 0) + "%", to: 5, .right),
        at: barX - 7, y, role: .number)
      let glyph = Glyphs.guest(.data)
      canvas.fill(
        Rect(x: barX, y: y, width: max(1, min(room, Int((share * Double(room)).rounded()))), height: 1),
        glyph.scalar(desk.glyphs), role: glyph.role)
    }
  }

  /// The image and what it stands on, top first.
  private func drawLayers(_ layers: [any GuestLayer], _ area: Rect, on canvas: inout Canvas) {
    let inner = canvas.frame(
      area, title: "Layers, top first", footer: "\(desk.key(.snapshots)) tells what each holds",
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    for (row, layer) in layers.prefix(inner.height).enumerated() {
      if row == inner.height - 1, layers.count > inner.height {
        canvas.put("and \(layers.count - row) more", at: inner.x, inner.y + row, role: .muted)
        break
      }
      let size = layer.isMissing ? "missing" : Notation.compact(layer.virtualSize)
      let name = TextWidth.truncatedAtStart(
        Escaping.human(ByteText.lastPart(of: layer.layerName)), to: max(1, inner.width - 10),
        glyphs: desk.glyphs)
      canvas.put(name, at: inner.x, inner.y + row)
      canvas.put(
        TextWidth.padded(size, to: 8, .right), at: inner.endX - 8, inner.y + row,
        role: layer.isMissing ? .warning : .number)
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
