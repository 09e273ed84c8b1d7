// How the list of lessons is drawn: a row each below the headings of the path, and what the selected one is for.

import Cartography
import CellScreen
import Course
import Storage

/// Where the panes stand; empty for those not shown.
struct LessonsLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var words = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame) {
    guard !frame.isTooSmall else { return }
    (list, words) = frame.body.splitBottom(frame.body.height >= 14 ? 6 : frame.body.height >= 10 ? 4 : 0)
  }

  /// Rows of the list.
  var rows: Int { max(1, list.height - 2) }
}

struct LessonsDrawing {
  private let screen: LessonsScreen
  private let layout: LessonsLayout
  private var desk: Desk { screen.desk }

  init(_ screen: LessonsScreen, _ layout: LessonsLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    drawList(on: &canvas)
    if !layout.words.isEmpty { drawWords(on: &canvas) }
  }

  /// Each state has a letter of its own.
  static func letter(_ state: LearnState) -> Unicode.Scalar {
    switch state {
    case .new: "-"
    case .begun: "o"
    case .done: "x"
    case .doneWithoutHints: "*"
    }
  }

  private func drawList(on canvas: inout Canvas) {
    let letters = LearnState.allCases.map { "\(Self.letter($0)) \($0.rawValue)" }.joined(separator: "   ")
    // The rule, where it has room.
    let rule = letters + "; wrong answers are free"
    let legend = TextWidth.width(rule) + 4 <= layout.list.width ? rule : letters
    let inner = canvas.frame(
      layout.list, title: "1 Lessons", footer: legend, focused: true, glyphs: desk.glyphs)
    let rows = screen.rows
    for row in 0..<inner.height where rows.indices.contains(screen.top + row) {
      let (index, y) = (screen.top + row, inner.y + row)
      switch rows[index] {
      case .heading(let title):
        canvas.put(
          TextWidth.truncated(title, to: max(0, inner.width - 1), glyphs: desk.glyphs), at: inner.x + 1, y,
          role: .paneTitle)
      case .lesson(let lesson): drawLesson(lesson, index, inner, y, on: &canvas)
      case .unreadable(let name, let problem):
        canvas.set(inner.x + 2, y, "!", role: .error)
        canvas.put(
          TextWidth.truncated("\(name)  \(problem)", to: max(0, inner.width - 5), glyphs: desk.glyphs),
          at: inner.x + 4, y, role: index == screen.selected ? .text : .error)
      }
      guard index == screen.selected else { continue }
      canvas.set(inner.x, y, ">", role: .key)
      canvas.restyle(Rect(x: inner.x, y: y, width: inner.width, height: 1), adding: .selected)
      canvas.cursor = Point(x: inner.x, y: y)
    }
  }

  private func drawLesson(
    _ lesson: Course.Lesson, _ index: Int, _ inner: Rect, _ y: Int, on canvas: inout Canvas
  ) {
    let role: Role? = index == screen.selected ? .text : nil
    let state = screen.state(of: lesson)
    canvas.set(inner.x + 2, y, Self.letter(state), role: role ?? (state == .new ? .muted : .ok))
    let nameX = inner.x + 4
    let minutes = "\(lesson.minutes) min"
    let minutesX = inner.endX - minutes.count - 1
    // Those of a folder are longer; a name is what is typed, so all of it is shown where it has room.
    let room = inner.width >= 60 ? max(18, inner.width - 40) : minutesX - nameX - 1
    let nameWidth = max(0, min(max(18, TextWidth.width(lesson.name)), room))
    canvas.put(
      TextWidth.truncated(lesson.name, to: nameWidth, glyphs: desk.glyphs), at: nameX, y, role: role ?? .key)
    let needs =
      inner.width >= 110 && !lesson.needs.isEmpty ? "needs " + lesson.needs.joined(separator: ", ") : ""
    let needsX = minutesX - (needs.isEmpty ? 0 : min(44, needs.count) + 2)
    let titleX = nameX + nameWidth + 1
    if inner.width >= 60 {
      canvas.put(
        TextWidth.truncated(lesson.title, to: max(0, needsX - titleX - 1), glyphs: desk.glyphs), at: titleX,
        y,
        role: role ?? .text)
    }
    if !needs.isEmpty {
      canvas.put(
        TextWidth.truncated(needs, to: 44, glyphs: desk.glyphs), at: needsX, y, role: role ?? .muted)
    }
    canvas.put(minutes, at: minutesX, y, role: role ?? .number)
  }

  private func drawWords(on canvas: inout Canvas) {
    if let (name, problem) = screen.problem {
      let inner = canvas.frame(layout.words, title: name, glyphs: desk.glyphs).inset(1, 0)
      let words = TextWrap.wrap("This file is no lesson. \(problem).", width: inner.width)
      for (row, line) in words.prefix(inner.height).enumerated() {
        canvas.put(line, at: inner.x, inner.y + row, role: .text, maxWidth: inner.width)
      }
      return
    }
    guard let lesson = screen.lesson else { return }
    let inner = canvas.frame(
      layout.words, title: lesson.title, footer: "\(desk.key(.beginLesson)) begins it", glyphs: desk.glyphs
    ).inset(1, 0)
    var words = TextWrap.wrap(lesson.goal, width: inner.width)
    let missing = screen.missing(lesson)
    let needs =
      lesson.needs.isEmpty
      ? ""
      : "Needs \(lesson.needs.joined(separator: ", "))"
        + (missing.isEmpty ? ", all of it done." : "; not done yet: \(missing.joined(separator: ", ")).")
    let more =
      "\(screen.state(of: lesson).rawValue), \(counted(lesson.minutes, "minute")), "
      + "\(counted(lesson.steps.count, "step")) and an exercise. " + needs
    words += TextWrap.wrap(more, width: inner.width)
    for (row, line) in words.prefix(inner.height).enumerated() {
      canvas.put(line, at: inner.x, inner.y + row, role: .text, maxWidth: inner.width)
    }
  }
}
