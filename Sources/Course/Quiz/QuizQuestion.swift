// One question: files and what is done to them, what is shown and asked, and how an answer is judged.

import ToolText

/// A question with its answer, which the engine found by doing what is asked about.
package struct QuizQuestion: Equatable, Sendable {
  /// What an answer, or one part of it, looks like.
  package enum Form: String, Sendable {
    /// Decimal, 0x, or with k, M.
    case number
    /// Numbers with blanks between.
    case list
    /// 16 hexadecimal digits; zeroes in front may be left out.
    case entry
    /// One byte in hexadecimal.
    case byte
    /// One of the words of the choices, or its letter.
    case word
    /// Owners with commas between, in any order.
    case names
    /// An operation, or the letter of a choice. It is run.
    case operation
    /// An address and bytes. They are written, and the image is looked at.
    case poke
  }

  /// One value that is asked for.
  package struct Part: Equatable, Sendable {
    /// What is to be typed, in a few words.
    package var label: String
    /// What is asked of the image, in the words of lessons or of ``QuizPlay``.
    package var query: String
    /// What the answer looks like.
    package var form: Form
    /// The right answer, as the engine has it.
    package var answer: String
  }

  /// A choice and its letter.
  package struct Choice: Equatable, Sendable {
    /// a, b, c or d.
    package var letter: String
    /// What it says.
    package var text: String
  }

  /// Its name.
  package internal(set) var seed: QuizSeed?
  /// Makes the files: lines as in the image block of a lesson.
  package var image: [String]
  /// What was done to them, each line a session of its own.
  package var sessions: [String]
  /// Bytes changed behind the back of everybody, in the words of an operation.
  package var pokes: [String] = []
  /// These bytes are what the question asks about.
  var asksOfPokes = false
  /// What the question asks about.
  package var operations: [String] = []
  /// The state, as rows of text.
  package var shown: [String] { about + tables + more }
  /// What the image is.
  package var about: [String]
  /// The tables of the image, which an explorer shows on its screens.
  var tables: [String]
  /// What else must be known, and no screen shows.
  package var more: [String]
  /// What is asked.
  package var text: String
  /// The values that are asked for.
  package var parts: [Part]
  /// What can be chosen from; none if the answer is typed.
  package var choices: [Choice] = []
  /// What holds behind the operations, for those who prove it elsewhere; nobody is asked for it.
  var facts: [Part] = []
  /// Where the answer comes from.
  package var reason: [String] = []
  /// Everything that the operations changed, as rows of text; empty where that says nothing more.
  var changes: [String] = []
  /// What to look at, the rule, and nearly the answer: sentences with the numbers of this question.
  package var hints: [String] = []
  /// Wrong answers that are known, and what they come from.
  var slips: [QuizSlip] = []
  /// Where an explorer begins: words of a `show` line of lessons.
  var place = "screen=table"

  /// Rows and columns of the smallest usual terminal, less two rows for the answer.
  package static let rows = 22
  /// Columns of that terminal.
  package static let columns = 80

  /// The question of a seed.
  ///
  /// - Throws: ``LessonProblem`` if nothing that was drawn made a question.
  package init(_ seed: QuizSeed) throws(LessonProblem) {
    for attempt in 0..<UInt64(400) {
      var random = seed.random(attempt)
      guard var question = try? seed.kind.maker.draw(&random, level: seed.level), question.fits else {
        continue
      }
      question.seed = seed
      self = question
      return
    }
    throw LessonProblem("no question comes of the seed \(seed)")
  }

  /// What was drawn by a maker.
  init(
    _ scene: QuizScene, operations: [String] = [], about: [String]? = nil, tables: [String] = [],
    more: [String] = [], text: String, parts: [Part], choices: [Choice] = [], reason: [String],
    changes: [String] = []
  ) {
    image = scene.image
    sessions = scene.sessions
    pokes = scene.pokes
    self.operations = operations
    self.about = about ?? [scene.title]
    self.tables = tables
    self.more = more
    self.text = text
    self.parts = parts
    self.choices = choices
    self.reason = reason
    self.changes = changes
  }

  /// Three hints: what to look at, the rule of the kind, and nearly the answer.
  mutating func help(_ look: String, _ kind: QuizKind, _ nearly: String) {
    hints = [look, kind.rule, nearly]
  }

  /// What is said behind an answer, as rows of text.
  package var explanation: [String] {
    reason + (changes.isEmpty ? [] : ["Everything that changed:"] + changes)
  }

  private var fits: Bool {
    let lines = lines
    return lines.count <= Self.rows && lines.allSatisfy { $0.count <= Self.columns }
  }

  /// The whole question as rows of text: the state, what is asked, the choices, what an answer looks like.
  package var lines: [String] {
    asked + QuizText.wrapped(answerShape)
  }

  /// The same without what an answer looks like.
  var asked: [String] {
    shown + [""] + QuizText.wrapped(text) + choices.map { "  \($0.letter)  \($0.text)" }
  }

  /// What an answer looks like, in brackets.
  package var answerShape: String {
    let labels = parts.map(\.label).joined(separator: "; ")
    return switch parts.first?.form {
    case .operation: "(a letter, or any operation)"
    case .poke: "(ADDRESS BYTES, as in 0x4018 80; more of them with ; between)"
    default: "(\(labels))"
    }
  }

  /// The right answer as it would be typed.
  package var answer: String {
    if let letter = choices.first(where: { $0.text == parts.first?.answer })?.letter, parts.count == 1 {
      return "\(letter)  \(parts[0].answer)"
    }
    return parts.map(\.answer).joined(separator: " ")
  }

  /// The lines that make the state in which the question is asked.
  var setting: [String] { image + sessions + pokes.map { QuizPlay.line($0, "disk") } }

  // MARK: For programs

  /// The question with its answer as one JSON object in a line.
  package var json: String {
    func list(_ texts: [String]) -> ReportValue { .array(texts.map { .string($0) }) }
    return ReportValue.object([
      Field("seed", .string(seed?.description ?? "")), Field("kind", .string(seed?.kind.rawValue ?? "")),
      Field("level", .number(UInt64(seed?.level ?? 0))), Field("image", list(image)),
      Field("sessions", list(sessions)), Field("pokes", list(pokes)), Field("operations", list(operations)),
      Field("question", .string(text)), Field("query", list(parts.map(\.query))),
      Field("form", list(parts.map(\.form.rawValue))), Field("answer", list(parts.map(\.answer))),
      Field("choices", list(choices.map(\.text))),
      Field("facts", list(facts.map { "\($0.query) = \($0.answer)" })),
    ]).jsonLine
  }
}

extension Substring {
  /// Without blanks at its end.
  var trimmedEnd: String { String(String(reversed().drop { $0 == " " }.reversed())) }
}

extension String {
  /// Without blanks at either end.
  var trimmedBlanks: String {
    String(drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
  }
}
