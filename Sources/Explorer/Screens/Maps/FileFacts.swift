// What stands below the host map: the legend with counts, totals of the file, and who owns the place of the
// cursor.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

struct FileFacts {
  private let desk: Desk
  private let host: HostFile
  let totals: Totals
  private var session: Session { desk.session }
  private var scene: Scene { desk.scene }
  private var geometry: Geometry { desk.geometry }

  init(_ desk: Desk, _ host: HostFile) {
    self.desk = desk
    self.host = host
    totals = Self.totals(desk.scene, host)
  }

  /// The key that shows more owners in the pane of the place.
  private var pageDown: String { desk.keys.name(Movement.pageDown.id, in: .whereIsIt) }

  /// The totals of the file that the host map shows. Guest bytes are of the disk, wherever they lie.
  private static func totals(_ scene: Scene, _ host: HostFile) -> Totals {
    var totals = scene.atlas.totals
    let geometry = scene.geometry
    guard geometry.hasExternalData else { return totals }
    guard let map = host.map else {
      totals.guestData = 0
      return totals
    }
    for state in HostState.allCases { totals.host[state] = map.count(state) }
    totals.leaked = 0
    totals.wrong = totals.host[.wrong]
    totals.uncounted = 0
    totals.fileLength = map.file.length
    totals.fileClusters = map.fileClusters
    totals.freeClusters = totals.host[.free]
    totals.metadata = 0
    totals.dataClusterBytes =
      (totals.host[.data] + totals.host[.hole] + totals.host[.wrong]) << UInt64(geometry.clusterBits)
    return totals
  }

  /// Legend, totals, and who owns the place of the cursor. The legend is that of the lens, if it has one, and else
  /// that of the states with their counts.
  func draw(_ place: Place, _ keys: [LensKey], _ area: Rect, on canvas: inout Canvas) {
    guard area.height > 0 else { return }
    var y = area.y
    let isRoomy = area.height >= 13
    var owner = ownerLines(place, width: area.width - 2, rows: 2)
    // What the host keeps for the file itself; scratch changes are not in it yet.
    let isNow = session.hasFile && scene === session.scene
    let blocks = host.isData ? host.storage.allocatedBytes : isNow ? session.overlay.base.allocatedBytes : nil
    let shown = HostState.allCases.filter {
      legendCount($0) > 0 || [.header, .data, .leaked, .wrong, .free].contains($0)
    }.filter { $0 != .pastEnd }
    if isRoomy {
      y += 1
      let room = Rect(x: area.x + 1, y: y, width: area.width - 2, height: area.endY - y)
      y = keys.isEmpty ? drawLegend(shown, room, on: &canvas) : drawKeys(keys, room, on: &canvas)
      y += 1
      for line in factLines(blocks: blocks, width: area.width - 2) where y < area.endY {
        var x = area.x + 2
        x += canvas.put(line.label, at: x, y, role: .muted)
        x += canvas.put(line.value, at: x, y, role: .number)
        canvas.put(line.note, at: x + 2, y, role: .muted)
        y += 1
      }
      if let staleness = totals.staleness {
        for line in TextWrap.wrap(staleness.text, width: area.width - 3) where y < area.endY - owner.count {
          canvas.put(line, at: area.x + 2, y, role: .warning)
          y += 1
        }
      }
      if y < area.endY - owner.count { y += 1 }
      owner = ownerLines(place, width: area.width - 2, rows: area.endY - y)
    } else {
      var x = area.x + 1
      // The rest is in the list of the lenses and in the help.
      let keysEnd = area.y + max(2, area.height - 6)
      for key in keys where area.height >= 3 && y < keysEnd {
        let text = "\(key.letters(desk.glyphs)) \(key.words)"
        if x + text.count > area.endX - 1, x > area.x + 1 {
          x = area.x + 1
          y += 1
          guard y < keysEnd else { break }
        }
        x += canvas.put(key.letters(desk.glyphs), at: x, y, role: key.role)
        x += 2 + canvas.put(" " + key.words, at: x, y, role: .muted, maxWidth: area.endX - 1 - x)
      }
      for state in shown where area.height >= 3 && keys.isEmpty {
        let entry = Glyphs.row(state)
        let glyph = String(entry.scalar(desk.glyphs))
        // A colon keeps `1` and `2`, which are states, apart from their counts.
        let count = "\(entry.ascii.properties.numericType == nil ? "" : ":")\(legendCount(state))"
        if x + 1 + count.count > area.endX - 1 {
          x = area.x + 1
          y += 1
        }
        x += canvas.put(glyph, at: x, y, role: entry.role)
        x += canvas.put(count, at: x, y, role: .number)
        x += 1
      }
      y += 1
      // Exact bytes if both fit, else both in units.
      let exact =
        "file   \(TextWidth.padded(String(totals.fileLength), to: 9)) blocks "
        + (blocks.map { "\($0)" } ?? "-")
      let fileLine =
        String(totals.fileLength).count <= 9 && exact.count <= area.width - 1
        ? exact
        : "file   \(TextWidth.padded(Notation.compact(totals.fileLength), to: 9)) blocks "
          + (blocks.map { Notation.compact($0) } ?? "-")
      let lines = [
        fileLine,
        "mapped \(TextWidth.padded(Notation.compact(totals.guestData), to: 9)) meta   \(Notation.compact(totals.metadata))",
      ]
      for line in lines where y < area.endY - owner.count {
        canvas.put(line, at: area.x + 1, y, role: .muted, maxWidth: area.width - 1)
        y += 1
      }
      if y < area.endY - owner.count { y += 1 }
    }
    for line in owner where y < area.endY {
      canvas.put(line, at: area.x + 1, y, maxWidth: area.width - 1)
      y += 1
    }
  }

  /// Length, blocks, data, metadata in columns; notes and then words go before a figure is cut.
  private func factLines(blocks: UInt64?, width: Int)
    -> [(label: String, value: String, note: String)]
  {
    let length = max(1, totals.fileLength)
    let share = "\(totals.metadata * 100 / length)%"
    let blockShare =
      blocks.map { "\($0 / length * 100 + $0 % length * 100 / length)%" }
      ?? (session.hasFile ? "not known" : "no file")
    let end = "0x\(Notation.hex(totals.fileLength))"
    // The disk is counted before the file: until both are, neither is a part of the other.
    let isCounted = scene.atlas.isDone && scene.atlas.partsBehind == 0
    let of = isCounted ? "of " + Notation.compact(totals.dataClusterBytes) : "counting"
    let rows = [
      (["file length", "file"], "\(totals.fileLength)", ["end \(end)", end]),
      (
        ["host blocks", "blocks"], blocks.map { "\($0)" } ?? "-",
        [blockShare + (blocks == nil ? "" : " of file"), blockShare]
      ),
      (["guest data", "data"], Notation.compact(totals.guestData), [of, of]),
      (["metadata", "meta"], Notation.compact(totals.metadata), ["\(share) of file", share]),
    ]
    let values = max(9, rows.map(\.1.count).max() ?? 0)
    func lines(_ words: Int, _ notes: Int?) -> [(label: String, value: String, note: String)] {
      rows.map { row in
        (
          TextWidth.padded(row.0[words], to: words == 0 ? 12 : 7),
          TextWidth.padded(row.1, to: values, .right),
          notes.map { row.2[$0] } ?? ""
        )
      }
    }
    let forms: [(Int, Int?)] = [(0, 0), (0, 1), (1, 0), (1, 1), (0, nil), (1, nil)]
    for (words, notes) in forms {
      let result = lines(words, notes)
      let widest = result.map { $0.label.count + $0.value.count + ($0.note.isEmpty ? 0 : 2 + $0.note.count) }
      if widest.max() ?? 0 < width { return result }
    }
    return lines(1, nil)
  }

  /// Clusters behind a row of the legend. What is wrong with a cluster is counted beside its role.
  private func legendCount(_ state: HostState) -> UInt64 {
    switch state {
    case .leaked: totals.leaked
    case .wrong: totals.wrong
    default: totals.host[state]
    }
  }

  /// The letters of a lens: two columns where all of them fit, else one.
  private func drawKeys(_ keys: [LensKey], _ area: Rect, on canvas: inout Canvas) -> Int {
    let half = area.width / 2
    let isDouble = keys.allSatisfy { 2 + $0.letters(desk.glyphs).count + $0.words.count < half }
    // What does not fit is in the help.
    let columns = isDouble ? 2 : 1
    let rows = min((keys.count + columns - 1) / columns, max(0, area.height - 3))
    for (index, key) in keys.enumerated() where index % max(1, rows) < rows && index / max(1, rows) < columns
    {
      let (x, y) = (area.x + 1 + index / rows * half, area.y + index % rows)
      let letters = key.letters(desk.glyphs)
      canvas.put(letters, at: x, y, role: key.role)
      canvas.put(
        TextWidth.truncated(
          key.words, to: (isDouble ? half : area.width) - letters.count - 2, glyphs: desk.glyphs),
        at: x + letters.count + 1, y, role: .muted)
    }
    return area.y + rows
  }

  /// Two columns of glyph, name, count. The names are short ones where the counts need the room.
  private func drawLegend(_ states: [HostState], _ area: Rect, on canvas: inout Canvas)
    -> Int
  {
    let columnWidth = area.width / 2
    func room(_ state: HostState) -> Int {
      columnWidth - 4 - Notation.count(legendCount(state)).count
    }
    let isLong = states.allSatisfy { Legend.host($0).name.count <= room($0) }
    var y = area.y
    for (index, state) in states.enumerated() where y < area.endY {
      let x = area.x + 1 + (index % 2) * columnWidth
      let entry = Legend.host(state)
      let glyph = Glyphs.row(state)
      canvas.put(String(glyph.scalar(desk.glyphs)), at: x, y, role: glyph.role)
      let count = Notation.count(legendCount(state))
      let name = isLong ? entry.name : entry.short
      canvas.put(name, at: x + 2, y, role: .muted, maxWidth: room(state))
      canvas.put(count, at: x + columnWidth - 1 - count.count, y, role: .number)
      if index % 2 == 1 || index == states.count - 1 { y += 1 }
    }
    return y
  }

  /// "owner of the host cluster / L2[16] of the L2 table at 0x40000". "Where is it?" has the address.
  private func ownerLines(_ place: Place, width: Int, rows: Int) -> [String] {
    guard let host = place.host else { return ["owner of the host cluster", "  none"] }
    var owners = place.owners
    var state = place.hostState
    let list = self.host.owners(host)
    if desk.cursor.side == .guest {
      owners = list.owners
      state = list.facts?.state
    }
    guard let first = owners.first else {
      return [
        "owner of the host cluster", "  " + (state.map { Legend.host($0).name } ?? "not known yet"),
      ]
    }
    switch first {
    case .free where self.host.isData: return ["no entry uses this cluster", "  of the data file"]
    case .free: return ["this host cluster is free:", "  the next write may take it"]
    case .pastEnd: return ["this host cluster lies behind", "  the end of the file"]
    default: break
    }
    let named = owners.filter { !$0.isRemark }
    let count = max(UInt64(named.count), list.ownerCount)
    let title = count > 1 ? "\(count) owners of the host cluster:" : "owner of the host cluster"
    var lines = [title] + owners.prefix(max(1, rows - 1)).map { "  " + ownerText($0, width - 2) }
    if owners.count > lines.count - 1, lines.count > 2 {
      lines[lines.count - 1] =
        "  and \(owners.count - lines.count + 2) more: pane \(PaneNumber.place.rawValue), \(pageDown)"
    }
    return lines.map { TextWidth.truncated($0, to: width, glyphs: desk.glyphs) }
  }

  /// As many words as fit beside the facts.
  private func ownerText(_ owner: Owner, _ width: Int) -> String {
    let full = owner.text(snapshots: scene.image.snapshots)
    guard TextWidth.width(full) > width, case .data(_, let index, let table, _) = owner else { return full }
    let address = "0x\(Notation.hex(table.value))"
    return ["L2[\(index)] of L2 table \(address)", "L2[\(index)] of table \(address)"].first {
      TextWidth.width($0) <= width
    } ?? "L2[\(index)] at \(address)"
  }
}

extension Notation {
  /// A count with commas between thousands: for the eye, not for copying.
  static func grouped(_ value: UInt64) -> String {
    var text = String(value)
    var at = text.count - 3
    while at > 0 {
      text.insert(",", at: text.index(text.startIndex, offsetBy: at))
      at -= 3
    }
    return text
  }

  /// A count that never takes more than seven characters.
  static func count(_ value: UInt64) -> String { value < 10_000_000 ? String(value) : compact(value) }
}
