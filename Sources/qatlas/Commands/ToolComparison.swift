// Whether the genuine tools make the same files of a lesson's lines as the engine does.

import Course

/// Does every line of a lesson that genuine tools can do with them as well, each from the files that the engine had
/// before, and looks whether the files are the same, byte for byte.
struct ToolComparison {
  private let tools: GenuineTools
  /// Lines that were compared.
  private(set) var files = 0
  /// Lines whose files differ.
  private(set) var different: [(line: Int, text: String)] = []

  init(_ tools: GenuineTools) { self.tools = tools }

  mutating func compare(_ lesson: Lesson) {
    guard !lesson.isOurs else { return }
    var lines: [(line: Lesson.Line, work: ToolWork, after: Workbench)] = []
    do throws(LessonProblem) {
      let stage = try LessonStage(lesson) { line, work, after in lines.append((line, work, after.copy())) }
      func perform(_ line: Lesson.Line) throws(LessonProblem) {
        try stage.perform(line.text)
        if let work = stage.toolWork { lines.append((line, work, stage.bench.copy())) }
      }
      for step in lesson.steps {
        // What only this engine does begins here.
        guard !step.isOurs else { break }
        try stage.enter(step)
        for item in step.acts {
          if case .deed(let line) = item { try perform(line) }
        }
      }
      if let exercise = lesson.exercise, !lesson.steps.contains(where: \.isOurs) {
        stage.enterExercise()
        for line in exercise.solution { try perform(line) }
      }
    } catch { return different.append((error.line ?? 1, error.reason)) }
    for (line, work, after) in lines {
      files += 1
      if let difference = tools.difference(of: after, work) {
        different.append((line.number, "\(line.text): \(difference)"))
      }
    }
  }
}
