// The commands of a lesson: on and back, an answer, a hint, and operations in the words of lessons.

package import Cartography
import CellScreen
package import Course
import Qcow
import Storage

extension CommandID {
  static let lesson = CommandID("lesson")
  static let quiz = CommandID("quiz")
  static let answer = CommandID("answer")
  static let hint = CommandID("hint")
  static let readOn = CommandID("read-on")
  static let perform = CommandID("do")
  static let leave = CommandID("leave")
}

extension ValueType where Value == String {
  /// A direction in a lesson, or the name of one.
  static var lesson: ValueType {
    ValueType(candidates: { _ in ["next", "back"] + LessonNames.all }) { word throws(CommandError) in word }
  }
}

extension ValueType where Value == QuizWish {
  /// A kind of questions, or the seed of one question.
  static var quiz: ValueType {
    ValueType(candidates: { _ in QuizKind.allCases.map(\.rawValue) + [QuizWish.examWord] }) {
      word throws(CommandError) in
      if word == QuizWish.examWord { return .exam }
      if let kind = QuizKind(rawValue: word) { return .kind(kind) }
      if let seed = QuizSeed(word) { return .seed(seed) }
      throw CommandError(
        "'\(word)' is no kind of questions, and no seed; there are "
          + QuizKind.allCases.map(\.rawValue).joined(separator: ", "))
    }
  }
}

/// Which questions somebody wants.
enum QuizWish: Sendable {
  case kind(QuizKind)
  case seed(QuizSeed)
  /// One of each kind, told about at the end.
  case exam

  static let examWord = "exam"
}

enum LessonCommand {
  private static let none: CommandSpec.Refusal = { explorer in
    explorer.desk.lesson == nil
      ? "no lesson is under way; \(explorer.desk.key(.lessons)) lists them" : nil
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .lesson, .program, arguments: [CommandArgument("WHERE", .lesson, optional: true)],
      keys: [
        KeyRule(".", in: [.image, .fragmentation], ["next"]),
        KeyRule(",", in: [.image, .fragmentation], ["back"]),
      ], hint: "go on",
      help: "goes on in a lesson, or 'back'; with the name of a lesson begins it",
      run: { explorer, command throws(CommandError) in try go(command.arguments.first, explorer) }),
    CommandSpec(
      .quiz, .program,
      arguments: [
        CommandArgument("KIND", .quiz, optional: true), CommandArgument("LEVEL", .index, optional: true),
      ],
      help: """
        asks questions on images in memory, one after the other: of all kinds, of one, the one of a seed, or an exam, \
        whose answers are told at its end; level 1, 2 or 3
        """,
      run: { explorer, command throws(CommandError) in try ask(command.arguments, explorer) }),
    CommandSpec(
      .answer, .program, arguments: [CommandArgument("VALUE", .text, optional: true)],
      keys: [KeyRule("T", in: [.image, .fragmentation])], hint: "answer",
      help:
        "answers the question of a lesson: a number, an address, an entry, a list or a letter; the key takes it",
      refusal: { explorer in none(explorer) ?? explorer.desk.lesson?.refusalOfAnswer },
      run: { explorer, command throws(CommandError) in
        // Who has tried something by themselves answers what was asked before that.
        try explorer.desk.lesson?.returnToQuestion()
        if !command.arguments.isEmpty {
          try explorer.desk.lesson?.answer(command.arguments.joined(separator: " "))
          return
        }
        let prompt = Prompt(command: explorer.desk, history: explorer.commandHistory)
        _ = prompt.paste(CommandID.answer.name + " ")
        explorer.overlay = prompt
      }),
    CommandSpec(
      .hint, .program, keys: [KeyRule("I", in: [.image, .fragmentation])], hint: "hint",
      help:
        "the next hint of a lesson; behind the last of them the answer, with the bytes that it comes from",
      refusal: none, run: { explorer, _ throws(CommandError) in try explorer.desk.lesson?.hint() }),
    CommandSpec(
      .readOn, .program, keys: [KeyRule(";", in: [.image, .fragmentation])], hint: "read on",
      help: "the words of a lesson that have no room, and then the first ones again",
      refusal: none,
      run: { explorer, _ throws(CommandError) in
        guard explorer.desk.lesson?.pane.readOn() == true else {
          throw CommandError("all words of the lesson are on the screen")
        }
      }),
    CommandSpec(
      .leave, .program, hint: "leave",
      help: "ends a lesson or a quiz, and goes back to the image that was there before it",
      refusal: { explorer in
        none(explorer)
          ?? (explorer.desk.left == nil
            ? "there was no image before; \(CommandID.quit) ends the program" : nil)
      }, run: { explorer, _ throws(CommandError) in explorer.leaveLesson() }),
    CommandSpec(
      .perform, .program, arguments: [CommandArgument("OPERATION", .text)],
      help: """
        an operation in the words of lessons, on the files of the lesson: also open FILE, reopen, crash, check -r, poke, \
        punch, cut, write -c
        """,
      refusal: none,
      run: { explorer, command throws(CommandError) in
        try explorer.desk.lesson?.perform(
          own: command.arguments.map(ChangeWords.quoted).joined(separator: " "))
      }),
  ]

  private static func ask(_ words: [String], _ explorer: Explorer) throws(CommandError) {
    let level = words.count > 1 ? try ValueType.index.parse(words[1]) : QuizSeed.usualLevel
    guard QuizSeed.levels.contains(level) else { throw CommandError("there are levels 1 to 3") }
    try OtherImages.checkUnsaved(explorer, force: false, .quiz)
    let number = UInt64.random(in: 0..<1_000_000_000)
    switch try words.first.map(ValueType.quiz.parse) {
    case nil: try explorer.begin(QuizRun(seed: number, level: level))
    case .exam: try explorer.begin(QuizRun(exam: QuizExam(seed: number, level: level)))
    case .kind(let kind): try explorer.begin(QuizRun([kind], seed: number, level: level))
    case .seed(let seed):
      do throws(LessonProblem) {
        // Others of its kind follow.
        try explorer.begin(try QuizQuestion(seed), QuizRun([seed.kind], seed: seed.number, level: seed.level))
      } catch { throw CommandError(error.description) }
    }
  }

  private static func go(_ word: String?, _ explorer: Explorer) throws(CommandError) {
    switch word {
    case nil, "next":
      guard let lesson = explorer.desk.lesson else {
        throw CommandError("no lesson is under way; \(explorer.desk.key(.lessons)) lists them")
      }
      try lesson.goOn()
    case "back":
      guard let lesson = explorer.desk.lesson else {
        throw CommandError("no lesson is under way; \(explorer.desk.key(.lessons)) lists them")
      }
      try lesson.goBack()
    case .some(let name):
      try OtherImages.checkUnsaved(explorer, force: false, .lesson)
      try explorer.begin(lesson: name)
    }
  }
}

extension SessionFiles {
  /// A lesson of the user's own folders by its name; nil if there is none. Throws ``LessonProblem`` for one that cannot
  /// be read.
  fileprivate func lesson(_ name: String) throws(LessonProblem) -> (Course.Lesson, digest: String)? {
    // None of the program has a folder.
    guard name.contains("/") else { return nil }
    for item in lessonShelves().flatMap(\.lessons) where item.name == name {
      switch item {
      case .lesson(let lesson, let digest): return (lesson, digest)
      case .unreadable(_, let problem): throw problem
      }
    }
    return nil
  }
}

extension Explorer {
  /// Begins a lesson, on files of its own in memory.
  ///
  /// - Throws: `CommandError` for a lesson that there is not, or that cannot be begun.
  package func begin(lesson name: String) throws(CommandError) {
    do throws(LessonProblem) {
      if let (lesson, digest) = try desk.files.lesson(name) { return try begin(lesson, digest: digest) }
      let today = LessonNames.today(name)
      try begin(try LessonNames.lesson(today), digest: LessonNames.digest(of: today) ?? "")
    } catch { throw CommandError(error.description) }
  }

  /// Begins a lesson that was read from somewhere; `digest` tells versions of its file from each other.
  ///
  /// - Throws: ``LessonProblem`` for a lesson that cannot be begun.
  package func begin(_ lesson: Course.Lesson, digest: String = "", at step: Int = 0) throws(LessonProblem) {
    try begin(try LessonPlay(lesson, digest: digest, self), at: step)
  }

  /// Asks a drawn question, on files of its own in memory; `run` says which come behind it.
  ///
  /// - Throws: ``LessonProblem`` for files that cannot be made.
  package func begin(_ question: QuizQuestion, _ run: QuizRun) throws(LessonProblem) {
    try begin(try LessonPlay(question.lesson, digest: "", self, quiz: run), at: 0)
  }

  /// Asks the next question of a row.
  ///
  /// - Throws: `CommandError` if there is none.
  func begin(_ run: QuizRun?) throws(CommandError) {
    guard var run else { return }
    do throws(LessonProblem) {
      // Now and then nothing that is drawn makes a question.
      for _ in 0..<8 {
        guard let seed = run.next(), let question = try? QuizQuestion(seed) else { continue }
        return try begin(question, run)
      }
    } catch { throw CommandError(error.description) }
    throw CommandError("no question could be drawn; ask once more")
  }

  private func begin(_ play: LessonPlay, at step: Int) throws(LessonProblem) {
    if let reason = session.sharing.refusalOfLeaving { throw LessonProblem(reason) }
    desk.session.stopDefrag()
    // A lesson begun in a lesson goes back to where the first one was begun.
    let left = desk.lesson == nil ? LeftImage(session: desk.session, reopen: reopen) : desk.left
    desk.forgetBefore()
    desk.left = left
    reopen = nil
    desk.lesson = play
    desk.goHome()
    do throws(CommandError) { try play.begin(at: step) } catch {
      desk.lesson = nil
      throw LessonProblem(error.description)
    }
  }

  /// Goes on with the image that was there before the lesson, as it was then.
  func leaveLesson() {
    guard let left = desk.left else { return }
    desk.session.stopDefrag()
    desk.forgetBefore()
    desk.replaceSession(left.session)
    reopen = left.reopen
    desk.goHome()
    desk.setCursor(.guest, 0)
    desk.tell("back at \(left.name)")
  }
}

/// The image that was on the screens before a lesson.
struct LeftImage {
  let session: Session
  /// Opens its file again.
  let reopen: SessionOpener?
  /// What it is called.
  var name: String { Escaping.human(ByteText.lastPart(of: session.title)) }
}
