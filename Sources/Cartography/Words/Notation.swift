// Numbers and sizes as text, both ways: what people type at the command line, and the three ways
// in which sizes and offsets are shown.

import Glibc

/// Text of numbers. No locale is involved.
package enum Notation {
  /// A number with that many decimals, rounded as the C library rounds.
  package static func decimals(_ value: Double, _ count: Int) -> String {
    unsafe withVaList([Int32(clamping: count), value]) { arguments in
      // The longest double has 309 digits before the point.
      unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { buffer in
        guard let base = buffer.baseAddress else { return "" }
        unsafe vsnprintf(base, buffer.count, "%.*f", arguments)
        return unsafe String(cString: base)
      }
    }
  }

  /// Why a number could not be read.
  package enum ParseError: Error, Equatable, CustomStringConvertible, Sendable {
    case empty
    case notANumber(String)
    case unknownSuffix(String)
    case tooLarge(String)

    package var description: String {
      switch self {
      case .empty: "a number is missing; write 4096, 64k, 1.5G or 0x10000"
      case .notANumber(let text): "'\(text)' is not a number; write 4096, 64k, 1.5G or 0x10000"
      case .unknownSuffix(let text): "'\(text)' has an unknown suffix; use b, k, M, G, T, P or E"
      case .tooLarge(let text) where text.hasPrefix("-"): "'\(text)' is negative; the smallest number is 0"
      case .tooLarge(let text): "'\(text)' is too large; the largest number is 9223372036854775807"
      }
    }
  }

  /// The largest value that is read, as for the genuine tools.
  package static let maximum = UInt64(Int64.max)

  /// Reads `64k`, `1.5G`, `0x10000`, `512`: suffixes b, k, M, G, T, P and E in either case stand
  /// for powers of 1024; a fraction needs a suffix and is cut to whole bytes. Hexadecimal numbers
  /// take a suffix as well, but for b and e, which are digits.
  ///
  /// - Throws: ``ParseError`` for what is no number, has an unknown unit, or is not below 2^63.
  package static func parse(_ text: some StringProtocol) throws(ParseError) -> UInt64 {
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty else { throw .empty }
    if bytes.count >= 2, bytes[0] == UInt8(ascii: "0"), bytes[1] | 0x20 == UInt8(ascii: "x") {
      return try parseHexadecimal(bytes, String(text))
    }
    var at = 0
    var whole: UInt64 = 0
    while at < bytes.count, let digit = decimalDigit(bytes[at]) {
      let (product, o1) = whole.multipliedReportingOverflow(by: 10)
      let (sum, o2) = product.addingReportingOverflow(digit)
      guard !o1, !o2 else { throw .tooLarge(String(text)) }
      whole = sum
      at += 1
    }
    guard at > 0 else {
      // A negative number is one, as for the genuine tools: out of range.
      let isNegative = bytes[0] == UInt8(ascii: "-") && bytes.count > 1 && decimalDigit(bytes[1]) != nil
      throw isNegative ? .tooLarge(String(text)) : .notANumber(String(text))
    }
    // The fraction as numerator over a power of ten; digits behind the 18th cannot matter.
    var numerator: UInt64 = 0
    var denominator: UInt64 = 1
    var hasFraction = false
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      at += 1
      let start = at
      while at < bytes.count, let digit = decimalDigit(bytes[at]) {
        if denominator < 1_000_000_000_000_000_000 {
          numerator = numerator * 10 + digit
          denominator *= 10
        }
        at += 1
      }
      guard at > start else { throw .notANumber(String(text)) }
      hasFraction = true
    }
    let shift = try suffixShift(bytes[at...], String(text))
    if hasFraction && shift == 0 && numerator != 0 { throw .notANumber(String(text)) }
    return try scale(whole, numerator, denominator, shift, String(text))
  }

  private static func parseHexadecimal(_ bytes: [UInt8], _ text: String) throws(ParseError) -> UInt64 {
    var value: UInt64 = 0
    var at = 2
    while at < bytes.count, let digit = hexDigit(bytes[at]) {
      guard value >> 60 == 0 else { throw .tooLarge(text) }
      value = value << 4 | digit
      at += 1
    }
    guard at > 2 else { throw .notANumber(text) }
    return try scale(value, 0, 1, try suffixShift(bytes[at...], text), text)
  }

  private static func scale(
    _ whole: UInt64, _ numerator: UInt64, _ denominator: UInt64, _ shift: UInt64, _ text: String
  ) throws(ParseError) -> UInt64 {
    let (product, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
    guard !overflow else { throw .tooLarge(text) }
    let full = numerator.multipliedFullWidth(by: 1 << shift)
    // numerator < denominator, so the quotient fits.
    let part = denominator.dividingFullWidth(full).quotient
    let (sum, over) = product.addingReportingOverflow(part)
    guard !over, sum <= maximum else { throw .tooLarge(text) }
    return sum
  }

  private static func suffixShift(_ rest: ArraySlice<UInt8>, _ text: String) throws(ParseError) -> UInt64 {
    guard let first = rest.first else { return 0 }
    guard rest.count == 1 else {
      if decimalDigit(first) == nil, first | 0x20 >= UInt8(ascii: "a"), first | 0x20 <= UInt8(ascii: "z") {
        throw .unknownSuffix(text)
      }
      throw .notANumber(text)
    }
    switch first | 0x20 {
    case UInt8(ascii: "b"): return 0
    case UInt8(ascii: "k"): return 10
    case UInt8(ascii: "m"): return 20
    case UInt8(ascii: "g"): return 30
    case UInt8(ascii: "t"): return 40
    case UInt8(ascii: "p"): return 50
    case UInt8(ascii: "e"): return 60
    default: throw .unknownSuffix(text)
    }
  }

  private static func decimalDigit(_ byte: UInt8) -> UInt64? {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? UInt64(byte - UInt8(ascii: "0")) : nil
  }

  private static func hexDigit(_ byte: UInt8) -> UInt64? {
    if let digit = decimalDigit(byte) { return digit }
    let lower = byte | 0x20
    return (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(lower)
      ? UInt64(lower - UInt8(ascii: "a")) + 10 : nil
  }

  private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
  private static let letters = ["", "K", "M", "G", "T", "P", "E"]

  /// A size as `qemu-img info` prints it: three significant digits, "64 MiB", "1.5 GiB", "196 KiB".
  package static func human(_ bytes: UInt64) -> String {
    // The unit changes where three digits would no longer do: from 1000 on, not from 1024.
    let (value, unit) = scaled(bytes, unitAt: 1000)
    return significant(value) + " " + units[unit]
  }

  /// A short size as the maps print it: "334K", "6.25G", "512".
  package static func compact(_ bytes: UInt64) -> String {
    let (value, unit) = scaled(bytes, unitAt: 1024)
    guard unit > 0 else { return String(bytes) }
    return (value >= 1000 ? String(UInt64(value.rounded())) : significant(value)) + letters[unit]
  }

  private static func scaled(_ bytes: UInt64, unitAt limit: Double) -> (Double, Int) {
    var value = Double(bytes)
    var unit = 0
    while value >= limit, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return (value, unit)
  }

  /// Three significant digits without trailing zeroes; ties go to the even digit.
  private static func significant(_ value: Double) -> String {
    guard value > 0 else { return "0" }
    var decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
    if value < 0.9995 { decimals = 3 }
    var power = 1.0
    for _ in 0..<decimals { power *= 10 }
    let digits = UInt64((value * power).rounded(.toNearestOrEven))
    let whole = digits / UInt64(power)
    var fraction = digits % UInt64(power)
    guard decimals > 0, fraction > 0 else { return String(whole) }
    var width = decimals
    while fraction % 10 == 0 {
      fraction /= 10
      width -= 1
    }
    let text = String(fraction)
    return "\(whole)." + String(repeating: "0", count: width - text.utf8.count) + text
  }

  /// A hexadecimal number of at least `width` digits, without "0x".
  package static func hex(_ value: UInt64, width: Int = 1) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }

  /// Digits that every offset below `limit` fits into, an even number and at least 6.
  package static func hexWidth(for limit: UInt64) -> Int {
    let digits = String(limit == 0 ? 0 : limit - 1, radix: 16).utf8.count
    return max(6, digits + digits % 2)
  }

  /// A 64-bit entry as two groups of eight digits, "80000000 00040000".
  package static func entry(_ raw: UInt64) -> String {
    hex(raw >> 32, width: 8) + " " + hex(raw & 0xffff_ffff, width: 8)
  }
}
