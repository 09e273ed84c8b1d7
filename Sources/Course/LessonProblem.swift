// What is wrong with a lesson, a line of it, or a question.

/// Why something of a lesson cannot be done or read.
package struct LessonProblem: Error, Equatable, CustomStringConvertible {
  /// A sentence without the place.
  package var reason: String
  /// Lines of the lesson's file count from 1; nil if no line is to blame.
  package var line: Int?

  package init(_ reason: String, line: Int? = nil) {
    self.reason = reason
    self.line = line
  }

  package var description: String { line.map { "line \($0): \(reason)" } ?? reason }

  /// The same at a line, unless it has one.
  package func at(_ line: Int) -> LessonProblem { LessonProblem(reason, line: self.line ?? line) }
}
