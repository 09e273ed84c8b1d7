// Going on with another image: one that is there, or a new one.

import Cartography
import CellScreen
import Qcow
import Storage

extension CommandID {
  static let open = CommandID("open")
  /// Asks for the options of a new image.
  package static let newImage = CommandID("new")
}

enum OtherImages {
  /// The flag for an image that is not opened otherwise.
  private static let salvage = "--salvage"

  static let commands: [CommandSpec] = [
    CommandSpec(
      .open, .saving, aliases: ["edit", "e"], arguments: [CommandArgument("FILE", .file, optional: true)],
      options: [CommandOption(salvage, "look for what is left if header or tables are destroyed")],
      force: true, keys: [KeyRule("C-o", in: .all)], hint: "open",
      help: "go on with another image; without FILE choose from a folder; ! drops unsaved changes",
      refusal: { $0.shelf == nil ? "no other image can be opened here" : nil },
      run: { explorer, command throws(CommandError) in
        let salvages = command.arguments.contains(salvage)
        guard let path = command.arguments.first(where: { $0 != salvage }) else {
          guard !salvages else { throw CommandError("\(CommandID.open) \(salvage) needs FILE") }
          return try FileDialog.open(explorer, force: command.force)
        }
        try goOn(with: path, secret: nil, salvages: salvages, force: command.force, explorer)
      }),
    CommandSpec(
      .newImage, .saving, arguments: [CommandArgument("FILE", .file, optional: true)], force: true,
      hint: "new image",
      help: "make an image and go on with it: a dialog asks for its options; ! drops unsaved changes",
      refusal: { $0.shelf == nil ? "no image can be made here" : nil },
      run: { explorer, command throws(CommandError) in
        try checkUnsaved(explorer, force: command.force, .newImage)
        NewImageDialog.open(explorer, file: command.arguments.first ?? "", force: command.force)
      }),
  ]

  /// - Throws: `CommandError` where changes would be lost.
  static func checkUnsaved(_ explorer: Explorer, force: Bool, _ id: CommandID) throws(CommandError) {
    let session = explorer.desk.session
    if let reason = session.sharing.refusalOfLeaving { throw CommandError(reason) }
    guard session.hasUnsavedChanges, session.mode != .readOnly, session.hasFile, !force else { return }
    throw CommandError("there are unsaved changes; \(CommandID.save) saves them, \(id)! drops them")
  }

  /// Goes on with an image, as if the program had been started with it.
  ///
  /// - Throws: `CommandError` with the reason why it cannot be opened; what was open stays so.
  static func goOn(
    with path: String, secret: Secret?, salvages: Bool = false, force: Bool, as id: CommandID = .open,
    _ explorer: Explorer
  ) throws(CommandError) {
    guard let shelf = explorer.shelf else { return }
    try checkUnsaved(explorer, force: force, id)
    let desk = explorer.desk
    desk.session.stopDefrag()
    let new: Session
    do throws(ImageError) { new = try shelf.open(path, secret: secret, salvages: salvages) } catch {
      // Who has tried that need not be told of it.
      var wayOn = ""
      if error.remedy == ImageError.salvage, !salvages {
        let file = ChangeWords.quoted(Escaping.human(path))
        wayOn = "; \(CommandID.open) \(salvage) \(file) looks for what is left"
      }
      throw CommandError("'\(Escaping.human(path))' is not opened: \(error.description)\(wayOn)")
    }
    explorer.reopen = { () throws(ImageError) in try shelf.open(path, secret: secret, salvages: salvages) }
    desk.forgetBefore()
    desk.replaceSession(new)
    desk.goHome()
    desk.setCursor(.guest, 0)
    if let refusal = new.refusal, new.mode != .readOnly || new.openingProblem != nil {
      return desk.tell(refusal, error: true)
    }
    let locked = new.image.isUnlocked ? "" : "; its data are encrypted, and shown only with --secret"
    desk.tell("opened \(Escaping.human(ByteText.lastPart(of: path))), \(new.overlay.length) bytes" + locked)
  }
}
