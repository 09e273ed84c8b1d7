// The lens of the owners: what the disk has alone, what it shares, and what only snapshots have.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Lens {
  /// Whose the clusters are.
  package static let owner = Lens(
    "owner", "whose is it? a: the disk alone, b-z: the disk and others, A-Z: snapshots alone, T: tables",
    showsParts: false,
    keys: [
      LensKey("*", .muted, "other owners"), LensKey("T", .hostTable, "tables"),
      LensKey(Glyphs.host(.free), "free"),
    ],
    guest: { cell, glyphs in
      let counts = cell.counts
      let alone = counts[.data] + counts[.compressed] + counts[.preallocated] + counts[.zeroKept]
      let shared = counts[.shared]
      if counts[.bad] > 0 {
        return CellLook("!", .guestBad, alone + shared > 0 ? .minority : [])
      }
      guard alone + shared > 0 else {
        let state: GuestState = counts[.missing] > 0 ? .missing : counts[.below] > 0 ? .below : .none
        let row = Glyphs.row(state)
        return CellLook(row.scalar(glyphs), row.role)
      }
      let marks: Marks = alone > 0 && shared > 0 ? .minority : []
      return alone >= shared ? CellLook("a", .guestData, marks) : CellLook("b", .guestShared, marks)
    },
    host: { cell, glyphs in
      let counts = cell.counts
      let content = HostState.allCases.reduce(UInt64(0)) { $0 + ($1.isContent ? counts[$1] : 0) }
      let tables = HostState.allCases.reduce(UInt64(0)) { $0 + ($1.isMetadata ? counts[$1] : 0) }
      let shared = counts[mark: .shared]
      let snapshots = counts[mark: .snapshots]
      let alone = content - min(content, shared + snapshots)
      let kinds: [(count: UInt64, look: CellLook)] = [
        (alone, CellLook("a", .guestData)), (shared, CellLook("b", .guestShared)),
        (snapshots, CellLook("A", .hostSnapshot)), (tables, CellLook("T", .hostTable)),
      ]
      let there = kinds.filter { $0.count > 0 }
      if cell.state == .wrong || cell.state == .leaked {
        let row = Glyphs.row(cell.state)
        return CellLook(row.scalar(glyphs), row.role, cell.hasMinority ? .minority : [])
      }
      guard var most = there.first else {
        let row = Glyphs.row(cell.state)
        return CellLook(row.scalar(glyphs), row.role)
      }
      for kind in there where kind.count > most.count { most = kind }
      return CellLook(most.look.glyph, most.look.role, there.count > 1 ? .minority : [])
    },
    sheet: { desk in
      let isSnapshot = if case .snapshot = desk.scene.subject { true } else { false }
      let image = isSnapshot ? desk.session.image : desk.scene.image
      guard !image.snapshots.isEmpty else { return nil }
      return OwnerSheet(desk.scene.atlas, of: image, snapshot: desk.chosenSnapshot)
    })

  /// Sets with the disk, of which the first is the disk alone.
  static let withDisk = Array("abcdefghijklmnopqrstuvwxyz".unicodeScalars)
  /// Sets of snapshots without the disk; T is tables, X leaked.
  static let withoutDisk = Array("ABCDEFGHIJKLMNOPQRSUVWYZ".unicodeScalars)
}
