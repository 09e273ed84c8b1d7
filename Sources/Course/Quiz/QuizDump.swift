// The bytes of the structures of an image, for questions that nobody can answer from a list of names.

import QcowFormat
import Storage

/// Rows of bytes that lead from the header to every owner of a cluster.
struct QuizDump {
  /// Bytes of a row: four entries.
  private static let perRow: UInt64 = 32

  private let image: ImageBytes
  private let bitmaps: UInt64?
  private var rows: [UInt64: String] = [:]

  /// `bitmaps` is where the directory of bitmaps lies, if there is one; `others` are ranges to be seen as well.
  init(_ image: ImageBytes, bitmaps: UInt64? = nil, others: [Range<UInt64>] = []) {
    self.image = image
    self.bitmaps = bitmaps
    let header = image.header
    let size = image.geometry.clusterSize
    add(header.refcountTableOffset, UInt64(header.refcountTableClusters) * size)
    for index in 0..<UInt64(header.refcountTableClusters) * size / 8 {
      let block = image.word(header.refcountTableOffset + 8 * index) & Self.place
      if block != 0 { add(block, size) }
    }
    add(image.active)
    for snapshot in image.snapshots {
      add(ImageBytes.L1(offset: snapshot.l1TableOffset, count: UInt64(snapshot.l1Size)))
    }
    for range in others { add(range.lowerBound, range.upperBound - range.lowerBound) }
  }

  private static let place: UInt64 = 0x00ff_ffff_ffff_fe00

  private mutating func add(_ l1: ImageBytes.L1) {
    add(l1.offset, 8 * l1.count)
    for index in 0..<min(l1.count, 8) {
      if let table = image.l1Entry(index, l1).table { add(table.value, image.geometry.clusterSize) }
    }
  }

  /// Rows of a range that are not all zeroes.
  private mutating func add(_ start: UInt64, _ count: UInt64) {
    guard count <= 1 << 20, start < image.storage.length else { return }
    var at = start / Self.perRow * Self.perRow
    while at < start + count {
      let bytes = image.bytes(at, Int(Self.perRow))
      if rows[at] == nil, bytes.contains(where: { $0 != 0 }) { rows[at] = Self.row(at, bytes) }
      at += Self.perRow
    }
  }

  private static func row(_ at: UInt64, _ bytes: [UInt8]) -> String {
    let words = stride(from: 0, to: bytes.count, by: 8).map { start in
      QueryValue.digits(of: bytes[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) })
    }
    let address = QuizText.hex(at)
    return address + String(repeating: " ", count: max(1, 9 - address.count)) + words.joined(separator: " ")
  }

  /// What the header says, and the rows in the order of the file.
  var lines: [String] {
    let header = image.header
    let geometry = image.geometry
    var words =
      "header: refcount table \(QuizText.hex(header.refcountTableOffset)), L1 table \(QuizText.hex(header.l1TableOffset))"
    // The table has dates in it, so it is told what it says.
    if header.snapshotCount > 0 { words += ", snapshot table \(QuizText.hex(header.snapshotsOffset))" }
    for snapshot in image.snapshots {
      words += ", L1 table of \(snapshot.name) \(QuizText.hex(snapshot.l1TableOffset))"
    }
    if let bitmaps { words += ", bitmap directory \(QuizText.hex(bitmaps))" }
    words += "; clusters of \(QuizText.size(geometry.clusterSize)); file \(image.storage.length) bytes."
    words += " Rows of the other tables that are not all zeroes:"
    return QuizText.wrapped(words) + rows.sorted { $0.key < $1.key }.map(\.value)
  }
}
