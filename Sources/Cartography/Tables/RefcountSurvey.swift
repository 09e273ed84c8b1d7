// What some refcount blocks of an image say in numbers, block by block, in slices: for a list that shows a window of
// them.

package import Qcow
package import QcowFormat
import Storage

/// One entry of the refcount table, and the counts of its block.
package struct RefcountBlockRow: Equatable, Sendable {
  /// The index of the entry.
  package let index: Int
  /// Where the block lies; nil for an entry without one, which counts nothing.
  package let block: HostOffset?
  /// The clusters that it counts, those behind the end of the file included.
  package let clusters: Range<UInt64>
  /// Clusters of the file with a count of 0, of 1, and above.
  package internal(set) var free: UInt64 = 0
  /// See ``free``.
  package internal(set) var once: UInt64 = 0
  /// See ``free``.
  package internal(set) var shared: UInt64 = 0
  /// Counts above 0 of clusters behind the end of the file.
  package internal(set) var behind: UInt64 = 0
  /// The largest count.
  package internal(set) var highest: UInt64 = 0
  /// Clusters in use in each part of the block; the parts are of equal size.
  package internal(set) var parts: [UInt64]
  /// Clusters of the file in each part.
  package let wholes: [UInt64]
}

/// Reads the blocks of a row of entries.
package final class RefcountSurvey: Work {
  /// Clusters that are counted between two looks at the clock.
  private static let stride: UInt64 = 1 << 15

  /// The rows that are done, in the order of the table.
  package private(set) var rows: [RefcountBlockRow] = []
  private let image: Image
  private let reader: RefcountReader
  private let indices: Range<Int>
  private let partCount: Int
  private let fileClusters: UInt64
  private var open: RefcountBlockRow?
  private var at: UInt64 = 0

  /// Begins with the first of `indices`; `parts` is how many parts of a block are told apart.
  package init(_ image: Image, _ indices: Range<Int>, parts: Int) {
    self.image = image
    self.indices = indices.clamped(to: 0..<image.refcountTableCount)
    partCount = max(1, parts)
    reader = RefcountReader(image)
    fileClusters = image.geometry.clustersCovering(image.storage.length)
  }

  package var isDone: Bool { rows.count >= indices.count }
  package var progress: Double { indices.isEmpty ? 1 : Double(rows.count) / Double(indices.count) }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isDone {
      advance()
      if clock.now >= end { break }
    }
    return isDone
  }

  private func begin() -> RefcountBlockRow {
    let index = indices.lowerBound + rows.count
    let perBlock = image.geometry.refcountsPerBlock
    let (first, overflow) = UInt64(index).multipliedReportingOverflow(by: perBlock)
    let start = overflow ? UInt64.max - perBlock : min(first, .max - perBlock)
    let wholes = (0..<partCount).map { part in
      let (low, high) = (self.start(ofPart: part), self.start(ofPart: part + 1))
      return min(high, fileClusters - min(fileClusters, start))
        - min(low, fileClusters - min(fileClusters, start))
    }
    return RefcountBlockRow(
      index: index, block: image.refcountTableEntry(index).block, clusters: start..<start + perBlock,
      parts: Array(repeating: 0, count: partCount), wholes: wholes)
  }

  /// Clusters of a block in front of a part.
  private func start(ofPart part: Int) -> UInt64 {
    // A block has at most 2^24 counts.
    UInt64(part) * image.geometry.refcountsPerBlock / UInt64(partCount)
  }

  private func advance() {
    var row = open ?? begin()
    if open == nil { at = row.clusters.lowerBound }
    let stop = min(row.clusters.upperBound, at + Self.stride)
    while at < stop {
      let piece = reader.piece(at: at)
      let end = max(at + 1, min(stop, piece.clusters.upperBound))
      if piece.isZero {
        row.free += min(end, max(at, fileClusters)) - at
      } else {
        for cluster in at..<end { count(reader.value(cluster), cluster, &row) }
      }
      at = end
    }
    open = row
    guard at >= row.clusters.upperBound else { return }
    rows.append(row)
    open = nil
  }

  private func count(_ value: UInt64, _ cluster: UInt64, _ row: inout RefcountBlockRow) {
    row.highest = max(row.highest, value)
    guard cluster < fileClusters else {
      if value > 0 { row.behind += 1 }
      return
    }
    switch value {
    case 0: row.free += 1
    case 1: row.once += 1
    default: row.shared += 1
    }
    guard value > 0 else { return }
    let inside = cluster - row.clusters.lowerBound
    var part = Int(inside * UInt64(partCount) / image.geometry.refcountsPerBlock)
    while part + 1 < partCount, start(ofPart: part + 1) <= inside { part += 1 }
    row.parts[part] += 1
  }
}
