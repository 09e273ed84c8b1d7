// Which question comes next: all kinds in turn, and those that were missed again after two and after five others.

/// A row of questions from one seed.
package struct QuizRun {
  private let kinds: [QuizKind]
  private let level: Int
  private var random: QuizRandom
  private var waiting: [QuizKind] = []
  /// Kinds that come again, and before which question.
  private var due: [(kind: QuizKind, at: Int)] = []
  private var asked = 0

  /// What was answered.
  package struct Score: Equatable, Sendable {
    /// Questions with an answer.
    package var asked = 0
    /// Those with a right one.
    package var right = 0
  }

  /// What was asked and answered without a word about it; nil where every answer is told at once.
  package private(set) var exam: QuizExam?
  /// By kind.
  package private(set) var scores: [QuizKind: Score] = [:]

  /// Questions of some kinds; the same seed gives the same row.
  package init(_ kinds: [QuizKind] = QuizKind.allCases, seed: UInt64, level: Int) {
    self.kinds = kinds
    self.level = level
    random = QuizRandom(seed)
  }

  /// The questions of an exam.
  package init(exam: QuizExam) {
    self.init(seed: 0, level: QuizSeed.usualLevel)
    self.exam = exam
  }

  /// The seed of the next question; nil behind the last of an exam.
  package mutating func next() -> QuizSeed? {
    if let exam { return exam.next }
    let kind: QuizKind
    if let index = due.firstIndex(where: { $0.at <= asked }) {
      kind = due.remove(at: index).kind
    } else {
      if waiting.isEmpty { waiting = random.shuffled(kinds) }
      kind = waiting.popLast() ?? .predictEntry
    }
    asked += 1
    // Short enough to be typed again.
    return QuizSeed(kind, random.below(1_000_000_000), level: level)
  }

  /// The answer to the last question of ``next()``.
  package mutating func note(_ kind: QuizKind, isRight: Bool) {
    scores[kind, default: Score()].asked += 1
    if isRight {
      scores[kind, default: Score()].right += 1
    } else {
      due += [(kind, asked + 2), (kind, asked + 8)]
    }
  }

  /// The answer to a question of an exam.
  package mutating func note(_ question: QuizQuestion, given: String) { exam?.note(question, given) }

  /// How many of the answers were right; nil before the first.
  package var count: String? {
    let asked = scores.values.reduce(0) { $0 + $1.asked }
    return asked > 0 ? "\(scores.values.reduce(0) { $0 + $1.right }) of \(asked) right" : nil
  }

  /// A sentence with the score.
  package var text: String {
    guard let count else { return "No question was answered." }
    let missed = QuizKind.allCases.compactMap { kind in
      scores[kind].flatMap { $0.right < $0.asked ? "\(kind.rawValue) \($0.right) of \($0.asked)" : nil }
    }
    return "\(count)."
      + (missed.isEmpty ? "" : " To be practised: \(missed.joined(separator: ", ")).")
  }
}
