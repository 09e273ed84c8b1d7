// The dot plot: guest offset across, host offset up. It is counted for the cells that are drawn, of the whole
// disk or a part of it, by a walk in strides over the L2 tables of that part.

import QcowFormat
package import Qcow
import Storage

/// What a dot plot shows: parts of the disk and of the file, and how many cells they are cut into.
package struct DotPlotFrame: Equatable, Sendable {
  /// Guest clusters.
  package let guest: Range<UInt64>
  /// Clusters of the file, or of the data file if there is one.
  package let host: Range<UInt64>
  /// Clusters per column and per row.
  package let guestStep: UInt64
  /// Host clusters of a row.
  package let hostStep: UInt64
  /// As many as have clusters, at most those asked for.
  package let columns: Int
  /// Cells from the lowest row to the highest.
  package let rows: Int

  /// A frame of at most `columns` by `rows` cells; every cell is as large as every other.
  package init(guest: Range<UInt64>, host: Range<UInt64>, columns: Int, rows: Int) {
    func cut(_ range: Range<UInt64>, _ cells: Int) -> (step: UInt64, count: Int) {
      let length = range.upperBound - range.lowerBound
      let most = UInt64(max(1, cells))
      let step = max(1, length / most + (length % most == 0 ? 0 : 1))
      return (step, max(1, Int(length / step + (length % step == 0 ? 0 : 1))))
    }
    self.guest = guest
    self.host = host
    (guestStep, self.columns) = cut(guest, columns)
    (hostStep, self.rows) = cut(host, rows)
  }

  /// First guest cluster of a column.
  package func guestStart(_ column: Int) -> UInt64 { guest.lowerBound + UInt64(max(0, column)) * guestStep }
  /// First host cluster of a row; row 0 is the lowest one.
  package func hostStart(_ row: Int) -> UInt64 { host.lowerBound + UInt64(max(0, row)) * hostStep }

  /// The column of a guest cluster; nil outside of the frame.
  package func column(of cluster: UInt64) -> Int? {
    guest.contains(cluster) ? Int((cluster - guest.lowerBound) / guestStep) : nil
  }
  /// The row of a host cluster; nil outside of the frame.
  package func row(of cluster: UInt64) -> Int? {
    host.contains(cluster) ? Int((cluster - host.lowerBound) / hostStep) : nil
  }

  /// A part of this frame, a quarter as wide and as high, with a cell as near to its middle as the edges allow.
  package func zoomed(column: Int, row: Int) -> (guest: Range<UInt64>, host: Range<UInt64>) {
    func part(_ range: Range<UInt64>, _ step: UInt64, _ cell: Int) -> Range<UInt64> {
      let all = range.upperBound - range.lowerBound
      // Eight clusters are few enough to see each.
      let length = min(all, max(8, all / 4))
      let middle = min(range.upperBound, range.lowerBound + UInt64(max(0, cell)) * step + step / 2)
      let start = max(range.lowerBound, middle - min(middle, length / 2))
      let first = min(start, range.upperBound - length)
      return first..<first + length
    }
    return (part(guest, guestStep, column), part(host, hostStep, row))
  }
}

/// Counts of a dot plot.
package struct DotPlot: Equatable, Sendable {
  /// What lies in one cell.
  package struct Cell: Equatable, Sendable {
    /// Standard clusters.
    package internal(set) var standard: UInt64 = 0
    /// Compressed clusters.
    package internal(set) var compressed: UInt64 = 0
    /// The first guest cluster that lies here, standard or compressed; meaningless without any.
    package internal(set) var firstStandard: UInt64 = 0
    /// The same of the compressed ones.
    package internal(set) var firstCompressed: UInt64 = 0

    /// Clusters of the choice.
    package func count(_ choice: ClusterChoice) -> UInt64 {
      switch choice {
      case .all: standard &+ compressed
      case .standard: standard
      case .compressed: compressed
      }
    }

    /// The first guest cluster of a choice; nil if there is none.
    package func first(_ choice: ClusterChoice) -> UInt64? {
      switch choice {
      case .standard: standard > 0 ? firstStandard : nil
      case .compressed: compressed > 0 ? firstCompressed : nil
      case .all:
        standard == 0
          ? first(.compressed) : compressed == 0 ? firstStandard : min(firstStandard, firstCompressed)
      }
    }
  }

  /// What is shown.
  package let frame: DotPlotFrame
  private var cells: [Cell]
  /// Runs and stretches of the guest clusters in the frame, wherever they lie in the file.
  package internal(set) var part: RegionFigures.Region
  /// How much of the tables has been looked at, 0 to 1.
  package internal(set) var progress = 0.0
  /// All of the frame has been counted.
  package internal(set) var isComplete = false

  init(_ frame: DotPlotFrame) {
    self.frame = frame
    cells = Array(repeating: Cell(), count: frame.columns * frame.rows)
    part = RegionFigures.Region()
  }

  /// A cell; an empty one outside.
  package func cell(_ column: Int, _ row: Int) -> Cell {
    guard column >= 0, column < frame.columns, row >= 0, row < frame.rows else { return Cell() }
    return cells[row * frame.columns + column]
  }

  /// Cells that lie beside each other, as one.
  package func cell(columns: Range<Int>, rows: Range<Int>) -> Cell {
    var sum = Cell()
    for row in rows {
      for column in columns {
        let part = cell(column, row)
        if part.standard > 0 {
          sum.firstStandard =
            sum.standard > 0 ? min(sum.firstStandard, part.firstStandard) : part.firstStandard
        }
        if part.compressed > 0 {
          sum.firstCompressed =
            sum.compressed > 0 ? min(sum.firstCompressed, part.firstCompressed) : part.firstCompressed
        }
        sum.standard &+= part.standard
        sum.compressed &+= part.compressed
      }
    }
    return sum
  }

  /// Adds a row of entries, which may go over many cells.
  mutating func add(_ row: EntryRow, clusterBits: UInt64) {
    let isCompressed = row.kind == .compressed
    var guest = row.guest
    var host = row.host >> clusterBits
    var left = row.count
    // What lies outside is passed in one step, so that a row costs the cells it crosses.
    if host < frame.host.lowerBound {
      let skip = min(left, frame.host.lowerBound - host)
      (guest, host, left) = (guest &+ skip, host &+ skip, left - skip)
    }
    while left > 0, let column = frame.column(of: guest), let line = frame.row(of: host) {
      let toColumn = frame.guestStart(column + 1) - guest
      let toRow = frame.hostStart(line + 1) - host
      let here = min(left, toColumn, toRow, frame.host.upperBound - host)
      let index = line * frame.columns + column
      if isCompressed {
        if cells[index].compressed == 0 { cells[index].firstCompressed = guest }
        cells[index].compressed &+= here
      } else {
        if cells[index].standard == 0 { cells[index].firstStandard = guest }
        cells[index].standard &+= here
      }
      (guest, host, left) = (guest &+ here, host &+ here, left - here)
    }
  }
}

/// Counts a dot plot in strides.
package final class DotPlotScan {
  private var pass: Pass

  /// A scan that has not begun.
  package init(_ image: Image, _ frame: DotPlotFrame) { pass = Pass(image, frame) }

  /// What is counted so far.
  package var plot: DotPlot { pass.plot }
  /// The plot is complete.
  package var isDone: Bool { pass.plot.isComplete }
  /// How far the scan is, 0 ... 1.
  package var progress: Double { plot.progress }

  /// What a plot of all of an image shows: the whole disk against the whole file.
  package static func whole(_ image: Image) -> (guest: Range<UInt64>, host: Range<UInt64>) {
    let geometry = image.geometry
    let file = geometry.clustersCovering(image.storage.length)
    let host = geometry.hasExternalData ? geometry.clusterCount : min(file, 1 << 47)
    return (0..<geometry.clusterCount, 0..<host)
  }

  /// Counts on for about the given time; true when there is nothing left.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isDone {
      pass.stride()
      if clock.now >= end { break }
    }
    return isDone
  }

  /// What counts, as a value: what every entry goes through must not pay for checked access to an object.
  private struct Pass {
    var plot: DotPlot
    private var walk: EntryWalk
    private let clusterBits: UInt64
    private let guestEnd: UInt64
    private var last: EntryRow?

    init(_ image: Image, _ frame: DotPlotFrame) {
      plot = DotPlot(frame)
      walk = EntryWalk(image, frame.guest)
      clusterBits = UInt64(image.geometry.clusterBits)
      guestEnd = min(frame.guest.upperBound, image.geometry.clusterCount)
    }

    mutating func stride() {
      var walk = walk
      walk.stride { row in
        if row.guest < guestEnd { take(row.clipped(to: guestEnd)) }
      }
      self.walk = walk
      plot.progress = walk.progress
      plot.isComplete = walk.isDone
    }

    private mutating func take(_ row: EntryRow) {
      let isAdjacent = last.map { $0.guest &+ $0.count == row.guest } ?? false
      let follows = last.map { RunFigures.follows($0, row, clusterBits: Int(clusterBits)) } ?? false
      let isSameKind = last.map { ($0.kind == .compressed) == (row.kind == .compressed) } ?? false
      if !isAdjacent || !isSameKind { plot.part.stretches &+= 1 }
      if !isAdjacent || !follows { plot.part.runs &+= 1 }
      plot.part.clusters &+= row.count
      plot.add(row, clusterBits: clusterBits)
      last = row
    }
  }
}
