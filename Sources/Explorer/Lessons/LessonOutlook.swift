// Whether the rest of a lesson would be true of the learner's own image: it is played once more beside the track, on
// copies of both.

import Course

/// What of a lesson would not be true of another image than its own.
struct LessonOutlook {
  /// The step, from 1 on.
  let step: Int
  /// What it states; true on the track.
  let fact: Course.Lesson.Fact
  /// What would be there instead.
  let found: String

  /// Plays a lesson on from one act of a step, on the track and on `own`; nil if all that it states of files is as true
  /// of the one as of the other.
  init?(
    _ lesson: Course.Lesson, from first: Int, act: Int, track: LessonStage, own: LessonStage,
    isOfFiles: (Course.Lesson.Fact) -> Bool
  ) {
    let stages = [track.copy(), own.copy()]
    for (number, step) in lesson.steps.enumerated().dropFirst(first) {
      if number > first { for stage in stages { try? stage.enter(step) } }
      for item in step.acts.dropFirst(number == first ? act : 0) {
        switch item {
        case .replay: continue
        case .deed(let line):
          for stage in stages {
            try? stage.perform(line.text)
            stage.endOperation()
          }
        case .fact(let fact) where isOfFiles(fact):
          let (right, mine) = (stages[0].moment, stages[1].moment)
          guard (try? right.holds(fact)) == true, (try? mine.holds(fact)) != true else { continue }
          self.step = number + 1
          self.fact = fact
          found = (try? mine.value(fact.query).text) ?? "nothing"
          return
        case .fact: continue
        }
      }
    }
    return nil
  }
}
