// `:defrag` as it is seen: it begins, goes on between two pictures, and ends or is stopped.

import Cartography
import Qcow
import Storage

extension CommandID {
  static let defrag = CommandID(Defrag.words.name)
}

enum Defragging {
  static let command = CommandSpec(
    .defrag, .changing,
    options: Defrag.words.options.map { CommandOption($0.flag, $0.help) }, hint: Defrag.words.hint,
    help: """
      put the clusters in guest order, batch by batch as you watch; \(key: .cancel) stops, undo takes all back
      """,
    check: { command throws(CommandError) in _ = try change(command) },
    run: { explorer, command throws(CommandError) in
      try start(try change(command), explorer.desk)
    })

  private static func change(_ command: Command) throws(CommandError) -> Defrag {
    try ChangeParser.parse(Defrag.self, command.arguments) as? Defrag ?? Defrag()
  }

  private static func start(_ change: Defrag, _ desk: Desk) throws(CommandError) {
    let forecast: RelocationForecast
    do throws(ImageError) { forecast = try desk.session.startDefrag(change) } catch {
      desk.current.imageChanged(at: nil)
      throw CommandError(error.description)
    }
    desk.tell(
      "defrag: \(counted(forecast.toMove, "cluster")) to move, \(forecast.inPlace) in place; "
        + "\(desk.key(.cancel)) stops")
  }

  /// What is under way, one batch a step.
  final class Batch: Work {
    private let desk: Desk

    init(_ desk: Desk) { self.desk = desk }

    var progress: Double { (desk.session.defrag?.progress.percent ?? 100) / 100 }

    /// Done when there is nothing under way: after a batch its picture is to be seen.
    func step(budgetNanoseconds: UInt64) -> Bool {
      guard desk.session.defrag != nil else { return true }
      desk.settle()
      Defragging.step(desk)
      return false
    }
  }

  /// One batch, and what it changed for the marks.
  private static func step(_ desk: Desk) {
    guard let defrag = desk.session.defrag else { return }
    do throws(ImageError) {
      if let step = try desk.session.stepDefrag() { desk.change = step.narration }
      desk.current.imageChanged(at: nil)
      if desk.session.defrag == nil {
        desk.tell(
          "defrag: in order, \(counted(defrag.forecast.toMove, "cluster")) moved   "
            + "(\(desk.key(.undo)) takes it back)")
      } else {
        desk.tell("defrag: \(Int(defrag.progress.percent)) % in place; \(desk.key(.cancel)) stops")
      }
    } catch {
      desk.current.imageChanged(at: nil)
      if Session.isCancellation(error) { return tellStopped(desk) }
      desk.tell("defrag stopped: \(error.description)", error: true)
    }
  }

  /// What has been moved stays where it is now; false if nothing was under way.
  static func cancel(_ desk: Desk) -> Bool {
    guard desk.session.defrag != nil else { return false }
    desk.session.stopDefrag()
    tellStopped(desk)
    return true
  }

  private static func tellStopped(_ desk: Desk) {
    desk.tell("defrag stopped; \(CommandID.defrag) goes on, \(desk.key(.undo)) takes it back")
  }
}
