// The screen of a salvage: which structures of the image are as in the file, which were found by their shape or made
// anew, why each L2 table stands where it was put, what of the disk can be had, and the header that would be written.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of what is left of an image.
  package static let salvage = ScreenKind("salvage")
}

extension Context {
  /// Where its keys are.
  package static let salvage = Context("salvage", title: "Salvage", [.image, .searched])
}

extension Contexts {
  static let salvage = Contexts(.salvage)
}

extension CommandID {
  static let salvageReport = CommandID("salvage-report")
  static let salvageOpen = CommandID("salvage-open")
  static let salvageExport = CommandID("salvage-export")
}

final class SalvageScreen: Screen {
  static let kind = ScreenKind.salvage
  static let contexts: [Context] = [.salvage]

  /// What was found, and the image that it makes.
  struct Found {
    let salvage: Salvage
    /// Nil if it still cannot be opened.
    let image: Image?
    let rows: SalvageRows
    /// The fields of the header, as they would be written.
    let fields: [ByteField]

    init(_ salvage: Salvage) {
      self.salvage = salvage
      let image = try? salvage.open()
      self.image = image
      rows = SalvageRows(salvage.report)
      fields = image.map { HeaderFields($0).list } ?? []
    }
  }

  let desk: Desk
  /// 1 for what was found, 2 for the header.
  private(set) var pane = 1
  /// The selected row of each pane, and the first that is seen.
  private(set) var rows = [0, 0]
  private(set) var tops = [0, 0]
  private var found: (revision: Int, value: Found)?
  private var strip: (revision: Int, value: SalvageStrip)?

  init(_ desk: Desk) { self.desk = desk }

  /// What was found of the image as it is; nil before somebody has looked.
  var current: Found? {
    if let found, found.revision == desk.session.revision { return found.value }
    guard let salvaged = desk.session.salvaged else { return nil }
    let value = Found(salvaged)
    found = (desk.session.revision, value)
    return value
  }

  /// The disk in so many parts; nil before somebody has looked, and if there is no image.
  func strip(parts: Int) -> SalvageStrip? {
    guard let current, let image = current.image else { return nil }
    if let strip, strip.revision == desk.session.revision, strip.value.parts.count == max(1, parts) {
      return strip.value
    }
    let value = SalvageStrip(current.salvage.report, image, parts: parts)
    strip = (desk.session.revision, value)
    return value
  }

  func sessionWasReplaced() {
    (found, strip) = (nil, nil)
    (rows, tops, pane) = ([0, 0], [0, 0], 1)
  }

  func count(ofPane pane: Int) -> Int {
    (pane == 1 ? current?.rows.count : current?.fields.count) ?? 0
  }

  private func layout(_ frame: ScreenFrame) -> SalvageLayout { SalvageLayout(frame, pane: pane) }

  // MARK: Words

  var context: Context { .salvage }

  var titles: [String] {
    guard let report = current?.salvage.report else { return [" salvage: not looked yet", "salvage"] }
    let words =
      report.isWhole
      ? "the image opens as it is"
      : "header \(report.headerSource.name), L1 table \(report.l1Source.name), "
        + "\(Notation.compact(report.lostBytes)) lost"
    return [" salvage: \(words)", words, "salvage"]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, "go there"), HintRule(.salvageOpen),
      HintRule(.salvageExport), HintRule(.nextPane, nil, pane == 1 ? "header" : "what was found"),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .salvage)], .previousPane: [KeyRule("S-Tab", in: .salvage)],
  ]

  var cursorText: String { "" }
  var partialReason: String? { nil }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    SalvageDrawing(self, layout(frame)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.salvage, [UInt64(pane), UInt64(rows[0]), UInt64(rows[1])]) }

  func restore(_ address: Address) {
    pane = address[0] == 2 ? 2 : 1
    rows = [Int(clamping: address[1]), Int(clamping: address[2])]
  }

  func settle() {
    let layout = layout(desk.frame)
    for index in 0..<2 {
      let count = count(ofPane: index + 1)
      rows[index] = max(0, min(rows[index], count - 1))
      tops[index] =
        ListWindow(count: count, height: layout.rows(index + 1), selected: rows[index], top: tops[index]).top
    }
  }

  func move(_ movement: Movement, _ count: Int) {
    rows[pane - 1] = movement.row(
      from: rows[pane - 1], count, in: self.count(ofPane: pane), page: layout(desk.frame).rows(pane))
  }

  func focus(_ pane: Int) throws(CommandError) {
    guard pane == 1 || pane == 2 else { throw CommandError("this screen has panes 1 and 2") }
    self.pane = pane
  }

  func focusNext(_ step: Int) { pane = 3 - pane }

  func focus(at point: Point, _ frame: ScreenFrame) {
    let layout = layout(frame)
    if layout.list.contains(point) { pane = 1 }
    if layout.header.contains(point) { pane = 2 }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let layout = layout(frame)
    rows[0] = layout.list.row(at: point, heading: 2, top: tops[0], of: count(ofPane: 1)) ?? rows[0]
    rows[1] = layout.header.row(at: point, heading: 2, top: tops[1], of: count(ofPane: 2)) ?? rows[1]
  }

  /// The place in the file that the selected row is about, or in the disk.
  private var place: (host: UInt64?, guest: UInt64?) {
    guard let current, rows[pane - 1] < count(ofPane: pane) else { return (nil, nil) }
    if pane == 2 { return (current.fields[rows[1]].range.lowerBound.value, nil) }
    switch current.rows[rows[0]] {
    case .structure(.header, _): return (0, nil)
    case .structure(.l1Table, _): return (current.salvage.report.header.l1TableOffset, nil)
    case .structure(.refcounts, _): return (current.salvage.report.header.refcountTableOffset, nil)
    case .structure(.snapshots, _): return (current.salvage.report.header.snapshotsOffset, nil)
    case .candidate(let candidate): return (candidate.place.value, nil)
    case .placed(let table):
      return (
        table.table.value,
        current.salvage.report.header.geometry.guestRange(l1Index: table.l1Index).lowerBound.value
      )
    case .lost(let range, _): return (nil, range.lowerBound.value)
    case .size, .tables, .unplaced, .note: return (nil, nil)
    }
  }

  var hexStart: (offset: UInt64, file: HostFileKind)? { place.host.map { ($0, .image) } }

  /// To the bytes of the structure, or to the part of the disk.
  func follow() throws(CommandError) {
    let place = place
    if let host = place.host {
      guard host < desk.host.total else {
        throw CommandError("it is not in the file: it was made anew; \(desk.key(.salvageOpen)) shows it")
      }
      desk.remember()
      return desk.show(.hex(host, .image))
    }
    try goToOtherSide()
  }

  func goToOtherSide() throws(CommandError) {
    guard let guest = place.guest else { throw CommandError("no single place belongs to it") }
    guard guest < desk.geometry.virtualSize else {
      throw CommandError("that lies behind the end of the disk as it is shown")
    }
    desk.jump(.guest, guest)
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    guard let current else { return false }
    let found = Searching.row(with: text, in: count(ofPane: pane), from: rows[pane - 1], forward: forward) {
      pane == 1
        ? SalvageDrawing.words(current.rows[$0]).joined(separator: " ")
        : "\(current.fields[$0].name) \(current.fields[$0].value)"
    }
    guard let found else { return false }
    rows[pane - 1] = found
    return true
  }

  // MARK: Looking

  /// Looks at the file for what is left of the image. Only memory is written.
  private func look() throws(CommandError) {
    guard current == nil else { return }
    let storage = desk.session.image.storage
    let files = desk.files
    let salvage = Salvage(OverlayStorage(base: storage, memoryLimit: Salvage.memoryLimit))
    var isStopped = false
    do throws(ImageError) {
      try salvage.run { done in
        isStopped = files.shouldCancel(min(1, Double(done) / Double(max(1, storage.length))))
        return !isStopped
      }
    } catch {
      throw CommandError(isStopped ? "given up; nothing is known" : error.description)
    }
    guard !isStopped else { throw CommandError("given up; nothing is known") }
    found = (desk.session.revision, Found(salvage))
  }

  private func open() throws(CommandError) {
    desk.explore(try made(), as: "the image as the salvage makes it")
  }

  /// The image as the salvage makes it; nil if that is the one that is open.
  private func made() throws(CommandError) -> Scene? {
    guard let current else {
      throw CommandError("nothing was looked for yet; \(CommandID.salvageReport) does")
    }
    if desk.session.salvaged != nil { return nil }
    guard let image = current.image else {
      throw CommandError("what was found is not enough for an image that can be opened")
    }
    return Scene(image, of: .file("salvaged"))
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .salvageReport, .looking, keys: [KeyRule("V", in: .image)], hint: "salvage",
      help: """
        what is left of an image whose header or tables are destroyed: candidates, reasons, and what of the disk can \
        be had; reads the whole file if tables have to be looked for
        """,
      run: run { screen, _ throws(CommandError) in
        try screen.look()
        screen.desk.open(.salvage)
      }),
    CommandSpec(
      .salvageOpen, .looking, keys: [KeyRule("e", in: .salvage)], hint: "explore it",
      help: "show the image on all screens as the salvage makes it",
      run: run { screen, _ throws(CommandError) in try screen.open() }),
    CommandSpec(
      .salvageExport, .saving, keys: [KeyRule("W", in: .salvage)], hint: "export",
      help: "write the disk as the salvage makes it to a new raw file",
      run: { explorer, _ throws(CommandError) in
        let screen = explorer.desk.screen(SalvageScreen.self)
        // What is written is what is shown.
        if explorer.desk.session.salvaged == nil, screen?.current?.salvage.report.isWhole == false {
          explorer.desk.look(at: try screen?.made())
        }
        try explorer.execute(Command(CommandID(SalvageDisk.words.name)))
      }),
  ]
}
