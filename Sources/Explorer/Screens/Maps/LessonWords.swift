// The words of a lesson, in the pane of the log: the command of the step, what it showed, and what the
// log says about it where there is room.

import Cartography
import CellScreen

struct LessonWords {
  private let desk: Desk
  private let state: LessonState

  init(_ desk: Desk, _ state: LessonState) {
    self.desk = desk
    self.state = state
  }

  func draw(_ room: PaneRoom, on canvas: inout Canvas) {
    let steps = state.lesson.steps.count
    let title =
      "\(PaneNumber.log.rawValue) Lesson: \(state.lesson.title)   step \(state.step + 1) of \(steps)"
    let back = "\(desk.key(.lesson, "back")) back"
    let footer =
      state.isLast
      ? "the end   \(back)   \(desk.key(.close)) leave"
      : "\(desk.key(.lesson, "next")) next step   \(back)"
    canvas.frame(room.frame, title: title, footer: footer, focused: room.isFocused, glyphs: desk.glyphs)
    let inner = room.inner
    guard inner.width > 4 else { return }
    var y = inner.y
    func line(_ text: String, _ role: Role) {
      guard y < inner.endY else { return }
      canvas.put(text, at: inner.x + 1, y, role: role, maxWidth: inner.width - 2)
      y += 1
    }
    let told = desk.session.done.last?.narration
    if let problem = state.problem(desk) {
      for part in TextWrap.wrap(problem, width: inner.width - 2) { line(part, .warning) }
      guard let told else { return }
      for part in [told.title] + told.lines { line("log: " + part, .muted) }
      return
    }
    let command = state.current.command.map { TextWrap.wrap(":" + $0, width: inner.width - 2) } ?? []
    let text = TextWrap.wrap(
      state.current.text.text(desk.keys, in: desk.current.context), width: inner.width - 2)
    for part in command { line(part, .key) }
    for part in text { line(part, .text) }
    guard !command.isEmpty, let told, y + 1 < inner.endY else { return }
    y += 1
    for part in told.lines { line("log: " + part, .muted) }
  }
}
