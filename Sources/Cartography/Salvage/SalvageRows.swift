// What a salvage says, row by row and bit by bit: the structures with where they come from and how sure that is, and
// what of the disk can be had.

package import Qcow
package import QcowFormat
import Storage

/// The rows of a salvage.
package struct SalvageRows {
  /// A structure of the image.
  package enum Structure: String, CaseIterable, Sendable {
    case header
    case l1Table = "L1 table"
    case refcounts
    case snapshots
  }

  /// One row.
  package enum Row: Equatable, Sendable {
    case structure(Structure, SalvageReport.Source)
    /// A cluster size that explains the file, the best first.
    case size(SizeScore, isTaken: Bool)
    case candidate(SalvageReport.Candidate)
    /// So many L2 tables have their places for one reason.
    case tables(TableEvidence, Int)
    case unplaced(Int)
    /// An L2 table that no L1 entry of the file leads to.
    case placed(PlacedTable)
    case lost(Range<GuestOffset>, SalvageReport.Loss)
    case note(String)
  }

  private let report: SalvageReport
  /// The rows in front of the tables, and those behind the lost ranges.
  private let head: [Row]

  package init(_ report: SalvageReport) {
    self.report = report
    var head: [Row] = [
      .structure(.header, report.headerSource), .structure(.l1Table, report.l1Source),
      .structure(.refcounts, report.refcountSource),
    ]
    // Without a header of the file nobody knows whether there were any.
    if report.headerSource == .found || report.snapshotSource != .found {
      head.append(.structure(.snapshots, report.snapshotSource))
    }
    for evidence in TableEvidence.allCases {
      if let count = report.tables[evidence] { head.append(.tables(evidence, count)) }
    }
    if report.unplaced > 0 { head.append(.unplaced(report.unplaced)) }
    head += report.sizes.prefix(3).map {
      .size($0, isTaken: $0.clusterBits == Int(report.header.clusterBits))
    }
    head += report.notes.map { .note($0) }
    head += report.candidates.map { .candidate($0) }
    self.head = head
  }

  /// How many there are.
  package var count: Int { head.count + report.lost.count + report.placed.count }

  /// The row of that number, below ``count``.
  package subscript(index: Int) -> Row {
    if index < head.count { return head[index] }
    let rest = index - head.count
    if rest < report.lost.count { return .lost(report.lost[rest].range, report.lost[rest].why) }
    return .placed(report.placed[rest - report.lost.count])
  }
}

/// What of a part of the disk can be had, the worst first.
package enum SalvageState: UInt8, CaseIterable, Sendable {
  /// It is known to be lost.
  case lost
  /// Its table stands where it was guessed to.
  case guessed
  /// Its table is likely to be the right one.
  case likely
  /// Its table is the right one.
  case certain
  /// No table maps it: it reads as zeroes, or it was never found.
  case nothing

  /// The letter for it.
  package var letter: Character {
    switch self {
    case .lost: "!"
    case .guessed: "?"
    case .likely: "+"
    case .certain: "#"
    case .nothing: "."
    }
  }

  /// The words for it.
  package var name: String {
    switch self {
    case .lost: "lost"
    case .guessed: "guessed"
    case .likely: "likely"
    case .certain: "certain"
    case .nothing: "no table"
    }
  }

  init(_ evidence: TableEvidence) {
    switch evidence {
    case .entry, .structure: self = .certain
    case .copy, .version, .row: self = .likely
    case .order, .scattered: self = .guessed
    }
  }
}

/// The disk in parts of equal size, each with the worst that is in it.
package struct SalvageStrip: Equatable, Sendable {
  /// From the first byte of the disk to the last.
  package private(set) var parts: [SalvageState]

  /// `image` is the salvaged one. Takes time with the entries of its L1 table.
  package init(_ report: SalvageReport, _ image: Image, parts count: Int) {
    parts = Array(repeating: .nothing, count: max(1, count))
    let geometry = image.geometry
    let size = geometry.virtualSize
    guard size > 0 else { return }
    var evidence: [Int: TableEvidence] = [:]
    for table in report.placed { evidence[table.l1Index] = table.evidence }
    for index in 0..<image.l1Count where image.l1Entry(index).table != nil {
      mark(geometry.guestRange(l1Index: index), SalvageState(evidence[index] ?? .entry), size)
    }
    for (range, _) in report.lost { mark(range, .lost, size) }
  }

  private mutating func mark(_ range: Range<GuestOffset>, _ state: SalvageState, _ size: UInt64) {
    guard range.lowerBound.value < size else { return }
    let last = min(range.upperBound.value, size) - 1
    for part in part(range.lowerBound.value, size)...part(last, size)
    where parts[part].rawValue > state.rawValue {
      parts[part] = state
    }
  }

  /// The part that a byte of the disk is in.
  private func part(_ offset: UInt64, _ size: UInt64) -> Int {
    let (high, low) = offset.multipliedFullWidth(by: UInt64(parts.count))
    return min(parts.count - 1, Int(size.dividingFullWidth((high, low)).quotient))
  }
}
