// Every answer is a line in the learner's own file, which nobody else can read.

import Course
import Glibc

enum QuizProgress {
  /// Adds an answer to those of the lessons, unless the user wants no history; `given` is empty if the answer was shown.
  static func note(_ question: QuizQuestion, given: String, isRight: Bool, hints: Int, seconds: Int) {
    guard let seed = question.seed, HostFiles.keepsHistory, let folder = UserFolders.state else { return }
    let record = LearnRecord(
      time: UInt64(max(0, time(nil))),
      subject: .question(seed.kind.rawValue, seed: seed.number, level: seed.level),
      query: question.parts.map(\.query).joined(separator: ", "), given: String(given.prefix(240)),
      isRight: isRight, hints: hints, seconds: UInt64(max(0, seconds)), operations: 0)
    UserFolders.append(record.line, to: HostFiles.answersFile, in: folder)
  }
}
