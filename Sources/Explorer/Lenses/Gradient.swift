// Places in their order as a gradient: one hue from the start to the end, with a letter for each part, so that a row
// in order looks like one and a swapped pair is seen. The lab and the lens of the order share it.

import CellScreen

/// Letters and steps for places from the first to the last.
enum Gradient {
  /// From the start to the end.
  static let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz".unicodeScalars)

  /// The letter and the step of a place of so many.
  static func look(_ place: UInt64, of count: UInt64) -> (glyph: Unicode.Scalar, role: Role) {
    let parts = UInt64(letters.count)
    let (high, low) = place.multipliedFullWidth(by: parts)
    let index =
      high < count ? Int(clamping: count.dividingFullWidth((high, low)).quotient) : letters.count - 1
    let letter = min(index, letters.count - 1)
    return (letters[letter], .ramp(letter * 10 / letters.count))
  }
}
