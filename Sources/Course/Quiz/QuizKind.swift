// The kinds of questions, and the seeds that name one question each.

/// A kind of question. The raw values stand in seeds and are never changed.
package enum QuizKind: String, CaseIterable, Sendable {
  case predictEntry = "predict-entry"
  case predictCounts = "predict-counts"
  case predictLength = "predict-length"
  case nameOperation = "name-operation"
  case findOwner = "find-owner"
  case discardWorks = "discard-works"
  case whichLayer = "which-layer"
  case checkSays = "check-says"
  case cheapestFix = "cheapest-fix"
  case crashStop = "crash-stop"

  var maker: any QuizMaker.Type {
    switch self {
    case .predictEntry: PredictEntry.self
    case .predictCounts: PredictCounts.self
    case .predictLength: PredictLength.self
    case .nameOperation: NameOperation.self
    case .findOwner: FindOwner.self
    case .discardWorks: DiscardWorks.self
    case .whichLayer: WhichLayer.self
    case .checkSays: CheckSays.self
    case .cheapestFix: CheapestFix.self
    case .crashStop: CrashStop.self
    }
  }

  /// The rule that helps with every question of the kind, in sentences.
  var rule: String { maker.rule }
}

/// Draws questions of one kind.
protocol QuizMaker {
  /// The second hint of every question: the rule that it asks for.
  static var rule: String { get }

  /// A question, or nil if what was drawn makes none: its answer would not be the only one, or nothing would
  /// happen.
  ///
  /// - Throws: ``LessonProblem`` if the engine refuses what was drawn; that makes no question either.
  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion?
}

/// The name of one question: `v1:predict-entry:812`, or with its level `v1:predict-entry:812:3`.
package struct QuizSeed: Hashable, Sendable, CustomStringConvertible {
  /// The levels there are.
  package static let levels = 1...3
  /// The level of a seed that names none.
  package static let usualLevel = 2

  /// What sort of question it is.
  package let kind: QuizKind
  /// Which question of the kind.
  package let number: UInt64
  /// 1 to 3: how much was done to the image before, and with how many features.
  package let level: Int

  package init(_ kind: QuizKind, _ number: UInt64, level: Int = usualLevel) {
    self.kind = kind
    self.number = number
    self.level = level
  }

  /// Reads a seed; nil for what is none, or one of another version of the generator.
  package init?(_ text: String) {
    let words = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard words.count == 3 || words.count == 4, words[0] == "v1", let kind = QuizKind(rawValue: words[1]),
      let number = UInt64(words[2])
    else { return nil }
    var level = Self.usualLevel
    if words.count == 4 {
      guard let given = Int(words[3]), Self.levels.contains(given) else { return nil }
      level = given
    }
    self.init(kind, number, level: level)
  }

  package var description: String {
    "v1:\(kind.rawValue):\(number)" + (level == Self.usualLevel ? "" : ":\(level)")
  }

  /// The random numbers of one attempt to draw the question.
  func random(_ attempt: UInt64) -> QuizRandom {
    // FNV-1a of the kind and the level, so that kinds do not draw the same images.
    var mixed: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in Array(kind.rawValue.utf8) + [UInt8(level)] {
      mixed = (mixed ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    var first = QuizRandom(number ^ mixed)
    return QuizRandom(first.next() &+ attempt &* 0xd134_2543_de82_ef95)
  }
}
