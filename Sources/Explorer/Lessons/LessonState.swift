// Where in a lesson the explorer is. Steps are commands like any other; going back begins anew and does
// the steps before again.

import CellScreen
import Qcow

/// A lesson that is under way.
struct LessonState: Sendable {
  let lesson: Lesson
  /// The step that was done last.
  var step = 0
  var current: Lesson.Step { lesson.steps[step] }
  var isLast: Bool { step == lesson.steps.count - 1 }
}

extension Explorer {
  /// Begins a lesson; the session must be on its image.
  package func begin(_ lesson: Lesson) {
    guard !lesson.steps.isEmpty else { return }
    ui.lesson = LessonState(lesson: lesson)
    ui.showsLog = true
  }

  /// `:lesson`: the next step, the one before, or the names of all.
  func lesson(_ word: String?) throws(CommandError) {
    guard var state = ui.lesson else {
      let names = Lesson.all.map(\.name).joined(separator: ", ")
      return tell("'qatlas lesson NAME' begins one of " + names)
    }
    switch word {
    case nil, "next":
      guard !state.isLast else { throw CommandError("this was the last step; , goes back, q leaves") }
      state.step += 1
      ui.lesson = state
      if let command = state.current.command { try submitChecked(command) }
    case "back":
      guard state.step > 0 else { throw CommandError("this is the first step") }
      do throws(ImageError) {
        while try session.undo() != nil {}
        try session.setPolicy(state.lesson.setup.policy)
      } catch { throw CommandError(error.description) }
      session.image.discardGranularity = .cluster
      ui.change = nil
      let wanted = state.step - 1
      for index in 0...wanted {
        state.step = index
        ui.lesson = state
        if let command = state.current.command { try submitChecked(command) }
      }
    default: throw CommandError("'\(word ?? "")' is no direction; use :lesson next or :lesson back")
    }
    ui.showsLog = true
  }
}
