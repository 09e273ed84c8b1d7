// "Where is it?": the way from a guest byte through L1, L2 and the bitmap to the byte of the file,
// every entry with its address and its value.

import Cartography
import CellScreen
import QcowFormat
import Qcow
import Storage

final class PlacePane: Pane {
  unowned let maps: MapsScreen
  let desk: Desk
  let context = Context.whereIsIt
  /// The first line that is shown, of the place the cursor was at then.
  private var top = 0
  private var cursorMoves = 0

  init(_ maps: MapsScreen) {
    self.maps = maps
    desk = maps.desk
  }

  private var scene: Scene { desk.scene }
  private var geometry: Geometry { desk.geometry }

  var hints: [HintRule] {
    [
      HintRule([.left, .down, .up, .right], "move"), HintRule(.otherSide, short: "side"), HintRule(.follow),
      HintRule(.back), HintRule(.hex), HintRule(.l2), HintRule(.write), HintRule(.undo), HintRule(.screens),
      HintRule(.prompt),
      HintRule(.help), HintRule(.close),
    ]
  }

  /// Another place begins at its first line.
  private var firstLine: Int { cursorMoves == desk.cursorMoves ? top : 0 }

  func keepsake() -> () -> Void {
    let (top, cursorMoves) = (top, cursorMoves)
    return {
      self.top = top
      self.cursorMoves = cursorMoves
    }
  }

  /// The map of the side that the cursor is on.
  private var map: any MapPane { maps.map(desk.cursor.side) }

  /// The pane has no rows to select: it moves the cursor it explains. Pages are its own where it has more
  /// lines than room.
  func move(_ movement: Movement, _ count: Int, _ room: PaneRoom) {
    let scroll = max(0, lines(room, desk.place).count - room.inner.height)
    switch movement {
    case .pageUp where scroll > 0, .pageDown where scroll > 0, .halfUp where scroll > 0,
      .halfDown where scroll > 0:
      top = movement.row(
        from: min(firstLine, scroll), count, in: scroll + 1, page: max(1, room.inner.height - 1))
      cursorMoves = desk.cursorMoves
    default: map.move(movement, count, maps.room(desk.cursor.side == .guest ? .guestMap : .hostMap))
    }
  }

  func follow() throws(CommandError) { try map.follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    try map.find(text, forward: forward)
  }

  func draw(_ room: PaneRoom, _ place: Place, on canvas: inout Canvas) {
    let wide = room.frame.width >= 110
    let inner = room.inner.inset(1, 0)
    let lines = lines(room, place)
    let top = min(firstLine, max(0, lines.count - inner.height))
    let follow = desk.key(.follow)
    let other = desk.key(.otherSide)
    var footer =
      wide
      ? "\(follow) follow pointer   \(desk.key(.back)) back   \(other) other end (guest <-> host)   "
        + "\(desk.key(.hex)) hex page"
      : "\(follow) follow   \(desk.key(.back)) back   \(other) other side   "
        + "\(desk.key(.focus, String(PaneNumber.log.rawValue))) log"
    if lines.count > inner.height {
      let pane = desk.key(.focus, String(PaneNumber.place.rawValue))
      let down = desk.key(Movement.pageDown.id)
      let shown = "lines \(top + 1)-\(min(lines.count, top + inner.height)) of \(lines.count)"
      footer =
        wide
        ? "\(follow) follow pointer   \(desk.key(.back)) back   \(other) other end   \(desk.key(.hex)) hex page   "
          + "\(shown): \(pane), \(desk.key(Movement.pageUp.id)), \(down)"
        : "\(follow) follow   \(other) other side   \(shown): \(pane), \(down)"
    }
    canvas.frame(
      room.frame, title: "\(PaneNumber.place.rawValue) Where is it?", footer: footer, focused: room.isFocused,
      glyphs: desk.glyphs)
    draw(Array(lines.dropFirst(top)), place, inner, wide, on: &canvas)
  }

  /// All there is to say about the cursor, the most important first.
  private func lines(_ room: PaneRoom, _ place: Place) -> [Line] {
    let wide = room.frame.width >= 110
    let room = room.inner.inset(1, 0)
    // On the host side its own address leads: it is the line that every cluster has.
    let host = hostLines(place, wide: wide)
    let way = (wide ? wideLines(place) : narrowLines(place)) + conflictLines(place)
    var lines = desk.cursor.side == .host ? host + way : way + host
    lines += listedOwners(place)
    if let guest = place.guest {
      lines += desk.labels(at: guest.value).map { Line(label: "label", text: $0.words) }
    }
    if let problem = words(place).problem { lines.append(line(problem)) }
    // Where rows are to spare, long lines go on below instead of being cut.
    let width = room.width - textColumn
    if lines.count < room.height, lines.contains(where: { TextWidth.width($0.text) > width }) {
      let wrapped = lines.flatMap { line -> [Line] in
        guard line.label != "bitmap", TextWidth.width(line.text) > width else { return [line] }
        return TextWrap.wrap(line.text, width: width).enumerated().map {
          Line(label: $0 == 0 ? line.label : "", text: $1, isProblem: line.isProblem)
        }
      }
      if wrapped.count <= room.height { lines = wrapped }
    }
    return lines
  }

  /// The place in words.
  private func words(_ place: Place) -> PlaceWords { PlaceWords(place, of: scene.image) }

  private func line(_ remark: PlaceWords.Remark, label: String? = nil) -> Line {
    Line(label: label ?? remark.label, text: remark.text, isProblem: remark.isProblem)
  }

  /// Why the entry, its table or the host cluster cannot be right.
  private func conflictLines(_ place: Place) -> [Line] {
    let words = words(place)
    var lines = words.conflicts.map { line($0) }
    if desk.cursor.side == .host, let health = words.health(scene.atlas.staleness) {
      lines.append(line(health))
    }
    return lines
  }

  /// All owners, where there are several.
  private func listedOwners(_ place: Place) -> [Line] {
    let (owners, count) = ownersHere(place)
    guard owners.count > 1 else { return [] }
    var lines = owners.enumerated().map { number, owner in
      let guest = owner.guest.map { "guest 0x\(hex($0.value)): " } ?? ""
      return Line(
        label: number == 0 ? "owners" : "",
        text: "\(number + 1) of \(count): \(guest)\(owner.text(snapshots: scene.image.snapshots))")
    }
    if count > UInt64(owners.count) {
      lines.append(
        Line(
          label: "",
          text: "\(count - UInt64(owners.count)) more: qatlas owners IMAGE 0x\(hex(place.host?.value ?? 0))"))
    }
    return lines
  }

  /// Who uses the host cluster of the place, and how many they are.
  private func ownersHere(_ place: Place) -> (owners: [Owner], count: UInt64) {
    guard let host = place.host, place.answer == nil || place.hostRange != nil else { return ([], 0) }
    let list = desk.host.owners(host)
    let owners = list.owners.filter { !$0.isRemark }
    return (owners, max(UInt64(owners.count), list.ownerCount))
  }

  private func draw(_ lines: [Line], _ place: Place, _ room: Rect, _ wide: Bool, on canvas: inout Canvas) {
    for (row, line) in lines.prefix(room.height).enumerated() {
      let y = room.y + row
      // Only the word is a title: an index in its style would switch styles at every move.
      let word = line.label.prefix { $0 != "[" }
      let x = canvas.put(String(word), at: room.x, y, role: .paneTitle)
      canvas.put(String(line.label.dropFirst(word.count)), at: room.x + x, y)
      if line.label == "bitmap" {
        drawBitmap(line, place, room, y, wide, on: &canvas)
      } else {
        let text = TextWidth.truncated(line.text, to: room.width - textColumn, glyphs: desk.glyphs)
        canvas.put(text, at: room.x + textColumn, y, role: line.isProblem ? .error : .text)
      }
    }
  }

  /// Where the texts begin, behind the longest label of this image.
  private var textColumn: Int {
    let most = max(scene.image.l1Count, geometry.l2EntriesPerTable) - 1
    return max(8, 5 + String(max(0, most)).count)
  }

  /// Digits of an address in the file: the same everywhere, so that nothing beside it moves.
  private var hostDigits: Int { desk.host.digits }
  private func digits(of total: UInt64) -> Int { max(6, String(max(1, total) - 1, radix: 16).count) }

  private struct Line {
    var label: String
    var text: String
    var isProblem = false
  }

  private func hex(_ value: UInt64, _ width: Int = 1) -> String { Notation.hex(value, width: width) }

  private func wideLines(_ place: Place) -> [Line] {
    var lines: [Line] = []
    let column = 46 - textColumn
    if let guest = place.guest {
      let width = showsWholeWay ? 16 : digits(of: geometry.virtualSize)
      let head = "0x\(hex(guest.value, width))   \(Notation.human(guest.value))"
      let position = "cluster \(place.cluster?.value ?? 0), byte \(place.byteInCluster)"
      let most = clusterDigits + String(geometry.clusterSize - 1).count
      lines.append(
        Line(
          label: "guest",
          text: TextWidth.padded(head, to: column) + " " + TextWidth.padded(position, to: max(26, 17 + most))
            + stateText(place)))
    } else {
      lines.append(Line(label: "guest", text: words(place).noGuest))
    }
    if let l1 = place.l1, showsWholeWay {
      let value = TextWidth.padded(
        "@0x\(hex(l1.address.value, 6))   \(Notation.entry(l1.entry.raw))", to: column)
      lines.append(Line(label: "L1[\(l1.index)]", text: value + " " + l1Text(place, l1)))
    }
    if let l2 = place.l2 {
      let value = TextWidth.padded(
        "@0x\(hex(l2.address.value, hostDigits))   \(Notation.entry(l2.entry.descriptor))", to: column)
      lines.append(Line(label: "L2[\(l2.index)]", text: value + " " + l2Text(place, l2)))
    }
    if showsWholeWay && (place.bitmapAddress != nil || place.subclusters.count > 1) {
      lines.append(Line(label: "bitmap", text: bitmapText(place, wide: true)))
    }
    return lines
  }

  private func narrowLines(_ place: Place) -> [Line] {
    var lines: [Line] = []
    if let guest = place.guest {
      let address = TextWidth.padded("0x\(hex(guest.value))", to: 4 + digits(of: geometry.virtualSize))
      let cluster = TextWidth.padded("cluster \(place.cluster?.value ?? 0)", to: 10 + clusterDigits)
      lines.append(
        Line(
          label: "guest",
          text: address + TextWidth.padded(Notation.human(guest.value), to: 10) + cluster + stateText(place)))
    } else {
      lines.append(Line(label: "guest", text: words(place).noGuest))
    }
    if let l1 = place.l1, showsWholeWay {
      lines.append(
        Line(
          label: "L1[\(l1.index)]",
          text: "@\(hex(l1.address.value, 6))  \(hex(l1.entry.raw, 16)) " + l1Text(place, l1)))
    }
    if let l2 = place.l2 {
      lines.append(
        Line(
          label: "L2[\(l2.index)]",
          text: "@\(hex(l2.address.value, hostDigits))  \(hex(l2.entry.descriptor, 16)) " + l2Text(place, l2))
      )
    }
    if showsWholeWay && (place.bitmapAddress != nil || place.subclusters.count > 1) {
      lines.append(Line(label: "bitmap", text: bitmapText(place, wide: false)))
    }
    return lines
  }

  private var clusterDigits: Int { String(geometry.clustersCovering(geometry.virtualSize)).count }

  /// On the host side the question is who owns the cluster: the entry that does is shown, the rest of
  /// the way is one `x` away. So a step from a table to data stays a small change of the screen.
  private var showsWholeWay: Bool { desk.cursor.side == .guest }

  private func stateText(_ place: Place) -> String {
    guard let state = words(place).state else { return "" }
    guard state.of > 1 else { return state.word }
    return "\(state.count)\(desk.width < 110 ? "/" : " of ")\(state.of) subclusters: \(state.word)"
  }

  private func users(_ refcount: UInt64?) -> String {
    refcount.map { desk.width < 110 ? "  rc \($0)" : ", refcount \($0)" } ?? ""
  }
  private var at: String { desk.width < 110 ? "" : "at " }

  /// What an entry says, in a column of its own where there is room, and where it leads.
  private func row(_ kind: String, _ target: String) -> String {
    TextWidth.padded(kind, to: 26).trimmedIfNarrow(desk.width) + target
  }

  private func l1Text(_ place: Place, _ step: Place.Step<L1Entry>) -> String {
    guard let meaning = words(place).l1 else { return "" }
    switch meaning.target {
    case .cluster(let table):
      return row(
        meaning.sharing, "-> L2 table \(at)0x\(hex(table.value, hostDigits))" + users(step.targetRefcount))
    case .reserved, .stream: return ""
    case .nothing(let text): return "\(meaning.kind): \(text)"
    }
  }

  private func l2Text(_ place: Place, _ step: Place.Step<L2Entry>) -> String {
    guard let meaning = words(place).l2 else { return "" }
    let copied = meaning.sharing.isEmpty ? "" : meaning.sharing + ", "
    switch meaning.target {
    case .cluster(let host):
      // Narrow screens have no room for the ordinary case: the arrow says it.
      let isBrief = desk.width < 110 || desk.cursor.side == .host || geometry.hasExtendedL2
      let standard = isBrief ? meaning.sharing : copied + meaning.kind
      // On the host side the target is the place of the cursor.
      if desk.cursor.side == .host { return standard }
      return row(standard, "-> data \(at)0x\(hex(host.value, hostDigits))" + users(step.targetRefcount))
    case .reserved(let host):
      return row(
        copied + meaning.kind, "-> 0x\(hex(host.value, hostDigits)) reserved" + users(step.targetRefcount))
    case .stream(let host, let count):
      return row(meaning.kind, "-> stream at 0x\(hex(host.value)), up to \(count) bytes")
    case .nothing(let text): return row(meaning.kind, text)
    }
  }

  private func bitmapText(_ place: Place, wide: Bool) -> String {
    let bitmap = place.l2?.entry.bitmap ?? SubclusterBitmap(raw: 0)
    let words = "alloc \(hex(UInt64(bitmap.allocated), 8))  zero \(hex(UInt64(bitmap.zero), 8))"
    guard wide else { return words }
    let address = place.bitmapAddress.map { "@0x\(hex($0.value, hostDigits))   " } ?? ""
    return address + words
  }

  /// The subclusters as letters, the one of the cursor marked.
  private func drawBitmap(
    _ line: Line, _ place: Place, _ room: Rect, _ y: Int, _ wide: Bool, on canvas: inout Canvas
  ) {
    var x = room.x + textColumn
    if wide {
      x += canvas.put(TextWidth.padded(line.text, to: max(44, 39 + hostDigits)), at: x, y)
    }
    // Letters in one style: colour belongs to maps, and here it would cost more than the letters.
    for (index, state) in place.subclusters.enumerated() {
      canvas.set(
        x + index, y, Legend.guest(state).letter, role: .text,
        marks: index == place.subcluster ? .twin : [])
    }
    x += place.subclusters.count + 1
    if wide {
      let legend = Legend.line([.data: "data", .zero: "zero", .none: "none"])
      canvas.put("  " + legend, at: x, y, role: .muted, maxWidth: max(0, room.endX - x))
    } else {
      canvas.put(line.text, at: x, y, maxWidth: max(0, room.endX - x))
    }
  }

  private func hostLines(_ place: Place, wide: Bool) -> [Line] {
    guard let range = place.hostRange, place.host != nil else {
      if let state = place.hostState {
        return [Line(label: "host", text: "0x\(hex(desk.cursor.host))  \(Legend.host(state).name)")]
      }
      if let answer = words(place).answer {
        return [line(answer, label: "host"), Line(label: "bytes", text: "-")]
      }
      // The same columns as a place with a cluster, so that little changes between the two.
      return [
        Line(label: "host", text: hostHead("none", place, wide) + " " + nextText(place, wide)),
        Line(label: "bytes", text: "-"),
      ]
    }
    let end = range.upperBound.value == 0 ? 0 : range.upperBound.value - 1
    let count =
      desk.cursor.side == .host ? place.refcount.map { wide ? "refcount \($0)   " : "rc \($0)  " } ?? "" : ""
    let dots = wide ? " .. " : ".."
    let span = "0x\(hex(range.lowerBound.value, hostDigits))\(dots)0x\(hex(end, hostDigits))"
    let text = hostHead(span, place, wide) + " " + count + nextText(place, wide)
    var lines = [Line(label: "host", text: text)]
    if let answer = words(place).answer {
      // The host cluster is kept for the place, and its bytes are not the guest's.
      lines.append(line(answer))
    } else if !place.bytes.isEmpty {
      // A row of one byte is said in words: shorter to read, and to draw at every move.
      if let first = place.bytes.first, place.bytes.count >= 16, place.bytes.allSatisfy({ $0 == first }) {
        lines.append(Line(label: "bytes", text: "\(hex(UInt64(first), 2)), all 16 of them"))
        return lines
      }
      let bytes = place.bytes.prefix(16).enumerated().map { ($0 == 8 ? " " : "") + hex(UInt64($1), 2) }
        .joined(separator: " ")
      lines.append(
        Line(label: "bytes", text: wide ? "\(bytes)          |\(words(place).letters)|" : bytes))
    }
    return lines
  }

  /// The range of a place and its layer, as wide for every place.
  private func hostHead(_ span: String, _ place: Place, _ wide: Bool) -> String {
    // A place behind the end of the file may have more digits than all others; it is not cut.
    let needed = TextWidth.width(span) + 1
    guard wide else {
      return TextWidth.padded(
        TextWidth.padded(span, to: max(needed, 7 + 2 * hostDigits))
          + fileOf(place, "layer 0/\(place.layerCount)"),
        to: max(needed + 10, 30, 16 + 2 * hostDigits))
    }
    return TextWidth.padded(
      TextWidth.padded(span, to: max(needed, 23, 11 + 2 * hostDigits))
        + fileOf(place, "layer 0 of \(place.layerCount)"),
      to: max(needed + 13, 72 - textColumn, 24 + 2 * hostDigits))
  }

  /// Which file the place is in: the data file by its name, else the layer.
  private func fileOf(_ place: Place, _ layer: String) -> String {
    place.isInDataFile ? "of \(scene.dataFileName ?? "the data file")" : layer
  }

  /// Where the next guest cluster is. The end of this one's range says where in order would be.
  private func nextText(_ place: Place, _ wide: Bool) -> String {
    let prefix = wide || hostDigits <= 8 ? "next guest cluster: " : "next cluster: "
    if let next = words(place).next(digits: hostDigits) { return prefix + next }
    if place.next == .endOfDisk { return "this is the last guest cluster" }
    return place.hostState.map { Legend.host($0).name } ?? ""
  }
}

extension String {
  /// Padding is for wide screens; narrow ones take one blank.
  func trimmedIfNarrow(_ width: Int) -> String {
    guard width < 110 else { return self }
    var text = Substring(self)
    while text.last == " " { text.removeLast() }
    return text + " "
  }
}
