// The letters of a plot over its dots: where there are more clusters than letters, a letter of Braille shows up to two
// by four dots. In ASCII, and where a cluster has a letter to itself, letter and dot are the same.

import Cartography
import CellScreen

struct PlotGrid: Equatable {
  /// The dots.
  let dots: DotPlotFrame
  /// Dots of a letter, across and up.
  let across: Int
  let up: Int

  /// The grid of a part of disk and file in a room of letters.
  init(guest: Range<UInt64>, host: Range<UInt64>, columns: Int, rows: Int, _ glyphs: GlyphSet) {
    func dots(_ range: Range<UInt64>, _ letters: Int, _ most: Int) -> Int {
      glyphs == .unicode && range.upperBound - range.lowerBound > UInt64(max(1, letters)) ? most : 1
    }
    across = dots(guest, columns, 2)
    up = dots(host, rows, 4)
    self.dots = DotPlotFrame(
      guest: guest, host: host, columns: max(1, columns) * across, rows: max(1, rows) * up)
  }

  var guest: Range<UInt64> { dots.guest }
  var host: Range<UInt64> { dots.host }
  /// Clusters of a letter.
  var guestStep: UInt64 { dots.guestStep * UInt64(across) }
  var hostStep: UInt64 { dots.hostStep * UInt64(up) }
  var columns: Int { (dots.columns + across - 1) / across }
  var rows: Int { (dots.rows + up - 1) / up }
  /// Its letters are of Braille.
  var isBraille: Bool { across * up > 1 }

  func guestStart(_ column: Int) -> UInt64 { dots.guestStart(max(0, column) * across) }
  func hostStart(_ row: Int) -> UInt64 { dots.hostStart(max(0, row) * up) }
  func column(of cluster: UInt64) -> Int? { dots.column(of: cluster).map { $0 / across } }
  func row(of cluster: UInt64) -> Int? { dots.row(of: cluster).map { $0 / up } }

  /// A part of it around a letter.
  func zoomed(column: Int, row: Int) -> (guest: Range<UInt64>, host: Range<UInt64>) {
    dots.zoomed(column: column * across + across / 2, row: row * up + up / 2)
  }

  /// What lies below a letter.
  func cell(_ column: Int, _ row: Int, of plot: DotPlot) -> DotPlot.Cell {
    plot.cell(
      columns: column * across..<(column + 1) * across, rows: row * up..<(row + 1) * up)
  }

  /// The letter of Braille for the dots that hold clusters of a choice; a dot that is as wide or as high as the letter
  /// fills it.
  func braille(_ column: Int, _ row: Int, of plot: DotPlot, _ choice: ClusterChoice) -> Unicode.Scalar {
    // The numbers of the dots, from the top left one down.
    let bits: [[UInt32]] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]]
    var pattern: UInt32 = 0
    for x in 0..<2 {
      for y in 0..<4 {
        let dot = plot.cell(column * across + min(x, across - 1), row * up + min(3 - y, up - 1))
        if dot.count(choice) > 0 { pattern |= bits[x][y] }
      }
    }
    return Unicode.Scalar(0x2800 + pattern) ?? " "
  }
}
