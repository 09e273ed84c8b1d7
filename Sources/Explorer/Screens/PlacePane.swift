// "Where is it?": the way from a guest byte through L1, L2 and the bitmap to the byte of the file,
// every entry with its address and its value.

import Cartography
import CellScreen
import QcowFormat
import Qcow

extension Explorer {
  func drawPlacePane(_ layout: ScreenLayout, _ place: Place, on canvas: inout Canvas) {
    let wide = layout.placeFrame.width >= 110
    canvas.frame(
      layout.placeFrame, title: "3 Where is it?",
      footer: wide
        ? "Enter follow pointer   b back   x other end (guest <-> host)   p hex page"
        : "Enter follow   b back   x other side   4 log",
      focused: ui.focus == 3, glyphs: ui.glyphs)
    let room = layout.place.inset(1, 0)
    let lines = wide ? wideLines(place) : narrowLines(place)
    for (row, line) in lines.prefix(room.height).enumerated() {
      let y = room.y + row
      canvas.put(TextWidth.padded(line.label, to: 7), at: room.x, y, role: .paneTitle)
      if line.label == "bitmap" {
        drawBitmap(line, place, room, y, wide, on: &canvas)
      } else {
        let text = TextWidth.truncated(line.text, to: room.width - 8, glyphs: ui.glyphs)
        canvas.put(text, at: room.x + 8, y, role: line.isProblem ? .error : .text)
      }
    }
  }

  private struct Line {
    var label: String
    var text: String
    var isProblem = false
  }

  private func hex(_ value: UInt64, _ width: Int = 1) -> String { Notation.hex(value, width: width) }

  private func wideLines(_ place: Place) -> [Line] {
    var lines: [Line] = []
    let column = 38
    if let guest = place.guest {
      let head = "0x\(hex(guest.value, 16))   \(Notation.human(guest.value))"
      lines.append(
        Line(
          label: "guest",
          text: TextWidth.padded(head, to: column)
            + " cluster \(place.cluster?.value ?? 0), byte \(place.byteInCluster)   "
            + stateText(place)))
    } else {
      lines.append(Line(label: "guest", text: "no guest place uses this host cluster"))
    }
    if let l1 = place.l1 {
      let value = TextWidth.padded(
        "@0x\(hex(l1.address.value, 6))   \(Notation.entry(l1.entry.raw))", to: column)
      lines.append(Line(label: "L1[\(l1.index)]", text: value + " " + l1Text(l1)))
    }
    if let l2 = place.l2 {
      let value = TextWidth.padded(
        "@0x\(hex(l2.address.value, 6))   \(Notation.entry(l2.entry.descriptor))", to: column)
      lines.append(Line(label: "L2[\(l2.index)]", text: value + " " + l2Text(place, l2)))
    }
    if place.bitmapAddress != nil || place.subclusters.count > 1 {
      lines.append(Line(label: "bitmap", text: bitmapText(place, wide: true)))
    }
    lines += hostLines(place, wide: true)
    if let problem = place.problem { lines.append(Line(label: "problem", text: problem, isProblem: true)) }
    return lines
  }

  private func narrowLines(_ place: Place) -> [Line] {
    var lines: [Line] = []
    if let guest = place.guest {
      lines.append(
        Line(
          label: "guest",
          text:
            "0x\(hex(guest.value))  \(Notation.human(guest.value))   cluster \(place.cluster?.value ?? 0)   "
            + stateText(place)))
    } else {
      lines.append(Line(label: "guest", text: "no guest place uses this host cluster"))
    }
    if let l1 = place.l1 {
      lines.append(
        Line(
          label: "L1[\(l1.index)]",
          text: "@\(hex(l1.address.value, 6))  \(hex(l1.entry.raw, 16)) " + l1Text(l1)))
    }
    if let l2 = place.l2 {
      lines.append(
        Line(
          label: "L2[\(l2.index)]",
          text: "@\(hex(l2.address.value, 6))  \(hex(l2.entry.descriptor, 16)) " + l2Text(place, l2)))
    }
    if place.bitmapAddress != nil || place.subclusters.count > 1 {
      lines.append(Line(label: "bitmap", text: bitmapText(place, wide: false)))
    }
    lines += hostLines(place, wide: false)
    if let problem = place.problem { lines.append(Line(label: "problem", text: problem, isProblem: true)) }
    return lines
  }

  private func stateText(_ place: Place) -> String {
    guard let state = place.state else { return "" }
    let count = place.subclusters.count
    let word = Legend.guest(state).explanation
    guard count > 1 else { return state == .none ? "not allocated, reads zeroes" : word }
    let same = place.subclusters.filter { $0 == state }.count
    return "\(same) of \(count) subclusters: \(state == .data ? "mapped" : word)"
  }

  private func users(_ refcount: UInt64?) -> String {
    refcount.map { ui.width < 110 ? "  rc \($0)" : ", refcount \($0)" } ?? ""
  }
  private var at: String { ui.width < 110 ? "" : "at " }

  private func l1Text(_ step: Place.Step<L1Entry>) -> String {
    guard let table = step.entry.table else {
      return "empty: no L2 table yet, all of it reads as unallocated"
    }
    return TextWidth.padded(step.entry.isCopied ? "COPIED" : "shared", to: 26).trimmedIfNarrow(ui.width)
      + "-> L2 table \(at)0x\(hex(table.value))" + users(step.targetRefcount)
  }

  private func l2Text(_ place: Place, _ step: Place.Step<L2Entry>) -> String {
    let copied = step.entry.isCopied ? "COPIED, " : ""
    func row(_ kind: String, _ target: String) -> String {
      TextWidth.padded(kind, to: 26).trimmedIfNarrow(ui.width) + target
    }
    switch place.mapping {
    case .data(let host):
      return row(copied + "standard", "-> data \(at)0x\(hex(host.value))" + users(step.targetRefcount))
    case .zeroMapped(let host):
      return row(copied + "zero, kept", "-> 0x\(hex(host.value)) reserved" + users(step.targetRefcount))
    case .zero: return row("zero", "no host cluster: reads as zeroes")
    case .unallocated:
      return row("empty", unallocatedText(place))
    case .compressed(let extent):
      return row("compressed", "-> stream at 0x\(hex(extent.offset.value)), up to \(extent.byteCount) bytes")
    case .subclusters(let host, _):
      guard let host else { return row("no host cluster", "the bitmap says what reads as zeroes") }
      return row(copied + "standard", "-> data \(at)0x\(hex(host.value))" + users(step.targetRefcount))
    case .invalid(let fault): return row("INVALID", "\(fault)")
    case nil: return ""
    }
  }

  private func bitmapText(_ place: Place, wide: Bool) -> String {
    let bitmap = place.l2?.entry.bitmap ?? SubclusterBitmap(raw: 0)
    let words = "alloc \(hex(UInt64(bitmap.allocated), 8))  zero \(hex(UInt64(bitmap.zero), 8))"
    guard wide else { return words }
    let address = place.bitmapAddress.map { "@0x\(hex($0.value, 6))   " } ?? ""
    return address + words
  }

  /// The subclusters as letters, the one of the cursor marked.
  private func drawBitmap(
    _ line: Line, _ place: Place, _ room: Rect, _ y: Int, _ wide: Bool, on canvas: inout Canvas
  ) {
    var x = room.x + 8
    if wide {
      canvas.put(line.text, at: x, y, maxWidth: 44)
      x += 44
    }
    drawSubclusters(place.subclusters, at: x, y, selected: place.subcluster, on: &canvas)
    x += place.subclusters.count + 1
    if wide {
      canvas.put("  # data  z zero  . none", at: x, y, role: .muted, maxWidth: max(0, room.endX - x))
    } else {
      canvas.put(line.text, at: x, y, maxWidth: max(0, room.endX - x))
    }
  }

  /// One letter per subcluster.
  func drawSubclusters(_ states: [GuestState], at x: Int, _ y: Int, selected: Int?, on canvas: inout Canvas) {
    for (index, state) in states.enumerated() {
      let glyph = Legend.guest(state).glyph
      // Bits are letters in both glyph sets; blocks would also make every move of the cursor costly.
      canvas.set(
        x + index, y, glyph.ascii, role: glyph.role, marks: index == selected ? .twin : [])
    }
  }

  private func unallocatedText(_ place: Place) -> String {
    guard let answer = place.answer else {
      return session.image.backingFileName == nil
        ? "not allocated: reads as zeroes" : "the backing file answers"
    }
    switch answer.kind {
    case .unallocated: return "not allocated in any layer: reads as zeroes"
    case .missing: return "not allocated: needs a missing layer"
    case .data, .zero: return "not allocated: layer \(answer.depth) answers"
    }
  }

  /// Which layer below answers, and where.
  private func answerLine(_ answer: LayerAnswer, _ place: Place) -> Line {
    let name = TextWidth.sanitized(answer.name)
    let layer = "layer \(answer.depth) of \(place.layerCount)"
    switch answer.kind {
    case .data:
      let place = answer.offset.map { "at 0x\(hex($0))" } ?? "compressed"
      return Line(label: "host", text: "\(layer), \(place) of \(name)")
    case .zero: return Line(label: "host", text: "\(layer), zeroes of \(name)")
    case .unallocated:
      let end =
        answer.isBehindEnd ? "behind the end of \(name), \(layer)" : "none of \(place.layerCount) layers"
      return Line(label: "host", text: "\(end): reads as zeroes")
    case .missing:
      return Line(label: "host", text: "\(layer) is missing: \(name)", isProblem: true)
    }
  }

  private func hostLines(_ place: Place, wide: Bool) -> [Line] {
    guard let range = place.hostRange, let host = place.host else {
      if let state = place.hostState {
        return [Line(label: "host", text: "0x\(hex(ui.cursor.host))  \(Legend.host(state).name)")]
      }
      if let answer = place.answer { return [answerLine(answer, place), Line(label: "bytes", text: "-")] }
      let none =
        wide
        ? TextWidth.padded("none", to: 23) + "layer 0 of \(place.layerCount)"
        : "none: no bytes of the file belong to this place"
      return [Line(label: "host", text: none), Line(label: "bytes", text: "-")]
    }
    let end = range.upperBound.value == 0 ? 0 : range.upperBound.value - 1
    let next: String
    switch place.next {
    case .inOrder(let at):
      next = wide ? "next guest cluster: in order, at 0x\(hex(at.value))" : "next guest cluster: in order"
    case .elsewhere(let at): next = "next guest cluster: elsewhere, at 0x\(hex(at.value))"
    case .notMapped: next = "next guest cluster: not mapped"
    case .compressed: next = "next guest cluster: compressed"
    case .endOfDisk: next = "this is the last guest cluster"
    case .unknown: next = place.hostState.map { Legend.host($0).name + users(place.refcount) } ?? ""
    }
    let span =
      wide
      ? "0x\(hex(range.lowerBound.value, 6)) .. 0x\(hex(end, 6))"
      : "0x\(hex(range.lowerBound.value))..0x\(hex(end))"
    let layer = wide ? "layer 0 of \(place.layerCount)" : "layer 0/\(place.layerCount)"
    let head =
      wide
      ? TextWidth.padded(TextWidth.padded(span, to: 23) + layer, to: 64)
      : TextWidth.padded(span + " " + layer, to: 30)
    var lines = [Line(label: "host", text: head + " " + next)]
    if let answer = place.answer {
      // The host cluster is kept for the place, and its bytes are not the guest's.
      var line = answerLine(answer, place)
      line.label = "answer"
      lines.append(line)
    } else if !place.bytes.isEmpty {
      // A row of one byte is said in words: shorter to read, and to draw at every move.
      if let first = place.bytes.first, place.bytes.count >= 16, place.bytes.allSatisfy({ $0 == first }) {
        let words = "\(hex(UInt64(first), 2)), all 16 of them"
        lines.append(Line(label: "bytes", text: wide ? "\(hex(host.value, 6))  \(words)" : words))
        return lines
      }
      let bytes = place.bytes.prefix(16).enumerated().map { ($0 == 8 ? " " : "") + hex(UInt64($1), 2) }
        .joined(separator: " ")
      let text = String(
        String.UnicodeScalarView(
          place.bytes.prefix(16).map { (0x20..<0x7f).contains($0) ? Unicode.Scalar($0) : "." }))
      lines.append(
        Line(label: "bytes", text: wide ? "\(hex(host.value, 6))  \(bytes)          |\(text)|" : bytes))
    }
    return lines
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
