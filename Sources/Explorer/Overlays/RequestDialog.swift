// The dialogs for write, discard and zero-write and for changes of the image: fields on top, and below them what would happen, in
// numbers, computed by doing it and taking it back. Enter does it, Esc does nothing.

import Cartography
import CellScreen
import QcowFormat
import Qcow
import Storage

final class RequestDialog: Overlay {
  /// What the dialog of a command asks for beside a range.
  struct Form: Sendable {
    var title: String
    var id: CommandID
    /// The change of the image that it is about; nil for guest requests and new files.
    var change: (any Change.Type)?
    /// The verb that writes a new file; nil for others.
    var newFile: (any NewFileVerb.Type)?
    /// An existing file may be replaced.
    var replaces = false
    /// Words behind its name that are there already.
    var words: [String] = []
    /// The byte to write.
    var hasPattern = false
    /// Host clusters may be given back, or not.
    var hasUnmap = false

    /// What a verb declares; nil for guest requests.
    var declared: ChangeWords? { change?.words ?? newFile?.words }
  }

  private struct Field {
    var label: String
    var editor: LineEditor
    /// How the words of a change are read.
    var content = Content.number
  }

  /// What a field is for.
  private enum Content {
    /// A number of a guest request.
    case number
    /// An argument of a change.
    case argument(ChangeWords.Kind)
    /// All options of a change.
    case options(usage: String)
  }

  private let desk: Desk
  private let form: Form
  private var fields: [Field]
  private var active = 1
  private var mayUnmap = false
  /// Rows of the box, which never takes fewer than it had; the size of the screen that they are for.
  private var rows = (count: 0, width: 0)
  /// What would happen, or what is wrong.
  private var consequences: [String] = []
  private var isPossible = false
  /// Esc was pressed while the numbers were computed.
  private var isGivenUp = false

  private var session: Session { desk.session }
  private var geometry: Geometry { desk.geometry }

  private var confirm: OverlayKey { form.newFile == nil ? Self.doIt : Self.writeIt }
  private static let writeIt = OverlayKey(key: .enter, word: "write it", footer: "write it")
  private static let doIt = OverlayKey(key: .enter, word: "do it", footer: "do it (undoable)")
  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")
  private static let next = OverlayKey(key: .tab, word: "next field", footer: "next field")
  private static let step = OverlayKey(key: .control("s"), word: "step through", footer: "step through")
  private static let unmap = OverlayKey(key: .character("u"), word: "may give clusters back")

  /// Opens the dialog at the cursor.
  ///
  /// - Throws: `CommandError` where no place of the disk is under the cursor.
  static func open(_ form: Form, _ explorer: Explorer) throws(CommandError) {
    let dialog = try RequestDialog(form, explorer.desk)
    if !dialog.isGivenUp { explorer.overlay = dialog }
  }

  private init(_ form: Form, _ desk: Desk) throws(CommandError) {
    self.form = form
    self.desk = desk
    if let declared = form.declared {
      fields = Self.fields(declared, form.words, desk)
      active = 0
      select()
      foretell()
      return
    }
    guard desk.cursor.side == .guest || desk.cursor.isTwinned else {
      if !desk.place.inSnapshots.isEmpty {
        throw CommandError("only a snapshot has this host cluster; \(desk.key(.otherSide)) shows where")
      }
      throw CommandError(
        "no guest place belongs to this host cluster; go to the guest map with \(desk.key(.focus, "1"))")
    }
    // From the cursor to the end of its cluster; a cell of gigabytes is not what one means to write by default.
    let unit = desk.current.unit
    let size = desk.geometry.virtualSize
    let start = desk.cursor.guest
    let length = min(unit - start % unit, size > start ? size - start : 1)
    fields = [
      Field(label: "offset", editor: LineEditor("0x" + Notation.hex(start))),
      Field(label: "length", editor: LineEditor(DiskSize.short(ByteCount(length)))),
    ]
    if form.hasPattern { fields.append(Field(label: "pattern", editor: LineEditor("0xcd"))) }
    select()
    foretell()
  }

  /// What is typed into a field that one comes to replaces what it offers; options are added to.
  private func select() {
    guard fields.indices.contains(active) else { return }
    if case .options = fields[active].content { return }
    fields[active].editor.selectAll()
  }

  private func go(by step: Int) {
    active = (active + step + fields.count) % max(1, fields.count)
    select()
  }

  private static func fields(_ declared: ChangeWords, _ given: [String], _ desk: Desk) -> [Field] {
    let sorted = ChangeParser.sorted(given, declared)
    var fields = declared.arguments.enumerated().map { index, argument in
      let text =
        sorted.arguments.indices.contains(index) ? sorted.arguments[index] : usual(argument.kind, desk)
      return Field(
        label: argument.name.lowercased(), editor: LineEditor(text), content: .argument(argument.kind))
    }
    if !declared.options.isEmpty {
      let usage = declared.options.map { "[\($0.usage)]" }.joined(separator: " ")
      let text = sorted.options.map(ChangeWords.quoted).joined(separator: " ")
      fields.append(Field(label: "options", editor: LineEditor(text), content: .options(usage: usage)))
    }
    return fields
  }

  /// What a field begins with.
  private static func usual(_ kind: ChangeWords.Kind, _ desk: Desk) -> String {
    let image = desk.session.image
    switch kind {
    case .name, .options, .file: return ""
    case .offset: return "0"
    case .layer: return image.backingFileName ?? ""
    case .snapshot: return desk.current.snapshot ?? image.snapshots.last?.name ?? ""
    case .bitmap: return desk.current.bitmap ?? image.bitmaps.last?.name ?? ""
    case .size: return DiskSize.short(ByteCount(desk.geometry.virtualSize))
    }
  }

  /// The words that the fields say.
  private func words() throws(CommandError) -> [String] {
    var (options, arguments): ([String], [String]) = ([], [])
    for field in fields {
      switch field.content {
      case .options: options = try CommandParser.words(field.editor.text)
      // Flags may stand before a size or options; a name is one word whatever is in it.
      case .argument(.size), .argument(.offset), .argument(.options):
        arguments += try CommandParser.words(field.editor.text)
      case .argument, .number: arguments.append(field.editor.text)
      }
    }
    return options + arguments
  }

  var hidesCursorText: Bool { true }

  var hints: [Hint] {
    var hints = (isPossible ? [confirm.hint] : []) + [Self.cancel.hint, Self.next.hint]
    if form.newFile == nil, isPossible { hints.append(Self.step.hint) }
    if form.hasUnmap {
      var hint = Self.unmap.hint
      hint.short = "unmap"
      hints.append(hint)
    }
    return hints
  }

  func press(_ key: Key) -> OverlayOutcome {
    switch key {
    case Self.cancel.key, .control("c"):
      desk.tell("given up; nothing was changed")
      return .closes
    case Self.doIt.key: return finish()
    case Self.step.key where form.newFile == nil: return finish(steps: true)
    case Self.next.key, .down:
      go(by: 1)
      return .stays
    case .backTab, .up:
      go(by: -1)
      return .stays
    case Self.unmap.key where form.hasUnmap: mayUnmap.toggle()
    default:
      guard fields.indices.contains(active) else { return .stays }
      let before = fields[active].editor.text
      _ = fields[active].editor.handle(key)
      // A try may take its time.
      if fields[active].editor.text == before { return .stays }
    }
    foretell()
    return isGivenUp ? .closes : .stays
  }

  func paste(_ text: String) -> OverlayOutcome? {
    guard fields.indices.contains(active) else { return nil }
    fields[active].editor.insert(text)
    foretell()
    return isGivenUp ? .closes : .stays
  }

  /// With `steps` the change is done, taken back, and told step by step.
  private func finish(steps: Bool = false) -> OverlayOutcome {
    do throws(CommandError) {
      let change: (Desk) throws(CommandError) -> Void
      if let type = form.change {
        let asked = try ChangeParser.parse(type, try words())
        change = { desk throws(CommandError) in try Changing.change(asked, desk) }
      } else if let type = form.newFile {
        let (asked, replaces) = (try NewFileVerbs.parse(type, try words()), form.replaces)
        change = { desk throws(CommandError) in try NewFiles.write(asked, replacing: replaces, desk) }
      } else {
        let request = try request()
        change = { desk throws(CommandError) in try Changing.change(request, desk) }
      }
      // It closes before the change, so that an error is not hidden behind it.
      return .closesAnd { explorer throws(CommandError) in
        try steps ? Self.stepThrough(change, explorer) : change(explorer.desk)
      }
    } catch {
      desk.tell(error.description, error: true)
      consequences = [error.description]
      return .stays
    }
  }

  /// Shows the steps of a change that is not in place afterwards.
  private static func stepThrough(
    _ change: (Desk) throws(CommandError) -> Void, _ explorer: Explorer
  ) throws(CommandError) {
    let session = explorer.desk.session
    let before = session.generation
    try change(explorer.desk)
    guard session.generation > before else { return }
    try explorer.execute(Command(.undo))
    try explorer.execute(Command(.step, [String(before + 1)]))
    explorer.desk.tell("not in place: \(explorer.desk.key(.redo)) does it")
  }

  private func request() throws(CommandError) -> Request {
    var arguments = fields.prefix(2).map { $0.editor.text }
    if form.hasPattern, fields.count > 2 { arguments += ["-P", fields[2].editor.text] }
    if mayUnmap { arguments.append("-u") }
    return try CommandParser.request(Command(form.id, arguments))
  }

  /// The largest request that is tried out for its numbers.
  private static let previewLimit: UInt64 = 256 << 20

  /// Computes the lines below the fields.
  private func foretell() {
    isPossible = false
    do throws(CommandError) {
      let foretold: () throws(ImageError) -> [String]
      if let type = form.change {
        let asked = try ChangeParser.parse(type, try words())
        foretold = { [self] () throws(ImageError) in
          let told = try session.preview(asked)
          guard let numbers = told?.numbers, let lines = consequences(told) else {
            return ["nothing would change"]
          }
          let meaning = asked.meaning(
            entries: Int(clamping: numbers.l2EntriesChanged), bytes: ByteCount(numbers.guestBytes))
          return (meaning.map { [$0] } ?? []) + lines
        }
      } else if let type = form.newFile {
        let asked = try NewFileVerbs.parse(type, try words())
        foretold = { [self] () throws(ImageError) in
          try session.foretold(asked, of: desk.scene, replacing: form.replaces)
        }
      } else {
        let asked = try request()
        foretold = { [self] () throws(ImageError) in try self.foretold(asked) }
      }
      do throws(ImageError) { consequences = try foretold() } catch {
        // Esc while the numbers were computed closes the dialog, as it does when they are there.
        if Session.isCancellation(error) {
          isGivenUp = true
          return desk.tell(error.description)
        }
        throw CommandError(error.description)
      }
      isPossible = true
    } catch {
      consequences = [error.description]
    }
  }

  private func foretold(_ request: Request) throws(ImageError) -> [String] {
    guard request.length <= Self.previewLimit else {
      return [
        "longer than \(Notation.compact(Self.previewLimit)): not tried out beforehand; undo takes it back"
      ]
    }
    guard let narration = try session.preview(request), let lines = consequences(narration) else {
      return ["nothing would change"] + rounding(request)
    }
    return lines + [mapping(request, narration.numbers)] + rounding(request)
  }

  /// The numbers of what would be done; nil if that is nothing.
  private func consequences(_ narration: Narration?) -> [String]? {
    guard let numbers = narration?.numbers else { return nil }
    var lines = [
      counted(numbers.clustersTaken, "cluster new", "clusters new") + ", "
        + counted(numbers.clustersFreed, "cluster freed", "clusters freed"),
      counted(numbers.l2EntriesChanged, "L2 entry changes", "L2 entries change") + ", "
        + counted(numbers.refcountsChanged, "refcount", "refcounts"),
    ]
    let (before, after) = (numbers.lengthBefore, numbers.lengthAfter)
    if after > before {
      lines.append("the file grows by \(Notation.compact(after - before)) to \(after) bytes")
    } else if after < before {
      lines.append("the file shrinks by \(Notation.compact(before - after)) to \(after) bytes")
    } else {
      lines.append("the file length stays \(after) bytes")
    }
    lines.append(
      "written to the file: \(Notation.compact(numbers.guestBytes)) of the guest, "
        + "\(Notation.compact(numbers.metadataBytes)) of tables, \(Notation.compact(numbers.copiedBytes)) copied"
        + (numbers.zeroedBytes > 0 ? ", \(Notation.compact(numbers.zeroedBytes)) zeroed" : "")
    )
    if numbers.bytesPunched > 0 { lines.append("given back to the host: " + givenBack(numbers)) }
    return lines + (narration?.besides ?? [])
  }

  /// What the host gets: it keeps nothing for what is a hole already.
  private func givenBack(_ numbers: Narration.Numbers) -> String {
    let asked = numbers.bytesPunched
    guard let kept = numbers.bytesGivenBack else {
      return "up to \(Notation.compact(asked)); what the host keeps for them is not known"
    }
    if kept == 0 { return "nothing, the file has a hole there already" }
    if kept < asked {
      return "\(Notation.compact(kept)) of \(Notation.compact(asked)), the rest is a hole already"
    }
    return "\(Notation.compact(asked)) (a hole, the length stays)"
  }

  /// Whether the guest range keeps its host clusters.
  private func mapping(_ request: Request, _ numbers: Narration.Numbers) -> String {
    switch request.kind {
    case .write:
      return numbers.clustersTaken == 0
        ? "the mapping stays: the bytes go where this range already is"
        : "the mapping moves to the new clusters"
    case .zero, .discard:
      if numbers.clustersFreed > 0 {
        return "the mapping goes away: the range reads as zeroes from no cluster"
      }
      if numbers.l2EntriesChanged > 0 {
        return "host clusters stay as they are; the entries say that the range reads as zeroes"
      }
      let image = session.image
      return request.kind == .discard && image.header.version < 3 && image.backing != nil
        ? "nothing is given up: version 2 has no zero flag, and an empty entry would show the backing file again"
        : "the mapping stays as it is"
    case .read: return ""
    }
  }

  /// What a discard leaves out because it is not a whole cluster.
  private func rounding(_ request: Request) -> [String] {
    guard request.kind == .discard else { return [] }
    let start = geometry.roundUp(request.offset)
    let end = request.offset + request.length
    // The end of the disk counts as the end of a cluster.
    let wholeEnd = end == geometry.virtualSize ? end : geometry.roundDown(end)
    guard start < wholeEnd else {
      return ["rounded away: all of it, no whole cluster lies inside the range"]
    }
    let head = start - request.offset
    let tail = end - wholeEnd
    guard head + tail > 0 else { return [] }
    return [
      "rounded away: \(Notation.compact(head)) before and \(Notation.compact(tail)) behind the whole clusters"
    ]
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    var lines = fields.map { _ in "" }
    if form.hasUnmap { lines.append("") }
    lines.append("")
    lines.append(isPossible ? "What would happen:" : "Not possible:")
    let first = lines.count
    let width = min(72, frame.body.width)
    // Wrapped here, since what lies behind the last line is erased.
    lines += consequences.flatMap { TextWrap.wrap("  " + $0, width: max(1, width - 4)) }
    // As wide as the box may become, and as high as it was, so that it does not jump while one types.
    if rows.width != frame.width { rows = (first + Self.usualRows, frame.width) }
    rows.count = max(rows.count, lines.count)
    lines[fields.count] = String(repeating: "-", count: max(0, width - 4))
    let used = lines.count
    while lines.count < rows.count { lines.append("") }
    let confirms = isPossible ? [confirm] : []
    let inner = canvas.dialog(
      title: form.title, lines: lines, footer: OverlayKey.footer(confirms + [Self.cancel, Self.next]),
      in: frame.body, maximumWidth: width, glyphs: desk.glyphs)
    if fields.count < inner.height {
      let row = Rect(x: inner.x, y: inner.y + fields.count, width: inner.width, height: 1)
      canvas.fill(row)
      if let words = unmapWords { canvas.put(words, at: row.x, row.y, maxWidth: row.width) }
    }
    canvas.fill(
      Rect(x: inner.x, y: inner.y + used, width: inner.width, height: inner.endY - inner.y - used))
    let labels = max(8, (fields.map { $0.label.count }.max() ?? 0) + 1)
    for (index, field) in fields.enumerated() where index < inner.height {
      canvas.put(TextWidth.padded(field.label, to: labels), at: inner.x, inner.y + index, role: .prompt)
      let room = inner.width - labels
      if index == active {
        field.editor.draw(prompt: "", at: inner.x + labels, inner.y + index, width: room, on: &canvas)
      } else {
        canvas.put(field.editor.text, at: inner.x + labels, inner.y + index, maxWidth: room)
      }
      let note = note(for: field)
      let isLong = if case .options = field.content { true } else { false }
      let noteX = inner.x + labels + max(isLong ? 4 : 20, TextWidth.width(field.editor.text) + 2)
      canvas.put(note, at: noteX, inner.y + index, role: .muted, maxWidth: max(0, inner.endX - noteX))
    }
    if !isPossible {
      canvas.restyle(
        Rect(x: inner.x, y: inner.y + first - 1, width: inner.width, height: inner.height), role: .error)
    }
  }

  /// Consequences that most changes have.
  private static let usualRows = 6

  private var unmapWords: String? {
    guard form.hasUnmap else { return nil }
    return TextWidth.padded(Self.unmap.key.notation, to: 8) + "host clusters "
      + (mayUnmap ? "may be given back: yes" : "may be given back: no")
  }

  /// What a field's number means.
  private func note(for field: Field) -> String {
    let isEmpty = field.editor.text.isEmpty
    switch field.content {
    case .options(let usage): return usage
    case .argument(.layer): return isEmpty ? "empty: no backing file" : "as seen from the image's folder"
    case .argument(.size), .argument(.offset), .number: break
    case .argument: return ""
    }
    guard let value = try? Quantity.bytes(field.editor.text) else { return "" }
    switch field.label {
    case "offset", "off":
      return "cluster \(value >> UInt64(geometry.clusterBits)), byte \(geometry.offsetInCluster(value)) of it"
    case "length", "size", "len": return "\(value) bytes"
    default: return value < 256 ? "the byte 0x\(Notation.hex(value, width: 2)), \(value)" : ""
    }
  }
}
