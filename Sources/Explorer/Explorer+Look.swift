// Looking around: jumps along pointers and back, the other side, zoom, lenses, `:goto` and searches.
// Nothing in here changes a byte.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Explorer {
  // MARK: Jumps

  func remember() {
    let location = Location(
      screen: ui.screen, focus: ui.focus, cursor: ui.cursor, tableL1: ui.tableL1, tableEntry: ui.tableEntry,
      subcluster: ui.subcluster, hexOffset: ui.hexOffset, hexFile: ui.hexFile)
    guard ui.trail.last != location else { return }
    ui.trail.append(location)
    if ui.trail.count > 100 { ui.trail.removeFirst() }
  }

  func goBack() {
    guard let location = ui.trail.popLast() else {
      tell("there is no jump to go back from")
      return
    }
    ui.screen = location.screen
    ui.focus = location.focus
    ui.cursor = location.cursor
    ui.tableL1 = location.tableL1
    ui.tableEntry = location.tableEntry
    ui.subcluster = location.subcluster
    ui.hexOffset = location.hexOffset
    ui.hexFile = location.hexFile
    reanchor()
  }

  /// Guest map: to the L2 entry. Table: to the host cluster. Host map: to the owner.
  func follow() throws(CommandError) {
    switch context {
    case .guestMap: try followGuest()
    case .whereIsIt: if ui.cursor.side == .guest { try followGuest() } else { try followHost() }
    case .hostMap: try followHost()
    case .table: try followEntry()
    case .log: followLog()
    case .hex:
      remember()
      ui.screen = .explorer
      ui.focus = 2
      ui.cursor.file = ui.hexFile
      setCursor(.host, ui.hexOffset)
    case .fragmentation: try zoomPlot(.in)
    case .lab, .help: break
    }
  }

  private func followGuest() throws(CommandError) {
    let place = currentPlace()
    guard let l1 = place.l1 else { throw CommandError("no L1 entry covers this place") }
    guard l1.entry.table != nil else {
      throw CommandError("L1[\(l1.index)] is empty: no L2 table exists for this place yet")
    }
    remember()
    showTable(
      l1.index, entry: geometry.l2Index(of: GuestOffset(ui.cursor.guest)), subcluster: place.subcluster)
  }

  private func showTable(_ l1Index: Int, entry: Int, subcluster: Int) {
    ui.screen = .table
    ui.tableL1 = l1Index
    ui.tableEntry = entry
    ui.subcluster = subcluster
    pullCursorToEntry()
  }

  private func followEntry() throws(CommandError) {
    guard case .entry(let row)? = selectedRow() else { throw CommandError("these entries point nowhere") }
    guard let host = row.host else {
      throw CommandError("entry \(row.index) has no host cluster to follow to")
    }
    remember()
    ui.screen = .explorer
    ui.focus = 2
    ui.cursor.file = geometry.hasExternalData ? .data : .image
    let inside = row.entry.isCompressed ? 0 : UInt64(ui.subcluster) * geometry.subclusterSize
    setCursor(.host, host.value + inside)
  }

  private func followHost() throws(CommandError) {
    let place = currentPlace()
    guard let owner = place.owners.first else { throw CommandError("nobody owns this cluster") }
    switch owner {
    case .l2Table(let l1Index):
      remember()
      let entry = Int(geometry.offsetInCluster(ui.cursor.host)) / geometry.l2EntrySize
      showTable(l1Index, entry: entry, subcluster: 0)
    case .data(let l1Index, let l2Index, _, _), .compressed(let l1Index, let l2Index, _, _),
      .beyond(let l1Index, let l2Index, _), .vmState(nil, let l1Index, let l2Index, _):
      remember()
      let inside = geometry.offsetInCluster(ui.cursor.host) >> UInt64(geometry.subclusterBits)
      showTable(l1Index, entry: l2Index, subcluster: Int(inside))
    case .free, .pastEnd: throw CommandError("nobody owns this cluster")
    default:
      // Tables without a screen of their own show their bytes and fields.
      openHex(at: ui.cursor.host)
    }
  }

  private func followLog() {
    guard session.done.indices.contains(ui.logSelected) else { return }
    remember()
    ui.focus = 1
    setCursor(.guest, session.done[ui.logSelected].request.offset)
  }

  func goToOtherSide() throws(CommandError) {
    if ui.screen == .fragmentation { return try leavePlot() }
    if ui.screen == .table || ui.screen == .hex {
      try ui.screen == .table ? followEntry() : follow()
      return
    }
    switch ui.cursor.side {
    case .guest:
      guard ui.cursor.isTwinned else {
        throw CommandError(
          "no host cluster belongs to this guest place; 2 goes to the host map as it was left")
      }
      remember()
      ui.focus = 2
      setCursor(.host, ui.cursor.host)
    case .host:
      guard ui.cursor.isTwinned else {
        throw CommandError(
          "no guest place belongs to this host cluster; 1 goes to the guest map as it was left")
      }
      remember()
      ui.focus = 1
      setCursor(.guest, ui.cursor.guest)
    }
  }

  // MARK: Other screens

  func openTable(_ word: String?) throws(CommandError) {
    guard session.image.l1Count > 0 else { throw CommandError("the L1 table has no entries") }
    var l1Index = geometry.l1Index(of: GuestOffset(ui.cursor.guest))
    var entry = geometry.l2Index(of: GuestOffset(ui.cursor.guest))
    var subcluster = geometry.subcluster(of: GuestOffset(ui.cursor.guest)).value
    if let word {
      l1Index = try Quantity.index(word)
      entry = 0
      subcluster = 0
    }
    guard l1Index < session.image.l1Count else {
      throw CommandError("there is no L1[\(l1Index)]; the last one is L1[\(session.image.l1Count - 1)]")
    }
    remember()
    showTable(l1Index, entry: entry, subcluster: subcluster)
  }

  func stepTable(_ step: Int) throws(CommandError) {
    let (wanted, overflow) = ui.tableL1.addingReportingOverflow(step)
    let index = overflow ? -1 : wanted
    guard index >= 0, index < session.image.l1Count else {
      throw CommandError(step < 0 ? "this is the first L2 table" : "this is the last L2 table")
    }
    showTable(index, entry: 0, subcluster: 0)
  }

  /// What the hex page begins with: the bytes that the current place is about.
  func hexStart() -> UInt64 {
    if ui.screen == .hex { return ui.hexOffset }
    if ui.screen == .table, let table = tableView()?.table {
      return table.value + UInt64(ui.tableEntry * geometry.l2EntrySize)
    }
    return ui.cursor.host
  }

  func openHex(at offset: UInt64) {
    if ui.screen == .explorer, ui.cursor.side == .guest, !ui.cursor.isTwinned {
      let place = currentPlace()
      // Without a host cluster the entry that says so is what there is to see.
      guard let address = place.l2?.address ?? place.l1?.address else {
        tell("no bytes of the file belong to this place", error: true)
        return
      }
      showHex(address.value, .image)
      return
    }
    // A table stands in the image file, whatever it points to.
    showHex(offset, ui.screen == .table ? .image : ui.screen == .hex ? ui.hexFile : ui.cursor.file)
  }

  /// Opens the page with the byte near its top, so that one sees what follows.
  private func showHex(_ offset: UInt64, _ file: HostFileKind) {
    remember()
    ui.screen = .hex
    ui.hexFile = file
    ui.hexOffset = offset
    let row = UInt64(hexColumns)
    let start = offset / row * row
    ui.hexTop = start - min(start, 2 * row)
  }

  // MARK: Zoom and lens

  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError) {
    if ui.screen == .fragmentation { return try zoomPlot(target) }
    let layout = ScreenLayout(ui)
    let isHost = ui.focus == 2 || (ui.focus != 1 && ui.cursor.side == .host)
    let shape = isHost ? hostShape(layout) : guestShape(layout)
    let fit = max(shape.fitShift, finestShift)
    var zoom: Zoom
    switch target {
    case .fit: zoom = .fit
    case .in:
      guard shape.shift > finestShift else {
        throw CommandError("one cell is one \(geometry.hasExtendedL2 ? "subcluster" : "cluster") already")
      }
      zoom = .clusters(max(finestShift, shape.shift - min(count, 64)))
    case .out:
      guard shape.shift < fit else { throw CommandError("all of it is in view already") }
      zoom = .clusters(min(fit, shape.shift + min(count, 64)))
    case .bytes(let bytes):
      guard bytes.nonzeroBitCount == 1 else {
        throw CommandError("a cell stands for a power of two of bytes")
      }
      let shift = bytes.trailingZeroBitCount - geometry.clusterBits
      guard shift >= finestShift else {
        throw CommandError(
          "the finest cell is \(Notation.compact(1 << UInt64(geometry.clusterBits + finestShift)))")
      }
      zoom = .clusters(shift)
    }
    if case .clusters(let shift) = zoom, shift >= fit { zoom = .fit }
    // The cursor stays in the middle, so that what one looks at does not jump away.
    if isHost {
      ui.host.zoom = zoom
      let new = hostShape(layout)
      let row = new.row(of: ui.cursor.host)
      ui.host.top = row - min(row, UInt64(new.rows / 2))
    } else {
      ui.guest.zoom = zoom
      let new = guestShape(layout)
      let row = new.row(of: ui.cursor.guest)
      ui.guest.top = row - min(row, UInt64(new.rows / 2))
    }
  }

  func setLens(_ name: String?) throws(CommandError) {
    if ui.screen == .fragmentation { return try setChoice(name) }
    if let name {
      guard let lens = Lens.allCases.first(where: { $0.rawValue.hasPrefix(name) && !name.isEmpty }) else {
        throw CommandError(
          "'\(name)' is not a lens; there are " + Lens.allCases.map(\.rawValue).joined(separator: ", "))
      }
      ui.lens = lens
    } else {
      ui.lens = ui.lens.next
    }
    tell("lens \(ui.lens.rawValue): \(ui.lens.help)")
  }

  func lensMenuKey(_ key: Key) {
    guard let selected = ui.lensMenu else { return }
    let last = Lens.allCases.count - 1
    switch key {
    case .down, .character("j"), .control("n"): ui.lensMenu = min(last, selected + 1)
    case .up, .character("k"), .control("p"): ui.lensMenu = max(0, selected - 1)
    case .enter:
      ui.lensMenu = nil
      execute(Command(.lens, [Lens.allCases[selected].rawValue]))
    case .escape, .character("q"): ui.lensMenu = nil
    default:
      if let digit = key.typed, let number = Int(String(digit)), (1...last + 1).contains(number) {
        ui.lensMenu = nil
        execute(Command(.lens, [Lens.allCases[number - 1].rawValue]))
      }
    }
  }

  // MARK: goto

  func go(to target: GotoTarget) throws(CommandError) {
    switch target {
    case .guest(let offset):
      guard offset < geometry.virtualSize else {
        throw CommandError(
          "0x\(Notation.hex(offset)) is behind the end of the disk at 0x\(Notation.hex(geometry.virtualSize))"
        )
      }
      jump(.guest, offset)
    case .host(let offset):
      guard offset < hostTotal else {
        throw CommandError(
          "0x\(Notation.hex(offset)) is behind the end of the file at 0x\(Notation.hex(hostLength))"
        )
      }
      if ui.screen == .hex {
        showHex(offset, ui.hexFile)
      } else {
        jump(.host, offset)
      }
    case .l1(let index): try openTable(String(index))
    case .l2(let l1Index, let l2Index):
      guard l2Index < geometry.l2EntriesPerTable else {
        throw CommandError("an L2 table has entries 0 to \(geometry.l2EntriesPerTable - 1)")
      }
      try openTable(String(l1Index))
      ui.tableEntry = l2Index
      pullCursorToEntry()
    case .start: move(.first, 1)
    case .end: move(.last, 1)
    }
  }

  private func jump(_ side: Side, _ offset: UInt64) {
    remember()
    ui.screen = .explorer
    ui.focus = side == .guest ? 1 : 2
    setCursor(side, offset)
  }

  // MARK: Search

  func searchAgain(forward: Bool, _ count: Int) throws(CommandError) {
    guard !ui.lastSearch.isEmpty else { throw CommandError("nothing was searched for yet; / does") }
    let times = max(1, min(count, 1000))
    for number in 0..<times {
      try search(ui.lastSearch, forward: forward)
      if number + 1 < times, files.shouldCancel(Double(number) / Double(times)) {
        throw CommandError("given up after \(number + 1) of \(times) steps")
      }
    }
  }

  /// Finds the next place; keeps the place if there is none.
  func search(_ text: String, forward: Bool) throws(CommandError) {
    ui.lastSearch = text
    let missing = CommandError("'\(TextWidth.sanitized(text))' was not found; the cursor stays")
    switch context {
    case .help:
      let lines = helpLines()
      guard
        let row = find(
          text, in: lines.count, from: ui.helpFound ?? ui.helpTop - 1, forward, { lines[$0].text })
      else { throw missing }
      ui.helpFound = row
      ui.helpTop = row
    case .log:
      guard
        let row = find(
          text, in: session.done.count, from: ui.logSelected, forward,
          {
            session.done[$0].request.commandLine + " "
              + session.done[$0].narration.lines.joined(separator: " ")
          })
      else { throw missing }
      ui.logSelected = row
    case .table:
      if let offset = try? Quantity.bytes(text), text.hasPrefix("0x") { return try go(to: .guest(offset)) }
      guard let view = tableView(), let row = findEntry(text, view, forward) else { throw missing }
      ui.tableEntry = row
      pullCursorToEntry()
    case .hex:
      guard let offset = try? Quantity.bytes(text) else {
        throw CommandError("on the hex page / takes a host offset such as 0x40000")
      }
      try go(to: .host(offset))
    case .lab: throw CommandError("there is nothing to find in the lab")
    case .fragmentation: try findInPlot(text)
    case .guestMap, .hostMap, .whereIsIt:
      let side: Side = context == .whereIsIt ? ui.cursor.side : context == .hostMap ? .host : .guest
      // Letters before numbers: `1` and `2` are states of the host map.
      if let offset = try? Quantity.bytes(text), text.count > 1 {
        try go(to: side == .guest ? .guest(offset) : .host(offset))
        return
      }
      // A state that only the other side has is looked for there.
      let isOther = !Self.knows(text, side) && Self.knows(text, side == .guest ? .host : .guest)
      let wanted: Side = isOther ? (side == .guest ? .host : .guest) : side
      guard let found = try findState(text, wanted, forward, fromStart: isOther) else { throw missing }
      guard isOther else {
        remember()
        return setCursor(side, found)
      }
      jump(wanted, found)
    }
  }

  private func find(_ text: String, in count: Int, from: Int, _ forward: Bool, _ line: (Int) -> String)
    -> Int?
  {
    guard count > 0 else { return nil }
    let wanted = text.lowercased()
    for step in 1...count {
      let index = ((from + (forward ? step : -step)) % count + count) % count
      if Self.contains(line(index).lowercased(), wanted) { return index }
    }
    return nil
  }

  static func contains(_ text: String, _ wanted: String) -> Bool {
    let text = Array(text.utf8)
    let wanted = Array(wanted.utf8)
    guard !wanted.isEmpty, wanted.count <= text.count else { return false }
    return (0...text.count - wanted.count).contains { text[$0..<$0 + wanted.count].elementsEqual(wanted) }
  }

  private func findEntry(_ text: String, _ view: L2View, _ forward: Bool) -> Int? {
    let wanted = text.lowercased()
    var index = ui.tableEntry
    while let next = view.nextUsed(from: index, forward: forward) {
      index = next
      var view = view
      view.isFolded = false
      guard case .entry(let row)? = view.row(view.rowNumber(ofEntry: next)) else { continue }
      let host = row.host.map { "0x" + Notation.hex($0.value) } ?? ""
      if Self.contains(
        "\(row.index) \(row.meaning) \(host) 0x\(Notation.hex(row.guest.value))".lowercased(), wanted)
      {
        return next
      }
    }
    return nil
  }

  private static func knows(_ text: String, _ side: Side) -> Bool {
    side == .guest
      ? GuestState.allCases.contains { Legend.matches(text, $0) }
      : HostState.allCases.contains { Legend.matches(text, $0) }
  }

  private func findState(
    _ text: String, _ side: Side, _ forward: Bool, fromStart: Bool
  ) throws(CommandError) -> UInt64? {
    let bits = UInt64(geometry.clusterBits)
    let cluster = (side == .guest ? ui.cursor.guest : ui.cursor.host) >> bits
    if side == .guest {
      guard let state = GuestState.allCases.first(where: { Legend.matches(text, $0) }) else {
        let names = GuestState.allCases.map { Legend.guest($0).name }.joined(separator: ", ")
        throw CommandError(
          "'\(TextWidth.sanitized(text))' is no address and no state; the states are \(names)")
      }
      if fromStart, session.atlas.nextGuest(state, from: 1, forward: false) == 0 { return 0 }
      return session.atlas.nextGuest(state, from: fromStart ? 0 : cluster, forward: forward || fromStart)
        .map { $0 << bits }
    }
    guard let state = HostState.allCases.first(where: { Legend.matches(text, $0) }) else {
      let names = HostState.allCases.map { Legend.host($0).name }.joined(separator: ", ")
      throw CommandError("'\(TextWidth.sanitized(text))' is no address and no state; the states are \(names)")
    }
    if fromStart, session.atlas.nextHost(state, from: 1, forward: false) == 0 { return 0 }
    if showsDataFile {
      throw CommandError("states are not searched for in the data file; f shows the image file")
    }
    return session.atlas.nextHost(state, from: fromStart ? 0 : cluster, forward: forward || fromStart)
      .map { $0 << bits }
  }
}
