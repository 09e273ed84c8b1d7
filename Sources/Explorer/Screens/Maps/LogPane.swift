// The log: what the operations of the session did, the newest last.

import Cartography
import CellScreen
import Storage

final class LogPane: Pane {
  unowned let maps: MapsScreen
  let desk: Desk
  let context = Context.log
  private var selected = 0
  /// The revision of the session that the selection is about.
  private var revision: Int

  init(_ maps: MapsScreen) {
    self.maps = maps
    desk = maps.desk
    revision = maps.desk.session.revision
  }

  private var operations: [Session.Step] { desk.session.done }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow), HintRule(.undo), HintRule(.step), HintRule(.redo),
      HintRule(.search),
      HintRule(.screens), HintRule(.prompt), HintRule(.help), HintRule(.close),
    ]
  }

  /// The selected operation, from 1; nil without one.
  var operation: Int? { operations.isEmpty ? nil : selected + 1 }

  /// Lines that there are to show, each operation with all that is said of it; up to those that no screen has room for.
  var lineCount: Int {
    var lines = 0
    for step in operations.suffix(100) {
      lines += max(1, step.narration.lines.count)
      if lines > 100 { break }
    }
    return max(1, lines)
  }

  func selectNewest() { selected = max(0, operations.count - 1) }

  func sessionWasReplaced() {
    selected = 0
    revision = desk.session.revision
  }

  /// What was done last is selected.
  func settle(_ room: PaneRoom) {
    if revision != desk.session.revision { selectNewest() }
    revision = desk.session.revision
    selected = max(0, min(selected, operations.count - 1))
  }

  func keepsake() -> () -> Void {
    let selected = selected
    return { self.selected = selected }
  }

  func move(_ movement: Movement, _ count: Int, _ room: PaneRoom) {
    selected = movement.row(
      from: selected, count, in: operations.count, page: max(1, room.inner.height - 1))
  }

  /// To the place of an operation.
  func follow() throws(CommandError) {
    guard operations.indices.contains(selected) else { return }
    desk.remember()
    desk.show(.maps(.guestMap))
    desk.setCursor(.guest, operations[selected].place ?? 0)
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let found = Searching.row(with: text, in: operations.count, from: selected, forward: forward) {
      operations[$0].title + " " + operations[$0].narration.lines.joined(separator: " ")
    }
    guard let found else { return false }
    selected = found
    return true
  }

  func draw(_ room: PaneRoom, _ place: Place, on canvas: inout Canvas) {
    if let live = desk.session.live, operations.isEmpty { return drawGuests(live, room, on: &canvas) }
    let undone = desk.session.undone.count
    let whose = desk.session.follower == nil ? "this session, all can be undone" : "of another program"
    var footer = operations.isEmpty ? "nothing done yet" : "\(counted(operations.count, "op")) \(whose)"
    if undone > 0 { footer += ", \(undone) undone: \(desk.key(.redo)) does them again" }
    canvas.frame(
      room.frame, title: "\(PaneNumber.log.rawValue) Log", footer: footer, focused: room.isFocused,
      glyphs: desk.glyphs)
    let inner = room.inner
    guard !operations.isEmpty else {
      let offer =
        "\(desk.key(.write)) writes, \(desk.key(.discard)) discards, \(desk.key(.zero)) zeroes at the cursor, "
        + "\(desk.key(.prompt)) takes commands"
      let isFollowed = desk.session.follower != nil
      canvas.put(
        "no operation yet: " + (isFollowed ? "what the other program writes will be listed" : offer),
        at: inner.x + 1, inner.y, role: .muted, maxWidth: inner.width - 2)
      return
    }
    drawOperations(room, on: &canvas)
  }

  /// What guests do, the newest last, with how much it is.
  private func drawGuests(_ live: LiveDisk, _ room: PaneRoom, on canvas: inout Canvas) {
    let counts = LiveDrawing.counts(live)
    let busy = counts.prefix(3).map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    let points = live.gate.breakpoints.count
    canvas.frame(
      room.frame, title: "\(PaneNumber.log.rawValue) Guests",
      footer:
        "\(busy)\(points == 0 ? "" : ", \(counted(points, "breakpoint"))"); \(desk.key(.live)) tells more",
      focused: room.isFocused, glyphs: desk.glyphs)
    let inner = room.inner.inset(1, 0)
    if room.isFocused { canvas.cursor = Point(x: inner.x, y: inner.y) }
    guard !live.lines.isEmpty else {
      for (row, line) in TextWrap.wrap(
        "served at \(Escaping.human(live.uri)); nothing was asked yet", width: inner.width
      )
      .prefix(inner.height).enumerated() {
        canvas.put(line, at: inner.x, inner.y + row, role: .muted)
      }
      return
    }
    LiveLog.draw(live.lines.suffix(inner.height), in: inner, desk, on: &canvas)
  }

  private func drawOperations(_ room: PaneRoom, on canvas: inout Canvas) {
    let inner = room.inner
    // The newest operation and the words about it are worth more than old lines.
    var lines: [(text: String, operation: Int, isFirst: Bool)] = []
    let selected = room.isFocused ? selected : operations.count - 1
    // Where all of it has room, every operation is told in full.
    let isRoomy = lineCount <= inner.height && operations.count <= 100
    for index in max(0, operations.count - 200)..<operations.count {
      let narration = operations[index].narration
      let title =
        "\(TextWidth.padded(String(index + 1), to: 3)) \(TextWidth.padded(narration.title, to: inner.width >= 100 ? 34 : 28)) "
      let indent = String(repeating: " ", count: title.count)
      let told = narration.lines.isEmpty ? ["nothing changed"] : narration.lines
      if index == selected || isRoomy {
        for (number, line) in told.enumerated() {
          lines.append(((number == 0 ? title : indent) + line, index, number == 0))
        }
      } else {
        lines.append((title + told.joined(separator: "   "), index, true))
      }
    }
    let chosen = lines.firstIndex { $0.operation == selected } ?? 0
    let last = lines.lastIndex { $0.operation == selected } ?? 0
    var top = max(0, lines.count - inner.height)
    top = min(top, max(0, chosen))
    if last >= top + inner.height { top = min(chosen, last - inner.height + 1) }
    for (row, line) in lines.dropFirst(top).prefix(inner.height).enumerated() {
      let y = inner.y + row
      canvas.put(TextWidth.truncated(line.text, to: inner.width - 2, glyphs: desk.glyphs), at: inner.x + 1, y)
      if line.operation == selected && line.isFirst {
        canvas.set(inner.x, y, ">", role: .key)
        if room.isFocused {
          canvas.restyle(Rect(x: inner.x, y: y, width: inner.width, height: 1), adding: .selected)
          canvas.cursor = Point(x: inner.x, y: y)
        }
      }
    }
  }
}
