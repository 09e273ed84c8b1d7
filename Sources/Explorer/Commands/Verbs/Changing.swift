// Changes: requests to the engine, undo and redo. Afterwards the cursor is looked up again and what changed is
// kept for the marks.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension CommandID {
  static let write = CommandID("write")
  static let zero = CommandID("zero")
  static let discard = CommandID("discard")
  static let read = CommandID("read")
  static let undo = CommandID("undo")
  static let redo = CommandID("redo")
  static let policy = CommandID("policy")
}

extension ValueType where Value == MappingPolicy {
  static var policy: ValueType {
    ValueType(candidates: { _ in MappingPolicy.allCases.map(\.rawValue) }) { word throws(CommandError) in
      guard let policy = MappingPolicy(rawValue: word) else {
        let names = MappingPolicy.allCases.map(\.rawValue).joined(separator: ", ")
        throw CommandError("no policy is called '\(word)'; there are \(names)")
      }
      return policy
    }
  }
}

enum Changing {
  private static let range = [CommandArgument("OFF", .bytes), CommandArgument("LEN", .bytes)]

  static let commands: [CommandSpec] = [
    CommandSpec(
      .write, .changing, arguments: range,
      options: [
        CommandOption("-P", value: "byte", "the byte to repeat; 0xcd if not given"),
        CommandOption("-z", "write zeroes without storing them"),
        CommandOption("-u", "with -z: the host clusters may be given back"),
      ], keys: [KeyRule("w", in: [.panes, .table])], hint: "write",
      help: "write LEN bytes at guest offset OFF; the key opens a dialog at the cursor",
      check: checkRange, refusal: { $0.desk.session.refusal },
      run: change(RequestDialog.Form(title: "Write a pattern", id: .write, hasPattern: true))),
    CommandSpec(
      .zero, .changing, arguments: range,
      options: [CommandOption("-u", "the host clusters may be given back")],
      keys: [KeyRule("z", in: [.panes, .table])], hint: "zero",
      help: "make the range read as zeroes; the same as 'write -z'",
      check: checkRange, refusal: { $0.desk.session.refusal },
      run: change(RequestDialog.Form(title: "Write zeroes", id: .zero, hasUnmap: true))),
    CommandSpec(
      .discard, .changing, arguments: range, keys: [KeyRule("D", in: [.panes, .table])], hint: "discard",
      help: "give up the whole clusters inside the range, as a guest's trim does",
      check: checkRange, refusal: { $0.desk.session.refusal },
      run: change(RequestDialog.Form(title: "Discard", id: .discard))),
    CommandSpec(
      .read, .changing, arguments: range,
      options: [
        CommandOption("-P", value: "byte", "say whether every byte is this one"),
        CommandOption("-v", "show the first bytes"),
      ], hint: "read", help: "read LEN bytes at guest offset OFF and say what they are", check: checkRange,
      run: { explorer, command throws(CommandError) in
        try read(try CommandParser.request(command), explorer.desk)
      }),
    Defragging.command,
    CommandSpec(
      .undo, .changing, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("u", in: .image)], counts: true, hint: "undo",
      help: "take the last operation back, byte for byte", refusal: ofFollowed,
      run: { explorer, command throws(CommandError) in
        let session = explorer.desk.session
        try repeated(command.times, "nothing to undo", "undone", explorer.desk) { () throws(ImageError) in
          try session.undo()
        }
      }),
    CommandSpec(
      .redo, .changing, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("C-r", in: .image)], counts: true, hint: "redo",
      help: "do again what was taken back last", refusal: ofFollowed,
      run: { explorer, command throws(CommandError) in
        let session = explorer.desk.session
        try repeated(command.times, "nothing to redo", "done again", explorer.desk) { () throws(ImageError) in
          try session.redo()
        }
      }),
    CommandSpec(
      .policy, .changing, arguments: [CommandArgument("NAME", .policy, optional: true)], hint: "policy",
      help: "who may change where clusters lie: default, keep-mapping or pinned; alone it tells",
      run: { explorer, command throws(CommandError) in try policy(command.arguments.first, explorer.desk) }),
  ]

  /// The history of a file that another program writes goes on by itself.
  static let ofFollowed: CommandSpec.Refusal = { explorer in
    explorer.desk.session.follower == nil ? nil : explorer.desk.session.refusal
  }

  /// A line needs a range; only the key can do without, and opens a dialog.
  private static let checkRange: CommandSpec.Check = { command throws(CommandError) in
    guard !command.arguments.isEmpty else {
      throw CommandError(
        "\(command.id) needs OFF and LEN; use \(CommandTable.spec(command.id)?.usage ?? "")")
    }
    _ = try CommandParser.request(command)
  }

  /// With words done at once, without them by a dialog.
  private static func change(_ form: RequestDialog.Form) -> CommandSpec.Run {
    { (explorer, command) throws(CommandError) in
      if command.arguments.isEmpty {
        try RequestDialog.open(form, explorer)
      } else {
        try change(try CommandParser.request(command), explorer.desk)
      }
    }
  }

  /// Does a request, shows the place and says what it did.
  ///
  /// - Throws: `CommandError` with the reason of the engine; then nothing was changed.
  static func change(_ request: Request, _ desk: Desk) throws(CommandError) {
    try tellStep(request.commandLine, at: request.offset, desk) { () throws(ImageError) in
      try desk.session.run(request)
    }
  }

  /// Does a change of the image as a whole and says what it did.
  ///
  /// - Throws: `CommandError` with the reason of the engine; then nothing was changed.
  static func change(_ change: any Change, _ desk: Desk) throws(CommandError) {
    try tellStep(change.commandLine, at: nil, desk) { () throws(ImageError) in
      try desk.session.run(change)
    }
  }

  private static func tellStep(
    _ title: String, at place: UInt64?, _ desk: Desk, _ body: () throws(ImageError) -> Session.Step?
  ) throws(CommandError) {
    do throws(ImageError) {
      let step = try body()
      desk.change = step?.narration
      desk.current.imageChanged(at: place)
      guard let step else {
        desk.tell("\(title): nothing changed")
        return
      }
      let news = desk.session.forgotten.news(desk.session.overlays)
      desk.tell(summary(step.narration) + "   (\(desk.key(.undo)) takes it back)" + news)
    } catch {
      // A failed save in rw mode leaves the operation in place.
      desk.current.imageChanged(at: nil)
      throw CommandError(error.description)
    }
  }

  private static func summary(_ narration: Narration) -> String {
    let numbers = narration.numbers
    var parts = [narration.title]
    parts.append("\(numbers.clustersTaken) new, \(numbers.clustersFreed) freed")
    parts.append(counted(numbers.l2EntriesChanged, "L2 entry", "L2 entries"))
    if numbers.lengthAfter > numbers.lengthBefore {
      parts.append("file +\(Notation.compact(numbers.lengthAfter - numbers.lengthBefore))")
    }
    return parts.joined(separator: "; ")
  }

  private static func read(_ request: Request, _ desk: Desk) throws(CommandError) {
    guard case .read(let expected, let verbose) = request.kind else { return }
    let result: ReadResult
    do throws(ImageError) { result = try desk.session.read(request) } catch {
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
    desk.tell(text)
  }

  /// Tells or changes who may change the mapping.
  private static func policy(_ name: String?, _ desk: Desk) throws(CommandError) {
    let image = desk.session.image
    guard let name else {
      let pin = image.pin.map { ", places at guest + 0x\(Notation.hex($0.shift))" } ?? ""
      return desk.tell("policy \(image.policy.rawValue)" + pin)
    }
    let policy = try ValueType.policy.parse(name)
    do throws(ImageError) { try desk.session.setPolicy(policy) } catch {
      throw CommandError(error.description)
    }
    desk.tell("policy \(policy.rawValue) from the next operation on")
  }

  // MARK: Undo

  private static func repeated(
    _ count: Int, _ nothing: String, _ word: String, _ desk: Desk,
    _ body: () throws(ImageError) -> Session.Step?
  ) throws(CommandError) {
    var last: Session.Step?
    var number = 0
    do throws(ImageError) {
      while number < count, let step = try body() {
        last = step
        number += 1
      }
    } catch {
      desk.current.imageChanged(at: nil)
      throw CommandError(error.description)
    }
    guard let last else { throw CommandError(nothing) }
    desk.change = last.narration
    desk.current.imageChanged(at: last.place)
    desk.tell("\(word): \(last.title)" + (number > 1 ? " and \(number - 1) more" : ""))
  }
}
