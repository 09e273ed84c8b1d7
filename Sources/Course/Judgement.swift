// What a lesson says to a learner: texts with their values, and whether an answer is right.

/// What an answer is worth.
package enum Judgement: Equatable, Sendable {
  case right
  /// With what is to be said to a slip that is known.
  case wrong(slip: String?)
  /// The files are not as the question takes them to be: it is not judged.
  case takenBack
}

extension LessonMoment {
  /// A text with the values of the queries in it; what has no value here is shown as "?".
  package func filled(_ text: String) -> String {
    var result = ""
    var rest = text[...]
    while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
      result += rest[..<open]
      let query = try? Query(String(rest[rest.index(after: open)..<close]))
      result += query.flatMap { try? value($0).text } ?? "?"
      rest = rest[rest.index(after: close)...]
    }
    return result + rest
  }

  /// Judges an answer when the operations of the step are done.
  ///
  /// - Throws: ``LessonProblem`` if the right answer has no value here.
  package func judge(_ given: String, _ question: Lesson.Question) throws(LessonProblem) -> Judgement {
    let isRight: Bool
    switch question.answer {
    case .choice(let letter, let when):
      if let when, !((try? holds(when)) ?? false) { return .takenBack }
      isRight = given.lowercased().filter { $0 != " " } == letter.lowercased()
    case .fact(let fact) where question.kind == .order: isRight = try isOrder(given, fact, question)
    case .fact(let fact): isRight = try value(fact.query).isSaid(by: given)
    case .drawn(let drawn):
      let judgement = drawn.judge(given)
      return judgement.isRight ? .right : .wrong(slip: judgement.remark.isEmpty ? nil : judgement.remark)
    }
    if isRight { return .right }
    return .wrong(slip: question.slips.first { Self.isSame($0.value, given) }?.text)
  }

  /// The answer as the files have it: a letter, or the value of the query.
  ///
  /// - Throws: ``LessonProblem`` if it has none.
  package func rightAnswer(_ question: Lesson.Question) throws(LessonProblem) -> String {
    switch question.answer {
    case .choice(let letter, _): letter
    case .fact(let fact): try value(fact.query).text
    case .drawn(let drawn): drawn.typedAnswer
    }
  }

  /// An order is given by the numbers of the writes. It is right if it is theirs, or no worse at its worst stop where
  /// that is enough.
  private func isOrder(
    _ given: String, _ fact: Lesson.Fact, _ question: Lesson.Question
  ) throws(LessonProblem) -> Bool {
    let words = given.split(whereSeparator: \.separatesValues)
    let numbers = words.compactMap { Int($0) }
    guard let record = try stepRecord(), numbers.count == words.count,
      numbers.sorted() == Array(1..<record.writes.count + 1)
    else { return try value(fact.query).isSaid(by: given) }
    if numbers == numbers.sorted() { return true }
    guard question.accepts == "worst" else { return false }
    func worst(_ query: String) throws(LessonProblem) -> [Int] {
      let words = try value(Query(query)).text.split(separator: " ")
      return ["errors", "leaks"].map { name in
        words.firstIndex(of: Substring(name)).flatMap { Int(words[$0 + 1]) } ?? 0
      }
    }
    let mine = try worst("step.worst[\(numbers.map { "\($0)" }.joined(separator: " "))]")
    return !(try worst("step.worst")).lexicographicallyPrecedes(mine)
  }

  /// A slip's value and an answer say the same.
  private static func isSame(_ value: String, _ given: String) -> Bool {
    func plain(_ text: String) -> [String] {
      text.lowercased().split(whereSeparator: \.separatesValues).map { word in
        Size.bytes(String(word)).map { "\($0)" } ?? String(word)
      }
    }
    return plain(value) == plain(given)
  }
}
