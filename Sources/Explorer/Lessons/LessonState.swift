// Where in a lesson the explorer is. Steps are commands like any other; going back begins anew and does
// the steps before again.

import Cartography
import CellScreen
import Qcow
import Storage

/// A lesson that is under way.
struct LessonState: Sendable {
  let lesson: Lesson
  /// The step that was done last.
  var step = 0
  var current: Lesson.Step { lesson.steps[step] }
  var isLast: Bool { step == lesson.steps.count - 1 }
  /// The operations that were in place when the step was done, and who could change the mapping.
  var operations: [Int] = []
  var policy = MappingPolicy.qemu
  /// The engine did not show what the step says.
  var isRefuted = false
}

extension Explorer {
  /// Begins a lesson; the session must be on its image.
  package func begin(_ lesson: Lesson) {
    guard !lesson.steps.isEmpty else { return }
    ui.lesson = LessonState(lesson: lesson)
    keepTrack()
    ui.showsLog = true
  }

  /// Remembers the image of the step, for which its sentences are true.
  private func keepTrack() {
    ui.lesson?.operations = session.done.map(\.operations.id)
    ui.lesson?.policy = session.image.policy
  }

  /// Why the sentences of the step are not shown: they speak about another image than the one that is there.
  var lessonProblem: String? {
    guard let state = ui.lesson else { return nil }
    if state.isRefuted {
      return "step \(state.step + 1) says something that the engine did not do here; , goes back"
    }
    guard state.operations != session.done.map(\.operations.id) || state.policy != session.image.policy else {
      return nil
    }
    return "you left the lesson at step \(state.step + 1); , goes back to it"
  }

  /// Does the command of the step that the lesson is at, and looks whether the engine agrees with it.
  private func doStep() throws(CommandError) {
    guard let step = ui.lesson?.current else { return }
    ui.lesson?.isRefuted = false
    let before = session.done.count
    if let command = step.command { try submitChecked(command) }
    if let shows = step.shows {
      let told = session.done.count > before ? session.done.last?.narration.lines ?? [] : []
      ui.lesson?.isRefuted = !told.contains { Self.contains($0, shows) }
    }
    keepTrack()
  }

  /// `:lesson`: the next step, the one before, or the names of all.
  func lesson(_ word: String?) throws(CommandError) {
    guard var state = ui.lesson else {
      let names = Lesson.all.map(\.name).joined(separator: ", ")
      return tell("'qatlas lesson NAME' begins one of " + names)
    }
    switch word {
    case nil, "next":
      if let lessonProblem { throw CommandError(lessonProblem) }
      guard !state.isLast else { throw CommandError("this was the last step; , goes back, q leaves") }
      state.step += 1
      ui.lesson = state
      try doStep()
    case "back":
      // Who left the track goes back to where that was; else it is one step.
      let isAstray = lessonProblem != nil && !state.isRefuted
      guard state.step > 0 || isAstray else { throw CommandError("this is the first step") }
      do throws(ImageError) {
        while try session.undo() != nil {}
        try session.setPolicy(state.lesson.setup.policy)
      } catch { throw CommandError(error.description) }
      session.image.discardGranularity = .cluster
      ui.change = nil
      let wanted = isAstray ? state.step : state.step - 1
      for index in 0...wanted {
        state.step = index
        ui.lesson = state
        try doStep()
      }
    default: throw CommandError("'\(word ?? "")' is no direction; use :lesson next or :lesson back")
    }
    ui.showsLog = true
  }
}
