// What lessons are called: those of the course, and the names of the lessons that were there before it.

package import Course

/// Finds lessons by what people call them.
package enum LessonNames {
  /// A lesson of before that is a part of another one now; the others have kept their names.
  private static let former = ["reorder": "fragmentation"]

  /// Names that are offered, in the order of the path.
  package static var all: [String] { LessonLibrary.names }

  /// The name that a lesson has now.
  package static func today(_ name: String) -> String {
    LessonLibrary.names.contains(name) ? name : former[name] ?? name
  }

  /// A lesson by its name, or the one it had before.
  ///
  /// - Throws: ``LessonProblem`` for one that there is not.
  package static func lesson(_ name: String) throws(LessonProblem) -> Course.Lesson {
    try LessonLibrary.lesson(today(name))
  }

  /// A number that tells versions of a lesson's file from each other; nil for one that there is not.
  package static func digest(of name: String) -> String? {
    LessonLibrary.text(name).map { LearnRecord.digest(of: $0) }
  }
}
