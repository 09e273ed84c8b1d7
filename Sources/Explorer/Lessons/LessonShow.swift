// What a step of a lesson wants on the screen: the screen itself, the place on it, zoom and lens, and what is marked.

import Cartography
import CellScreen
import Course
import Qcow
import QcowFormat
import Storage

/// Brings what a step speaks of onto the screen.
struct LessonShow {
  private let explorer: Explorer
  private var desk: Desk { explorer.desk }
  private var geometry: Geometry { desk.geometry }
  private var maps: MapsScreen? { desk.screen(MapsScreen.self) }

  init(_ explorer: Explorer) { self.explorer = explorer }

  /// Follows the words of a step. What cannot be shown yet leaves the screen as it is.
  func apply(_ show: Course.Lesson.Show, _ highlight: LessonHighlight?) {
    let words = show.words
    let at = words["at"].flatMap { Self.split($0) }
    let screen = words["screen"]
    let message = desk.message
    defer { desk.message = message }
    if screen != nil { desk.goHome() }
    setCursor(at)
    switch screen {
    case "explorer": showMaps(words, at)
    case nil: if desk.current === maps { showMaps(words, at) }
    case .some(let name): cover(name, at)
    }
    if let lens = words["lens"], let found = Lens.allCases.first(where: { $0.name == lens }) {
      maps?.lens = found
    }
    desk.settle()
    bringIntoView(highlight)
  }

  /// What is marked is worth more than where the step begins.
  private func bringIntoView(_ highlight: LessonHighlight?) {
    guard let file = highlight?.file else { return }
    desk.highlightedCells = 0
    _ = explorer.canvas()
    if desk.highlightedCells == 0, desk.current.go(toHost: file.lowerBound) { desk.settle() }
  }

  /// "guest:64k" in its parts.
  private static func split(_ word: String) -> (kind: String, value: String)? {
    guard let colon = word.firstIndex(of: ":") else { return nil }
    return (String(word[..<colon]), String(word[word.index(after: colon)...]))
  }

  /// The cursor of the maps, from which most screens begin.
  private func setCursor(_ at: (kind: String, value: String)?) {
    guard let at else { return }
    switch at.kind {
    case "guest": if let offset = try? Quantity.bytes(at.value) { desk.setCursor(.guest, offset) }
    case "host": if let offset = try? Quantity.bytes(at.value) { desk.setCursor(.host, offset) }
    case "l1":
      if let index = Int(at.value) {
        desk.setCursor(.guest, geometry.guestOffset(l1Index: index, l2Index: 0).value)
      }
    case "l2":
      let numbers = at.value.split(separator: ",").compactMap { Int($0) }
      guard numbers.count == 2 else { return }
      desk.setCursor(.guest, geometry.guestOffset(l1Index: numbers[0], l2Index: numbers[1]).value)
    case "rc":
      if let cluster = UInt64(at.value) { desk.setCursor(.host, cluster << UInt64(geometry.clusterBits)) }
    default: return
    }
  }

  private func showMaps(_ words: [String: String], _ at: (kind: String, value: String)?) {
    let panes = ["guest": PaneNumber.guestMap, "host": .hostMap, "place": .place, "log": .log]
    let side: Side? = at.flatMap { $0.kind == "guest" ? .guest : $0.kind == "host" ? .host : nil }
    let pane =
      words["focus"].flatMap { panes[$0] } ?? (side == .host ? .hostMap : side == .guest ? .guestMap : nil)
    if let pane { try? maps?.focus(pane.rawValue) }
    guard let zoom = words["zoom"] else { return }
    let target: ZoomTarget =
      zoom == "disk"
      ? .fit : .bytes(zoom == "cluster" ? geometry.clusterSize : geometry.subclusterSize)
    for side in [Side.guest, .host] { maps?.zoomWindow(of: side, target) }
  }

  /// The row of the write that is the `number`-th of the last operation; the first row if there are not so many.
  private func step(_ number: Int) -> UInt64 {
    guard let trace = desk.session.story(of: desk.session.generation - 1)?.trace else { return 0 }
    let writes = (0..<trace.count).filter { index in
      guard let event = trace.event(index)?.event else { return false }
      return [.write, .zero, .punch].contains(event.kind)
    }
    return writes.indices.contains(number - 1) ? UInt64(writes[number - 1]) : 0
  }

  private func cover(_ name: String, _ at: (kind: String, value: String)?) {
    guard let type = ScreenList.all.first(where: { $0.kind.name == name }), let opener = type.opener else {
      return
    }
    // Of operations there is nothing to be seen before the first.
    guard ![.steps, .three].contains(type.kind) || desk.session.generations > 0,
      (try? explorer.execute(Command(opener.id))) != nil, let at
    else { return }
    let number = Int(at.value) ?? 1
    let session = desk.session
    switch at.kind {
    case "step" where type.kind == .three:
      desk.current.restore(
        Address(type.kind, [UInt64(max(0, session.generation - 1)), UInt64(max(1, number)) - 1]))
    case "step":
      desk.current.restore(Address(type.kind, [UInt64(max(0, session.generation - 1)), step(number)]))
    case "line": desk.current.restore(Address(type.kind, [UInt64(max(0, number - 1)), 0, 1]))
    case "snapshot": desk.current.restore(Address(type.kind, [UInt64(max(0, number))]))
    case "layer":
      desk.current.restore(Address(type.kind, [UInt64(session.image.snapshots.count + max(0, number))]))
    case "bitmap", "header":
      if at.kind == "header" { desk.current.restore(Address(type.kind, [2, 0, 0])) }
      _ = try? desk.current.find(at.value, forward: true)
    default: return
    }
  }
}

/// What is marked on the screens: bytes of the file, and an entry of a table.
struct LessonHighlight {
  /// Bytes of the file; nil if they are not known.
  private(set) var file: Range<UInt64>?
  /// The cluster of the disk whose entry is meant; nil for bytes.
  private(set) var guest: UInt64?
  private let clusterBits: UInt64

  /// Reads "0x50000+4K", "l2[3]" or "bitmap[3]"; nil for anything else.
  init?(_ word: String, _ moment: LessonMoment, _ geometry: Geometry) {
    clusterBits = UInt64(geometry.clusterBits)
    if let plus = word.firstIndex(of: "+"), let start = try? Quantity.bytes(String(word[..<plus])),
      let count = try? Quantity.bytes(String(word[word.index(after: plus)...]))
    {
      let (end, overflow) = start.addingReportingOverflow(count)
      file = overflow ? nil : start..<end
      return
    }
    guard word.hasSuffix("]"), let open = word.firstIndex(of: "["),
      let cluster = UInt64(word[word.index(after: open)...].dropLast())
    else { return nil }
    guest = cluster
    let isBitmap = word.hasPrefix("bitmap")
    let (offset, overflow) = cluster.multipliedReportingOverflow(by: geometry.clusterSize)
    if !overflow, let query = try? Query("l2.at[\(offset)]"), let text = try? moment.value(query).text,
      let place = try? Quantity.bytes(text)
    {
      let start = place + (isBitmap ? 8 : 0)
      file = start..<start + 8
    }
  }

  /// A cell of a map, as clusters of its side, belongs to it.
  func contains(_ clusters: Range<UInt64>, of side: Side) -> Bool {
    switch side {
    case .guest: return guest.map { clusters.contains($0) } ?? false
    case .host:
      guard guest == nil, let file, !file.isEmpty else { return false }
      return clusters.overlaps(file.lowerBound >> clusterBits..<((file.upperBound - 1) >> clusterBits) + 1)
    }
  }
}

extension Desk {
  /// The lesson under way has marked clusters of a side.
  func isHighlighted(_ clusters: Range<UInt64>, _ side: Side) -> Bool {
    guard let mark = lesson?.highlight, mark.contains(clusters, of: side) else { return false }
    highlightedCells += 1
    return true
  }

  /// The lesson under way has marked a byte of the file.
  func isHighlighted(byte offset: UInt64) -> Bool {
    guard lesson?.highlight?.file?.contains(offset) == true else { return false }
    highlightedCells += 1
    return true
  }
}
