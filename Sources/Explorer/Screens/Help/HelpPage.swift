// The lines of help, made from the command table: the keys of a context first, then every command.

import CellScreen

/// One line of help.
struct HelpLine: Hashable, Sendable {
  var keys = ""
  var text: String
  var isHeading = false
}

/// The lines of help.
enum HelpPage {
  /// `hasLesson`: one is under way, whose keys come first.
  static func lines(for context: Context, _ keys: KeyMap, hasLesson: Bool = false) -> [HelpLine] {
    var lines: [HelpLine] = []
    if hasLesson {
      lines.append(HelpLine(text: "The lesson: its keys and commands", isHeading: true))
      for spec in LessonCommand.commands + CommandTable.all.filter({ $0.id == .lessons }) {
        let rules = keys.rules(for: spec.id, in: context)
        lines += rules.map { rule in
          let words = rule.arguments.isEmpty ? "" : "\(spec.name) \(rule.arguments.joined(separator: " ")): "
          return HelpLine(
            keys: rule.keys.map(\.notation).joined(separator: " "),
            text: words + spec.help.text(keys, in: context))
        }
        if rules.isEmpty { lines.append(HelpLine(keys: spec.usage, text: spec.help.text(keys, in: context))) }
      }
      lines.append(HelpLine(text: ""))
    }
    lines.append(HelpLine(text: "\(context.title): the keys here", isHeading: true))
    for group in CommandSpec.Group.allCases {
      for spec in CommandTable.all where spec.group == group {
        for rule in keys.rules(for: spec.id, in: context) {
          let words = rule.arguments.isEmpty ? "" : "\(spec.name) \(rule.arguments.joined(separator: " ")): "
          lines.append(
            HelpLine(
              keys: rule.keys.map(\.notation).joined(separator: " "),
              text: words + spec.help.text(keys, in: context)))
        }
      }
    }
    lines.append(HelpLine(text: ""))
    let down = keys.name(Movement.down.id, in: context)
    lines.append(
      HelpLine(
        text: "A number typed without a pause before a movement repeats it: 20\(down). "
          + "Alone, 1 to 4 choose a pane."))
    lines.append(HelpLine(text: ""))
    for group in CommandSpec.Group.allCases {
      lines.append(HelpLine(text: "\(group.rawValue): the commands", isHeading: true))
      for spec in CommandTable.all where spec.group == group {
        lines.append(HelpLine(keys: spec.usage, text: spec.help.text(keys, in: context)))
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
    lines += guestLetters
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "Letters of the host map", isHeading: true))
    lines += hostLetters
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "The lenses", isHeading: true))
    lines += lensLetters
    lines.append(HelpLine(text: ""))
    lines.append(HelpLine(text: "The lab: maps in the order of the file, and figures", isHeading: true))
    lines += labLetters
    return lines
  }
}
