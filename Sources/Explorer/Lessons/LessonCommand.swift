// The commands of a lesson: on and back, an answer, a hint, and operations in the words of lessons.

package import Cartography
import CellScreen
package import Course
import Qcow

extension CommandID {
  static let lesson = CommandID("lesson")
  static let answer = CommandID("answer")
  static let hint = CommandID("hint")
  static let readOn = CommandID("read-on")
  static let perform = CommandID("do")
}

extension ValueType where Value == String {
  /// A direction in a lesson, or the name of one.
  static var lesson: ValueType {
    ValueType(candidates: { _ in ["next", "back"] + LessonNames.all }) { word throws(CommandError) in word }
  }
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
      .answer, .program, arguments: [CommandArgument("VALUE", .text, optional: true)],
      keys: [KeyRule("T", in: [.image, .fragmentation])], hint: "answer",
      help:
        "answers the question of a lesson: a number, an address, an entry, a list or a letter; the key takes it",
      refusal: { explorer in none(explorer) ?? explorer.desk.lesson?.refusalOfAnswer },
      run: { explorer, command throws(CommandError) in
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

extension Explorer {
  /// Begins a lesson, on files of its own in memory.
  ///
  /// - Throws: `CommandError` for a lesson that there is not, or that cannot be begun.
  package func begin(lesson name: String) throws(CommandError) {
    do throws(LessonProblem) {
      let today = LessonNames.today(name)
      try begin(try LessonNames.lesson(today), digest: LessonNames.digest(of: today) ?? "")
    } catch { throw CommandError(error.description) }
  }

  /// Begins a lesson that was read from somewhere; `digest` tells versions of its file from each other.
  ///
  /// - Throws: ``LessonProblem`` for a lesson that cannot be begun.
  package func begin(_ lesson: Course.Lesson, digest: String = "", at step: Int = 0) throws(LessonProblem) {
    let play = try LessonPlay(lesson, digest: digest, self)
    desk.session.stopDefrag()
    desk.forgetBefore()
    reopen = nil
    desk.lesson = play
    desk.goHome()
    do throws(CommandError) { try play.begin(at: step) } catch {
      desk.lesson = nil
      throw LessonProblem(error.description)
    }
  }
}
