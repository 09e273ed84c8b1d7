// The dialogs for write, discard and zero-write: fields on top, and below them what would happen, in
// numbers, computed by doing it and taking it back. Enter does it, Esc does nothing.

import Cartography
import CellScreen
import QcowFormat
import Qcow
import Storage

/// An open dialog.
struct DialogState: Sendable {
  struct Field: Sendable {
    var label: String
    var editor: LineEditor
  }

  var id: CommandID
  var fields: [Field]
  var active = 0
  /// Zero-writes only: host clusters may be given back.
  var mayUnmap = false
  /// What would happen, or what is wrong.
  var consequences: [String] = []
  var isPossible = false

  var title: String {
    switch id {
    case .discard: "Discard"
    case .zero: "Write zeroes"
    default: "Write a pattern"
    }
  }
}

extension Explorer {
  func openDialog(_ id: CommandID) throws(CommandError) {
    if let refusal = session.refusal { throw CommandError(refusal) }
    guard ui.cursor.side == .guest || ui.cursor.isTwinned else {
      throw CommandError("no guest place belongs to this host cluster; go to the guest map with 1")
    }
    let (offset, length) = cellUnderCursor()
    var fields = [
      DialogState.Field(label: "offset", editor: LineEditor("0x" + Notation.hex(offset))),
      DialogState.Field(label: "length", editor: LineEditor(Request.short(length))),
    ]
    if id == .write { fields.append(DialogState.Field(label: "pattern", editor: LineEditor("0xcd"))) }
    ui.dialog = DialogState(id: id, fields: fields)
    ui.dialog?.active = 1
    foretell()
  }

  /// The range that the cursor's cell, entry or subcluster stands for.
  private func cellUnderCursor() -> (offset: UInt64, length: UInt64) {
    let size = geometry.virtualSize
    let unit: UInt64
    if ui.screen == .table {
      unit = geometry.subclusterSize
    } else {
      // Up to a cluster; a cell of gigabytes is not what one means to write by default.
      unit = min(guestShape(ScreenLayout(ui)).cellBytes, geometry.clusterSize)
    }
    let start = ui.cursor.guest / unit * unit
    return (start, min(unit, size > start ? size - start : 1))
  }

  func dialogKey(_ key: Key) {
    guard var dialog = ui.dialog else { return }
    switch key {
    case .escape, .control("c"):
      ui.dialog = nil
      tell("given up; nothing was changed")
      return
    case .enter:
      confirm()
      return
    case .tab, .down: dialog.active = (dialog.active + 1) % dialog.fields.count
    case .backTab, .up: dialog.active = (dialog.active + dialog.fields.count - 1) % dialog.fields.count
    case .character("u") where dialog.id == .zero: dialog.mayUnmap.toggle()
    default: _ = dialog.fields[dialog.active].editor.handle(key)
    }
    ui.dialog = dialog
    foretell()
  }

  func dialogPaste(_ text: String) {
    guard let dialog = ui.dialog else { return }
    ui.dialog?.fields[dialog.active].editor.insert(text)
    foretell()
  }

  private func confirm() {
    guard let dialog = ui.dialog else { return }
    do throws(CommandError) {
      let request = try request(of: dialog)
      // Before the change, so that its error is not hidden behind the dialog.
      ui.dialog = nil
      try change(request)
    } catch {
      tell(error.description, error: true)
      if ui.dialog != nil { ui.dialog?.consequences = [error.description] }
    }
  }

  private func request(of dialog: DialogState) throws(CommandError) -> Request {
    var arguments = dialog.fields.prefix(2).map { $0.editor.text }
    if dialog.id == .write, dialog.fields.count > 2 { arguments += ["-P", dialog.fields[2].editor.text] }
    if dialog.mayUnmap { arguments.append("-u") }
    return try CommandParser.request(Command(dialog.id, arguments))
  }

  /// The largest request that is tried out for its numbers.
  private static let previewLimit: UInt64 = 256 << 20

  /// Computes the lines below the fields.
  private func foretell() {
    guard let dialog = ui.dialog else { return }
    var lines: [String]
    var isPossible = false
    do throws(CommandError) {
      let request = try request(of: dialog)
      if request.length > Self.previewLimit {
        lines = [
          "longer than \(Notation.compact(Self.previewLimit)): not tried out beforehand; undo takes it back"
        ]
      } else {
        do throws(ImageError) {
          lines = consequences(request, try session.preview(request))
        } catch {
          // Esc while the numbers were computed closes the dialog, as it does when they are there.
          if Session.isCancellation(error) {
            ui.dialog = nil
            return tell(error.description)
          }
          throw CommandError(error.description)
        }
      }
      isPossible = true
    } catch {
      lines = [error.description]
    }
    ui.dialog?.consequences = lines
    ui.dialog?.isPossible = isPossible
  }

  private func consequences(_ request: Request, _ narration: Narration?) -> [String] {
    guard let narration else { return ["nothing would change"] + rounding(request) }
    let numbers = narration.numbers
    var lines = [
      counted(numbers.clustersTaken, "cluster new", "clusters new") + ", "
        + counted(numbers.clustersFreed, "cluster freed", "clusters freed"),
      counted(numbers.l2EntriesChanged, "L2 entry changes", "L2 entries change") + ", "
        + counted(numbers.refcountsChanged, "refcount", "refcounts"),
    ]
    let (before, after) = (numbers.lengthBefore, numbers.lengthAfter)
    if after > before {
      lines.append("the file grows by \(Notation.compact(after - before)) to \(after) bytes")
    } else {
      lines.append("the file length stays \(after) bytes")
    }
    lines.append(
      "written to the file: \(Notation.compact(numbers.guestBytes)) of the guest, "
        + "\(Notation.compact(numbers.metadataBytes)) of tables, \(Notation.compact(numbers.copiedBytes)) copied"
    )
    if numbers.bytesPunched > 0 {
      lines.append(
        "given back to the host: \(Notation.compact(numbers.bytesPunched)) (a hole, the length stays)")
    }
    lines.append(mapping(request, numbers))
    return lines + rounding(request)
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
      return numbers.l2EntriesChanged > 0
        ? "host clusters stay as they are; the entries say that the range reads as zeroes"
        : "the mapping stays as it is"
    case .read, .pin, .unpin, .defrag: return ""
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
}
