// Reads the file of a lesson. A line is a keyword and its rest; a line that begins with two blanks is an item below
// the keyword above it, or goes on with it. Nothing is guessed: an unknown word is an error with its line.

/// Reads one lesson.
package struct LessonParser {
  /// Bytes of a file, and lines of it.
  static let largestFile = 1 << 18
  static let mostLines = 4000
  /// Characters that are shown at once.
  package static let longestText = 240
  package static let mostSteps = 6
  package static let mostQuestions = 4

  private var lesson: Lesson
  /// Keywords of the head that were there.
  private var given: Set<String> = []
  /// The line that is read.
  private var number = 0

  private init(_ name: String) { lesson = Lesson(name: name) }

  /// The lesson in a file; `name` is that of the file, perhaps with its folder and a "/" in front.
  ///
  /// - Throws: ``LessonProblem`` with the line that is wrong.
  package static func read(_ bytes: [UInt8], name: String) throws(LessonProblem) -> Lesson {
    guard bytes.count <= largestFile else { throw LessonProblem("the file is larger than 256 KiB") }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw LessonProblem("the file is not UTF-8")
    }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.count <= mostLines else { throw LessonProblem("the file has more than \(mostLines) lines") }
    var parser = LessonParser(name)
    for row in try rows(lines) {
      parser.number = row.number
      do throws(LessonProblem) {
        if row.isItem { try parser.item(row.word, row.rest) } else { try parser.begin(row.word, row.rest) }
      } catch { throw error.at(row.number) }
    }
    parser.number = max(1, lines.count)
    do throws(LessonProblem) { try parser.finish() } catch { throw error.at(parser.number) }
    return parser.lesson
  }

  // MARK: Rows

  /// A keyword with its rest, all lines of it.
  private struct Row {
    var number: Int
    var isItem: Bool
    var word: String
    var rest: String
  }

  /// Words that are items below a keyword.
  private static let items: [String: Set<String>] = [
    "image": ["img", "io", "noise", "poke", "punch", "cut"],
    "ask": ["choice", "hint", "answer", "slip", "accept"],
    "exercise": ["hint", "reach", "ask", "choice", "answer", "slip", "accept"],
  ]

  private static func rows(_ lines: [Substring]) throws(LessonProblem) -> [Row] {
    var rows: [Row] = []
    var open = ""
    for (index, line) in lines.enumerated() {
      let text = trimmed(line)
      guard let first = text.first, first != "#" else { continue }
      guard !line.contains("\t") else { throw LessonProblem("a tab", line: index + 1) }
      let word = String(text.prefix { $0 != " " })
      let rest = trimmed(Substring(text.dropFirst(word.count)))
      if line.first != " " {
        open = word
        rows.append(Row(number: index + 1, isItem: false, word: word, rest: rest))
      } else if open == "fact" {
        rows.append(Row(number: index + 1, isItem: false, word: "fact", rest: text))
      } else if items[open]?.contains(word) == true, line.hasPrefix("  "), !line.hasPrefix("   ") {
        rows.append(Row(number: index + 1, isItem: true, word: word, rest: rest))
      } else if !rows.isEmpty {
        rows[rows.count - 1].rest += " " + text
      } else {
        throw LessonProblem("nothing stands above this line that it could go on with", line: index + 1)
      }
    }
    return rows
  }

  static func trimmed(_ text: Substring) -> String {
    var text = text.drop { $0 == " " }
    while let last = text.last, last == " " || last == "\r" { text.removeLast() }
    return String(text)
  }

  // MARK: Keywords

  private mutating func begin(_ keyword: String, _ rest: String) throws(LessonProblem) {
    switch keyword {
    case "step":
      guard lesson.exercise == nil else { throw LessonProblem("a step stands before the exercise") }
      lesson.steps.append(Lesson.Step(title: try text(rest), line: number))
    case "exercise":
      guard lesson.exercise == nil else { throw LessonProblem("a lesson has one exercise") }
      lesson.exercise = Lesson.Exercise(text: try text(rest), line: number)
    case "solution":
      guard lesson.exercise != nil else { throw LessonProblem("'solution' belongs to an exercise") }
      lesson.exercise?.solution.append(Lesson.Line(text: rest, number: number))
    case "show" where lesson.exercise != nil:
      let shown = try show(rest, lesson.exercise?.show)
      lesson.exercise?.show = shown
    case "fault" where !lesson.steps.isEmpty: try inStep(keyword, rest)
    case "engine" where lesson.steps.isEmpty: lesson.isOurs = true
    case "show", "say", "ask", "do", "replay", "fact", "why", "engine": try inStep(keyword, rest)
    default: try head(keyword, rest)
    }
  }

  private mutating func head(_ keyword: String, _ rest: String) throws(LessonProblem) {
    guard Self.headWords.contains(keyword) else { throw LessonProblem("'\(keyword)' is no word of a lesson") }
    guard lesson.steps.isEmpty, lesson.exercise == nil else {
      throw LessonProblem("'\(keyword)' stands above the first step")
    }
    guard given.insert(keyword).inserted else { throw LessonProblem("'\(keyword)' is there twice") }
    switch keyword {
    case "lesson":
      // The folder stands in front of the names of other people's lessons.
      let name = lesson.name.split(separator: "/").last.map(String.init) ?? ""
      guard rest == name else {
        throw LessonProblem("the file is called '\(name)', not '\(rest)'")
      }
    case "title": lesson.title = try text(rest)
    case "goal": lesson.goal = try text(rest)
    case "trap": lesson.trap = try text(rest)
    case "branch": lesson.branch = try text(rest)
    case "needs": lesson.needs = rest.split(separator: ",").map { Self.trimmed($0) }
    case "session": lesson.session = try SessionOptions(rest)
    case "fault": lesson.fault = rest
    case "minutes":
      guard let minutes = Int(rest), (1...60).contains(minutes) else {
        throw LessonProblem("'minutes' needs a number from 1 to 60")
      }
      lesson.minutes = minutes
    default:
      guard rest.isEmpty else {
        throw LessonProblem("lines of 'image' stand below it, with two blanks in front")
      }
    }
  }

  private static let headWords: Set<String> = [
    "lesson", "title", "goal", "needs", "minutes", "trap", "branch", "session", "fault", "image",
  ]

  private mutating func inStep(_ keyword: String, _ rest: String) throws(LessonProblem) {
    guard lesson.exercise == nil, var step = lesson.steps.popLast() else {
      throw LessonProblem("'\(keyword)' belongs to a step")
    }
    defer { lesson.steps.append(step) }
    switch keyword {
    case "show": step.show = try show(rest, step.show)
    case "say":
      guard step.say == nil else { throw LessonProblem("a step has one 'say'") }
      step.say = try text(rest)
    case "ask":
      guard step.question == nil else { throw LessonProblem("a step has one question") }
      guard
        step.deeds.allSatisfy({
          $0.text.hasPrefix("open") || $0.text.hasPrefix("reopen") || $0.text.hasPrefix("undo")
        })
      else {
        throw LessonProblem("a question comes before the 'do'")
      }
      step.question = try question(rest)
    case "do": step.items.append(.deed(Lesson.Line(text: rest, number: number)))
    case "replay": step.items.append(.replay(Lesson.Line(text: rest, number: number)))
    case "fact": step.items.append(.fact(try fact(rest)))
    case "fault": step.fault = rest
    case "engine": step.isOurs = true
    default:
      guard step.reason == nil else { throw LessonProblem("a step has one 'why'") }
      step.reason = try text(rest)
    }
  }

  // MARK: Items

  private mutating func item(_ word: String, _ rest: String) throws(LessonProblem) {
    if var exercise = lesson.exercise {
      switch word {
      case "reach": exercise.goals.append(try fact(rest))
      case "ask": exercise.question = try question(rest)
      case "hint" where exercise.question == nil: exercise.hints.append(try text(rest))
      default: exercise.question = try adding(word, rest, to: exercise.question)
      }
      lesson.exercise = exercise
    } else if let last = lesson.steps.indices.last {
      lesson.steps[last].question = try adding(word, rest, to: lesson.steps[last].question)
    } else {
      lesson.image.append(Lesson.Line(text: word + " " + rest, number: number))
    }
  }

  private func question(_ rest: String) throws(LessonProblem) -> Lesson.Question {
    let word = String(rest.prefix { $0 != " " })
    guard let kind = Lesson.Question.Kind(rawValue: word) else {
      let kinds = Lesson.Question.Kind.allCases.map(\.rawValue).joined(separator: ", ")
      throw LessonProblem("'\(word)' is no kind of answer; there are \(kinds)")
    }
    let words = try text(Self.trimmed(rest.dropFirst(word.count)))
    return Lesson.Question(kind: kind, text: words, answer: .choice(""), line: number)
  }

  /// A question with the line below it.
  private func adding(
    _ word: String, _ rest: String, to question: Lesson.Question?
  ) throws(LessonProblem) -> Lesson.Question {
    guard var question else { throw LessonProblem("'\(word)' belongs to a question") }
    switch word {
    case "choice":
      let letter = String(rest.prefix { $0 != " " })
      guard letter.count == 1, !question.choices.contains(where: { $0.letter == letter }) else {
        throw LessonProblem("a choice begins with a letter of its own")
      }
      question.choices.append((letter, try text(Self.trimmed(rest.dropFirst(1)))))
    case "hint": question.hints.append(try text(rest))
    case "slip":
      guard let colon = rest.firstIndex(of: ":") else { throw LessonProblem("'slip' needs VALUE: TEXT") }
      question.slips.append(
        (Self.trimmed(rest[..<colon]), try text(Self.trimmed(rest[rest.index(after: colon)...]))))
    case "accept":
      guard ["any", "worst"].contains(rest) else { throw LessonProblem("'accept' needs 'any' or 'worst'") }
      question.accepts = rest
    default:
      question.answer = question.kind == .choice ? try choice(rest) : .fact(try fact(rest))
    }
    return question
  }

  /// "b", or "b when QUERY = VALUE".
  private func choice(_ rest: String) throws(LessonProblem) -> Lesson.Question.Answer {
    let letter = String(rest.prefix { $0 != " " })
    let more = Self.trimmed(rest.dropFirst(letter.count))
    guard !more.isEmpty else { return .choice(letter) }
    guard more.prefix(while: { $0 != " " }) == "when" else {
      throw LessonProblem("behind the letter stands 'when'")
    }
    return .choice(letter, when: try fact(String(more.dropFirst(5))))
  }

  // MARK: Parts of lines

  private func text(_ text: String) throws(LessonProblem) -> String {
    guard !text.isEmpty else { throw LessonProblem("words are missing") }
    guard text.count <= Self.longestText else {
      throw LessonProblem("a text of \(text.count) characters; at most \(Self.longestText) are read at once")
    }
    guard
      text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f && !$0.properties.isBidiControl })
    else { throw LessonProblem("a control character in a text") }
    for query in Self.queries(in: text) { _ = try Query(query) }
    return text
  }

  /// What stands between braces in a text: queries whose values are shown in their places.
  package static func queries(in text: String) -> [String] {
    text.split(separator: "{", omittingEmptySubsequences: false).dropFirst().compactMap { part in
      part.firstIndex(of: "}").map { String(part[..<$0]) }
    }
  }

  private func fact(_ text: String) throws(LessonProblem) -> Lesson.Fact {
    for relation in [Lesson.Fact.Relation.equal, .less, .more] {
      guard let sign = text.firstRange(of: " \(relation.rawValue) ") else { continue }
      let query = try Query(String(text[..<sign.lowerBound]))
      let values = String(text[sign.upperBound...]).split(separator: " | ", omittingEmptySubsequences: false)
      var fact = Lesson.Fact(
        query: query, relation: relation, value: Self.trimmed(values.first ?? ""), line: number)
      for later in values.dropFirst() {
        guard let colon = later.firstIndex(of: ":"),
          let version = Int(Self.trimmed(later[..<colon]).prefix { $0 != "." })
        else { throw LessonProblem("behind '|' stands VERSION: VALUE") }
        fact.later.append((version, Self.trimmed(later[later.index(after: colon)...])))
      }
      return fact
    }
    throw LessonProblem("'\(text)' needs QUERY = VALUE")
  }

  private func show(_ rest: String, _ before: Lesson.Show?) throws(LessonProblem) -> Lesson.Show {
    var show = before ?? Lesson.Show(line: number)
    for word in rest.split(separator: " ") {
      guard let equal = word.firstIndex(of: "="), Self.directives.contains(String(word[..<equal])) else {
        throw LessonProblem("'\(word)' shows nothing; there are \(Self.directives.joined(separator: ", "))")
      }
      show.words[String(word[..<equal])] = String(word[word.index(after: equal)...])
    }
    return show
  }

  private static let directives = ["screen", "focus", "zoom", "at", "lens", "highlight", "file"]

  // MARK: The end

  private func finish() throws(LessonProblem) {
    for word in ["lesson", "title", "goal", "minutes", "trap", "image"] where !given.contains(word) {
      throw LessonProblem("'\(word)' is missing")
    }
    guard !lesson.image.isEmpty, !lesson.steps.isEmpty else {
      throw LessonProblem("a lesson has an image and steps")
    }
    guard lesson.steps.count <= Self.mostSteps else {
      throw LessonProblem("more than \(Self.mostSteps) steps")
    }
    for line in lesson.image { try requireOwn(line, isImage: true) }
    for step in lesson.steps {
      guard step.say != nil, step.show != nil else {
        throw LessonProblem("step '\(step.title)' needs 'show' and 'say'", line: step.line)
      }
      for item in step.items {
        if case .deed(let line) = item { try requireOwn(line, isImage: false) }
        if case .replay(let line) = item { try requireOwn(line, isImage: false) }
      }
    }
    for line in lesson.exercise?.solution ?? [] { try requireOwn(line, isImage: false) }
    let questions = lesson.steps.compactMap(\.question) + [lesson.exercise?.question].compactMap { $0 }
    guard questions.count <= Self.mostQuestions else {
      throw LessonProblem("more than \(Self.mostQuestions) questions")
    }
    for step in lesson.steps where step.reason == nil {
      guard
        step.deeds.allSatisfy({
          $0.text.hasPrefix("open") || $0.text.hasPrefix("reopen") || $0.text.hasPrefix("undo")
        })
      else {
        throw LessonProblem("step '\(step.title)' does something and has no 'why'", line: step.line)
      }
    }
    for question in questions {
      guard question.hints.count == 3 else {
        throw LessonProblem("a question has three hints", line: question.line)
      }
      guard case .choice(let letter, _) = question.answer else { continue }
      guard question.choices.contains(where: { $0.letter == letter }) else {
        throw LessonProblem("the answer is none of the choices", line: question.line)
      }
    }
    guard let exercise = lesson.exercise else { throw LessonProblem("'exercise' is missing") }
    guard exercise.question != nil || !exercise.goals.isEmpty && !exercise.solution.isEmpty else {
      throw LessonProblem("an exercise has 'reach' and 'solution', or a question", line: exercise.line)
    }
  }

  /// An operation names only files of the lesson, and requests are those of a guest.
  private func requireOwn(_ line: Lesson.Line, isImage: Bool) throws(LessonProblem) {
    let text = line.text
    guard !text.contains("/"), !text.contains(".."),
      !["json:", "file:", "nbd:", "http:"].contains(where: { text.contains($0) })
    else { throw LessonProblem("only names of the lesson's own files", line: line.number) }
    let word = String(text.prefix { $0 != " " })
    var requests: [Substring] = []
    switch word {
    case "io": requests = text.drop { $0 != ":" }.dropFirst().split(separator: ";")
    case "race": requests = text.dropFirst(word.count).split(separator: ",")
    case "read", "write", "discard": requests = text.split(separator: ";")
    default:
      guard isImage || LessonStage.operations.contains(word) else {
        throw LessonProblem("'\(word)' is no operation", line: line.number)
      }
    }
    for request in requests {
      let word = request.drop { $0 == " " }.prefix { $0 != " " }
      guard ["read", "write", "discard"].contains(word) else {
        throw LessonProblem("'\(word)' is no request of a guest", line: line.number)
      }
    }
  }
}
