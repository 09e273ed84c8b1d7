// Small words of questions: sizes, rows of a terminal, the fields of an entry.

import QcowFormat

package enum QuizText {
  /// A size as operations have it: 4k, 1M, 512.
  static func size(_ bytes: UInt64) -> String {
    if bytes > 0, bytes % (1 << 20) == 0 { return "\(bytes >> 20)M" }
    if bytes > 0, bytes % 1024 == 0 { return "\(bytes >> 10)k" }
    return "\(bytes)"
  }

  /// A place in a file.
  static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

  /// A byte in two digits.
  static func byte(_ value: UInt64) -> String { (value < 16 ? "0x0" : "0x") + String(value, radix: 16) }

  /// Text in rows of a terminal, each behind `indent`.
  package static func wrapped(
    _ text: String, indent: String = "", columns: Int = QuizQuestion.columns
  ) -> [String] {
    var rows: [String] = []
    var row = ""
    for word in text.split(separator: " ") {
      if !row.isEmpty, row.count + 1 + word.count > columns {
        rows.append(row)
        row = ""
      }
      row += (row.isEmpty ? indent : " ") + word
    }
    return row.isEmpty ? rows : rows + [row]
  }

  /// Cells of a width side by side, as many in a row as fit.
  static func columns(_ cells: [String], indent: String) -> [String] {
    let width = (cells.map(\.count).max() ?? 0) + 3
    let perRow = max(1, (QuizQuestion.columns - indent.count + 3) / width)
    return stride(from: 0, to: cells.count, by: perRow).map { start in
      var row = indent
      for (index, cell) in cells[start..<min(start + perRow, cells.count)].enumerated() {
        if index > 0 {
          row += String(repeating: " ", count: max(0, indent.count + index * width - row.count))
        }
        row += cell
      }
      return row
    }
  }

  /// What an L2 entry says.
  static func spelled(_ entry: UInt64) -> String {
    guard entry != 0 else { return "0, no cluster and no flag" }
    var words: [String] = []
    let parsed = L2Entry(descriptor: entry)
    if parsed.isCopied { words.append("COPIED") }
    if parsed.isCompressed {
      words.append("compressed")
    } else {
      words.append(parsed.offsetBits == 0 ? "no place" : "offset \(hex(parsed.offsetBits))")
      if entry & L2Entry.zeroFlag != 0 { words.append("zero flag") }
    }
    return words.joined(separator: ", ")
  }

  /// The fields of a typed entry, and whether each is right.
  static func entryFields(_ mine: UInt64, _ right: UInt64) -> [(name: String, isRight: Bool)] {
    let (given, wanted) = (L2Entry(descriptor: mine), L2Entry(descriptor: right))
    guard given.isCompressed == wanted.isCompressed else { return [("bit 62 (compressed)", false)] }
    if wanted.isCompressed {
      return [
        ("bit 63 (COPIED)", given.isCopied == wanted.isCopied),
        ("the offset and the length", (mine ^ right) & ~L2Entry.copiedFlag == 0),
      ]
    }
    var fields = [
      ("bit 63 (COPIED)", given.isCopied == wanted.isCopied),
      ("the offset", given.offsetBits == wanted.offsetBits),
      ("bit 0 (zero flag)", (mine ^ right) & L2Entry.zeroFlag == 0),
    ]
    // What is left has no name of its own: lengths of streams, reserved bits.
    if fields.allSatisfy(\.1), mine != right { fields.append(("the other bits", false)) }
    return fields
  }

  /// The halves of a typed bitmap, and whether each is right.
  static func bitmapFields(_ mine: UInt64, _ right: UInt64) -> [(name: String, isRight: Bool)] {
    [
      ("the zero bits (first 8 digits)", mine >> 32 == right >> 32),
      ("the data bits (last 8 digits)", mine & 0xffff_ffff == right & 0xffff_ffff),
    ]
  }

  /// The subclusters whose bit is set in half of a bitmap: "5, 6", "13 to 25", "none".
  static func subclusters(_ bits: UInt64) -> String {
    ranges((0..<32).filter { bits >> $0 & 1 != 0 })
  }

  /// Numbers in words, neighbours as a range; at most eight of them.
  static func ranges(_ numbers: [UInt64]) -> String {
    var words: [String] = []
    var index = 0
    while index < numbers.count {
      var end = index
      while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
      words.append(
        end > index + 1
          ? "\(numbers[index]) to \(numbers[end])"
          : numbers[index...end].map { "\($0)" }.joined(separator: ", "))
      index = end + 1
    }
    if words.count > 8 { words = Array(words.prefix(8)) + ["and so on"] }
    return words.isEmpty ? "none" : words.joined(separator: ", ")
  }

  /// "1 cluster", "2 clusters".
  static func count(_ number: Int, _ word: String) -> String {
    "\(number) \(word)\(number == 1 ? "" : "s")"
  }
}
