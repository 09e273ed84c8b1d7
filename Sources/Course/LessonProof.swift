// Plays a lesson from its first step to its solution and proves everything that it states.

/// What a lesson states, and what was found instead.
package struct LessonProof: Sendable {
  /// A statement that does not hold.
  package struct Wrong: Equatable, Sendable {
    /// Of the lesson's file, from 1 on.
    package var line: Int
    /// The title of the step, or "exercise".
    package var step: String
    /// What was asked; nil where a line could not be done at all.
    package var query: String?
    /// With "<" or ">" in front where it is a limit.
    package var stated: String
    /// The value, or why there is none.
    package var found: String

    package var text: String {
      query.map { "\($0): stated \(stated), found \(found)" } ?? found
    }
  }

  /// Facts, answers and goals that were looked at.
  package private(set) var statements = 0
  /// Values in texts that were made.
  package private(set) var values = 0
  package private(set) var wrong: [Wrong] = []
  /// Lines of statements that held, each as often as it was looked at.
  package private(set) var held: [Int] = []

  private var step = ""
  private let version: Int?
  private let states: @Sendable (Lesson.Fact) -> Lesson.Fact

  /// Plays the lesson. `version` is that of the genuine tools whose values count; nil for the newest. `states` may make
  /// another statement of each: that one then must not hold.
  package init(
    _ lesson: Lesson, version: Int? = nil, states: @escaping @Sendable (Lesson.Fact) -> Lesson.Fact = { $0 }
  ) {
    self.version = version
    self.states = states
    do throws(LessonProblem) {
      let stage = try LessonStage(lesson)
      for step in lesson.steps { try play(step, stage) }
      if let exercise = lesson.exercise { play(exercise, stage) }
      show(lesson.trap, 1, stage)
    } catch { note(error, at: 1) }
  }

  private mutating func note(
    _ problem: LessonProblem, at line: Int, _ query: String? = nil, _ stated: String = ""
  ) {
    wrong.append(
      Wrong(line: problem.line ?? line, step: step, query: query, stated: stated, found: problem.reason))
  }

  private mutating func play(_ step: Lesson.Step, _ stage: LessonStage) throws(LessonProblem) {
    self.step = step.title
    try stage.enter(step)
    show(step.say, step.line, stage)
    show(step.question, stage)
    for item in step.acts {
      switch item {
      case .deed(let line):
        perform(line, stage)
        stage.endOperation()
      // The engine has the fault.
      case .replay: continue
      case .fact(let fact): prove(fact, stage)
      }
    }
    prove(step.question, stage)
    show(step.reason, step.line, stage)
  }

  private mutating func play(_ exercise: Lesson.Exercise, _ stage: LessonStage) {
    step = "exercise"
    stage.enterExercise()
    show(exercise.text, exercise.line, stage)
    for hint in exercise.hints { show(hint, exercise.line, stage) }
    show(exercise.question, stage)
    if !exercise.goals.isEmpty, !exercise.solution.isEmpty {
      let moment = stage.moment
      if exercise.goals.allSatisfy({ (try? moment.holds($0, version: version)) ?? false }) {
        note(LessonProblem("the goal is reached before anything was done"), at: exercise.line)
      }
    }
    for line in exercise.solution {
      perform(line, stage)
      stage.endOperation()
    }
    for goal in exercise.goals { prove(goal, stage) }
    prove(exercise.question, stage)
  }

  private mutating func prove(_ question: Lesson.Question?, _ stage: LessonStage) {
    guard let question else { return }
    switch question.answer {
    case .fact(let fact), .choice(_, when: let fact?): prove(fact, stage)
    case .choice(_, when: nil), .drawn: break
    }
  }

  private mutating func perform(_ line: Lesson.Line, _ stage: LessonStage) {
    do throws(LessonProblem) { try stage.perform(line.text) } catch { note(error, at: line.number) }
  }

  private mutating func prove(_ written: Lesson.Fact, _ stage: LessonStage) {
    statements += 1
    let fact = states(written)
    let stated = (fact.relation == .equal ? "" : fact.relation.rawValue + " ") + fact.value(for: version)
    do throws(LessonProblem) {
      let value = try stage.moment.value(fact.query)
      if value.agrees(fact.relation, fact.value(for: version)) {
        held.append(fact.line)
      } else {
        wrong.append(
          Wrong(line: fact.line, step: step, query: fact.query.text, stated: stated, found: value.text))
      }
    } catch { note(error, at: fact.line, fact.query.text, stated) }
  }

  private mutating func show(_ question: Lesson.Question?, _ stage: LessonStage) {
    guard let question else { return }
    let texts = [question.text] + question.hints + question.choices.map(\.text) + question.slips.map(\.text)
    for text in texts { show(text, question.line, stage) }
  }

  /// The queries in a text have values, with which it is not too long.
  private mutating func show(_ text: String?, _ line: Int, _ stage: LessonStage) {
    guard let text else { return }
    let queries = LessonParser.queries(in: text)
    guard !queries.isEmpty else { return }
    let moment = stage.moment
    for query in queries {
      values += 1
      do throws(LessonProblem) { _ = try moment.value(try Query(query)) } catch {
        note(LessonProblem("{\(query)}: \(error.reason)"), at: line)
      }
    }
    let length = moment.filled(text).count
    if length > LessonParser.longestText {
      note(
        LessonProblem("\(length) characters with its values, at most \(LessonParser.longestText)"), at: line)
    }
  }
}

extension Lesson.Fact {
  /// The same with another value of the same look, or the other way round: what must not hold if this does.
  package var denied: Lesson.Fact {
    var fact = self
    switch relation {
    case .less: fact.relation = .more
    case .more: fact.relation = .less
    case .equal:
      fact.value = Self.other(value)
      fact.later = later.map { ($0.version, Self.other($0.value)) }
    }
    return fact
  }

  private static func other(_ value: String) -> String {
    if value.count == 16, let entry = UInt64(value, radix: 16) {
      return QueryValue.entry(entry ^ 0x10000).text
    }
    let digits = value.filter { $0 != " " }
    if !digits.isEmpty, digits.count.isMultiple(of: 2), digits.allSatisfy(\.isHexDigit),
      !digits.allSatisfy(\.isNumber)
    {
      return String(value.dropLast()) + (value.last == "0" ? "1" : "0")
    }
    guard let last = value.lastIndex(where: \.isNumber), let digit = value[last].wholeNumberValue else {
      return value + "x"
    }
    return String(value[..<last]) + "\((digit + 1) % 10)" + String(value[value.index(after: last)...])
  }
}
