// The screen of lessons: the path as a list with headings, how far one is in each, how long it takes and what it needs.

import Cartography
import CellScreen
import Course
import Storage

extension ScreenKind {
  /// The screen of lessons.
  package static let lessons = ScreenKind("lessons")
}

extension Context {
  /// Where its keys are.
  package static let lessons = Context("lessons", title: "Lessons", [.image, .searched])
}

extension Contexts {
  static let lessons = Contexts(.lessons)
}

extension CommandID {
  /// The list of lessons.
  package static let lessons = CommandID("lessons")
}

final class LessonsScreen: Screen {
  static let kind = ScreenKind.lessons
  static let contexts: [Context] = [.lessons]

  /// A row of the list.
  enum Row {
    case heading(String)
    case lesson(Course.Lesson)
    /// A file of the user that is no lesson: its name and why.
    case unreadable(String, LessonProblem)
  }

  /// The lessons of the program, read once.
  private static let own: [Row] = LessonLibrary.path.flatMap { part -> [Row] in
    var rows = [Row.heading(part.title)]
    for name in part.lessons {
      if let lesson = try? LessonLibrary.lesson(name) { rows.append(.lesson(lesson)) }
    }
    return rows
  }

  let desk: Desk
  private(set) var selected = 1
  private(set) var top = 0
  /// How far one is; read when the screen is opened.
  private(set) var states: [String: LearnState] = [:]

  init(_ desk: Desk) { self.desk = desk }

  /// The path, and below it the folders of the user; all are read when the screen is opened first, not at the start.
  private(set) lazy var rows = LessonsScreen.own

  var lesson: Course.Lesson? {
    guard rows.indices.contains(selected), case .lesson(let lesson) = rows[selected] else { return nil }
    return lesson
  }

  /// What is wrong with the file that is selected, if it is no lesson.
  var problem: (name: String, LessonProblem)? {
    guard rows.indices.contains(selected), case .unreadable(let name, let problem) = rows[selected] else {
      return nil
    }
    return (name, problem)
  }

  private var isHeading: Bool {
    guard rows.indices.contains(selected), case .heading = rows[selected] else { return false }
    return true
  }

  func state(of lesson: Course.Lesson) -> LearnState {
    states[lesson.name] ?? (desk.lesson?.lesson.name == lesson.name ? .begun : .new)
  }

  /// What a lesson needs and is not done yet.
  func missing(_ lesson: Course.Lesson) -> [String] {
    lesson.needs.filter { ![.done, .doneWithoutHints].contains(states[$0] ?? .new) }
  }

  // MARK: Words

  var context: Context { .lessons }

  var titles: [String] {
    let all = rows.count { if case .lesson = $0 { true } else { false } }
    let done = states.values.count { $0 == .done || $0 == .doneWithoutHints }
    return [" lessons: \(done) of \(all) done", "\(done) of \(all) lessons", "lessons"]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.beginLesson), HintRule(.search), HintRule(.prompt),
      HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .close: [KeyRule("q L", in: .lessons)], .beginLesson: [KeyRule("Enter", in: .lessons)],
  ]

  var cursorText: String { "" }
  var hidesLesson: Bool { true }
  var searchScope: String { "in the lessons" }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    LessonsDrawing(self, LessonsLayout(frame)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.lessons, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  func settle() {
    selected = max(0, min(selected, rows.count - 1))
    if isHeading { selected = min(selected + 1, rows.count - 1) }
    let window = ListWindow(
      count: rows.count, height: LessonsLayout(desk.frame).rows, selected: selected, top: top)
    // The heading above the first lesson is seen with it.
    top = selected == 1 ? 0 : window.top
  }

  func move(_ movement: Movement, _ count: Int) {
    let before = selected
    selected = movement.row(from: selected, count, in: rows.count, page: LessonsLayout(desk.frame).rows)
    if isHeading { selected += selected < before && selected > 0 ? -1 : 1 }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    selected = LessonsLayout(frame).list.row(at: point, heading: 1, top: top, of: rows.count) ?? selected
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let found = Searching.row(with: text, in: rows.count, from: selected, forward: forward) { index in
      switch rows[index] {
      case .heading: return ""
      case .lesson(let lesson): return "\(lesson.name) \(lesson.title) \(lesson.goal)"
      case .unreadable(let name, _): return name
      }
    }
    guard let found else { return false }
    selected = found
    return true
  }

  fileprivate func open() {
    rows = Self.own
    for shelf in desk.files.lessonShelves() where !shelf.lessons.isEmpty {
      rows.append(.heading("\(shelf.title) (your own)"))
      rows += shelf.lessons.map { item in
        switch item {
        case .lesson(let lesson, _): .lesson(lesson)
        case .unreadable(let name, let problem): .unreadable(name, problem)
        }
      }
    }
    states = LearnState.all(desk.files.answers().compactMap { LearnRecord($0) })
    if !isShown, let now = desk.lesson?.lesson.name {
      selected =
        rows.firstIndex { if case .lesson(let lesson) = $0 { lesson.name == now } else { false } } ?? selected
    }
    desk.open(.lessons)
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .lessons, .program, aliases: ["learn"], keys: [KeyRule("L", in: [.image, .fragmentation])],
      hint: "lessons",
      help: "the lessons: how to read an image, one step after the other, with questions",
      run: run { screen, _ in screen.open() }),
    CommandSpec(
      .beginLesson, .program, hint: "begin",
      help: "begins the selected lesson, on an image of its own in memory",
      run: { explorer, _ throws(CommandError) in
        let screen = explorer.desk.screen(LessonsScreen.self)
        if let (name, problem) = screen?.problem {
          throw CommandError("\(name) cannot be read: \(problem)")
        }
        guard let lesson = screen?.lesson else {
          throw CommandError("no lesson is selected; \(explorer.desk.key(.lessons)) lists them")
        }
        try OtherImages.checkUnsaved(explorer, force: false, .lesson)
        try explorer.begin(lesson: lesson.name)
      }),
  ]
}

extension CommandID {
  static let beginLesson = CommandID("begin-lesson")
}
