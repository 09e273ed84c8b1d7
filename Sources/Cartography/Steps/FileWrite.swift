// The writes of an operation as they reach the files, one by one.

import Qcow
package import Storage

/// One write of an operation to one of its files, with what belongs to it.
package struct FileWrite {
  /// Which file it reaches.
  package let file: FileNumber
  /// What the engine did for it: more than one where it writes guest data and what lies around it piece by piece.
  package private(set) var events: [StorageEvent]
  /// Changes in memory since the write before; behind the last write those that follow it, too.
  package private(set) var notes: [StorageEvent]
  /// A flush comes before the next write of the file.
  package private(set) var isFlushed = false

  /// Bytes from the start of the file.
  package var range: Range<UInt64> {
    let start = events.map(\.offset).min() ?? 0
    return start..<max(start, events.map { $0.offset &+ $0.count }.max() ?? 0)
  }

  /// Where a request begins, among the changes in memory; nothing is put together across it.
  package static let mark = WriteTag(structure: .max)

  /// The writes, zeroes and punches of an operation in their order. What is one write to whoever does it in one go is
  /// put together: the guest's data and what a new cluster needs around it. Changes of the length are left out.
  package static func writes(of events: [FileEvent]) -> [FileWrite] {
    var result: [FileWrite] = []
    // The first of those that more may be put to.
    var open = 0
    var notes: [StorageEvent] = []
    for found in events {
      let event = found.event
      switch event.kind {
      case .truncate: continue
      case .note:
        if event.tag == mark { open = result.count } else { notes.append(event) }
      case .flush:
        if let last = result.lastIndex(where: { $0.file == found.file }) { result[last].isFlushed = true }
        open = result.count
      case .write, .zero, .punch:
        let touched =
          event.isData
          ? result.indices.dropFirst(open).filter { index in
            result[index].file == found.file
              && (event.isCopy || result[index].events.contains(where: \.isCopy))
              && event.touches(result[index].events)
          } : []
        guard let first = touched.first else {
          result.append(FileWrite(file: found.file, events: [event], notes: notes))
          notes = []
          if !event.isData { open = result.count }
          continue
        }
        for index in touched.dropFirst().reversed() {
          let more = result.remove(at: index)
          result[first].events += more.events
          result[first].notes += more.notes
        }
        result[first].events.append(event)
        result[first].notes += notes
        notes = []
      }
    }
    if !result.isEmpty { result[result.count - 1].notes += notes }
    return result
  }
}

extension StorageEvent {
  /// It brings guest data, or what lies around it, to the file.
  fileprivate var isData: Bool {
    (kind == .write || kind == .zero) && tag.structure == Structure.data.rawValue
  }

  /// It brings what lies around the guest's data.
  fileprivate var isCopy: Bool { tag.reason == Reason.copyOnWrite.rawValue }

  /// It overlaps one of the others, or they have a border in common.
  fileprivate func touches(_ others: [StorageEvent]) -> Bool {
    others.contains { offset <= $0.offset &+ $0.count && $0.offset <= offset &+ count }
  }
}
