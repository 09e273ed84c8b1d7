// The words of a lesson, in a strip of a few rows under the one screen that matters.

import Cartography
import CellScreen
import Course

/// How the words of a lesson are laid out and drawn.
final class LessonPane {
  /// Rows of words, without the line above them.
  static let rows = 3...8
  /// The same for a drawn question, which says on its own what a lesson says step by step.
  static let rowsOfQuestion = 3...12
  /// The same for an exercise, which has its goals as well.
  static let rowsOfExercise = 3...10
  /// Rows that are left for the screen.
  private static let leastBody = 5

  private var wrapped: (width: Int, title: String, lines: [(text: String, role: Role)])?
  /// Not all words have room at once; a key reads on.
  private(set) var isCut = false
  /// The first row of words that is seen.
  private var top = 0
  /// The words are new: what was said to an answer is seen first, if not all of them have room.
  private var isNew = false
  /// Rows that are seen, and all there are.
  private var rowsShown = 0
  private var rowsAll = 0

  /// Something else is to be said.
  func forget() { (wrapped, top, isNew) = (nil, 0, true) }

  /// The words that have no room come, and behind the last of them the first ones again; false if all are there.
  func readOn() -> Bool {
    guard isCut else { return false }
    // The last row that was read stays, so that nobody loses the place.
    top = top + rowsShown >= rowsAll ? 0 : min(top + max(1, rowsShown - 1), rowsAll - rowsShown)
    return true
  }

  /// Rows that it takes of a screen, the line above it with them.
  func height(_ play: LessonPlay, _ desk: Desk) -> Int {
    let body = desk.height - 3
    guard desk.width >= ScreenSize.smallestWidth, desk.height >= ScreenSize.smallestHeight else { return 0 }
    let count = words(play, desk).lines.count
    let limits =
      play.drawn != nil ? Self.rowsOfQuestion : play.exercise != nil ? Self.rowsOfExercise : Self.rows
    let wanted = max(limits.lowerBound, min(limits.upperBound, count))
    let rows = max(1, min(wanted, body - Self.leastBody - 1))
    isCut = count > rows
    (rowsShown, rowsAll) = (rows, count)
    if isNew, play.feedback != nil, play.phase == .asking { top = count - rows }
    isNew = false
    top = max(0, min(top, count - rows))
    return rows + 1
  }

  private func words(
    _ play: LessonPlay, _ desk: Desk
  ) -> (title: String, lines: [(text: String, role: Role)]) {
    let width = max(1, desk.width - 2)
    if let wrapped, wrapped.width == width { return (wrapped.title, wrapped.lines) }
    let words = LessonWords(play, desk)
    func wrap(_ paragraphs: [LessonWords.Paragraph]) -> [(text: String, role: Role)] {
      paragraphs.flatMap { paragraph in
        let isWhole = paragraph.isRow && TextWidth.width(paragraph.text) <= width
        return (isWhole ? [paragraph.text] : TextWrap.wrap(paragraph.text, width: width)).map {
          ($0, paragraph.role)
        }
      }
    }
    let lines = wrap(words.paragraphs)
    wrapped = (width, words.title, lines)
    return (words.title, lines)
  }

  func draw(_ play: LessonPlay, _ desk: Desk, _ area: Rect, on canvas: inout Canvas) {
    guard area.height > 1 else { return }
    let line: Unicode.Scalar = desk.glyphs == .ascii ? "-" : "─"
    canvas.fill(area)
    canvas.fill(Rect(x: area.x, y: area.y, width: area.width, height: 1), line, role: .border)
    let (title, lines) = words(play, desk)
    var more = ""
    if isCut {
      more = " \(top + 1)-\(min(lines.count, top + area.height - 1)) of \(lines.count), "
      more += "\(desk.key(.readOn)) reads on "
      canvas.put(more, at: area.endX - 1 - TextWidth.width(more), area.y, role: .key)
    }
    canvas.put(
      TextWidth.truncated(
        " \(title) ", to: max(0, area.width - 4 - TextWidth.width(more)), glyphs: desk.glyphs),
      at: area.x + 1, area.y, role: .paneTitle)
    for (row, line) in lines.dropFirst(top).prefix(area.height - 1).enumerated() {
      canvas.put(line.text, at: area.x + 1, area.y + 1 + row, role: line.role, maxWidth: area.width - 2)
    }
  }
}

/// What a lesson says now.
struct LessonWords {
  private let play: LessonPlay
  private let desk: Desk

  init(_ play: LessonPlay, _ desk: Desk) {
    self.play = play
    self.desk = desk
  }

  /// Where in the lesson one is.
  var title: String {
    let lesson = play.lesson
    if let exam = play.quiz?.exam {
      return play.isExamOver
        ? "Exam: the end" : "Exam, \(exam.place): \(play.drawn?.seed?.kind.rawValue ?? "")"
    }
    if let seed = play.drawn?.seed {
      return "Quiz: \(seed.kind.rawValue), level \(seed.level)" + (play.quiz?.count.map { ", \($0)" } ?? "")
        + " (\(seed))"
    }
    switch play.place {
    case .step(let index):
      return "Lesson \(lesson.name), step \(index + 1) of \(lesson.steps.count): \(lesson.steps[index].title)"
    case .exercise:
      let goals = play.goals
      // What holds from the beginning is nobody's work yet.
      let state =
        play.performed.isEmpty
        ? ", nothing is done yet"
        : goals.isEmpty ? "" : ", \(goals.count(where: \.isHeld)) of \(goals.count) goals hold"
      return "Lesson \(lesson.name): exercise" + state
    case .end: return "Lesson \(lesson.name): the end"
    }
  }

  /// A part of the words, in one style.
  struct Paragraph {
    var text: String
    var role: Role
    /// Its blanks stay as they are where it has room in a row.
    var isRow: Bool

    init(_ text: String, _ role: Role = .text, isRow: Bool = false) {
      self.text = text
      self.role = role
      self.isRow = isRow
    }
  }

  /// What is to be read, in its order.
  var paragraphs: [Paragraph] {
    let moment = play.moment
    func filled(_ text: String?) -> [Paragraph] {
      guard let text else { return [] }
      return text.split(separator: "\n").map {
        Paragraph(moment.filled(String($0)), isRow: play.drawn != nil)
      }
    }
    if play.isExamOver { return exam }
    if play.place == .end {
      return [
        Paragraph("What most get wrong: " + moment.filled(play.lesson.trap)), Paragraph(wayOn, .key),
      ]
    }
    if let off = offTrack {
      // What is said of the image is said as long as it is true.
      return play.factsThatFail.isEmpty
        ? [off] + filled(play.step?.question?.text ?? play.step?.say)
        : [off, Paragraph("What the step says is not true of this image.", .muted)]
    }
    let feedback = play.feedback.map { [Paragraph($0.text, $0.role)] } ?? []
    return adopted + words(filled, feedback, moment)
  }

  /// What a place says on the track.
  private func words(
    _ filled: (String?) -> [Paragraph], _ feedback: [Paragraph], _ moment: LessonMoment
  ) -> [Paragraph] {
    switch play.phase {
    case .asking: return filled(play.step?.say ?? play.exercise?.text) + asked(moment) + feedback
    case .doing where play.exercise != nil:
      let perform = "\(CommandID.perform)"
      // Where another file is meant, how to go to it is no part of the question.
      let first = play.exercise?.solution.first?.text
      let opening = first.flatMap { $0.split(separator: " ").first == "open" ? $0 : nil }
      let how =
        "Type \(perform) and an operation, as in "
        + (opening.map { "\(perform) \($0), then " } ?? "") + "\(perform) write -P 1 0 4k; "
        + "\(desk.key(.hint)) gives a hint."
      return filled(play.exercise?.text) + goals
        + (feedback.isEmpty ? done + [Paragraph(how, .muted)] : feedback)
    case .doing: return (feedback.isEmpty ? filled(play.step?.say) : feedback) + done + next
    case .done:
      guard let step = play.step else { return filled(play.exercise?.text) + goals + feedback + [ahead] }
      // A step that asks nothing and does nothing begins here: what it says was not seen before.
      let isUnsaid = step.question == nil && !step.acts.contains { $0.operation != nil }
      return feedback + done + (isUnsaid ? filled(step.say) : [])
        + filled(step.reason ?? (isUnsaid ? nil : step.say)) + nextQuestion
    }
  }

  /// The goals of an exercise, each with a letter for whether it holds now, and what is there instead.
  private var goals: [Paragraph] {
    play.goals.map { goal in
      // The learner's own file is no part of a sentence about it.
      let now = goal.found.map { ", now \(TextWidth.truncated($0, to: 24, glyphs: desk.glyphs))" } ?? ""
      return Paragraph("\(goal.isHeld ? "x" : "-") \(goal.text)\(now)", goal.isHeld ? .ok : .text)
    }
  }

  private var exam: [Paragraph] {
    [
      Paragraph("The exam is over: \(play.quiz?.count ?? "")."),
      Paragraph("\(desk.key(.lesson, "next")) shows the questions, what is right and why\(leaving)", .key),
    ]
  }

  private func asked(_ moment: LessonMoment) -> [Paragraph] {
    guard let question = play.question else { return [] }
    let what = question.kind == .order ? "the numbers in their order" : "your answer"
    let shape = question.drawn.map { " " + $0.answerShape } ?? ""
    // In an exam nothing else says so.
    let passing = play.isExam ? "; \(CommandID.answer) \(QuizExam.passed) leaves it out" : ""
    let how = question.choices.isEmpty ? " (\(desk.key(.answer)): \(what)\(passing))" : ""
    let text = Paragraph(moment.filled(question.text) + shape + how, .key)
    return [text] + choices(of: question, moment).map { Paragraph($0, isRow: play.drawn != nil) }
  }

  /// The choices in rows; those of a drawn question are short, two of them have room in one.
  private func choices(of question: Course.Lesson.Question, _ moment: LessonMoment) -> [String] {
    let cells = question.choices.map { "  \($0.letter)  \(moment.filled($0.text))" }
    let width = cells.map { TextWidth.width($0) }.max() ?? 0
    guard question.drawn != nil, 2 * width + 4 <= desk.width else { return cells }
    return stride(from: 0, to: cells.count, by: 2).map { index in
      index + 1 < cells.count
        ? TextWidth.padded(cells[index], to: width + 2) + cells[index + 1] : cells[index]
    }
  }

  private var nextQuestion: [Paragraph] {
    play.drawn == nil
      ? [] : [Paragraph("\(desk.key(.lesson, "next")) asks the next question\(leaving)", .key)]
  }

  /// How to get back to the image that was there before.
  private var leaving: String {
    desk.left.map { "; \(CommandID.leave) goes back to \($0.name)" } ?? ""
  }

  private var done: [Paragraph] {
    guard let last = play.performed.last else { return [] }
    let lines = play.performed.filter { !$0.isRefused }.suffix(2).map(\.line)
    return (lines.isEmpty ? [] : [Paragraph("done: " + lines.joined(separator: "; "), .ok)])
      + (last.isRefused ? [Paragraph("refused: \(last.line)", .warning)] : [])
  }

  private var next: [Paragraph] {
    let lines = play.left
    guard let line = lines.first(where: { !$0.hasPrefix("undo") && !$0.hasPrefix("reopen") }) ?? lines.first
    else { return [] }
    return [Paragraph("\(desk.key(.lesson, "next")) does: \(line)", .key)]
  }

  private var ahead: Paragraph { Paragraph("\(desk.key(.lesson, "next")): what most get wrong", .key) }

  private var wayOn: String {
    let next = play.nextLesson.map { "\(desk.key(.lesson, "next")) begins the next lesson, '\($0)'; " } ?? ""
    return next + "\(desk.key(.lessons)) lists all lessons\(leaving)."
  }

  private var offTrack: Paragraph? {
    guard play.own != nil, let first = play.ownLines.first else { return nil }
    let what = first.isEmpty ? "an undo" : first
    let back = desk.key(.lesson, "back")
    let answer = play.phase == .asking ? ", \(desk.key(.answer)) goes back and answers" : ""
    return Paragraph(
      play.drawn == nil
        ? "off the lesson since step \(play.index + 1): \(what); \(back) goes back to the step\(answer), "
          + "\(desk.key(.lesson, "next")) goes on from here"
        : "off the question since: \(what); \(back) goes back to it\(answer)",
      .warning)
  }

  /// That the image is the learner's own by now.
  private var adopted: [Paragraph] {
    guard let adopted = play.adopted, let line = adopted.lines.first else { return [] }
    let more = adopted.lines.count > 1 ? " and more" : ""
    return [
      Paragraph(
        "your own image since step \(adopted.index + 1): \(line.isEmpty ? "an undo" : line)\(more); "
          + "\(desk.key(.lesson, "back")) leads back", .muted)
    ]
  }
}
