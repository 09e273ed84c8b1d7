// A lesson as text: every step done on the engine, with what the log says about it. The same lesson, the
// same commands, for a pipe or a reader without a screen.

import Cartography
import CellScreen
package import Qcow

/// Lessons for who has no screen.
package enum LessonText {
  /// Names and titles.
  package static var list: String {
    let width = Lesson.all.map(\.name.count).max() ?? 0
    return Lesson.all.map { TextWidth.padded($0.name, to: width + 2) + $0.title + "\n" }.joined()
  }

  /// The whole lesson, in lines of at most 80 columns.
  ///
  /// - Throws: ``ImageError`` if the engine fails, which a test would notice.
  package static func run(_ lesson: Lesson, files: any SessionFiles) throws(ImageError) -> String {
    let session = try lesson.session(files: files)
    let explorer = Explorer(session, files: files, width: 80, height: 24, glyphs: .ascii)
    while !explorer.scan(budgetNanoseconds: 50_000_000) {}
    explorer.begin(lesson)
    var text = lesson.title + "\n"
    for index in lesson.steps.indices {
      let before = (session.revision, session.done.count)
      if index > 0 { _ = explorer.performLine("lesson next") }
      let step = lesson.steps[index]
      text += "\n\(index + 1). "
      if let command = step.command { text += ":\(command)\n" }
      let lines = TextWrap.wrap(step.text.text(.standard, in: .guestMap), width: 77)
      let start = step.command == nil ? "" : "   "
      text += start + lines.joined(separator: "\n   ") + "\n"
      guard step.command != nil else { continue }
      if session.revision != before.0, session.done.count > before.1, let last = session.done.last {
        for line in last.narration.lines { text += "   log: \(line)\n" }
      } else if let message = explorer.message {
        text += "   \(message)\n"
      }
    }
    return text
  }
}
