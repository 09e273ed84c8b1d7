// An exam: one question of each kind. What an answer was worth is said at the end, as one question would give away the next.

/// Questions that are asked before anything is said about them.
package struct QuizExam: Sendable {
  /// A question with what was answered.
  package struct Answer: Sendable {
    /// What was asked.
    package let question: QuizQuestion
    /// What was typed; empty where nothing was.
    package let given: String
    /// What that is worth.
    package let judgement: QuizQuestion.Judgement
  }

  /// What is typed for no answer.
  package static let passed = "?"

  /// The questions in their order.
  package let seeds: [QuizSeed]
  /// Those that were answered.
  package private(set) var answers: [Answer] = []

  /// One of each kind in their order, without repetitions. A seed makes the same exam for everybody.
  package init(seed: UInt64, level: Int = QuizSeed.usualLevel) {
    var random = QuizRandom(seed)
    seeds = QuizKind.allCases.map { QuizSeed($0, random.below(1_000_000_000), level: level) }
  }

  /// The question that comes now; nil at the end.
  package var next: QuizSeed? { seeds.indices.contains(answers.count) ? seeds[answers.count] : nil }

  /// Takes the answer to a question.
  mutating func note(_ question: QuizQuestion, _ given: String) {
    let plain = given.trimmedBlanks == Self.passed ? "" : given.trimmedBlanks
    answers.append(Answer(question: question, given: plain, judgement: question.judge(plain)))
  }

  /// Where in the exam one is: "question 3 of 10".
  package var place: String { "question \(min(answers.count + 1, seeds.count)) of \(seeds.count)" }

  /// The score, then each question, what was given, what is right, and why: rows of at most so many columns.
  package func page(columns: Int = QuizQuestion.columns) -> [String] {
    let right = answers.count { $0.judgement.isRight }
    var rows =
      ["Exam: \(right) of \(seeds.count) right."]
      + QuizText.wrapped("The seed behind a question asks it once more.", columns: columns)
    for (index, answer) in answers.enumerated() {
      let (question, seed) = (answer.question, answer.question.seed)
      let worth = answer.judgement.isRight ? "right" : answer.given.isEmpty ? "no answer" : "wrong"
      rows += [
        "", "\(index + 1).  \(seed?.kind.rawValue ?? ""): \(worth)   (\(seed?.description ?? ""))",
      ]
      func add(_ head: String, _ text: String) {
        let room = max(16, columns - 12)
        for (number, row) in QuizText.wrapped(text, columns: room).enumerated() {
          rows.append("    " + (number == 0 ? head : "").padded(to: 7) + row)
        }
      }
      add("asked", question.text)
      add("given", answer.given.isEmpty ? "-" : answer.given)
      add("right", question.answer)
      if !answer.judgement.remark.isEmpty { add("", answer.judgement.remark) }
      for (number, row) in question.reason.enumerated() { add(number == 0 ? "why" : "", row) }
    }
    if answers.count < seeds.count {
      rows += ["", QuizText.count(seeds.count - answers.count, "question") + " not asked."]
    }
    return rows
  }
}

extension String {
  /// With blanks behind it up to a width.
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
