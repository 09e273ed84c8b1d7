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

  /// Remembers the image of the step, for which its sentences are true.
  mutating func keepTrack(of session: Session) {
    operations = session.done.map(\.operations.id)
    policy = session.image.policy
  }

  /// Why the sentences of the step are not shown: they speak about another image than the one that is there.
  func problem(_ desk: Desk) -> String? {
    let back = desk.key(.lesson, "back")
    if isRefuted {
      return "step \(step + 1) says something that the engine did not do here; \(back) goes back"
    }
    guard operations != desk.session.done.map(\.operations.id) || policy != desk.session.image.policy else {
      return nil
    }
    return "you left the lesson at step \(step + 1); \(back) goes back to it"
  }
}

/// Goes through a lesson.
struct LessonGuide {
  private let explorer: Explorer
  private var desk: Desk { explorer.desk }
  private var session: Session { desk.session }

  init(_ explorer: Explorer) { self.explorer = explorer }

  /// Begins a lesson; the session must be on its image.
  func begin(_ lesson: Lesson) {
    guard !lesson.steps.isEmpty else { return }
    desk.lesson = LessonState(lesson: lesson)
    desk.lesson?.keepTrack(of: session)
    showWords()
  }

  /// On small screens the words stand where "Where is it?" else is.
  private func showWords() { desk.screen(MapsScreen.self)?.showsLog = true }

  /// Does the command of the step that the lesson is at, and looks whether the engine agrees with it.
  private func doStep() throws(CommandError) {
    guard let step = desk.lesson?.current else { return }
    desk.lesson?.isRefuted = false
    let before = session.done.count
    if let command = step.command { try explorer.submit(command) }
    if let shows = step.shows {
      let told = session.done.count > before ? session.done.last?.narration.lines ?? [] : []
      desk.lesson?.isRefuted = !told.contains { Searching.contains($0, shows) }
    }
    desk.lesson?.keepTrack(of: session)
  }

  /// The next step, the one before, or the names of all lessons.
  ///
  /// - Throws: `CommandError` at the ends, off the track, and for what a step's command throws.
  func go(_ word: String?) throws(CommandError) {
    guard var state = desk.lesson else {
      let names = Lesson.all.map(\.name).joined(separator: ", ")
      return desk.tell("'qatlas lesson NAME' begins one of " + names)
    }
    switch word {
    case nil, "next":
      if let problem = state.problem(desk) { throw CommandError(problem) }
      guard !state.isLast else {
        throw CommandError(
          "this was the last step; \(desk.key(.lesson, "back")) goes back, \(desk.key(.close)) leaves")
      }
      state.step += 1
      desk.lesson = state
      try doStep()
    case "back":
      // Who left the track goes back to where that was; else it is one step.
      let isAstray = state.problem(desk) != nil && !state.isRefuted
      guard state.step > 0 || isAstray else { throw CommandError("this is the first step") }
      do throws(ImageError) {
        while try session.undo() != nil {}
        try session.setPolicy(state.lesson.setup.policy)
      } catch { throw CommandError(error.description) }
      session.image.discardGranularity = .cluster
      desk.change = nil
      let wanted = isAstray ? state.step : state.step - 1
      for index in 0...wanted {
        state.step = index
        desk.lesson = state
        try doStep()
      }
    default:
      throw CommandError(
        "'\(word ?? "")' is no direction; use \(CommandID.lesson) next or \(CommandID.lesson) back")
    }
    showWords()
  }
}
