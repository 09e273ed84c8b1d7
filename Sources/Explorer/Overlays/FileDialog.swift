// The dialog that an image is chosen in: a folder with sizes and formats. What is typed picks out names; Enter goes into
// a folder or takes a file. Names are bytes of the host; what could control the terminal is shown as an escape.

import Cartography
import CellScreen
import Storage

final class FileDialog: Overlay {
  private struct Row {
    var entry: FolderEntry
    /// As it is shown, and as what is typed is looked for.
    var shown: String
    var sought: String
  }

  /// Files of a folder that are listed at most.
  private static let limit = 20_000

  private let desk: Desk
  private let shelf: any ImageShelf
  private let force: Bool
  private var folder = ""
  private var rows: [Row] = []
  private var isCut = false
  /// The rows that hold what is typed.
  private var found: [Int] = []
  private var filter = LineEditor()
  private var window = ListWindow(count: 0, height: 1)
  /// Looks at files that have been on the screen.
  private var looks: [Int: FileLook] = [:]

  private static let take = OverlayKey(key: .enter, word: "open", footer: "open")
  private static let upward = OverlayKey(key: .backspace, word: "folder above", footer: "folder above")
  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")

  /// - Throws: `CommandError` for a folder that cannot be read.
  static func open(_ explorer: Explorer, force: Bool) throws(CommandError) {
    guard let shelf = explorer.shelf else { return }
    let dialog = FileDialog(explorer.desk, shelf, force: force)
    try dialog.enter(shelf.folder)
    explorer.overlay = dialog
  }

  private init(_ desk: Desk, _ shelf: any ImageShelf, force: Bool) {
    self.desk = desk
    self.shelf = shelf
    self.force = force
  }

  var hidesCursorText: Bool { true }
  var hints: [Hint] {
    [
      Self.take.hint, Hint("\(Key.up.notation) \(Key.down.notation)", "choose"), Hint("a-z", "pick out"),
      Self.upward.hint, Self.cancel.hint,
    ]
  }

  /// Lists a folder, with `name` selected if it is there.
  private func enter(_ path: String, selecting name: String? = nil) throws(CommandError) {
    let listing: FolderListing
    do throws(StorageError) { listing = try shelf.list(path, limit: Self.limit) } catch {
      throw CommandError(error.description)
    }
    folder = path
    isCut = listing.isCut
    rows = listing.entries.map { entry in
      let shown = Escaping.human(entry.name)
      return Row(entry: entry, shown: shown, sought: shown.lowercased())
    }
    rows.sort { a, b in
      a.entry.isFolder == b.entry.isFolder ? a.entry.name < b.entry.name : a.entry.isFolder
    }
    looks = [:]
    filter.clear()
    pickOut()
    if let name, let row = rows.firstIndex(where: { ByteText.areSame($0.entry.name, name) }) {
      window.move(.to(row))
    }
  }

  /// Names that begin with a dot are there only if a dot is typed first.
  private func pickOut() {
    let text = filter.text.lowercased()
    let wantsHidden = text.first == "."
    found = rows.indices.filter { index in
      let row = rows[index]
      if row.sought.first == ".", !wantsHidden { return false }
      return text.isEmpty || row.sought.contains(text)
    }
    window = ListWindow(count: found.count, height: window.height)
  }

  private var selected: Row? {
    found.indices.contains(window.selected) ? rows[found[window.selected]] : nil
  }

  func press(_ key: Key) -> OverlayOutcome {
    desk.message = nil
    switch key {
    case Self.cancel.key, .control("c"): return .closes
    case Self.take.key: return follow()
    case .down, .control("n"): window.move(.down(1))
    case .up, .control("p"): window.move(.up(1))
    case .pageDown, .control("f"): window.move(.pageDown)
    case .pageUp, .control("b"): window.move(.pageUp)
    case .home: window.move(.first)
    case .end: window.move(.last)
    case Self.upward.key where filter.text.isEmpty: goUp()
    default:
      let before = filter.text
      _ = filter.handle(key)
      if filter.text != before { pickOut() }
    }
    return .stays
  }

  func paste(_ text: String) -> OverlayOutcome? {
    filter.insert(text)
    pickOut()
    return .stays
  }

  private func goUp() {
    guard folder != "/" else { return }
    let here = String(folder.unicodeScalars.dropLast())
    telling { () throws(CommandError) in
      try enter(ByteText.folder(of: here), selecting: ByteText.lastPart(of: here))
    }
  }

  private func follow() -> OverlayOutcome {
    guard let row = selected else { return .stays }
    let path = folder + row.entry.name
    if row.entry.isFolder {
      telling { () throws(CommandError) in try enter(path + "/") }
      return .stays
    }
    return .closesAnd { [force] explorer throws(CommandError) in
      try OtherImages.goOn(with: path, secret: nil, force: force, explorer)
    }
  }

  private func telling(_ body: () throws(CommandError) -> Void) {
    do throws(CommandError) { try body() } catch { desk.tell(error.description, error: true) }
  }

  private func look(at index: Int) -> FileLook {
    let row = rows[index]
    if row.entry.isFolder { return FileLook(size: nil, kind: "folder") }
    if let known = looks[index] { return known }
    let look = shelf.look(at: folder + row.entry.name) ?? FileLook(size: nil, kind: "gone")
    looks[index] = look
    return look
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let outer = frame.body.centred(width: min(78, frame.body.width), height: frame.body.height)
    canvas.fill(outer)
    let title = TextWidth.truncatedAtStart(
      Escaping.human(folder), to: max(8, outer.width - 16), glyphs: desk.glyphs)
    let inner = canvas.frame(
      outer, title: "Open  \(title)", footer: OverlayKey.footer([Self.take, Self.upward, Self.cancel]),
      focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    let counts = "\(found.count) of \(rows.count)" + (isCut ? ", there are more" : "")
    canvas.put("pick out", at: inner.x, inner.y, role: .prompt)
    canvas.put(
      counts, at: max(inner.x + 20, inner.endX - TextWidth.width(counts)), inner.y, role: .muted,
      maxWidth: max(0, inner.width - 20))
    let list = inner.splitTop(2).rest
    window.resize(height: max(1, list.height))
    let nameWidth = max(8, list.width - 18)
    for (offset, index) in window.visible.enumerated() where offset < list.height {
      let row = rows[found[index]]
      let look = look(at: found[index])
      let marks: Marks = index == window.selected ? .selected : []
      let line = Rect(x: list.x, y: list.y + offset, width: list.width, height: 1)
      let name = row.shown + (row.entry.isFolder ? "/" : "")
      canvas.put(
        TextWidth.truncated(name, to: nameWidth, glyphs: desk.glyphs), at: line.x, line.y,
        role: row.entry.isFolder ? .link : .text)
      if let size = look.size {
        canvas.put(
          TextWidth.padded(Notation.compact(size), to: 7, .right), at: line.x + nameWidth, line.y,
          role: .number)
      }
      canvas.put(look.kind, at: line.x + nameWidth + 9, line.y, role: .muted, maxWidth: 9)
      if !marks.isEmpty {
        canvas.restyle(line, adding: marks)
      }
    }
    if found.isEmpty {
      canvas.put(
        rows.isEmpty ? "the folder is empty" : "no name holds that", at: list.x, list.y, role: .muted,
        maxWidth: list.width)
    }
    filter.draw(prompt: "", at: inner.x + 9, inner.y, width: max(4, inner.width - 30), on: &canvas)
  }
}
