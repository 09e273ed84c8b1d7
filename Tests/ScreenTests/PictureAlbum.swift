// The pictures of one image as one text that stays small and can be read: the two middle sizes in full, with
// lines that repeat said once; the others as a line of sums, one for each row, so that a difference says where.

import CellScreen
import Foundation
import Storage
import TestSupport

struct PictureAlbum {
  struct Picture {
    let screen: String
    let glyphs: GlyphSet
    let canvas: Canvas

    var name: String {
      "\(screen) \(canvas.width)x\(canvas.height) \(glyphs == .ascii ? "ascii" : "unicode")"
    }
    /// It stands in the file as it is; the Unicode twin has the same layout.
    var isInFull: Bool { glyphs == .ascii && [80, 120].contains(canvas.width) }

    /// Sums of everything that is on it, and of each row by itself.
    var sums: String {
      let rows = (0..<canvas.height).map { Sum(canvas.row($0)).short }
      return Sum(canvas.cells[...], canvas.cursor).long + " " + rows.joined()
    }

    /// The rows without blanks behind them; equal ones in a row once, with their number.
    var lines: [String] {
      var lines: [String] = []
      var y = 0
      while y < canvas.height {
        let row = canvas.rowText(y)
        var end = y + 1
        while end < canvas.height, canvas.rowText(end) == row { end += 1 }
        lines.append(row)
        if end > y + 2 { lines.append("*\(end - y - 1)") } else if end == y + 2 { lines.append(row) }
        y = end
      }
      return lines
    }
  }

  var pictures: [Picture] = []

  /// The whole file.
  var text: String {
    pictures.map { "== \($0.name) \($0.sums)\n" + ($0.isInFull ? $0.lines.map { $0 + "\n" }.joined() : "") }
      .joined()
  }

  /// Writes every picture and the files that they show to a folder of the image in the folder that QATLAS_PICTURES
  /// names, if it does.
  func writePictures(of image: String, files: () throws -> [any Storage]) throws {
    guard let folder = ProcessInfo.processInfo.environment["QATLAS_PICTURES"] else { return }
    let url = URL(fileURLWithPath: folder).appendingPathComponent(image)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    for picture in pictures {
      let name = picture.name.replacingOccurrences(of: " ", with: "-") + ".txt"
      try (picture.canvas.text() + "\n").write(
        to: url.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    for file in try files() {
      let path = url.appendingPathComponent(file.name).path
      _ = FileManager.default.createFile(atPath: path, contents: nil)
      guard let handle = FileHandle(forWritingAtPath: path) else { continue }
      try handle.truncate(atOffset: file.length)
      var at: UInt64 = 0
      while at < file.length {
        let extent = file.extent(at: at)
        let end = min(extent.end, file.length, at + (16 << 20))
        if !extent.isHole {
          try handle.seek(toOffset: at)
          try handle.write(contentsOf: Data(file.bytes(at: at, count: Int(end - at))))
        }
        at = end
      }
      try handle.close()
    }
  }

  /// What is not as the file has it: the rows that differ, as they are now, for each picture.
  func difference(from expected: String) -> String {
    var old: [Substring: (sums: [Substring], lines: [String])] = [:]
    var name: Substring = ""
    for line in expected.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("== ") {
        let words = line.dropFirst(3).split(separator: " ")
        name = line.dropFirst(3).prefix(words.prefix(3).map(\.count).reduce(0, +) + 2)
        old[name] = (Array(words.dropFirst(3)), [])
      } else {
        old[name]?.lines.append(String(line))
      }
    }
    var report: [String] = []
    for picture in pictures {
      let now = picture.sums
      guard let before = old.removeValue(forKey: Substring(picture.name)) else {
        report.append("\(picture.name) is new:\n" + picture.canvas.text())
        continue
      }
      guard before.sums.joined(separator: " ") != now else { continue }
      let rows = before.sums.count > 1 ? Array(before.sums[1]) : []
      var lines: [String] = []
      for y in 0..<picture.canvas.height {
        let then = rows.dropFirst(y * Sum.shortLength).prefix(Sum.shortLength)
        guard String(then) != Sum(picture.canvas.row(y)).short else { continue }
        lines.append("\(y) + \(picture.canvas.rowText(y))")
      }
      if lines.isEmpty { lines.append("the cursor stands elsewhere") }
      report.append("\(picture.name) differs:\n" + lines.joined(separator: "\n"))
    }
    report += old.keys.sorted().map { "\($0) is gone" }
    let whole = report.joined(separator: "\n")
    return whole.count > 60_000 ? whole.prefix(60_000) + "\n..." : whole
  }
}

/// A sum over cells: characters, roles and marks.
struct Sum {
  static let shortLength = 4
  private var value: UInt64 = 0xcbf2_9ce4_8422_2325

  init(_ cells: ArraySlice<Cell>, _ cursor: Point? = nil) {
    for cell in cells {
      add(cell.scalar.value)
      if cell.combining1 != "\0" { add(cell.combining1.value) }
      add(UInt32(cell.role.rawValue) << 8 | UInt32(cell.marks.rawValue))
    }
    if let cursor { add(UInt32(truncatingIfNeeded: cursor.x << 16 | cursor.y)) }
  }

  private mutating func add(_ word: UInt32) { value = (value ^ UInt64(word)) &* 0x0000_0100_0000_01b3 }

  private var hex: String {
    let mixed = value ^ value >> 32
    let text = String(mixed & 0xffff_ffff, radix: 16)
    return String(repeating: "0", count: 8 - text.count) + text
  }
  var long: String { hex }
  var short: String { String(hex.suffix(Self.shortLength)) }
}
