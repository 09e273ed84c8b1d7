// Commands about the program itself: the command line, settings, and what Esc ends.

import Cartography
import CellScreen
import Qcow
import Storage

extension CommandID {
  static let prompt = CommandID("prompt")
  static let cancel = CommandID("cancel")
  static let scan = CommandID("scan")
  static let set = CommandID("set")
  /// Changes between letters and other characters.
  package static let ascii = CommandID("ascii")
  static let mouse = CommandID("mouse")
  static let saveScreen = CommandID("save-screen")
  static let redraw = CommandID("redraw")
  static let theme = CommandID("theme")
}

/// What `:set` knows.
enum Setting: String, CaseIterable, Sendable {
  case ascii, unicode, mouse, nomouse
  /// What discards act on.
  case discardCluster = "discard-cluster"
  case discardSubcluster = "discard-subcluster"
  /// What discarded subclusters read as.
  case discardReadsZero = "discard-reads-zero"
  case discardReadsBacking = "discard-reads-backing"
}

extension ValueType where Value == Setting {
  static var setting: ValueType {
    ValueType(candidates: { _ in Setting.allCases.map(\.rawValue) }) { word throws(CommandError) in
      guard let setting = Setting(rawValue: word) else {
        throw CommandError(
          "'\(word)' is not a setting; the settings are "
            + Setting.allCases.map(\.rawValue).joined(separator: ", "))
      }
      return setting
    }
  }
}

extension ValueType where Value == ThemeName {
  static var theme: ValueType {
    ValueType(candidates: { _ in ThemeName.allCases.map(\.rawValue) }) { word throws(CommandError) in
      guard let theme = ThemeName(rawValue: word) else {
        throw CommandError(
          "'\(word)' is not a theme; there are " + ThemeName.allCases.map(\.rawValue).joined(separator: ", "))
      }
      return theme
    }
  }
}

enum Program {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .prompt, .program, keys: [KeyRule(":", in: .all)], hint: "command", short: "cmd",
      help: """
        type a command; \(Prompt.complete.notation) completes, \(Prompt.recall.notation) recalls, \
        \(Prompt.recallMatching.notation) searches
        """,
      run: { explorer, _ in
        explorer.overlay = Prompt(command: explorer.desk, history: explorer.commandHistory)
      }),
    CommandSpec(
      .cancel, .program, keys: [KeyRule("Esc C-c", in: .all)],
      help: """
        give up a dialog, a prompt or work that takes long, also the scan; if there is nothing to give up back, as \
        \(key: .close); never leaves the program
        """,
      run: { explorer, _ in cancel(explorer.desk) }),
    CommandSpec(
      .scan, .program, hint: "scan", help: "go on with a scan that \(key: .cancel) has stopped",
      refusal: { explorer in
        if explorer.desk.isPaused { return nil }
        return explorer.desk.session.atlas.isDone
          ? "the scan is complete; \(CommandID.reload) reads the file again" : "the scan is under way"
      },
      run: { explorer, _ in explorer.desk.isPaused = false }),
    Saving.reload,
    CommandSpec(
      .set, .program, arguments: [CommandArgument("WHAT", .setting)],
      help: "a setting: ascii, unicode, mouse, nomouse",
      run: { explorer, command throws(CommandError) in
        try set(try ValueType.setting.parse(command.arguments.first ?? ""), explorer.desk)
      }),
    CommandSpec(
      .ascii, .program, keys: [KeyRule("A", in: .all)], help: "plain ASCII characters, or blocks and lines",
      run: { explorer, _ in
        setGlyphs(explorer.desk.glyphs == .ascii ? .unicode : .ascii, explorer.desk)
      }),
    CommandSpec(
      .theme, .program, arguments: [CommandArgument("NAME", .theme)],
      help: """
        colours for another background: \(ThemeName.allCases.map { "\($0.rawValue), \($0.help)" }.joined(separator: "; "))
        """,
      run: { explorer, command throws(CommandError) in
        let theme = try ValueType.theme.parse(command.arguments.first ?? "")
        explorer.desk.effects.append(.setTheme(theme))
        explorer.desk.tell("theme \(theme.rawValue): \(theme.help)")
      }),
    CommandSpec(
      .mouse, .program, keys: [KeyRule("M-m", in: .all)],
      help: "mouse reporting on or off; off lets the terminal select text (or hold Shift)",
      run: { explorer, _ in setMouse(!explorer.desk.mouse, explorer.desk) }),
    CommandSpec(
      .saveScreen, .program, arguments: [CommandArgument("FILE", .file)],
      help: "write what the screen shows to a text file",
      run: { explorer, command throws(CommandError) in
        do throws(StorageError) {
          try explorer.desk.files.writeText(
            explorer.canvas().text() + "\n", to: command.arguments.first ?? "")
        } catch { throw CommandError(error.description) }
      }),
  ]

  static let redraw = CommandSpec(
    .redraw, .program, keys: [KeyRule("C-l", in: .all)], help: "draw everything again",
    run: { explorer, _ in explorer.desk.effects.append(.redraw) })

  private static func set(_ setting: Setting, _ desk: Desk) throws(CommandError) {
    switch setting {
    case .ascii: setGlyphs(.ascii, desk)
    case .unicode: setGlyphs(.unicode, desk)
    case .mouse: setMouse(true, desk)
    case .nomouse: setMouse(false, desk)
    case .discardCluster: setGranularity(.cluster, desk)
    case .discardSubcluster: setGranularity(.subcluster, desk)
    case .discardReadsZero: setReads(.zero, desk)
    case .discardReadsBacking: setReads(.backing, desk)
    }
  }

  private static func setGranularity(_ granularity: DiscardGranularity, _ desk: Desk) {
    desk.session.image.discardGranularity = granularity
    desk.tell("discards act on whole \(granularity.rawValue)s")
  }

  private static func setReads(_ reads: DiscardReads, _ desk: Desk) {
    desk.session.image.discardReads = reads
    desk.tell("discarded subclusters show \(reads == .zero ? "zeroes" : "the backing file")")
  }

  private static func setGlyphs(_ glyphs: GlyphSet, _ desk: Desk) {
    desk.glyphs = glyphs
    desk.effects.append(.setGlyphs(glyphs))
  }

  private static func setMouse(_ on: Bool, _ desk: Desk) {
    desk.mouse = on
    desk.effects.append(.setMouse(on))
    desk.tell(
      on
        ? "mouse reporting is on; hold Shift to select text"
        : "mouse reporting is off: the terminal selects text")
  }

  /// Esc outside of prompts and dialogs: ends a defragmentation, the screen's own work, or the scans, and goes
  /// back where none of that is under way. Work that is done in one go is ended by the watch of its operation instead.
  private static func cancel(_ desk: Desk) {
    if Defragging.cancel(desk) || desk.current.cancel() { return }
    guard !desk.isPaused, desk.current.progress != nil || !desk.session.atlas.isDone else {
      _ = desk.leave()
      return
    }
    desk.isPaused = true
    desk.tell("stopped; what was not looked at yet is unknown. \(CommandID.scan) goes on")
  }
}
