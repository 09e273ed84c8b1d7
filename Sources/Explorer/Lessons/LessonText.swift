// A lesson as text: every step done on the engine, for a pipe, for paper, or for a reader without a screen.

import CellScreen
package import Course

/// Lessons for who has no screen.
package enum LessonText {
  /// The path: names, minutes, titles and what they need.
  package static var list: String { list([:]) }

  /// The path with how far somebody is.
  package static func list(_ states: [String: LearnState]) -> String {
    var text = ""
    let width = LessonLibrary.names.map(\.count).max() ?? 0
    for part in LessonLibrary.path {
      text += (text.isEmpty ? "" : "\n") + part.title + "\n"
      for name in part.lessons {
        guard let lesson = try? LessonLibrary.lesson(name) else { continue }
        let needs = lesson.needs.isEmpty ? "" : "  (needs \(lesson.needs.joined(separator: ", ")))"
        let state = states[name].map { "  [\($0.rawValue)]" } ?? ""
        text +=
          "  " + TextWidth.padded(name, to: width + 2) + "\(lesson.minutes) min  " + lesson.title + needs
        text += state + "\n"
      }
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
