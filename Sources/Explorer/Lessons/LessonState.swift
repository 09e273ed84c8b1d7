// What tests see of a lesson that is under way.

import CellScreen
package import Course

extension Explorer {
  /// Where in a lesson one is: the place from 0 and what it waits for; nil without a lesson.
  package var lessonState: (place: Int, isAsking: Bool, isDone: Bool, isOff: Bool, isCut: Bool)? {
    desk.lesson.map { ($0.index, $0.phase == .asking, $0.phase == .done, $0.own != nil, $0.pane.isCut) }
  }

  /// The answer that is right; nil where nothing is asked.
  package var lessonAnswer: String? { desk.lesson?.rightAnswer }

  /// The drawn question that is asked; nil without one.
  package var quizQuestion: QuizQuestion? { desk.lesson?.drawn }

  /// The lines that reach the goals of the exercise; empty elsewhere.
  package var lessonSolution: [String] { desk.lesson?.exercise?.solution.map(\.text) ?? [] }

  /// The files of the lesson and those on the screen are the same.
  package var lessonIsMirrored: Bool {
    desk.lesson.map { LessonMirror(self).shows($0.own ?? $0.stage) } ?? false
  }

  /// All words that the lesson says now, its paragraphs joined with a blank.
  package var lessonWords: String {
    desk.lesson.map { lesson in
      LessonWords(lesson, desk).paragraphs.map(\.text).joined(separator: " ")
    } ?? ""
  }

  /// The directives of the step, or of the exercise.
  package var lessonShow: [String: String] { desk.lesson?.show?.words ?? [:] }

  /// What can be said to a question besides the right answer: the known slips, and the letters of choices.
  package var lessonSlips: [String] {
    guard let question = desk.lesson?.question else { return [] }
    return question.slips.map(\.value) + question.choices.map(\.letter).filter { $0 != lessonAnswer }
  }

  /// What the lesson under way has marked is on the screen now; nil if it marks nothing.
  package var lessonHighlight: Bool? {
    guard desk.lesson?.highlight != nil else { return nil }
    desk.highlightedCells = 0
    _ = canvas()
    return desk.highlightedCells > 0
  }
}
