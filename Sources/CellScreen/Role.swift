// What a cell means, as opposed to how it looks: the one vocabulary that screens use to colour things.
// A theme turns roles and marks into colours and attributes; nothing above it ever names a colour.

/// The meaning of a cell: chrome, a state of the guest map, a state of the host map, or a ramp step.
package enum Role: UInt8, CaseIterable, Sendable {
  // Chrome.
  case text, title, titleWarning, border, borderFocus, paneTitle, key, keyText, selection, twin
  case link, muted, number, changed, error, warning, ok, prompt, completion, message, progress

  // Guest map.
  case guestNone, guestBelow, guestData, guestPart, guestZero, guestZeroKept, guestPreallocated
  case guestCompressed, guestShared, guestMissing, guestBad

  // Host map.
  case hostHeader, hostRefcount, hostTable, hostSnapshot, hostBitmap, hostCrypto, hostVMState
  case hostData, hostCompressed, hostFree, hostHole, hostLeaked, hostWrong, hostPastEnd

  // One hue in ten steps, for the refcount, fill and age lenses.
  case ramp0, ramp1, ramp2, ramp3, ramp4, ramp5, ramp6, ramp7, ramp8, ramp9

  /// The step of the one-hue ramp; values outside 0...9 are clamped.
  package static func ramp(_ step: Int) -> Role {
    let clamped = UInt8(max(0, min(9, step)))
    return Role(rawValue: Role.ramp0.rawValue + clamped) ?? .ramp9
  }

  /// Whether the role is a state of a map or a ramp step (coloured as a full cell, not as text).
  package var isMap: Bool { rawValue >= Role.guestNone.rawValue }

  /// The letter that stands for the role in the style plane of golden files; blank for plain text.
  package var planeLetter: Unicode.Scalar {
    let letters = Role.planeLetters
    let index = Int(rawValue)
    return index < letters.count ? letters[index] : "?"
  }

  private static let planeLetters: [Unicode.Scalar] = Array(
    (" TWbBPkKsxLmnceworpMg" + ".:dDzZaqS?!" + "HRtNiYVhCfOXE_" + "0123456789").unicodeScalars)
}

/// What is special about one cell beside its role. Marks add to the style of the role.
package struct Marks: OptionSet, Hashable, Sendable {
  /// One bit per mark.
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// The cursor cell or the selected row: reverse video.
  package static let selected = Marks(rawValue: 1)
  /// The same place in the other map: reverse video and underlined.
  package static let twin = Marks(rawValue: 2)
  /// The cell hides a minority of another state: underlined.
  package static let minority = Marks(rawValue: 4)
  /// The last operation changed this cell.
  package static let changed = Marks(rawValue: 8)
  /// Bold, for emphasis only: it never carries meaning alone.
  package static let bold = Marks(rawValue: 16)

  /// The names of the set marks joined with `+`, for golden files.
  package var names: String {
    let all: [(Marks, String)] = [
      (.selected, "selected"), (.twin, "twin"), (.minority, "minority"), (.changed, "changed"),
      (.bold, "bold"),
    ]
    return all.filter { contains($0.0) }.map(\.1).joined(separator: "+")
  }
}
