// The screen of a salvage: what it shows is what the salvage says, row by row and byte by byte, and the strip says of
// each part of the disk the worst that is true of it.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct SalvageScreenTests {
  @Test func rowsAreTheReport() throws {
    let explorer = try DemoDamage.destroyed.explorer()
    let salvage = try #require(explorer.session.salvaged)
    let report = salvage.report
    #expect(report.headerSource == .rebuilt && !report.isWhole)
    let rows = SalvageRows(report)
    var (placed, lost, candidates): ([PlacedTable], Int, [SalvageReport.Candidate]) = ([], 0, [])
    for index in 0..<rows.count {
      switch rows[index] {
      case .placed(let table): placed.append(table)
      case .lost: lost += 1
      case .candidate(let candidate): candidates.append(candidate)
      default: break
      }
    }
    #expect(placed == report.placed && lost == report.lost.count && candidates == report.candidates)
    try ScriptRunner.run("V", on: explorer)
    let text = explorer.canvas().text()
    #expect(text.contains("header rebuilt") && text.contains("made anew"))
    for table in report.placed.prefix(3) {
      #expect(text.contains("L1[\(table.l1Index)]") && text.contains(table.evidence.confidence))
    }
  }

  /// The bytes beside the fields are those that the image is opened with.
  @Test func headerBytes() throws {
    let explorer = try DemoDamage.destroyed.explorer()
    let salvage = try #require(explorer.session.salvaged)
    try ScriptRunner.run("V\nTab", on: explorer)
    let text = explorer.canvas().text()
    let first = try salvage.overlay.bytes(at: 0, count: 48)
    func digits(_ range: Range<Int>) -> String {
      first[range].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    #expect(
      text.contains("~" + digits(0..<4)) && text.contains(digits(24..<32)) && text.contains(digits(40..<48)))
  }

  @Test func stripSaysTheWorst() throws {
    let explorer = try DemoDamage.destroyed.explorer()
    let salvage = try #require(explorer.session.salvaged)
    let image = try salvage.open()
    for parts in [1, 7, 64, 1000] {
      let strip = SalvageStrip(salvage.report, image, parts: parts)
      #expect(strip.parts.count == parts && strip.parts.contains { $0 != .nothing })
    }
    var report = SalvageReport()
    report.header = image.header
    let whole = SalvageStrip(report, image, parts: 4)
    #expect(Set(whole.parts) == [.certain])
  }

  /// An image that opens as it is needs no salvage, and the screen says so.
  @Test func wholeImage() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run("V", on: explorer)
    #expect(explorer.screen == .salvage && explorer.canvas().text().contains("the image opens as it is"))
    try ScriptRunner.run("q", on: explorer)
    #expect(explorer.screen == .explorer && explorer.session.generation == 6)
  }

  @Test func exportOpensTheVerb() throws {
    let files = MemoryFiles()
    let explorer = try DemoDamage.destroyed.explorer(files: files)
    try ScriptRunner.run("V\nW", on: explorer)
    #expect(explorer.isInDialog)
    try ScriptRunner.run("type disk.raw\nEnter", on: explorer)
    let raw = try #require(files.copies["disk.raw"])
    #expect(raw.length == explorer.session.image.virtualSize)
    #expect(try raw.bytes(at: 1 << 20, count: 512).allSatisfy { $0 == 2 })
  }
}
