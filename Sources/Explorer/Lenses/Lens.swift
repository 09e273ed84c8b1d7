// What map cells show. A lens is a value in a file of its own: its name, its sentence, and what a cell of either
// map looks like under it. A new one is added to the list.

import Cartography
package import CellScreen

/// What is drawn for a cell.
struct CellLook {
  var glyph: Unicode.Scalar
  var role: Role
  var marks: Marks

  init(_ glyph: Unicode.Scalar, _ role: Role, _ marks: Marks = []) {
    self.glyph = glyph
    self.role = role
    self.marks = marks
  }
}

/// A letter of a lens and what it means.
struct LensKey: Hashable, Sendable {
  /// The letters, one or a few alike, in both sets of characters.
  var ascii: String
  var unicode: String
  var role: Role
  var words: String

  /// Letters that are the same in both sets.
  init(_ letters: String, _ role: Role, _ words: String) {
    (ascii, unicode, self.role, self.words) = (letters, letters, role, words)
  }

  /// The glyph of a table of them.
  init(_ row: Glyphs.Row, _ words: String) {
    (ascii, unicode, role, self.words) = (String(row.ascii), String(row.unicode), row.role, words)
  }

  func letters(_ glyphs: GlyphSet) -> String { glyphs == .ascii ? ascii : unicode }
}

/// What map cells show.
package struct Lens: Hashable, Sendable, CaseIterable {
  /// The word that is typed.
  package let name: String
  /// One sentence for the list of lenses.
  let help: String
  /// It tells the parts of a cluster from each other.
  let showsParts: Bool
  private let guestLook: @Sendable (MapCell<GuestState>, GlyphSet) -> CellLook
  private let hostLook: @Sendable (MapCell<HostState>, GlyphSet) -> CellLook
  /// Its letters in words; empty for a lens whose sentence says them.
  let keys: [LensKey]
  /// What answers for it, of what is shown now; nil for a lens that the states of the maps are enough for.
  let sheet: (@Sendable (Desk) -> (any LensSheet)?)?

  /// All lenses in the order of their list.
  package static let allCases: [Lens] = [
    kind, fill, refcount, order, owner, layer, age, difference, bitmap, looks, compressible, reclaimable,
  ]

  init(
    _ name: String, _ help: String, showsParts: Bool = true, keys: [LensKey] = [],
    guest: @escaping @Sendable (MapCell<GuestState>, GlyphSet) -> CellLook,
    host: @escaping @Sendable (MapCell<HostState>, GlyphSet) -> CellLook,
    sheet: (@Sendable (Desk) -> (any LensSheet)?)? = nil
  ) {
    self.name = name
    self.help = help
    self.showsParts = showsParts
    self.keys = keys
    guestLook = guest
    hostLook = host
    self.sheet = sheet
  }

  /// The letters of its legend in one set of characters.
  package func letters(_ glyphs: GlyphSet) -> [String] { keys.map { $0.letters(glyphs) } }

  var next: Lens {
    let all = Self.allCases
    return all[((all.firstIndex(of: self) ?? 0) + 1) % all.count]
  }

  func look(_ cell: MapCell<GuestState>, _ glyphs: GlyphSet) -> CellLook {
    guard cell.isInside else { return CellLook(" ", .text) }
    return cell.isKnown ? guestLook(cell, glyphs) : CellLook("_", .muted)
  }

  func look(_ cell: MapCell<HostState>, _ glyphs: GlyphSet) -> CellLook {
    guard cell.isInside else { return CellLook(" ", .hostPastEnd) }
    return cell.isKnown ? hostLook(cell, glyphs) : CellLook("_", .muted)
  }

  package static func == (left: Lens, right: Lens) -> Bool { left.name == right.name }
  package func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
