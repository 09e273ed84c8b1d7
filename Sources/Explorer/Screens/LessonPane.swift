// The words of a lesson, in the pane of the log: the command of the step, what it showed, and what the
// log says about it where there is room.

import Cartography
import CellScreen

extension Explorer {
  func drawLesson(_ state: LessonState, _ layout: ScreenLayout, on canvas: inout Canvas) {
    let steps = state.lesson.steps.count
    let title = "4 Lesson: \(state.lesson.title)   step \(state.step + 1) of \(steps)"
    let footer = state.isLast ? "the end   , back   q leave" : ". next step   , back"
    canvas.frame(layout.logFrame, title: title, footer: footer, focused: ui.focus == 4, glyphs: ui.glyphs)
    let room = layout.log
    guard room.width > 4 else { return }
    var y = room.y
    func line(_ text: String, _ role: Role) {
      guard y < room.endY else { return }
      canvas.put(text, at: room.x + 1, y, role: role, maxWidth: room.width - 2)
      y += 1
    }
    if let lessonProblem {
      for part in TextWrap.wrap(lessonProblem, width: room.width - 2) { line(part, .warning) }
      guard let told = session.done.last?.narration else { return }
      for part in [told.title] + told.lines { line("log: " + part, .muted) }
      return
    }
    let command = state.current.command.map { TextWrap.wrap(":" + $0, width: room.width - 2) } ?? []
    let text = TextWrap.wrap(state.current.text, width: room.width - 2)
    for part in command { line(part, .key) }
    for part in text { line(part, .text) }
    guard !command.isEmpty, let told = session.done.last?.narration, y + 1 < room.endY else { return }
    y += 1
    for part in told.lines { line("log: " + part, .muted) }
  }
}
