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

  /// The bytes that it is about, if those are fewer than its events bring.
  private var part: Range<UInt64>?

  /// Bytes from the start of the file.
  package var range: Range<UInt64> {
    if let part { return part }
    let start = events.map(\.offset).min() ?? 0
    return start..<max(start, events.map { $0.offset &+ $0.count }.max() ?? 0)
  }

  /// Where a request begins, among the changes in memory; nothing is put together across it.
  package static let mark = WriteTag(structure: .max)

  /// The writes, zeroes and punches of an operation in their order. What is one write to whoever does it in one go is
  /// put together: the guest's data and what a new cluster needs around it. Changes of the length are left out.
  package static func writes(of events: [FileEvent]) -> [FileWrite] {
    var result: [FileWrite] = []
    // Data between which and what comes nothing else is written, with the changes in memory before each.
    var open: [Data] = []
    var notes: [StorageEvent] = []
    func close() {
      result += pieces(open)
      open = []
    }
    for found in events {
      let event = found.event
      if let last = open.last, last.file != found.file { close() }
      switch event.kind {
      case .truncate: continue
      case .note:
        if event.tag == mark { close() } else { notes.append(event) }
      case .flush:
        close()
        if let last = result.lastIndex(where: { $0.file == found.file }) { result[last].isFlushed = true }
      case .write, .zero, .punch:
        if event.isData {
          open.append(Data(file: found.file, event: event, notes: notes))
        } else {
          close()
          result.append(FileWrite(file: found.file, events: [event], notes: notes))
        }
        notes = []
      }
    }
    close()
    if !result.isEmpty { result[result.count - 1].notes += notes }
    return result
  }

  /// Data that is not put together yet.
  private struct Data {
    let file: FileNumber
    let event: StorageEvent
    let notes: [StorageEvent]
  }

  /// Data and copies in one go where the new place of the clusters is that of all the data; where data goes on into
  /// clusters that have theirs, it is written first, and what belongs around it behind it.
  private static func pieces(_ found: [Data]) -> [FileWrite] {
    var result: [FileWrite] = []
    var whole: [Range<UInt64>: Int] = [:]
    var used: Set<Range<UInt64>> = []
    func write(_ data: [Data]) -> FileWrite {
      FileWrite(file: data[0].file, events: data.map(\.event), notes: data.flatMap(\.notes))
    }
    for data in found where !data.event.isCopy {
      let event = data.event
      let places = found.compactMap(\.event.filled).filter { $0.overlaps(event.range) }
      used.formUnion(places)
      guard let place = places.first, place.clamped(to: event.range) == event.range else {
        result.append(write([data]))
        for copy in found where copy.event.filled.map(places.contains) == true {
          for rest in copy.event.rest(beside: event.range) {
            var piece = FileWrite(file: copy.file, events: [copy.event, event], notes: copy.notes)
            piece.part = rest
            result.append(piece)
          }
        }
        continue
      }
      if let index = whole[place] {
        result[index].events.append(event)
        result[index].notes += data.notes
      } else {
        whole[place] = result.count
        result.append(write(found.filter { $0.event.filled == place } + [data]))
      }
    }
    // Copies of which no data is part.
    for data in found where data.event.filled.map(used.contains) == false { result.append(write([data])) }
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

  /// The bytes of the file that it is about.
  fileprivate var range: Range<UInt64> { offset..<offset &+ count }

  /// The new place with what lies around the data in it, for whose sake it copies; nil for data.
  fileprivate var filled: Range<UInt64>? {
    isCopy ? tag.table..<tag.table &+ max(1, tag.index) : nil
  }

  /// Parts of it in front of other bytes and behind them.
  fileprivate func rest(beside other: Range<UInt64>) -> [Range<UInt64>] {
    [
      range.lowerBound..<max(range.lowerBound, min(range.upperBound, other.lowerBound)),
      min(range.upperBound, max(range.lowerBound, other.upperBound))..<range.upperBound,
    ].filter { !$0.isEmpty }
  }
}
