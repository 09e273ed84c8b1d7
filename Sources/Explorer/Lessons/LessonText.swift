// A lesson as text: every step done on the engine, for a pipe, for paper, or for a reader without a screen.

import Cartography
import CellScreen
package import Course

/// Lessons for who has no screen.
package enum LessonText {
  /// The path with how far somebody is: names, minutes, titles and what they need; below it the lessons of others, or
  /// these alone.
  package static func list(
    _ states: [String: LearnState] = [:], others: [LessonShelf] = [], only: Bool = false
  ) -> String {
    var text = ""
    func add(_ title: String, _ lessons: [LessonShelf.Item], width: Int) {
      text += (text.isEmpty ? "" : "\n") + title + "\n"
      for item in lessons {
        switch item {
        case .lesson(let lesson, _):
          let needs = lesson.needs.isEmpty ? "" : "  (needs \(lesson.needs.joined(separator: ", ")))"
          let state = states[lesson.name].map { "  [\($0.rawValue)]" } ?? ""
          text +=
            "  " + TextWidth.padded(lesson.name, to: width + 2) + "\(lesson.minutes) min  "
            + Escaping.human(lesson.title + needs) + state + "\n"
        case .unreadable(let name, let problem):
          text +=
            "  " + TextWidth.padded(name, to: width + 2) + "cannot be read: "
            + Escaping.human(problem.description) + "\n"
        }
      }
    }
    if !only {
      let width = LessonLibrary.names.map(\.count).max() ?? 0
      for part in LessonLibrary.path {
        let lessons = part.lessons.compactMap { try? LessonLibrary.lesson($0) }
        add(part.title, lessons.map { .lesson($0, digest: "") }, width: width)
      }
    }
    for shelf in others where only || !shelf.lessons.isEmpty {
      add(shelf.title, shelf.lessons, width: shelf.lessons.map(\.name.count).max() ?? 0)
    }
    return text
  }

  /// The whole lesson, in lines of at most 80 columns; the true answers are there only if they are asked for.
  ///
  /// - Throws: ``LessonProblem`` for a lesson that cannot be played.
  package static func run(_ lesson: Course.Lesson, answers: Bool = false) throws(LessonProblem) -> String {
    let stage = try LessonStage(lesson)
    var text = "\(lesson.title)\n"
    func add(_ words: String, _ indent: String = "   ") {
      let lines = TextWrap.wrap(words, width: 80 - indent.count)
      text += lines.map { indent + $0 + "\n" }.joined()
    }
    add(lesson.goal, "")
    for line in lesson.image { add(line.text, "   | ") }
    func ask(_ question: Course.Lesson.Question?, _ moment: LessonMoment) {
      guard let question else { return }
      add("? " + moment.filled(question.text))
      for choice in question.choices { add("\(choice.letter)  \(moment.filled(choice.text))", "     ") }
    }
    func reveal(_ question: Course.Lesson.Question?, _ moment: LessonMoment) {
      guard answers, let question else { return }
      add("= " + LessonEvidence(moment).words(question))
    }
    for (index, step) in lesson.steps.enumerated() {
      try stage.enter(step)
      text += "\n\(index + 1). \(step.title)\n"
      if let say = step.say { add(stage.moment.filled(say)) }
      ask(step.question, stage.moment)
      for item in step.acts {
        guard let line = item.operation else { continue }
        add("> " + line.text)
        try stage.perform(line.text)
        stage.endOperation()
        if stage.outcome != "ok" { add("  \(stage.outcome)") }
      }
      reveal(step.question, stage.moment)
      if let reason = step.reason { add(stage.moment.filled(reason)) }
    }
    if let exercise = lesson.exercise {
      stage.enterExercise()
      text += "\nExercise\n"
      add(stage.moment.filled(exercise.text))
      ask(exercise.question, stage.moment)
      if answers {
        for line in exercise.solution {
          add("> " + line.text)
          try stage.perform(line.text)
          stage.endOperation()
        }
        reveal(exercise.question, stage.moment)
      }
    }
    text += "\n"
    add("What most get wrong: " + stage.moment.filled(lesson.trap), "")
    return text
  }
}
