// What map cells show. A lens is a value in a file of its own: its name, its sentence, and what a cell of either
// map looks like under it. A new one is added to the list.

import Cartography
import CellScreen

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
  /// What answers for it, of what is shown now; nil for a lens that the states of the maps are enough for.
  let sheet: (@Sendable (Desk) -> (any LensSheet)?)?

  /// All lenses in the order of their list.
  package static let allCases: [Lens] = [
    kind, fill, refcount, order, owner, layer, age, difference, bitmap,
  ]

  init(
    _ name: String, _ help: String, showsParts: Bool = true,
    guest: @escaping @Sendable (MapCell<GuestState>, GlyphSet) -> CellLook,
    host: @escaping @Sendable (MapCell<HostState>, GlyphSet) -> CellLook,
    sheet: (@Sendable (Desk) -> (any LensSheet)?)? = nil
  ) {
    self.name = name
    self.help = help
    self.showsParts = showsParts
    guestLook = guest
    hostLook = host
    self.sheet = sheet
  }

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
