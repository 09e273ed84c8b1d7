// The names and glyphs of the states of both maps, for legends, searches and explanations.

import Cartography
import CellScreen

/// One line of a legend.
struct LegendEntry: Sendable {
  var name: String
  /// The same in at most eight letters, for narrow legends.
  var short: String { shortName ?? name }
  fileprivate var shortName: String?
  /// Shown where there is room.
  var explanation: String
  var glyph: Glyphs.Row
}

enum Legend {
  static func guest(_ state: GuestState) -> LegendEntry {
    switch state {
    case .none: LegendEntry(name: "none", explanation: "not allocated", glyph: Glyphs.guest(.none))
    case .below: LegendEntry(name: "below", explanation: "a layer below answers", glyph: Glyphs.guest(.below))
    case .data: LegendEntry(name: "data", explanation: "data", glyph: Glyphs.guest(.data))
    case .zero: LegendEntry(name: "zero", explanation: "zero, no cluster", glyph: Glyphs.guest(.zero))
    case .zeroKept:
      LegendEntry(name: "kept", explanation: "zero, cluster kept", glyph: Glyphs.guest(.zeroKept))
    case .preallocated:
      LegendEntry(
        name: "preallocated", explanation: "reserved, never written", glyph: Glyphs.guest(.preallocated))
    case .compressed:
      LegendEntry(name: "compressed", explanation: "compressed", glyph: Glyphs.guest(.compressed))
    case .shared: LegendEntry(name: "shared", explanation: "shared", glyph: Glyphs.guest(.shared))
    case .missing: LegendEntry(name: "missing", explanation: "layer missing", glyph: Glyphs.guest(.missing))
    case .bad: LegendEntry(name: "bad", explanation: "impossible, or in conflict", glyph: Glyphs.guest(.bad))
    }
  }

  static func host(_ state: HostState) -> LegendEntry {
    func row(_ name: String, _ glyph: HostGlyph, short: String? = nil) -> LegendEntry {
      LegendEntry(name: name, shortName: short, explanation: name, glyph: Glyphs.host(glyph))
    }
    switch state {
    case .header: return row("header", .header)
    case .refcountTable: return row("refc. table", .refcountTable, short: "rc table")
    case .refcountBlock: return row("refc. block", .refcountBlock, short: "rc block")
    case .l1Table: return row("L1 table", .l1Table, short: "L1")
    case .l2Table: return row("L2 table", .l2Table, short: "L2")
    case .snapshotTable: return row("snapshots", .snapshotTable, short: "snaps")
    case .snapshotTables: return row("snap. L1/L2", .snapshotMetadata, short: "snap. L")
    case .bitmap: return row("bitmaps", .bitmap)
    case .crypto: return row("crypto", .cryptoHeader)
    case .vmState: return row("VM state", .vmState)
    case .data: return row("data", .data)
    case .compressed: return row("compressed", .compressed, short: "compr.")
    case .free: return row("free", .free)
    case .hole: return row("hole", .hole)
    case .leaked: return row("leaked", .leaked)
    case .wrong: return row("bad", .wrong)
    case .pastEnd: return row("past the end", .pastEnd)
    }
  }

  /// The state's name or its beginning from three letters on, or its letter.
  static func matches(_ text: String, _ entry: LegendEntry) -> Bool {
    if text.unicodeScalars.count == 1, let scalar = text.unicodeScalars.first {
      return scalar == entry.glyph.ascii || scalar == entry.glyph.unicode
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
      let glyph = entry.glyph
      return HelpLine(
        keys: glyph.ascii == glyph.unicode ? String(glyph.ascii) : "\(glyph.ascii)  \(glyph.unicode)",
        text: "\(entry.name): \(entry.explanation)")
    } + [
      HelpLine(keys: "1-9", text: "data in part of the cell, in tenths"),
      HelpLine(keys: "_", text: "not scanned yet"),
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
      let glyph = entry.glyph
      return HelpLine(
        keys: glyph.ascii == glyph.unicode ? String(glyph.ascii) : "\(glyph.ascii)  \(glyph.unicode)",
        text: entry.name)
    } + [
      HelpLine(
        keys: ":-=+*%@  \u{2581}-\u{2587}", text: "data in part of the cell, in eighths; the rest is free"),
      HelpLine(text: "underlined: something else in use is inside"),
    ]
}
