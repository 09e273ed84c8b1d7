// Changes: requests to the engine, undo, redo and saving. Afterwards the cursor is looked up again and
// what changed is kept for the marks.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Explorer {
  /// `write`, `zero`, `discard`, `read`: with words done at once, without them a dialog.
  func change(_ command: Command) throws(CommandError) {
    guard !command.arguments.isEmpty else {
      try openDialog(command.id)
      return
    }
    let request = try CommandParser.request(command)
    if case .read = request.kind {
      try read(request)
    } else {
      try change(request)
    }
  }

  func change(_ request: Request) throws(CommandError) {
    do throws(ImageError) {
      let step = try session.run(request)
      ui.change = step?.narration
      if request.isOfImage { refresh() } else { showChange(request.offset) }
      guard let step else {
        tell("\(request.commandLine): nothing changed")
        return
      }
      ui.logSelected = max(0, session.done.count - 1)
      tell(summary(step.narration))
    } catch {
      // A failed save in rw mode leaves the operation in place.
      refresh()
      throw CommandError(error.description)
    }
  }

  func showChange(_ offset: UInt64) {
    refresh()
    // The guest side moves to what changed unless it is in view of the cursor already.
    if ui.screen == .explorer, ui.cursor.side == .guest { setCursor(.guest, offset) }
  }

  func refresh() {
    if ui.screen == .table { pullCursorToEntry() } else { reanchor() }
  }

  private func summary(_ narration: Narration) -> String {
    let numbers = narration.numbers
    var parts = [narration.title]
    parts.append("\(numbers.clustersTaken) new, \(numbers.clustersFreed) freed")
    parts.append(counted(numbers.l2EntriesChanged, "L2 entry", "L2 entries"))
    if numbers.lengthAfter > numbers.lengthBefore {
      parts.append("file +\(Notation.compact(numbers.lengthAfter - numbers.lengthBefore))")
    }
    return parts.joined(separator: "; ") + "   (u takes it back)"
  }

  private func read(_ request: Request) throws(CommandError) {
    guard case .read(let expected, let verbose) = request.kind else { return }
    let result: Session.ReadResult
    do throws(ImageError) { result = try session.read(request) } catch {
      throw CommandError(error.description)
    }
    var text = request.commandLine + ": "
    if let expected {
      if let different = result.firstDifference {
        throw CommandError(
          text
            + "differs from 0x\(Notation.hex(UInt64(expected), width: 2)) first at 0x\(Notation.hex(different))"
        )
      }
      text += "every byte is 0x\(Notation.hex(UInt64(expected), width: 2))"
    } else if let byte = result.uniform {
      text += "every byte is 0x\(Notation.hex(UInt64(byte), width: 2))"
    } else {
      text += "mixed bytes"
    }
    if verbose || (expected == nil && result.uniform == nil) {
      text += ", first " + result.first.map { Notation.hex(UInt64($0), width: 2) }.joined(separator: " ")
    }
    tell(text)
  }

  /// Tells or changes who may change the mapping.
  func policy(_ name: String?) throws(CommandError) {
    guard let name else {
      let pin = session.image.pin.map { ", places at guest + 0x\(Notation.hex($0.shift))" } ?? ""
      return tell("policy \(session.image.policy.rawValue)" + pin)
    }
    guard let policy = MappingPolicy(rawValue: name) else {
      let names = MappingPolicy.allCases.map(\.rawValue).joined(separator: ", ")
      throw CommandError("no policy is called '\(name)'; there are \(names)")
    }
    do throws(ImageError) { try session.setPolicy(policy) } catch { throw CommandError(error.description) }
    tell("policy \(policy.rawValue) from the next operation on")
  }

  // MARK: Undo

  func undo(_ count: Int) throws(CommandError) {
    try repeated(count, "nothing to undo", "undone") { () throws(ImageError) in try session.undo() }
  }

  func redo(_ count: Int) throws(CommandError) {
    try repeated(count, "nothing to redo", "done again") { () throws(ImageError) in try session.redo() }
  }

  private func repeated(
    _ count: Int, _ nothing: String, _ word: String, _ body: () throws(ImageError) -> Session.Step?
  ) throws(CommandError) {
    var last: Session.Step?
    var number = 0
    do throws(ImageError) {
      while number < count, let step = try body() {
        last = step
        number += 1
      }
    } catch {
      refresh()
      throw CommandError(error.description)
    }
    guard let last else { throw CommandError(nothing) }
    ui.change = last.narration
    ui.logSelected = max(0, session.done.count - 1)
    if last.request.isOfImage { refresh() } else { showChange(last.request.offset) }
    tell("\(word): \(last.request.commandLine)" + (number > 1 ? " and \(number - 1) more" : ""))
  }

  // MARK: Saving

  func save(_ command: Command) throws(CommandError) {
    do throws(ImageError) {
      if let path = command.arguments.first {
        try session.saveCopy(path, replacing: command.force)
        tell("wrote \(session.overlay.length) bytes to '\(path)'")
      } else {
        let had = session.hasUnsavedChanges
        try session.save()
        tell(had ? "saved to '\(session.title)'" : "nothing to save: '\(session.title)' is up to date")
      }
    } catch { throw CommandError(error.description) }
  }
}
