// `:lesson`: the next step of a lesson, and the one before.

import Cartography

extension CommandID {
  static let lesson = CommandID("lesson")
}

extension ValueType where Value == String {
  /// A direction in a lesson.
  static var lesson: ValueType {
    ValueType(candidates: { _ in ["next", "back"] }) { word throws(CommandError) in word }
  }
}

enum LessonCommand {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .lesson, .program, arguments: [CommandArgument("WHERE", .lesson, optional: true)],
      keys: [KeyRule(".", in: .image, ["next"]), KeyRule(",", in: .image, ["back"])], hint: "lesson",
      help: "the next step of a lesson, or 'back'; outside of a lesson, what lessons there are",
      run: { explorer, command throws(CommandError) in
        try LessonGuide(explorer).go(command.arguments.first)
      })
  ]
}
