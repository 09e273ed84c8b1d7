// The one table of commands. Key map, hint line, help, completion and the manual are all read from
// it, so that they cannot disagree.

package import Cartography
package import CellScreen

/// Where a key press lands: the focused pane, or the screen that covers the panes.
package enum Context: String, CaseIterable, Sendable {
  case guestMap, hostMap, whereIsIt, log, table, hex, fragmentation, lab, help

  /// The heading of help.
  package var title: String {
    switch self {
    case .guestMap: "Guest map"
    case .hostMap: "Host map"
    case .whereIsIt: "Where is it?"
    case .log: "Log"
    case .table: "L2 table"
    case .hex: "Hex page"
    case .fragmentation: "Fragmentation"
    case .lab: "Lab"
    case .help: "Help"
    }
  }
}

/// A set of contexts.
package struct Contexts: OptionSet, Hashable, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package init(_ context: Context) {
    self.init(rawValue: 1 << UInt16(Context.allCases.firstIndex(of: context) ?? 0))
  }

  package static let maps: Contexts = [Contexts(.guestMap), Contexts(.hostMap)]
  package static let panes: Contexts = [maps, Contexts(.whereIsIt), Contexts(.log)]
  package static let table = Contexts(.table)
  package static let image: Contexts = [panes, table, Contexts(.hex)]
  package static let fragmentation = Contexts(.fragmentation)
  package static let lab = Contexts(.lab)
  package static let all: Contexts = [image, fragmentation, lab, Contexts(.help)]
  /// Where something can be found.
  package static let searched: Contexts = [image, fragmentation, Contexts(.help)]

  package func contains(_ context: Context) -> Bool { contains(Contexts(context)) }
}

/// What an argument is, for completion and for the words of help.
package enum ArgumentKind: Sendable {
  case offset, length, count, target, file, lens, zoom, topic, setting, policy, lesson, pane, text
  case workload, policies
}

/// One positional argument.
package struct CommandArgument: Sendable {
  package let name: String
  package let kind: ArgumentKind
  package let isOptional: Bool

  package init(_ name: String, _ kind: ArgumentKind, optional: Bool = false) {
    self.name = name
    self.kind = kind
    isOptional = optional
  }
}

/// One option of a command.
package struct CommandOption: Sendable {
  package let flag: String
  /// What the value is called; nil if there is none.
  package let value: String?
  package let help: String

  package init(_ flag: String, value: String? = nil, _ help: String) {
    self.flag = flag
    self.value = value
    self.help = help
  }
}

/// Keys that mean a command in some contexts.
package struct KeyRule: Sendable {
  package let keys: [Key]
  package let contexts: Contexts
  /// Arguments that the keys stand for.
  package let arguments: [String]

  /// `keys` in notation, separated by blanks.
  package init(_ keys: String, in contexts: Contexts, _ arguments: [String] = []) {
    self.keys = keys.split(separator: " ").compactMap { Key(String($0)) }
    self.contexts = contexts
    self.arguments = arguments
  }
}

/// A row of the table.
package struct CommandSpec: Sendable {
  /// The headings of help.
  package enum Group: String, CaseIterable, Sendable {
    case moving = "Moving"
    case looking = "Looking"
    case lab = "The lab"
    case changing = "Changing"
    case saving = "Saving and leaving"
    case program = "The program"
  }

  package let id: CommandID
  package let aliases: [String]
  package let group: Group
  package let arguments: [CommandArgument]
  package let options: [CommandOption]
  package let takesForce: Bool
  package let keys: [KeyRule]
  /// Whether a number typed before the key counts.
  package let takesCount: Bool
  /// One or two words for the hint line.
  package let hint: String
  /// One sentence.
  package let help: String

  package var name: String { id.rawValue }

  /// `:write [-P byte] OFF LEN`
  package var usage: String {
    var words = [":" + name + (takesForce ? "[!]" : "")]
    for option in options {
      words.append("[" + option.flag + (option.value.map { " " + $0 } ?? "") + "]")
    }
    for argument in arguments {
      words.append(argument.isOptional ? "[" + argument.name + "]" : argument.name)
    }
    return words.joined(separator: " ")
  }

  /// The keys that work in a context.
  package func keys(in context: Context) -> [Key] {
    keys.filter { $0.contexts.contains(context) }.flatMap(\.keys)
  }

  init(
    _ id: CommandID, _ group: Group, aliases: [String] = [], arguments: [CommandArgument] = [],
    options: [CommandOption] = [], force: Bool = false, keys: [KeyRule] = [], counts: Bool = false,
    hint: String = "", help: String
  ) {
    self.id = id
    self.group = group
    self.aliases = aliases
    self.arguments = arguments
    self.options = options
    takesForce = force
    self.keys = keys
    takesCount = counts
    self.hint = hint
    self.help = help
  }
}

/// The table.
package enum CommandTable {
  package static func spec(_ id: CommandID) -> CommandSpec? { byID[id] }

  /// The row that a typed name means: exact names and aliases first, then a prefix that only one has.
  package static func named(_ name: String) throws(CommandError) -> CommandSpec {
    if let exact = all.first(where: { $0.name == name || $0.aliases.contains(name) }) { return exact }
    let matches = name.isEmpty ? [] : all.filter { $0.name.hasPrefix(name) }
    guard let match = matches.first else {
      throw CommandError("no command is called '\(name)'; :help lists them all")
    }
    guard matches.count == 1 else {
      throw CommandError("'\(name)' could be " + matches.map(\.name).joined(separator: ", "))
    }
    return match
  }

  /// The row and the arguments of a key in a context.
  package static func command(for key: Key, in context: Context) -> (spec: CommandSpec, arguments: [String])?
  {
    keyMap[KeyInContext(key: key, context: context)]
  }

  private struct KeyInContext: Hashable {
    let key: Key
    let context: Context
  }

  private static let byID = Dictionary(all.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })

  private static let keyMap: [KeyInContext: (spec: CommandSpec, arguments: [String])] = {
    var map: [KeyInContext: (spec: CommandSpec, arguments: [String])] = [:]
    for spec in all {
      for rule in spec.keys {
        for context in Context.allCases where rule.contexts.contains(context) {
          for key in rule.keys { map[KeyInContext(key: key, context: context)] = (spec, rule.arguments) }
        }
      }
    }
    return map
  }()

  private static let range = [CommandArgument("OFF", .offset), CommandArgument("LEN", .length)]

  package static let all: [CommandSpec] = moving + looking + lab + changing + saving + program

  private static let moving: [CommandSpec] = [
    CommandSpec(
      .left, .moving, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("h Left", in: .all)], counts: true, hint: "left",
      help: "one cell, subcluster or byte to the left; in lists one row up"),
    CommandSpec(
      .down, .moving, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("j Down C-n", in: .all)], counts: true, hint: "down", help: "one row down"),
    CommandSpec(
      .up, .moving, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("k Up C-p", in: .all)], counts: true, hint: "up", help: "one row up"),
    CommandSpec(
      .right, .moving, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("l Right", in: .all)], counts: true, hint: "right",
      help: "one cell, subcluster or byte to the right; in lists one row down"),
    CommandSpec(
      .pageDown, .moving, keys: [KeyRule("PgDn C-f", in: .all)], counts: true, help: "one page down"),
    CommandSpec(
      .pageUp, .moving, keys: [KeyRule("PgUp C-b", in: .all)], counts: true, help: "one page up"),
    CommandSpec(
      .halfDown, .moving, keys: [KeyRule("C-d", in: .all)], counts: true, help: "half a page down"),
    CommandSpec(
      .halfUp, .moving, keys: [KeyRule("C-u", in: .all)], counts: true, help: "half a page up"),
    CommandSpec(.first, .moving, keys: [KeyRule("g", in: .all)], help: "to the very start"),
    CommandSpec(
      .last, .moving, keys: [KeyRule("G", in: .all)], help: "to the very end"),
    CommandSpec(
      .rowStart, .moving,
      keys: [KeyRule("0 Home", in: [.image, .lab, Contexts(.help)]), KeyRule("Home", in: .fragmentation)],
      help: "to the start of the row"),
    CommandSpec(.rowEnd, .moving, keys: [KeyRule("$ End", in: .all)], help: "to the end of the row"),
    CommandSpec(
      .nextUsed, .moving, keys: [KeyRule("J", in: [.maps, .table])], counts: true, hint: "next used",
      help: "to the next place that differs from 'nothing here'"),
    CommandSpec(
      .previousUsed, .moving, keys: [KeyRule("K", in: [.maps, .table])], counts: true,
      hint: "previous used", help: "to the place in use before this one"),
    CommandSpec(
      .goto, .moving, aliases: ["g"], arguments: [CommandArgument("WHERE", .target)],
      hint: "go to",
      help: "to a guest offset (5M), 'guest OFF', 'host OFF', 'L1 i', 'L2 i j', 'start' or 'end'"),
  ]

  private static let looking: [CommandSpec] = [
    CommandSpec(
      .zoom, .looking, arguments: [CommandArgument("HOW", .zoom)],
      keys: [
        KeyRule("+ =", in: .maps, ["in"]), KeyRule("-", in: [.maps, .fragmentation], ["out"]),
        KeyRule("_", in: .maps, ["fit"]), KeyRule("Enter + =", in: .fragmentation, ["in"]),
        KeyRule("0 _", in: .fragmentation, ["fit"]),
      ], counts: true, hint: "zoom",
      help: "bytes per cell: 'in', 'out', 'fit' for all in one view, or a size such as 64k"),
    CommandSpec(
      .lens, .looking, arguments: [CommandArgument("NAME", .lens, optional: true)],
      keys: [KeyRule("o", in: [.panes, .table, .fragmentation])], hint: "lens",
      help: "what the cells show: kind, fill or refcount; on the fragmentation screen all, standard or "
        + "compressed; without a name the next one"),
    CommandSpec(
      .lensList, .looking, keys: [KeyRule("O", in: [.panes, .table])], hint: "lenses",
      help: "choose the lens from a list"),
    CommandSpec(
      .otherSide, .looking, keys: [KeyRule("x", in: [.image, .fragmentation])], hint: "other side",
      help: "from the guest side of this place to its host side, or back"),
    CommandSpec(
      .follow, .looking, keys: [KeyRule("Enter", in: .image)], hint: "follow",
      help: "follow the pointer: guest map to L2 entry to host cluster to its owner"),
    CommandSpec(
      .back, .looking, keys: [KeyRule("b Backspace", in: [.image, .fragmentation])], hint: "back",
      help: "back to where the last jump began"),
    CommandSpec(
      .l2, .looking, arguments: [CommandArgument("L1", .count, optional: true)],
      keys: [KeyRule("t", in: .image)], hint: "L2 table",
      help: "the L2 table that maps this place, entry by entry, bit by bit"),
    CommandSpec(
      .previousTable, .looking, keys: [KeyRule("[", in: .table)], counts: true, hint: "previous table",
      help: "the L2 table before this one"),
    CommandSpec(
      .nextTable, .looking, keys: [KeyRule("]", in: .table)], counts: true, hint: "next table",
      help: "the L2 table after this one"),
    CommandSpec(
      .fold, .looking, keys: [KeyRule("f", in: .table)], hint: "fold",
      help: "show or fold runs of entries that are not in use"),
    CommandSpec(
      .hex, .looking, keys: [KeyRule("p", in: .image)], hint: "hex page",
      help: "the bytes of this place in the file, with the names of their fields"),
    CommandSpec(
      .fragmentation, .looking, aliases: ["frag"], keys: [KeyRule("F", in: .image)], hint: "fragmentation",
      help: "how scattered the clusters are, where, and what that costs: plot, runs, jumps, reads"),
    CommandSpec(
      .worst, .looking, keys: [KeyRule("f", in: .fragmentation)], hint: "worst part",
      help: "the plot shows the part of the disk with the most runs that could be saved; again the next one"),
    CommandSpec(
      .dryRun, .looking, keys: [KeyRule("r", in: .fragmentation)], hint: "dry run",
      help: "what rewriting the plotted part of the disk in order would need and leave; nothing is changed"),
    CommandSpec(
      .copy, .looking, arguments: [CommandArgument("FILE", .file, optional: true)],
      keys: [KeyRule("y", in: .fragmentation)], hint: "copy",
      help: "the figures of fragmentation as text, to the clipboard of the terminal or to a file"),
    CommandSpec(
      .json, .looking, arguments: [CommandArgument("FILE", .file, optional: true)],
      keys: [KeyRule("J", in: .fragmentation)], hint: "JSON",
      help: "the figures of fragmentation as JSON, to the clipboard of the terminal or to a file"),
    CommandSpec(
      .log, .looking, hint: "log", help: "what the operations of this session did (pane 4)"),
    CommandSpec(
      .otherFile, .looking, keys: [KeyRule("f", in: .panes)], hint: "other file",
      help: "the host map shows the external data file, or the image file again"),
    CommandSpec(
      .explorer, .looking, help: "back to the two maps, from any screen"),
    CommandSpec(
      .focus, .looking, arguments: [CommandArgument("PANE", .pane)],
      keys: [
        KeyRule("1", in: .panes, ["1"]), KeyRule("2", in: .panes, ["2"]),
        KeyRule("3", in: .panes, ["3"]), KeyRule("4", in: .panes, ["4"]),
        KeyRule("1", in: .fragmentation, ["1"]), KeyRule("2", in: .fragmentation, ["2"]),
        KeyRule("3", in: .fragmentation, ["3"]),
      ], hint: "pane", help: "the keys go to pane 1, 2, 3 or 4"),
    CommandSpec(
      .nextPane, .looking, keys: [KeyRule("Tab", in: [.panes, .fragmentation, .lab])], hint: "next pane",
      help: "the keys go to the next pane"),
    CommandSpec(
      .previousPane, .looking, keys: [KeyRule("S-Tab", in: [.panes, .fragmentation, .lab])],
      hint: "previous pane",
      help: "the keys go to the pane before"),
    CommandSpec(
      .search, .looking, arguments: [CommandArgument("WHAT", .text)],
      keys: [KeyRule("/", in: .searched)], hint: "find",
      help: "find: an address, a state (data, zero, leaked, ...) or its letter; in lists and help, text"),
    CommandSpec(
      .searchNext, .looking, keys: [KeyRule("n", in: .searched)], counts: true, hint: "next match",
      help: "the next match"),
    CommandSpec(
      .searchPrevious, .looking, keys: [KeyRule("N", in: .searched)], counts: true, hint: "previous match",
      help: "the match before"),
  ]

  private static let lab: [CommandSpec] = [
    CommandSpec(
      .lab, .lab,
      arguments: [
        CommandArgument("WORKLOAD", .workload, optional: true),
        CommandArgument("POLICY,...", .policies, optional: true),
      ], hint: "lab",
      help:
        "run a workload on several policies side by side, in memory: sequential, random4k, churn, database or reorder; alone it goes back to the last run"
    ),
    CommandSpec(.labRun, .lab, keys: [KeyRule("Space", in: .lab)], hint: "run, pause", help: "run or pause"),
    CommandSpec(
      .labStep, .lab, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule(".", in: .lab)], counts: true, hint: "step", help: "one operation on all images, or n"),
    CommandSpec(
      .labFaster, .lab, keys: [KeyRule("+ =", in: .lab)], hint: "speed",
      help: "twice as many operations between two pictures"),
    CommandSpec(
      .labSlower, .lab, keys: [KeyRule("-", in: .lab)], help: "half as many operations between two pictures"),
    CommandSpec(
      .labRestart, .lab, keys: [KeyRule("r", in: .lab)], hint: "next seed",
      help: "begin again with the next seed"),
  ]

  private static let changing: [CommandSpec] = [
    CommandSpec(
      .write, .changing, arguments: range,
      options: [
        CommandOption("-P", value: "byte", "the byte to repeat; 0xcd if not given"),
        CommandOption("-z", "write zeroes without storing them"),
        CommandOption("-u", "with -z: the host clusters may be given back"),
      ], keys: [KeyRule("w", in: [.panes, .table])], hint: "write",
      help: "write LEN bytes at guest offset OFF; the key opens a dialog at the cursor"),
    CommandSpec(
      .zero, .changing, arguments: range,
      options: [CommandOption("-u", "the host clusters may be given back")],
      keys: [KeyRule("z", in: [.panes, .table])], hint: "zero",
      help: "make the range read as zeroes; the same as 'write -z'"),
    CommandSpec(
      .discard, .changing, arguments: range, keys: [KeyRule("D", in: [.panes, .table])], hint: "discard",
      help: "give up the whole clusters inside the range, as a guest's trim does"),
    CommandSpec(
      .read, .changing, arguments: range,
      options: [
        CommandOption("-P", value: "byte", "say whether every byte is this one"),
        CommandOption("-v", "show the first bytes"),
      ], hint: "read", help: "read LEN bytes at guest offset OFF and say what they are"),
    CommandSpec(
      .defrag, .changing,
      options: [
        CommandOption("--contiguous", "guest offset plus one shift; holes stay where nothing is mapped"),
        CommandOption("--drop-leaks", "give leaked clusters back although they hold data"),
      ], hint: "defrag",
      help: "put the clusters in guest order, batch by batch as you watch; Esc stops, undo takes all back"),
    CommandSpec(
      .undo, .changing, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("u", in: .image)], counts: true, hint: "undo",
      help: "take the last operation back, byte for byte"),
    CommandSpec(
      .redo, .changing, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule("C-r", in: .image)], counts: true, hint: "redo",
      help: "do again what was taken back last"),
    CommandSpec(
      .policy, .changing, arguments: [CommandArgument("NAME", .policy, optional: true)], hint: "policy",
      help: "who may change where clusters lie: default, keep-mapping or pinned; alone it tells"),
    CommandSpec(
      .pin, .changing, hint: "pin",
      help: "make the one shift of all clusters a property of the image; they keep their places"),
    CommandSpec(.unpin, .changing, hint: "unpin", help: "remove that property; nothing moves"),
  ]

  private static let saving: [CommandSpec] = [
    CommandSpec(
      .save, .saving, aliases: ["write-file", "save"],
      arguments: [CommandArgument("FILE", .file, optional: true)], force: true, hint: "save",
      help: "save to the image file; with FILE write a whole copy (! replaces an existing file)"),
    CommandSpec(.saveAndQuit, .saving, aliases: ["x"], hint: "save, quit", help: "save and leave"),
    CommandSpec(
      .quit, .saving, aliases: ["quit"], force: true, hint: "quit",
      help: "leave; refused with unsaved changes, q! drops them"),
    CommandSpec(
      .close, .saving, keys: [KeyRule("q", in: .all)], hint: "quit",
      help: "close what is open; from the maps, leave"),
  ]

  private static let program: [CommandSpec] = [
    CommandSpec(
      .help, .program, aliases: ["h"], arguments: [CommandArgument("TOPIC", .topic, optional: true)],
      keys: [KeyRule("? F1", in: .all)], hint: "help", help: "this help, from the start or at a topic"),
    CommandSpec(
      .prompt, .program, keys: [KeyRule(":", in: .all)], hint: "command",
      help: "type a command; Tab completes, Up recalls, C-r searches"),
    CommandSpec(
      .cancel, .program, keys: [KeyRule("Esc C-c", in: .all)],
      help: "give up a dialog, a prompt or work that takes long, also the scan; never leaves the program"),
    CommandSpec(
      .scan, .program, hint: "scan", help: "go on with a scan that Esc has stopped"),
    CommandSpec(
      .reload, .program, force: true, hint: "reload",
      help: "read the file again, as after a change by another program, and scan it; ! drops unsaved changes"),
    CommandSpec(
      .set, .program, arguments: [CommandArgument("WHAT", .setting)],
      help: "a setting: ascii, unicode, mouse, nomouse"),
    CommandSpec(
      .ascii, .program, keys: [KeyRule("A", in: .all)], help: "plain ASCII characters, or blocks and lines"),
    CommandSpec(
      .mouse, .program, keys: [KeyRule("M-m", in: .all)],
      help: "mouse reporting on or off; off lets the terminal select text (or hold Shift)"),
    CommandSpec(
      .saveScreen, .program, arguments: [CommandArgument("FILE", .file)],
      help: "write what the screen shows to a text file"),
    CommandSpec(
      .lesson, .program, arguments: [CommandArgument("WHERE", .lesson, optional: true)],
      keys: [KeyRule(".", in: .image, ["next"]), KeyRule(",", in: .image, ["back"])], hint: "lesson",
      help: "the next step of a lesson, or 'back'; outside of a lesson, what lessons there are"),
    CommandSpec(.redraw, .program, keys: [KeyRule("C-l", in: .all)], help: "draw everything again"),
  ]
}
