// Small words of questions: sizes, rows of a terminal, the fields of an entry.

import QcowFormat

enum QuizText {
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
  static func wrapped(_ text: String, indent: String = "") -> [String] {
    var rows: [String] = []
    var row = ""
    for word in text.split(separator: " ") {
      if !row.isEmpty, row.count + 1 + word.count > QuizQuestion.columns {
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
      words.append("offset \(hex(parsed.offsetBits))")
      if entry & L2Entry.zeroFlag != 0 { words.append("zero flag") }
    }
    return words.joined(separator: ", ")
  }

  /// Which fields of a typed entry are right.
  static func difference(of given: UInt64, from right: UInt64) -> String {
    let (mine, theirs) = (L2Entry(descriptor: given), L2Entry(descriptor: right))
    let fields: [(String, Bool)] = [
      ("bit 63 (COPIED)", mine.isCopied == theirs.isCopied),
      ("bit 62 (compressed)", mine.isCompressed == theirs.isCompressed),
      ("the offset", mine.offsetBits == theirs.offsetBits),
      ("bit 0 (zero)", (given ^ right) & L2Entry.zeroFlag == 0),
    ]
    let right = fields.filter(\.1).map(\.0)
    let wrong = fields.filter { !$0.1 }.map(\.0)
    guard !right.isEmpty, !wrong.isEmpty else { return "" }
    return "Right: \(right.joined(separator: ", ")); wrong: \(wrong.joined(separator: ", "))."
  }
}
