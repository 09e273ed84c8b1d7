// A lesson that is under way: where in it the learner is, what was answered, and what is to be said. The truth is the
// stage of the course; the image of the explorer is kept equal to it.

import Cartography
import CellScreen
import Course
import Qcow
import Storage

/// A lesson that is played in the explorer.
final class LessonPlay {
  /// Where in the lesson.
  enum Place: Equatable {
    case step(Int)
    case exercise
    /// Behind the exercise.
    case end
  }

  /// What comes next at a place.
  enum Phase {
    /// An answer is waited for; nothing is done before.
    case asking
    /// Operations are left to be done.
    case doing
    /// What there is to be seen is on the screen.
    case done
  }

  let lesson: Course.Lesson
  /// Tells versions of the lesson's file from each other.
  let digest: String
  private(set) var place = Place.step(0)
  private(set) var phase = Phase.doing
  /// The files as the lesson has them.
  private(set) var stage: LessonStage
  /// The files as the learner has made them; nil on the track.
  private(set) var own: LessonStage?
  /// What led off the track.
  private(set) var ownLines: [String] = []
  /// Operations off the track since the place was entered.
  private var strays = 0
  /// What was said to the last answer, or the last hint.
  private(set) var feedback: LessonFeedback?
  /// Hints that were given at this place.
  private(set) var hints = 0
  /// Lines that were tried at this place, and whether they were refused.
  private(set) var performed: [(line: String, isRefused: Bool)] = []
  /// The learner has gone on with an image of their own: since which place, and what was done to it.
  private(set) var adopted: (index: Int, lines: [String])?
  /// What is marked on the screens.
  private(set) var highlight: LessonHighlight?
  /// Parts of the screen that the words take.
  let pane = LessonPane()
  /// Which question comes next, and what the others were worth; nil in a lesson.
  private(set) var quiz: QuizRun?

  private unowned let explorer: Explorer
  private var nextAct = 0
  /// The stage when a place was entered.
  private var entered: [Int: LessonStage] = [:]
  private var answered: Set<Int> = []
  private var showsSolution = false
  /// The first answer to the drawn question is known to ``quiz``.
  private var isNoted = false
  private var seenRevision = 0
  private var asked = ContinuousClock.now
  private var mirror: LessonMirror { LessonMirror(explorer) }
  private var desk: Desk { explorer.desk }

  /// - Throws: ``LessonProblem`` for an image or a first step that cannot be done.
  init(
    _ lesson: Course.Lesson, digest: String, _ explorer: Explorer, quiz: QuizRun? = nil
  ) throws(LessonProblem) {
    self.lesson = lesson
    self.quiz = quiz
    self.digest = digest
    self.explorer = explorer
    stage = try LessonStage(lesson)
  }

  // MARK: What is at a place

  /// Of the places of the lesson, from 0.
  var index: Int {
    switch place {
    case .step(let index): index
    case .exercise: lesson.steps.count
    case .end: lesson.steps.count + 1
    }
  }

  private var lastIndex: Int { lesson.steps.count + 1 }

  private func place(at index: Int) -> Place {
    index < lesson.steps.count
      ? .step(index) : index == lesson.steps.count && lesson.exercise != nil ? .exercise : .end
  }

  var step: Course.Lesson.Step? {
    guard case .step(let index) = place else { return nil }
    return lesson.steps[index]
  }

  var exercise: Course.Lesson.Exercise? { place == .exercise ? lesson.exercise : nil }
  var question: Course.Lesson.Question? { step?.question ?? exercise?.question }
  /// The drawn question that it is; nil in a lesson.
  var drawn: QuizQuestion? { lesson.steps.first?.question?.drawn }
  private var allHints: [String] { question?.hints ?? exercise?.hints ?? [] }
  var show: Course.Lesson.Show? { step?.show ?? exercise?.show }

  /// The engine takes a known wrong order now.
  var fault: String? { lesson.fault ?? step?.fault }

  /// The files that are on the screen.
  var moment: LessonMoment { (own ?? stage).moment }

  /// Lines that are still to be done at this place.
  var left: [String] {
    (step?.acts.dropFirst(nextAct) ?? []).compactMap { $0.operation?.text }
  }

  /// A goal of the exercise: in words, whether it holds now, and what is there instead.
  struct Goal {
    var text: String
    var isHeld: Bool
    var found: String?
  }

  /// Goals of the exercise as they are now.
  var goals: [Goal] {
    let moment = moment
    return (exercise?.goals ?? []).map { goal in
      let isHeld = (try? moment.holds(goal)) ?? false
      return Goal(
        text: "\(goal.query.text) \(goal.relation.rawValue) \(goal.value(for: nil))", isHeld: isHeld,
        found: isHeld ? nil : try? moment.value(goal.query).text)
    }
  }

  /// Lines that would reach the goals, when they were asked for.
  var solution: [String] { showsSolution ? exercise?.solution.map(\.text) ?? [] : [] }

  // MARK: The way through it

  /// Begins with the first step, or another one, before which everything is done.
  ///
  /// - Throws: `CommandError` for what cannot be done.
  func begin(at index: Int = 0) throws(CommandError) {
    try mirror.replace(stage, title)
    try enter(0)
    while self.index < index {
      while !left.isEmpty { try performNext() }
      try enter(self.index + 1)
    }
  }

  /// What the title of the screen calls it.
  private var title: String { drawn == nil ? "lesson \(lesson.name)" : lesson.name }

  private static func problem(_ error: LessonProblem) -> CommandError {
    CommandError("the lesson cannot go on: \(error.description)")
  }

  private func enter(_ index: Int) throws(CommandError) {
    place = place(at: index)
    do throws(LessonProblem) {
      if let step { try stage.enter(step) } else if place == .exercise { stage.enterExercise() }
    } catch { throw Self.problem(error) }
    try mirror.follow(step?.leading.map(\.text) ?? [], stage, title)
    entered[index] = stage.copy()
    arrive()
  }

  /// A place is shown from its beginning.
  private func arrive() {
    nextAct = 0
    performed = []
    feedback = nil
    hints = 0
    showsSolution = false
    own = nil
    ownLines = []
    strays = 0
    asked = .now
    settlePhase()
    showPlace()
  }

  private func settlePhase() {
    if place == .end {
      phase = .done
    } else if exercise != nil {
      phase =
        !goals.allSatisfy(\.isHeld) ? .doing : question != nil && !answered.contains(index) ? .asking : .done
    } else if question != nil, !answered.contains(index) {
      phase = .asking
    } else {
      phase = left.isEmpty ? .done : .doing
    }
  }

  private func showPlace() {
    seenRevision = explorer.session.revision
    highlight = show?.words["highlight"].flatMap { LessonHighlight($0, moment, desk.geometry) }
    pane.forget()
    if let show { LessonShow(explorer).apply(show, highlight) }
  }

  /// What comes next: the operation, or the next step.
  ///
  /// - Throws: `CommandError` for a question that is not answered, and at the end.
  func goOn() throws(CommandError) {
    if isExamOver { return tellExam() }
    if drawn != nil, phase == .done { return try explorer.begin(quiz) }
    if own != nil, place != .exercise { try adopt() }
    switch phase {
    case .asking:
      throw CommandError(
        isExam
          ? "answer first (\(answerKeys)); \(CommandID.answer) \(QuizExam.passed) leaves the question out"
          : "answer first (\(answerKeys)); \(desk.key(.hint)) gives a hint, at last the answer")
    case .doing where exercise != nil:
      guard showsSolution else {
        throw CommandError("not done yet; \(desk.key(.hint)) gives a hint, at last a solution")
      }
      try solve()
    case .doing: try performNext()
    case .done:
      guard index < lastIndex else {
        guard let next = nextLesson else {
          throw CommandError("this is the end of the path; \(desk.key(.lessons)) lists all lessons")
        }
        return try explorer.begin(lesson: next)
      }
      try enter(index + 1)
    }
  }

  /// What comes behind this one in the path; nil behind the last, and for lessons that are in none.
  var nextLesson: String? {
    let names = LessonLibrary.names
    return names.firstIndex(of: lesson.name).flatMap { $0 + 1 < names.count ? names[$0 + 1] : nil }
  }

  /// How an answer is given.
  var answerKeys: String {
    guard let question else { return "" }
    return question.choices.isEmpty
      ? desk.key(.answer) : question.choices.map(\.letter).joined(separator: ", ")
  }

  private func performNext() throws(CommandError) {
    guard let step else { return }
    let acts = step.acts
    while nextAct < acts.count {
      let line = acts[nextAct].operation?.text
      nextAct += 1
      guard let line else { continue }
      try perform(line)
      // What is only taken back belongs to what comes.
      if !line.hasPrefix("undo"), !line.hasPrefix("reopen") { break }
    }
    if !acts.dropFirst(nextAct).contains(where: { $0.operation != nil }) { nextAct = acts.count }
    settlePhase()
    showPlace()
  }

  private func perform(_ line: String) throws(CommandError) {
    do throws(LessonProblem) { try stage.perform(line) } catch { throw Self.problem(error) }
    stage.endOperation()
    performed.append((line, Self.isRefused(line, stage)))
    try mirror.follow([line], stage, title)
    // The strip says what was done; a long message would cover it.
    desk.message = nil
  }

  private func solve() throws(CommandError) {
    for line in exercise?.solution ?? [] { try perform(line.text) }
    feedback = nil
    settlePhase()
    showPlace()
    noteReached()
  }

  /// One step back, or back to the step if the learner has left it.
  ///
  /// - Throws: `CommandError` at the beginning.
  func goBack() throws(CommandError) {
    if own != nil {
      own = nil
      ownLines = []
      try mirror.goBack(to: stage, title)
      return showPlace()
    }
    guard !isExamOver else { throw CommandError("the exam is over; \(CommandID.leave) ends it") }
    let wanted = performed.isEmpty ? index - 1 : index
    guard wanted >= 0, let before = entered[wanted] else {
      throw CommandError(drawn == nil ? "this is the first step" : "the image is as the question has it")
    }
    stage = before.copy()
    place = place(at: wanted)
    if let own = adopted, wanted <= own.index { adopted = nil }
    try mirror.goBack(to: stage, title)
    arrive()
  }

  /// Back to the image that a question is about, where one is asked.
  ///
  /// - Throws: `CommandError` for a file that cannot be opened.
  func returnToQuestion() throws(CommandError) {
    if own != nil, place != .exercise, phase == .asking { try goBack() }
  }

  // MARK: Answers

  /// The key of a choice, if one can be given now.
  func choice(_ key: Key) -> String? {
    guard phase == .asking, own == nil, let typed = key.typed else { return nil }
    return question?.choices.first { $0.letter == String(typed) }?.letter
  }

  /// Why no answer can be given; nil if one can.
  var refusalOfAnswer: String? {
    if own != nil, place != .exercise, phase != .asking {
      return
        "you are off the lesson, and nothing is asked now; \(desk.key(.lesson, "back")) goes back to the step"
    }
    return phase == .asking ? nil : "nothing is asked now; \(desk.key(.lesson, "next")) goes on"
  }

  /// Takes an answer and says what it is worth. When it is right, the operation is done.
  ///
  /// - Throws: `CommandError` for no answer at all, and for what cannot be done.
  func answer(_ given: String) throws(CommandError) {
    guard let question else { return }
    guard given.contains(where: { $0 != " " }) else { throw CommandError("an answer is not empty") }
    // An operation of one's own may be what was done, if it leads there.
    if !question.choices.isEmpty, question.drawn == nil,
      !question.choices.contains(where: { $0.letter == given.lowercased().filter { $0 != " " } })
    {
      throw CommandError("'\(given)' is none of \(answerKeys)")
    }
    if isExam { return try answerOfExam(given) }
    let ahead = try ahead()
    let judgement: Judgement
    do throws(LessonProblem) { judgement = try ahead.judge(given, question) } catch {
      throw Self.problem(error)
    }
    switch judgement {
    case .right:
      note(given, question.text, isRight: true)
      feedback = LessonFeedback(.ok, "\(given.filter { $0 != "\n" }): right.")
      try settleQuestion()
    case .takenBack:
      feedback = LessonFeedback(
        .warning, "The image is not as the question takes it to be: it is not judged.")
      try settleQuestion()
    case .wrong(let slip):
      note(given, question.text, isRight: false)
      if let slip {
        feedback = LessonFeedback(.warning, "\(given): no. " + moment.filled(slip))
      } else {
        // Who wants no hint gets none.
        let next =
          hints < question.hints.count
          ? "gives hint \(hints + 1) of \(question.hints.count)" : "shows the answer"
        feedback = LessonFeedback(.warning, "\(given): no. \(desk.key(.hint)) \(next).")
      }
      pane.forget()
    }
  }

  /// The answer that is right, for tests; nil where nothing is asked.
  var rightAnswer: String? {
    guard phase == .asking, let question else { return nil }
    return (try? ahead()).flatMap { try? $0.rightAnswer(question) }
  }

  /// The files when everything of the place is done, without doing it.
  private func ahead() throws(CommandError) -> LessonMoment {
    let ahead = stage.copy()
    for line in left {
      do throws(LessonProblem) { try ahead.perform(line) } catch { throw Self.problem(error) }
      ahead.endOperation()
    }
    return ahead.moment
  }

  private func settleQuestion() throws(CommandError) {
    answered.insert(index)
    settlePhase()
    if phase == .doing, exercise == nil { try performNext() }
    showPlace()
    noteReached()
  }

  /// The next hint; behind the last of them the answer, or the solution.
  ///
  /// - Throws: `CommandError` where there is nothing to be found out.
  func hint() throws(CommandError) {
    guard !isExam else {
      throw CommandError(
        "there are no hints in an exam; \(CommandID.answer) \(QuizExam.passed) leaves the question out")
    }
    guard phase == .asking || exercise != nil && phase == .doing else {
      throw CommandError("nothing is asked now; \(desk.key(.lesson, "next")) goes on")
    }
    if hints < allHints.count, phase == .asking || question == nil {
      feedback = LessonFeedback(
        .changed, "Hint \(hints + 1) of \(allHints.count): " + moment.filled(allHints[hints]))
      hints += 1
      return pane.forget()
    }
    guard let question, phase == .asking else {
      showsSolution = true
      hints += 1
      feedback = LessonFeedback(
        .changed,
        "A solution: \(solution.joined(separator: "; ")). \(desk.key(.lesson, "next")) does it for you.")
      return pane.forget()
    }
    let ahead = try ahead()
    hints += 1
    note("", question.text, isRight: false)
    feedback = LessonFeedback(.changed, "The answer: " + LessonEvidence(ahead).words(question))
    try settleQuestion()
  }

  // MARK: Off the track

  /// Looks whether the learner has done something, and follows.
  func notice() {
    let session = explorer.session
    guard session.revision != seenRevision else { return }
    seenRevision = session.revision
    let line = session.done.last?.title ?? ""
    var follower = (own ?? stage).copy()
    let files = mirror.files(of: stage)
    if (try? follower.perform(line)) != nil, mirror.isEqual(files, follower) {
      follower.endOperation()
    } else {
      follower = (own ?? stage).copy()
      follower.replaceFiles(by: files)
    }
    take(follower, line)
  }

  /// An operation in the words of lessons, by the learner.
  ///
  /// - Throws: `CommandError` for words that are none.
  func perform(own line: String) throws(CommandError) {
    let follower = (own ?? stage).copy()
    do throws(LessonProblem) { try follower.perform(line) } catch { throw CommandError(error.reason) }
    follower.endOperation()
    try mirror.follow([line], follower, title)
    desk.message = nil
    seenRevision = explorer.session.revision
    take(follower, line)
    if Self.isRefused(line, follower) {
      desk.tell("'\(line)': \(follower.outcome)", error: true)
    }
  }

  /// The image or the tools did not do a line. Opening a file says nothing of its own.
  private static func isRefused(_ line: String, _ stage: LessonStage) -> Bool {
    stage.outcome != "ok" && !["open", "reopen"].contains(line.split(separator: " ").first ?? "")
  }

  private func take(_ follower: LessonStage, _ line: String) {
    pane.forget()
    // A message of several rows would cover what the strip says.
    if let message = desk.message, TextWidth.width(message.text) >= desk.width { desk.message = nil }
    if exercise != nil {
      stage = follower
      performed.append((line, Self.isRefused(line, follower)))
      let was = phase
      settlePhase()
      if phase == .done, was != .done {
        feedback = LessonFeedback(
          .ok, "Done: \(exercise?.goals.count == 1 ? "the goal holds" : "every goal holds").")
        noteReached()
      }
      return
    }
    guard follower.digest != stage.digest else {
      own = nil
      ownLines = []
      return
    }
    own = follower
    ownLines.append(line)
    strays += 1
  }

  /// What was to be seen up to here, is so on the track, and is not so on the learner's image.
  var factsThatFail: [Course.Lesson.Fact] {
    guard let own else { return [] }
    let (track, theirs) = (stage.moment, own.moment)
    return factsSoFar.filter { ((try? track.holds($0)) ?? false) && !((try? theirs.holds($0)) ?? false) }
  }

  /// The facts behind the last operation of the place, or those that the step before has left.
  private var factsSoFar: [Course.Lesson.Fact] {
    guard let step else { return [] }
    func facts(_ items: some Sequence<Course.Lesson.Step.Item>) -> [Course.Lesson.Fact] {
      items.compactMap { if case .fact(let fact) = $0 { fact } else { nil } }
    }
    let acts = step.acts
    if let last = acts.prefix(nextAct).lastIndex(where: { $0.operation != nil }) {
      return facts(acts[last...].dropFirst().prefix { $0.operation == nil }).filter(Self.isOfFiles)
    }
    let here = facts(acts.prefix { $0.operation == nil })
    let before = here.isEmpty && index > 0 && step.leading.isEmpty ? lesson.steps[index - 1].facts : here
    return before.filter(Self.isOfFiles)
  }

  /// It speaks of the files as they are, and not of what led there.
  private static func isOfFiles(_ fact: Course.Lesson.Fact) -> Bool {
    fact.query.terms.allSatisfy { term in
      !term.isBefore && term.behind == nil && term.form != .out
        && !["step", "session", "copied"].contains { term.form.rawValue.hasPrefix($0) }
    }
  }

  /// Goes on with what the learner has made, if what the step says and all that the lesson is going to say is true of it.
  private func adopt() throws(CommandError) {
    guard let own else { return }
    guard drawn == nil else {
      throw CommandError(
        "the question is about the image as it was; \(desk.key(.lesson, "back")) goes back to that")
    }
    if let fact = factsThatFail.first {
      let found = (try? own.moment.value(fact.query).text) ?? "nothing"
      throw CommandError(
        "the lesson cannot go on from here: it needs \(fact.query.text) = \(fact.value), and that is \(found); "
          + "\(desk.key(.lesson, "back")) goes back to the step")
    }
    let outlook = LessonOutlook(
      lesson, from: index, act: nextAct, track: stage, own: own, isOfFiles: Self.isOfFiles)
    if let outlook {
      throw CommandError(
        "the lesson cannot go on from here: step \(outlook.step) needs \(outlook.fact.query.text) = "
          + "\(outlook.fact.value), and that would be \(outlook.found); "
          + "\(desk.key(.lesson, "back")) goes back to the step")
    }
    adopted = (adopted?.index ?? index, (adopted?.lines ?? []) + ownLines)
    stage = own
    self.own = nil
    ownLines = []
    pane.forget()
  }

  // MARK: An exam

  /// Nothing is told before the end.
  var isExam: Bool { quiz?.exam != nil }
  /// Its last question was answered.
  var isExamOver: Bool { quiz?.exam.map { $0.next == nil } ?? false }

  /// Takes an answer without a word about it, and asks the next question.
  private func answerOfExam(_ given: String) throws(CommandError) {
    guard let drawn else { return }
    let plain = given == QuizExam.passed ? "" : given
    note(plain, "", isRight: drawn.judge(plain).isRight)
    quiz?.note(drawn, given: plain)
    guard isExamOver else { return try explorer.begin(quiz) }
    // The image is the one that was asked about: what was to be said of it is on the page.
    phase = .done
    pane.forget()
    tellExam()
  }

  /// Shows each question, what was given, what is right, and why.
  private func tellExam() {
    guard let exam = quiz?.exam else { return }
    explorer.overlay = AnswerBox("The exam", exam.page(columns: AnswerBox.columns(desk)), desk)
  }

  // MARK: What is kept

  private func note(_ given: String, _ query: String, isRight: Bool) {
    let seconds = UInt64(clamping: max(0, (ContinuousClock.now - asked).components.seconds))
    let time = UInt64(CreateSnapshot.now().seconds)
    if let drawn {
      // A retry says nothing of whether the kind is known.
      if let seed = drawn.seed, !isNoted { quiz?.note(seed.kind, isRight: isRight) }
      isNoted = true
      let record = drawn.record(
        time: time, given: given, isRight: isRight, hints: hints, seconds: seconds, operations: strays)
      if let record { desk.files.learned(record.line) }
      return
    }
    let record = LearnRecord(
      time: time,
      subject: .lesson(lesson.name, digest: digest, place: index + 1), query: query, given: given,
      isRight: isRight, hints: hints, seconds: seconds, operations: strays)
    desk.files.learned(record.line)
  }

  /// The exercise is done, which ends the lesson.
  private func noteReached() {
    guard place == .exercise, phase == .done else { return }
    note(performed.map(\.line).joined(separator: "; "), LearnRecord.reached, isRight: !showsSolution)
  }
}

/// What was said to the learner last.
struct LessonFeedback {
  var role: Role
  var text: String

  init(_ role: Role, _ text: String) {
    self.role = role
    self.text = text
  }
}
