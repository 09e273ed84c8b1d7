// A hint of a screen before its keys are looked up: which commands it names, and in which words.

import CellScreen

/// One hint.
struct HintRule {
  /// A command, or one of its forms.
  private struct Form {
    var id: CommandID
    var arguments: [String]?
  }

  private var forms: [Form]
  private var separator = ""
  private var text: String?
  private var short: String?
  private var press: Int?

  /// The first key of a command, with the hint of its row if there is no other text.
  init(_ id: CommandID, _ arguments: [String]? = nil, _ text: String? = nil, short: String? = nil) {
    forms = [Form(id: id, arguments: arguments)]
    self.text = text
    self.short = short
    press = 0
  }

  /// Two commands that belong together; a click is the one `at`.
  init(
    _ first: CommandID, _ second: CommandID, arguments: [[String]?] = [nil, nil], separator: String,
    click at: Int = 0, _ text: String? = nil, short: String? = nil
  ) {
    forms = zip([first, second], arguments).map { Form(id: $0, arguments: $1) }
    self.separator = separator
    self.text = text
    self.short = short
    press = at
  }

  /// Movements, for whose keys nothing is clicked.
  init(_ movements: [Movement], _ text: String) {
    forms = movements.map { Form(id: $0.id) }
    self.text = text
  }

  /// The way back; where that is not the maps, the desk says what it leads to.
  static let back = HintRule(.close, nil, "back to the maps", short: "maps")
  /// It is the hint of the way back.
  var isBack: Bool { forms.first?.id == .close }

  /// The command that a click is, or the first one.
  var command: CommandID { forms[press ?? 0].id }

  /// The hint with the keys of a context; nil if its command has none there.
  func hint(_ keys: KeyMap, in context: Context) -> Hint? {
    let found = forms.map { keys.keys(for: $0.id, $0.arguments, in: context).first }
    let clicked = press.flatMap { found[$0] }
    guard press == nil || clicked != nil else { return nil }
    let names = found.compactMap { $0?.notation }
    // Letters can stand side by side, names cannot.
    let isLetters = names.allSatisfy { $0.count == 1 }
    let main = forms[press ?? 0].id
    var hint = Hint(
      names.joined(separator: isLetters || !separator.isEmpty ? separator : " "),
      text ?? CommandTable.spec(main)?.hint ?? "",
      short: short ?? (text == nil ? CommandTable.spec(main)?.short : nil))
    hint.press = clicked
    hint.isEssential = [.help, .close, .prompt, .screens].contains(main)
    return hint
  }
}
