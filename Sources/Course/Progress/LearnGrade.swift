// Judges answers again that somebody has handed in: the lesson is played once more, and what the record itself says of
// right and wrong does not count.

/// The worth of answers, as the engine sees it now.
package struct LearnGrade {
  /// What became of one record.
  package enum Verdict: Equatable, Sendable {
    case right
    case wrong
    /// The answer was shown instead.
    case shown
    /// It cannot be judged, and why.
    case unknown(String)
  }

  /// The answers in one lesson, or to drawn questions of one kind.
  package struct Row: Equatable, Sendable {
    /// The name of the lesson; `quiz` and the kind for drawn questions.
    package var lesson: String
    /// Places at which something was answered.
    package var questions = 0
    /// Those whose first answer was right and needed no hint.
    package var firstTry = 0
    /// Those that were answered in the end, with hints or not.
    package var right = 0
    /// Right ones that had seen a hint.
    package var withHints = 0
    /// All of the time that was taken for answers.
    package var seconds: UInt64 = 0
    /// Records that say of themselves what is not so.
    package var untrue = 0
    /// Why some could not be judged; empty if all could.
    package var remarks: [String] = []
    fileprivate var places: [String: (isFirst: Bool, isRight: Bool, usesHints: Bool)] = [:]

    package static func == (a: Row, b: Row) -> Bool {
      a.lesson == b.lesson && a.questions == b.questions && a.firstTry == b.firstTry && a.right == b.right
        && a.withHints == b.withHints && a.seconds == b.seconds && a.untrue == b.untrue
        && a.remarks == b.remarks
    }
  }

  private var moments: [String: LessonMoment] = [:]
  private var lessons: [String: Lesson] = [:]
  private let lesson: (String) -> [UInt8]?

  /// `lesson` finds the file of a lesson by its name.
  package init(_ lesson: @escaping (String) -> [UInt8]? = { LessonLibrary.text($0) }) { self.lesson = lesson }

  /// Judges one answer.
  package mutating func judge(_ record: LearnRecord) -> Verdict {
    let (name, digest, place): (String, String, Int)
    switch record.subject {
    case .question(let kind, let seed, let level): return judgeDrawn(record, kind, seed, level)
    case .lesson(let lesson, let version, let step): (name, digest, place) = (lesson, version, step)
    }
    guard let bytes = lesson(name) else { return .unknown("there is no lesson '\(name)'") }
    guard digest.isEmpty || LearnRecord.digest(of: bytes) == digest else {
      return .unknown("'\(name)' was another version of the lesson")
    }
    do throws(LessonProblem) {
      let lesson = try read(name, bytes)
      guard place >= 1, place <= lesson.steps.count + 1 else {
        return .unknown("'\(name)' has no step \(place)")
      }
      if record.query == LearnRecord.reached { return try judgeExercise(record, lesson) }
      guard !record.given.isEmpty else { return .shown }
      let question =
        place <= lesson.steps.count ? lesson.steps[place - 1].question : lesson.exercise?.question
      guard let question else { return .unknown("step \(place) of '\(name)' asks nothing") }
      switch try moment(of: lesson, place).judge(record.given, question) {
      case .right: return .right
      case .wrong: return .wrong
      case .takenBack: return .unknown("the question of step \(place) of '\(name)' is taken back")
      }
    } catch { return .unknown(error.description) }
  }

  /// The question is drawn once more.
  private func judgeDrawn(_ record: LearnRecord, _ kind: String, _ number: UInt64, _ level: Int) -> Verdict {
    guard let kind = QuizKind(rawValue: kind), QuizSeed.levels.contains(level) else {
      return .unknown("no question is drawn of '\(kind)' at level \(level)")
    }
    guard !record.given.isEmpty else { return .shown }
    do throws(LessonProblem) {
      let question = try QuizQuestion(QuizSeed(kind, number, level: level))
      return question.judge(record.given).isRight ? .right : .wrong
    } catch { return .unknown(error.reason) }
  }

  private mutating func read(_ name: String, _ bytes: [UInt8]) throws(LessonProblem) -> Lesson {
    if let known = lessons[name] { return known }
    let lesson = try LessonParser.read(bytes, name: name)
    lessons[name] = lesson
    return lesson
  }

  /// The files when everything of a place is done, as the lesson itself does it.
  private mutating func moment(of lesson: Lesson, _ place: Int) throws(LessonProblem) -> LessonMoment {
    let key = "\(lesson.name) \(place)"
    if let known = moments[key] { return known }
    let stage = try Self.stage(of: lesson, behind: place)
    if place > lesson.steps.count {
      for line in lesson.exercise?.solution ?? [] {
        try stage.perform(line.text)
        stage.endOperation()
      }
    }
    moments[key] = stage.moment
    return stage.moment
  }

  private static func stage(of lesson: Lesson, behind place: Int) throws(LessonProblem) -> LessonStage {
    let stage = try LessonStage(lesson)
    for step in lesson.steps.prefix(place) {
      try stage.enter(step)
      for item in step.acts {
        guard let line = item.operation else { continue }
        try stage.perform(line.text)
        stage.endOperation()
      }
    }
    if place > lesson.steps.count { stage.enterExercise() }
    return stage
  }

  /// What was done for the goals of the exercise is done again.
  private func judgeExercise(_ record: LearnRecord, _ lesson: Lesson) throws(LessonProblem) -> Verdict {
    guard let goals = lesson.exercise?.goals, !goals.isEmpty else { return record.isRight ? .right : .wrong }
    let stage = try Self.stage(of: lesson, behind: lesson.steps.count + 1)
    for line in record.given.split(separator: ";").prefix(200) {
      let words = String(line.drop { $0 == " " })
      guard !words.isEmpty else { continue }
      do throws(LessonProblem) { try stage.perform(words) } catch {
        return .unknown(
          "what was done for the exercise of '\(lesson.name)' cannot be done again: \(error.reason)")
      }
      stage.endOperation()
    }
    for goal in goals where !((try? stage.moment.holds(goal)) ?? false) { return .wrong }
    return record.isRight ? .right : .shown
  }

  /// A row for every lesson and every kind of drawn questions, in the order in which they were begun.
  package mutating func rows(_ records: [LearnRecord]) -> [Row] {
    var rows: [Row] = []
    for record in records {
      let (name, place): (String, String)
      switch record.subject {
      // The exercise may have a question beside its goals.
      case .lesson(let lesson, _, let step):
        (name, place) = (lesson, record.query == LearnRecord.reached ? "exercise" : String(step))
      case .question(let kind, let seed, let level): (name, place) = ("quiz \(kind)", "\(seed):\(level)")
      }
      let index = rows.firstIndex { $0.lesson == name } ?? rows.count
      if index == rows.count { rows.append(Row(lesson: name)) }
      let verdict = judge(record)
      rows[index].add(verdict, record, place)
    }
    return rows
  }
}

extension LearnGrade.Row {
  fileprivate mutating func add(_ verdict: LearnGrade.Verdict, _ record: LearnRecord, _ place: String) {
    seconds += min(record.seconds, 86_400)
    if case .unknown(let reason) = verdict {
      if !remarks.contains(reason) { remarks.append(reason) }
      return
    }
    if record.isRight != (verdict == .right) { untrue += 1 }
    var seen = places[place]
    if seen == nil {
      seen = (verdict == .right && record.hints == 0, false, false)
      questions += 1
      if seen?.isFirst == true { firstTry += 1 }
    }
    if verdict == .right, seen?.isRight == false {
      seen?.isRight = true
      right += 1
      if record.hints > 0 { withHints += 1 }
    }
    places[place] = seen
  }
}
