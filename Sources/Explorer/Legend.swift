// The glyphs of the states of both maps, and what a legend has to do with them: searches and help.

package import Cartography
package import CellScreen

extension Glyphs {
  /// The glyphs and the role of a state of the disk.
  package static func row(_ state: GuestState) -> Row {
    switch state {
    case .none: guest(.none)
    case .below: guest(.below)
    case .data: guest(.data)
    case .zero: guest(.zero)
    case .zeroKept: guest(.zeroKept)
    case .preallocated: guest(.preallocated)
    case .compressed: guest(.compressed)
    case .shared: guest(.shared)
    case .missing: guest(.missing)
    case .bad: guest(.bad)
    }
  }

  /// The glyphs and the role of a state of the file.
  package static func row(_ state: HostState) -> Row {
    switch state {
    case .header: host(.header)
    case .refcountTable: host(.refcountTable)
    case .refcountBlock: host(.refcountBlock)
    case .l1Table: host(.l1Table)
    case .l2Table: host(.l2Table)
    case .snapshotTable: host(.snapshotTable)
    case .snapshotTables: host(.snapshotMetadata)
    case .bitmap: host(.bitmap)
    case .crypto: host(.cryptoHeader)
    case .vmState: host(.vmState)
    case .data: host(.data)
    case .compressed: host(.compressed)
    case .free: host(.free)
    case .hole: host(.hole)
    case .leaked: host(.leaked)
    case .wrong: host(.wrong)
    case .pastEnd: host(.pastEnd)
    }
  }
}

extension Legend {
  /// The letters of some states of the disk with words for them, in a line.
  static func line(_ states: KeyValuePairs<GuestState, String>) -> String {
    states.map { "\(guest($0.key).letter) \($0.value)" }.joined(separator: "  ")
  }

  static func matches(_ text: String, _ state: GuestState) -> Bool {
    matches(text, guest(state), Glyphs.row(state))
  }

  static func matches(_ text: String, _ state: HostState) -> Bool {
    matches(text, host(state), Glyphs.row(state))
  }

  /// The state's name or its beginning from three letters on, or its letter.
  private static func matches(_ text: String, _ entry: LegendEntry, _ glyph: Glyphs.Row) -> Bool {
    if text.unicodeScalars.count == 1, let scalar = text.unicodeScalars.first {
      return scalar == glyph.ascii || scalar == glyph.unicode
    }
    let wanted = text.lowercased()
    return wanted.count >= 2
      && (entry.name.lowercased().hasPrefix(wanted) || entry.explanation.lowercased().hasPrefix(wanted))
  }
}

extension HelpPage {
  static let guestLetters: [HelpLine] =
    GuestState.allCases.map { state in
      let entry = Legend.guest(state)
      let glyph = Glyphs.row(state)
      return HelpLine(
        keys: glyph.ascii == glyph.unicode ? String(glyph.ascii) : "\(glyph.ascii)  \(glyph.unicode)",
        text: "\(entry.name): \(entry.explanation)")
    } + [
      HelpLine(keys: "1-9", text: "data in part of the cell, in tenths"),
      HelpLine(keys: "_", text: "not scanned yet"),
    ]

  static let lensLetters: [HelpLine] =
    Lens.allCases.flatMap { lens in
      [HelpLine(keys: lens.name, text: lens.help)]
        + lens.keys.map { key in
          HelpLine(
            keys: key.ascii == key.unicode ? key.ascii : "\(key.ascii)  \(key.unicode)",
            text: "\(lens.name): \(key.words)")
        }
    } + [
      HelpLine(
        text:
          "order: underlined where a cluster lies in front of the one before it; T: tables, S: snapshots alone"
      ),
      HelpLine(text: "underlined under the others: something else is inside; _ is not known yet"),
    ]

  static let labLetters = [
    HelpLine(keys: "0-9 a-z", text: "a place on the disk, from its start to its end"),
    HelpLine(text: "underlined: inside, a cluster follows another one in the file than on the disk"),
    HelpLine(keys: "T", text: "tables"),
    HelpLine(keys: ".", text: "free"),
    HelpLine(keys: "away", text: "clusters that are not at guest offset + the shift of the image"),
    HelpLine(
      keys: "reads", text: "host reads beyond one per 1 MiB when the disk is read, and those the order costs"),
  ]

  static let hostLetters: [HelpLine] =
    HostState.allCases.filter { $0 != .pastEnd }.map { state in
      let entry = Legend.host(state)
      let glyph = Glyphs.row(state)
      return HelpLine(
        keys: glyph.ascii == glyph.unicode ? String(glyph.ascii) : "\(glyph.ascii)  \(glyph.unicode)",
        text: entry.name)
    } + [
      HelpLine(
        keys: ":-=+*%@  \u{2581}-\u{2587}", text: "data in part of the cell, in eighths; the rest is free"),
      HelpLine(text: "underlined: something else in use is inside"),
    ]
}
