// Saving, leaving, and reading the file again.

import Cartography
import CellScreen
import Qcow
import Storage

extension CommandID {
  static let save = CommandID("w")
  static let saveAndQuit = CommandID("wq")
  static let quit = CommandID("q")
  static let close = CommandID("close")
  static let reload = CommandID("reload")
}

enum Saving {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .save, .saving, aliases: ["write-file", "save"],
      arguments: [CommandArgument("FILE", .file, optional: true)], force: true, hint: "save",
      help: "save to the image file; with FILE write a whole copy (! replaces an existing file)",
      run: { explorer, command throws(CommandError) in try save(command, explorer.desk) }),
    CommandSpec(
      .saveAndQuit, .saving, aliases: ["x"], hint: "save, quit", help: "save and leave",
      run: { explorer, _ throws(CommandError) in
        try save(Command(.save), explorer.desk)
        explorer.desk.effects.append(.quit)
      }),
    CommandSpec(
      .quit, .saving, aliases: ["quit"], force: true, hint: "quit",
      help: "leave; refused with unsaved changes, \(CommandID.quit.name)! drops them",
      run: { explorer, command throws(CommandError) in try quit(force: command.force, explorer.desk) }),
    CommandSpec(
      .close, .saving, keys: [KeyRule("q", in: .all)], hint: "quit",
      help: """
        close what is open: back to the screen that this one was opened from, out of a state that is looked at, and \
        from the maps, where nothing is left to close, out of the program
        """,
      run: { explorer, _ throws(CommandError) in try explorer.desk.current.close() }),
  ]

  private static func save(_ command: Command, _ desk: Desk) throws(CommandError) {
    let session = desk.session
    do throws(ImageError) {
      if let path = command.arguments.first {
        try session.saveCopy(path, replacing: command.force)
        desk.tell("wrote \(session.overlay.length) bytes to '\(path)'")
      } else {
        let had = session.hasUnsavedChanges
        try session.save()
        let news = session.forgotten.news(session.overlays)
        desk.tell(
          (had ? "saved to '\(session.title)'" : "nothing to save: '\(session.title)' is up to date") + news)
      }
    } catch { throw CommandError(error.description) }
  }

  /// - Throws: `CommandError` with unsaved changes, unless `force`.
  static func quit(force: Bool, _ desk: Desk) throws(CommandError) {
    let session = desk.session
    if session.hasUnsavedChanges && session.mode != .readOnly && session.hasFile && !force {
      throw CommandError(
        "there are unsaved changes; \(CommandID.save) saves them, \(CommandID.quit)! drops them")
    }
    desk.effects.append(.quit)
  }

  static let reload = CommandSpec(
    .reload, .program, force: true, hint: "reload",
    help: "read the file again, as after a change by another program, and scan it; ! drops unsaved changes",
    refusal: {
      $0.session.sharing.refusalOfLeaving ?? ($0.reopen == nil ? "there is no file to read again" : nil)
    },
    run: { explorer, command throws(CommandError) in
      guard let reopen = explorer.reopen else { return }
      let desk = explorer.desk
      if desk.session.hasUnsavedChanges && desk.session.mode != .readOnly && !command.force {
        throw CommandError(
          "there are unsaved changes; \(CommandID.reload)! drops them, "
            + "\(CommandID.save) FILE saves a copy of what you see")
      }
      desk.session.stopDefrag()
      let new: Session
      do throws(ImageError) { new = try reopen() } catch {
        throw CommandError("not read again: \(error.description)")
      }
      desk.replaceSession(new)
      desk.tell("read again: \(desk.session.overlay.length) bytes")
    })
}
