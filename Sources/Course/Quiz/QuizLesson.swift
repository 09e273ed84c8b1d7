// A drawn question as a lesson of one place, so that it is played as lessons are.

extension QuizQuestion {
  /// The name of that lesson, which no file of a lesson has.
  package static let lessonName = "quiz"

  /// What is typed for the right answer: the letter of a choice, or the values.
  package var typedAnswer: String {
    if case .operation? = parts.first?.form, let choice = choices.first(where: { $0.text == parts[0].answer })
    {
      return choice.letter
    }
    return parts.map(\.answer).joined(separator: " ")
  }

  /// One step that asks this, shows the image as it is before the operations, and does them behind the answer.
  package var lesson: Lesson {
    func lines(_ texts: [String]) -> [Lesson.Line] {
      texts.enumerated().map { Lesson.Line(text: $0.element, number: $0.offset + 1) }
    }
    var lesson = Lesson(name: Self.lessonName)
    lesson.image = lines(asksOfPokes ? image + sessions : setting)
    var question = Lesson.Question(
      kind: choices.isEmpty ? .list : .choice, text: text, answer: .drawn(self), line: 1)
    question.choices = choices.map { ($0.letter, $0.text) }
    question.hints = hints
    var step = Lesson.Step(title: seed?.kind.rawValue ?? "", line: 1)
    step.say = (about + more).joined(separator: "\n")
    step.question = question
    step.items = lines(deeds).map { .deed($0) }
    step.reason = brief
    var show = Lesson.Show(line: 1)
    for word in place.split(separator: " ") {
      let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 { show.words[parts[0]] = parts[1] }
    }
    step.show = show
    lesson.steps = [step]
    return lesson
  }

  /// What is done when the answer is given.
  private var deeds: [String] {
    guard parts.first?.form == .poke else { return asksOfPokes ? pokes : operations }
    return parts[0].answer.split(separator: ";").map { "poke " + String($0).trimmedBlanks }
  }

  /// An answer as it is kept; nil for a question without a seed. `time` in seconds since 1970.
  package func record(
    time: UInt64, given: String, isRight: Bool, hints: Int, seconds: UInt64, operations: Int = 0
  ) -> LearnRecord? {
    seed.map { seed in
      LearnRecord(
        time: time, subject: .question(seed.kind.rawValue, seed: seed.number, level: seed.level),
        query: parts.map(\.query).joined(separator: ", "), given: String(given.prefix(240)), isRight: isRight,
        hints: hints, seconds: seconds, operations: operations)
    }
  }

  /// The reason in one paragraph: rows that are indented belong to the list before them.
  private var brief: String {
    var text = ""
    for row in reason {
      let words = row.trimmedBlanks.split(separator: " ").joined(separator: " ")
      let isItem = row.hasPrefix("  ")
      text += text.isEmpty ? words : (isItem && !text.hasSuffix(":") ? "; " : " ") + words
    }
    return text
  }
}
