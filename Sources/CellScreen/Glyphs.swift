// The characters of maps and frames in both glyph sets, as one table per map.
// No two states of one map share a glyph, so that a map can be read without any colour.

/// Which characters the screen may use.
package enum GlyphSet: Hashable, Sendable, CaseIterable {
  /// Only printable ASCII.
  case ascii
  /// Blocks, boxes, middle dots.
  case unicode
}

/// The states of the guest map, each with its own glyph.
package enum GuestGlyph: UInt8, CaseIterable, Sendable {
  /// Not allocated, reads zero.
  case none
  /// Not allocated, a layer below answers.
  case below
  /// Data in all subclusters.
  case data
  /// Data in part of the cell; see ``Glyphs/part(_:of:_:)`` for the share.
  case part
  /// Reads zero, no host cluster.
  case zero
  /// Reads zero, keeps its host cluster.
  case zeroKept
  /// Allocated, never written.
  case preallocated
  case compressed
  /// Shared with a snapshot: refcount above 1.
  case shared
  /// Needs a layer that is missing.
  case missing
  /// Points to something impossible.
  case bad
}

/// The states of the host map, each with its own glyph; several may share a role.
package enum HostGlyph: UInt8, CaseIterable, Sendable {
  case header, refcountTable, refcountBlock
  /// The active L1 table and its L2 tables.
  case l1Table, l2Table
  /// The snapshot table; the L1 and L2 tables of snapshots.
  case snapshotTable, snapshotMetadata
  case bitmap, cryptoHeader, vmState, data, compressed, free
  /// In use, but punched out of the host file.
  case hole
  /// Has a refcount but no owner.
  case leaked
  /// Two owners, a refcount that is too low, or past the end of the file.
  case wrong
  /// Behind the end of the file.
  case pastEnd
}

/// The dots of a plot, each with its own glyph.
package enum DotGlyph: UInt8, CaseIterable, Sendable {
  case few, some, many
  /// More compressed clusters than others.
  case compressed
}

/// The glyph tables.
package enum Glyphs {
  /// One row of a glyph table.
  package struct Row: Hashable, Sendable {
    /// The letter on terminals without other characters.
    package let ascii: Unicode.Scalar
    /// The character everywhere else.
    package let unicode: Unicode.Scalar
    /// What it stands for.
    package let role: Role

    /// The one of a set.
    package func scalar(_ set: GlyphSet) -> Unicode.Scalar { set == .ascii ? ascii : unicode }
  }

  /// Glyphs and role of a guest map state. `part` gives the smallest share.
  package static func guest(_ state: GuestGlyph) -> Row {
    switch state {
    case .none: Row(ascii: ".", unicode: "\u{b7}", role: .guestNone)
    case .below: Row(ascii: ":", unicode: "\u{2591}", role: .guestBelow)
    case .data: Row(ascii: "#", unicode: "\u{2588}", role: .guestData)
    case .part: Row(ascii: "1", unicode: "\u{2581}", role: .guestPart)
    case .zero: Row(ascii: "z", unicode: "\u{25ab}", role: .guestZero)
    case .zeroKept: Row(ascii: "Z", unicode: "\u{25aa}", role: .guestZeroKept)
    case .preallocated: Row(ascii: "p", unicode: "\u{2592}", role: .guestPreallocated)
    case .compressed: Row(ascii: "c", unicode: "\u{259a}", role: .guestCompressed)
    case .shared: Row(ascii: "s", unicode: "\u{2593}", role: .guestShared)
    case .missing: Row(ascii: "?", unicode: "?", role: .guestMissing)
    case .bad: Row(ascii: "!", unicode: "!", role: .guestBad)
    }
  }

  /// Glyphs and role of a host map state.
  package static func host(_ state: HostGlyph) -> Row {
    switch state {
    case .header: Row(ascii: "H", unicode: "H", role: .hostHeader)
    case .refcountTable: Row(ascii: "T", unicode: "T", role: .hostRefcount)
    case .refcountBlock: Row(ascii: "B", unicode: "B", role: .hostRefcount)
    case .l1Table: Row(ascii: "1", unicode: "1", role: .hostTable)
    case .l2Table: Row(ascii: "2", unicode: "2", role: .hostTable)
    case .snapshotTable: Row(ascii: "S", unicode: "S", role: .hostSnapshot)
    case .snapshotMetadata: Row(ascii: "l", unicode: "l", role: .hostSnapshot)
    case .bitmap: Row(ascii: "M", unicode: "M", role: .hostBitmap)
    case .cryptoHeader: Row(ascii: "K", unicode: "K", role: .hostCrypto)
    case .vmState: Row(ascii: "V", unicode: "V", role: .hostVMState)
    case .data: Row(ascii: "#", unicode: "\u{2588}", role: .hostData)
    case .compressed: Row(ascii: "c", unicode: "\u{259a}", role: .hostCompressed)
    case .free: Row(ascii: ".", unicode: "\u{b7}", role: .hostFree)
    case .hole: Row(ascii: "o", unicode: "\u{25ab}", role: .hostHole)
    case .leaked: Row(ascii: "X", unicode: "\u{2717}", role: .hostLeaked)
    case .wrong: Row(ascii: "!", unicode: "!", role: .hostWrong)
    case .pastEnd: Row(ascii: " ", unicode: " ", role: .hostPastEnd)
    }
  }

  /// Glyphs and role of a dot of a plot.
  package static func dot(_ dot: DotGlyph) -> Row {
    switch dot {
    // One colour that both a dark and a light terminal show; the glyph says how many.
    case .few: Row(ascii: ".", unicode: "\u{2591}", role: .guestData)
    case .some: Row(ascii: ":", unicode: "\u{2592}", role: .guestData)
    case .many: Row(ascii: "*", unicode: "\u{2588}", role: .guestData)
    case .compressed: guest(.compressed)
    }
  }

  /// The glyph for a share that is neither nothing nor everything.
  ///
  /// ASCII counts tenths (`1` to `9`), Unicode eighths (`▁` to `▇`), both at least one step and never
  /// the full block. `total` of 0 counts as the smallest share.
  package static func part(_ part: UInt64, of total: UInt64, _ set: GlyphSet) -> Unicode.Scalar {
    let share = total == 0 ? 0 : min(1, Double(part) / Double(total))
    switch set {
    case .ascii:
      return Unicode.Scalar(UInt8(0x30) + UInt8(max(1, min(9, Int(share * 10)))))
    case .unicode:
      let eighths = UInt32(max(1, min(7, Int(share * 8))))
      return Unicode.Scalar(0x2580 + eighths) ?? "#"
    }
  }

  /// The same on the host map, where digits are tables: eighths in both sets, in ASCII by their weight,
  /// `:-=+*%@`.
  package static func hostPart(_ part: UInt64, of total: UInt64, _ set: GlyphSet) -> Unicode.Scalar {
    guard set == .ascii else { return self.part(part, of: total, set) }
    let share = total == 0 ? 0 : min(1, Double(part) / Double(total))
    return hostParts[max(1, min(7, Int(share * 8))) - 1]
  }
  private static let hostParts: [Unicode.Scalar] = [":", "-", "=", "+", "*", "%", "@"]

  /// The glyph of the fill lens: nothing, a share, or everything.
  package static func fill(_ part: UInt64, of total: UInt64, _ set: GlyphSet) -> Unicode.Scalar {
    if part == 0 { return guest(.none).scalar(set) }
    if part >= total { return guest(.data).scalar(set) }
    return self.part(part, of: total, set)
  }

  /// The glyph of the refcount lens: `.`, `1` to `9`, then `+`.
  package static func refcount(_ count: UInt64) -> Unicode.Scalar {
    switch count {
    case 0: "."
    case 1...9: Unicode.Scalar(UInt8(0x30) + UInt8(count))
    default: "+"
    }
  }

  /// The characters of a frame.
  package struct Box: Hashable, Sendable {
    /// The corners and the edges.
    package let topLeft, topRight, bottomLeft, bottomRight, horizontal, vertical: Unicode.Scalar
  }

  /// Frame characters; the focused pane has other horizontal edges in both sets.
  package static func box(_ set: GlyphSet, focused: Bool) -> Box {
    switch (set, focused) {
    case (.ascii, _):
      Box(
        topLeft: "+", topRight: "+", bottomLeft: "+", bottomRight: "+",
        horizontal: focused ? "=" : "-", vertical: "|")
    case (.unicode, false):
      Box(
        topLeft: "┌", topRight: "┐", bottomLeft: "└", bottomRight: "┘", horizontal: "─",
        vertical: "│")
    case (.unicode, true):
      Box(
        topLeft: "╒", topRight: "╕", bottomLeft: "╘", bottomRight: "╛", horizontal: "═",
        vertical: "│")
    }
  }
}
