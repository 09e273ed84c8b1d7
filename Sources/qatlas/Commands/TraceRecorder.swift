// What clients ask of a served disk, as lines of `qatlas io` in a file: the lab replays them.

import Cartography
import Live
import Qcow
import QcowFormat
import Storage
import ToolText

/// Writes the requests of a disk to a file as they come. Nobody waits for it: what comes faster than it is written is lost
/// when the ring of requests has run over, and counted.
final class TraceRecorder {
  private let disk: SharedDisk
  private let file: any Storage
  private let name: String
  private var length: UInt64 = 0
  /// The number of the next request.
  private var next: UInt64 = 0
  private var begin: UInt64?
  /// What the newest note says: milliseconds since the first request, and who asks.
  private var noted: (milliseconds: UInt64, asker: UInt32)?
  private var recorded: UInt64 = 0
  private var lost: UInt64 = 0
  /// The rest is not recorded, for this reason.
  private var broken: String?

  /// Begins a file in place of what was there; requests are kept from now on.
  ///
  /// - Throws: ``StorageError`` if the file cannot be made.
  init(_ disk: SharedDisk, of image: String, to name: String) throws(StorageError) {
    self.disk = disk
    self.name = name
    file = try FileOpener().open(name, for: .newText)
    let head = LabTrace.head(ByteText.lastPart(of: image), size: disk.size)
    try file.write(ByteText.bytes(head), at: 0)
    length = UInt64(head.utf8.count)
    disk.keepRequests()
  }

  /// Not all requests stand in the file.
  var isPartial: Bool { lost > 0 || broken != nil }

  /// Writes what came since the last call.
  func take() {
    while broken == nil {
      let (records, missed) = disk.requests(from: next, most: 4096)
      guard !records.isEmpty || missed > 0 else { return }
      var text = ""
      if missed > 0 {
        text += LabTrace.lossNote(missed)
        lost += missed
      }
      for record in records { text += lines(record) }
      next += missed + UInt64(records.count)
      write(text)
      if broken == nil { recorded += UInt64(records.count) }
    }
  }

  /// What became of it, with a line end.
  var sentence: String {
    var text = "\(counted(recorded, "request")) recorded in '\(Escaping.human(name))'"
    if lost > 0 { text += ", \(lost) lost because they came faster than they could be written" }
    if let broken { text += ", the rest is missing: \(Escaping.human(broken))" }
    return "\(Tool.name): \(text)\n"
  }

  private func write(_ text: String) {
    guard length + UInt64(text.utf8.count) <= LabTrace.maximumBytes else {
      broken = "a trace has at most 256 MiB"
      return
    }
    do throws(StorageError) {
      try file.write(ByteText.bytes(text), at: length)
      length += UInt64(text.utf8.count)
    } catch { broken = error.description }
  }

  /// A request, behind a note where time has gone on or somebody else asks.
  private func lines(_ record: RequestRecord) -> String {
    let first = begin ?? record.nanoseconds
    begin = first
    let milliseconds = (record.nanoseconds - min(first, record.nanoseconds)) / 1_000_000
    var text = ""
    if noted?.milliseconds != milliseconds || noted?.asker != record.asker {
      noted = (milliseconds, record.asker)
      text = LabTrace.timeNote(milliseconds: milliseconds, client: Int(record.asker))
    }
    return text
      + LabTrace.lines(Self.traced(record.kind), record.offset, record.length, failed: record.failed)
  }

  private static func traced(_ kind: RequestKind) -> LabTrace.Kind {
    switch kind {
    case .read: .read
    case .write: .write
    case .zeroWrite: .zero
    case .zeroWriteMayUnmap: .zeroMayUnmap
    case .discard: .discard
    case .flush: .flush
    }
  }
}
