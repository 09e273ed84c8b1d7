// Every answer is a line in the learner's own file, which nobody else can read.

import Course
import Glibc

enum QuizProgress {
  /// Adds an answer to those of the lessons, unless the user wants no history; `given` is empty if the answer was shown.
  static func note(_ question: QuizQuestion, given: String, isRight: Bool, hints: Int, seconds: Int) {
    guard HostFiles.keepsHistory, let folder = UserFolders.state,
      let record = question.record(
        time: UInt64(max(0, time(nil))), given: given, isRight: isRight, hints: hints,
        seconds: UInt64(max(0, seconds)))
    else { return }
    UserFolders.append(record.line, to: HostFiles.answersFile, in: folder)
  }
}
