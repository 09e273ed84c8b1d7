// `:defrag` as it is seen: it begins, goes on between two pictures, and ends or is stopped.

import Cartography
import CellScreen
import Qcow
import Storage

extension CommandID {
  static let defrag = CommandID(Defrag.words.name)
}

enum Defragging {
  static let command = CommandSpec(
    .defrag, .changing,
    options: Defrag.words.options.map { CommandOption($0.flag, $0.help) }, force: true,
    hint: Defrag.words.hint,
    help: """
      put the clusters in guest order, batch by batch as you watch, after a look at what that means; ! begins at \
      once, \(key: .cancel) stops, undo takes all back
      """,
    check: { command throws(CommandError) in _ = try change(command) },
    run: { explorer, command throws(CommandError) in
      let asked = try change(command)
      guard !command.force else { return try start(asked, explorer.desk) }
      try ask(asked, explorer)
    })

  private static let begin = OverlayKey(key: .enter, word: "begin", footer: "begin (undoable)")

  /// What would be done, before it is.
  private static func ask(_ change: Defrag, _ explorer: Explorer) throws(CommandError) {
    let desk = explorer.desk
    let forecast: RelocationForecast
    do throws(ImageError) { forecast = try desk.session.previewDefrag(change) } catch {
      throw CommandError(error.description)
    }
    explorer.overlay = QuestionBox(
      "Put the clusters in order", lines(forecast, desk.session.overlay.length),
      [
        QuestionBox.Answer(key: begin) { explorer throws(CommandError) in try start(change, explorer.desk) }
      ], desk)
  }

  /// `length` are the bytes of the file now.
  private static func lines(_ forecast: RelocationForecast, _ length: UInt64) -> [String] {
    var moved = ["\(counted(forecast.toMove, "cluster")) of data to move, \(forecast.inPlace) in place"]
    if forecast.streamsToMove + forecast.streamsInPlace > 0 {
      moved.append("\(forecast.streamsToMove) compressed to move, \(forecast.streamsInPlace) in place")
    }
    var lines = [
      moved.joined(separator: "; "), "\(Notation.compact(forecast.bytesToCopy)) are copied, roughly",
      Self.length(length, forecast.lengthAfter) ?? "the file length stays \(length) bytes",
    ]
    if forecast.spaceNeeded > 0 {
      lines.append("for a while up to \(Notation.compact(forecast.spaceNeeded)) more behind the end")
    }
    return lines
  }

  /// How the length of the file changed, in words; nil if it did not.
  private static func length(_ before: UInt64, _ after: UInt64) -> String? {
    guard before != after else { return nil }
    return after < before
      ? "the file gets \(Notation.compact(before - after)) shorter: \(after) bytes"
      : "the file gets \(Notation.compact(after - before)) longer: \(after) bytes"
  }

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
          "defrag: in order, \(counted(defrag.forecast.toMove, "cluster")) moved"
            + (length(defrag.lengthBefore, desk.session.overlay.length).map { ", " + $0 } ?? "") + "   "
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
