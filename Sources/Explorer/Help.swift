// The help page, made from the command table: the keys of the current context first, then every command.

import CellScreen

/// One line of help.
struct HelpLine: Hashable, Sendable {
  var keys = ""
  var text: String
  var isHeading = false
}

extension Explorer {
  /// The context that help was opened from.
  private var helpContext: Context {
    let screen = ui.screen
    guard screen == .help else { return context }
    switch ui.screenUnderHelp {
    case .table: return .table
    case .hex: return .hex
    case .lab: return .lab
    case .fragmentation: return .fragmentation
    default:
      switch ui.focus {
      case 2: return .hostMap
      case 3: return .whereIsIt
      case 4: return .log
      default: return .guestMap
      }
    }
  }

  /// All lines, not wrapped.
  func helpLines() -> [HelpLine] { HelpPage.lines(for: helpContext) }

  func openHelp(_ topic: String?) {
    if ui.screen != .help { ui.screenUnderHelp = ui.screen }
    ui.helpTop = 0
    ui.helpFound = nil
    ui.screen = .help
    guard let topic else { return }
    if let spec = try? CommandTable.named(topic.hasPrefix(":") ? String(topic.dropFirst()) : topic),
      let row = helpLines().lastIndex(where: { $0.keys == spec.usage || $0.text.hasPrefix(spec.usage + "  ") }
      )
    {
      ui.helpTop = row
      ui.helpFound = row
    } else {
      tell("there is no help on '\(TextWidth.sanitized(topic))'; this is all there is", error: true)
    }
  }
}

/// The lines of help.
package enum HelpPage {
  static func lines(for context: Context) -> [HelpLine] {
    var lines = [HelpLine(text: "\(context.title): the keys here", isHeading: true)]
    for group in CommandSpec.Group.allCases {
      for spec in CommandTable.all where spec.group == group {
        for rule in spec.keys where rule.contexts.contains(context) {
          let words = rule.arguments.isEmpty ? "" : "\(spec.name) \(rule.arguments.joined(separator: " ")): "
          lines.append(
            HelpLine(keys: rule.keys.map(\.notation).joined(separator: " "), text: words + spec.help))
        }
      }
    }
    lines.append(HelpLine(text: ""))
    lines.append(
      HelpLine(
        text:
          "A number typed without a pause before a movement repeats it: 20j. Alone, 1 to 4 choose a pane.",
        isHeading: false))
    lines.append(HelpLine(text: ""))
    for group in CommandSpec.Group.allCases {
      lines.append(HelpLine(text: "\(group.rawValue): the commands", isHeading: true))
      for spec in CommandTable.all where spec.group == group {
        lines.append(HelpLine(keys: spec.usage, text: spec.help))
        for option in spec.options {
          lines.append(
            HelpLine(keys: "    \(option.flag)\(option.value.map { " " + $0 } ?? "")", text: option.help))
        }
        if !spec.aliases.isEmpty {
          lines.append(HelpLine(text: "also :" + spec.aliases.joined(separator: ", :")))
        }
      }
      lines.append(HelpLine(text: ""))
    }
    lines.append(HelpLine(text: "Numbers", isHeading: true))
    lines.append(HelpLine(text: "512, 0x200, 64k, 1.5M, 2G: k M G T P E are powers of 1024"))
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "Letters of the guest map", isHeading: true))
    for line in guestLetters { lines.append(line) }
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "Letters of the host map", isHeading: true))
    for line in hostLetters { lines.append(line) }
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "The lab: maps in the order of the file, and figures", isHeading: true))
    for line in labLetters { lines.append(line) }
    return lines
  }
}
