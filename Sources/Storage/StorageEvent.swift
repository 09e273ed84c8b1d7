// One stream of events for the log, undo, saving, step-through and crash tests: what was written,
// where, for what purpose, and the pages before and after.

/// One write, or one change in memory that a later write will carry.
package struct StorageEvent {
  /// What was done to the bytes.
  package enum Kind: Sendable {
    /// Bytes were written.
    case write
    /// A range was made to read as zeroes.
    case zero
    /// A range was given back to the host.
    case punch
    /// The length was changed; `offset` is the new length.
    case truncate
    /// Everything before must be on disk before anything behind it.
    case flush
    /// A change in memory; no bytes moved.
    case note
  }

  /// What was done.
  package let kind: Kind
  /// Why it was done, as the engine says it.
  package let tag: WriteTag
  /// The written range in bytes.
  package let offset: UInt64
  /// Bytes that were changed; 0 for a change of length alone.
  package let count: UInt64
  /// Bytes of the file before.
  package let lengthBefore: UInt64
  /// Bytes of the file afterwards.
  package let lengthAfter: UInt64
  /// The pages that the range touches; nil if it touches none, and where nobody keeps them.
  let change: PageChange?
  /// Its place among the events of all files that one ``EventClock`` numbers; 0 without a clock.
  package let order: UInt64

  init(
    _ kind: Kind, tag: WriteTag, offset: UInt64 = 0, count: UInt64 = 0, lengthBefore: UInt64,
    lengthAfter: UInt64, _ change: PageChange? = nil, order: UInt64 = 0
  ) {
    self.kind = kind
    self.tag = tag
    self.offset = offset
    self.count = count
    self.lengthBefore = lengthBefore
    self.lengthAfter = lengthAfter
    self.change = change
    self.order = order
  }

  /// It changed bytes or the length.
  var movesBytes: Bool { kind != .note && kind != .flush }
  /// The pages that the range touches, first to last, as they were.
  package var before: PageRuns? { change?.before }
  /// The pages as they are afterwards.
  package var after: PageRuns? { change?.after }
}

/// The pages that one event found and left behind.
final class PageChange {
  let before: PageRuns
  let after: PageRuns

  init(_ before: PageRuns, _ after: PageRuns) {
    self.before = before
    self.after = after
  }

  /// What installing them costs, in rows and chunks of pages.
  var work: Int { after.runs.count + before.runs.count + Int(clamping: after.count / 64) }
}

/// Everything one command did to the bytes of an image, as one step of undo.
package final class StorageOperation {
  /// The number of the operation in its history, from 1 on.
  package let id: Int
  /// What was asked for, in words.
  package let title: String
  /// All changes it made, in order; none if it is forgotten.
  package private(set) var events: [StorageEvent] = []
  /// Memory in bytes that it keeps: the pages that it made, and the events.
  package private(set) var ownBytes = 0
  /// How much of the map of pages it changed: what taking the operation back costs.
  private(set) var pageChanges = 0
  /// Its effect stays, and it can no longer be taken back: nothing of it is kept any more.
  package private(set) var isForgotten = false
  /// It cannot be taken back, but is still to be saved.
  private(set) var isFinal = false
  /// How many lists of the history hold it.
  fileprivate(set) var holders = 0

  private init(id: Int, title: String) {
    self.id = id
    self.title = title
  }

  /// An operation that has made no change yet.
  package static func make(id: Int, title: String) -> StorageOperation {
    StorageOperation(id: id, title: title)
  }

  /// `pageBytes` is the memory that the pages it makes keep for themselves.
  ///
  /// - Returns: the memory that the operation has become larger by.
  package func append(_ event: StorageEvent, pageBytes: Int) -> Int {
    events.append(event)
    pageChanges += event.change?.work ?? 0
    let bytes =
      pageBytes + MemoryLayout<StorageEvent>.stride
      + (event.change.map { $0.before.rowBytes + $0.after.rowBytes + 64 } ?? 0)
    ownBytes += bytes
    return bytes
  }

  /// Gives back what was kept for events to come.
  func end() { if events.count < 1 << 12 { events = events.map { $0 } } }

  /// From now on it stays.
  func makeFinal() { isFinal = true }

  /// Gives up all that is kept of it.
  func forget() {
    (isForgotten, isFinal) = (true, true)
    events = []
    ownBytes = 0
    pageChanges = 0
  }

  /// One more list holds it, or one less.
  ///
  /// - Returns: whether any does.
  @discardableResult
  func hold(_ isHeld: Bool) -> Bool {
    holders += isHeld ? 1 : -1
    return holders > 0
  }

  /// Every byte of the file, its length, and what the host keeps for it, are as before.
  package var changesNothing: Bool {
    events.allSatisfy { event in
      switch event.kind {
      case .note, .flush: true
      case .punch, .truncate: false
      case .write, .zero: event.lengthBefore == event.lengthAfter && (event.change?.changesNothing ?? true)
      }
    }
  }

  /// Bytes of the file before it; nil without events.
  package var lengthBefore: UInt64? { events.first?.lengthBefore }
  /// Bytes of the file behind it; nil without events.
  package var lengthAfter: UInt64? { events.last?.lengthAfter }
}

extension PageChange {
  /// The pages hold the same bytes before and after; bytes that cannot be read may be others.
  var changesNothing: Bool {
    var result = true
    before.forEachRun(with: after) { first, count, areSame in
      if areSame { return true }
      for number in first..<first + count {
        guard let old = try? before.page(number), let new = try? after.page(number), old.holdsSame(as: new)
        else {
          result = false
          return false
        }
      }
      return true
    }
    return result
  }
}
