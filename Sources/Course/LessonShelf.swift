// Lessons of somebody else than the program: a teacher's folder, as the screen and the list show it.

/// The lessons of a folder under its name.
package struct LessonShelf: Sendable {
  /// A lesson, or why it is none.
  package enum Item: Sendable {
    /// With what tells versions of its file from each other.
    case lesson(Lesson, digest: String)
    /// The name, and what is wrong with the file.
    case unreadable(String, LessonProblem)

    /// With the folder in front.
    package var name: String {
      switch self {
      case .lesson(let lesson, _): lesson.name
      case .unreadable(let name, _): name
      }
    }
  }

  /// The name of the folder.
  package var title: String
  /// In their order; their names have the folder's in front.
  package var lessons: [Item]

  package init(title: String, lessons: [Item]) {
    self.title = title
    self.lessons = lessons
  }
}
