// How far a learner is in each lesson, from the answers that were kept.

/// How far somebody is in a lesson.
package enum LearnState: String, Sendable, CaseIterable {
  case new
  case begun
  case done
  /// Every question was answered without a hint, and the exercise done without its solution.
  case doneWithoutHints = "done, no hints"

  /// The states of all lessons in which something was answered.
  package static func all(_ records: [LearnRecord]) -> [String: LearnState] {
    var seen: [String: (isDone: Bool, places: [Int: Bool])] = [:]
    for record in records {
      guard case .lesson(let name, _, let place) = record.subject else { continue }
      var lesson = seen[name] ?? (false, [:])
      if record.query == LearnRecord.reached { lesson.isDone = true }
      // One good answer is enough, whenever it was given.
      lesson.places[place] = (lesson.places[place] ?? false) || record.isRight && record.hints == 0
      seen[name] = lesson
    }
    var states: [String: LearnState] = [:]
    for (name, lesson) in seen {
      guard lesson.isDone else {
        states[name] = .begun
        continue
      }
      let isAll = asked(name).allSatisfy { lesson.places[$0] == true }
      states[name] = isAll && lesson.places.values.allSatisfy { $0 } ? .doneWithoutHints : .done
    }
    return states
  }

  /// The places of a lesson that ask something.
  private static func asked(_ name: String) -> [Int] {
    guard let lesson = try? LessonLibrary.lesson(name) else { return [] }
    return lesson.steps.indices.filter { lesson.steps[$0].question != nil }.map { $0 + 1 }
  }
}
