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

  /// By kind.
  package private(set) var scores: [QuizKind: Score] = [:]

  /// Questions of some kinds; the same seed gives the same row.
  package init(_ kinds: [QuizKind] = QuizKind.allCases, seed: UInt64, level: Int) {
    self.kinds = kinds
    self.level = level
    random = QuizRandom(seed)
  }

  /// The seed of the next question.
  package mutating func next() -> QuizSeed {
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

  /// One of each kind in their order, without repetitions.
  package static func exam(seed: UInt64) -> [QuizSeed] {
    var random = QuizRandom(seed)
    return QuizKind.allCases.map { QuizSeed($0, random.below(1_000_000_000)) }
  }

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
