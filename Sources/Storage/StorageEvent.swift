// One stream of events for the log, undo, saving, step-through and crash tests: what was written,
// where, for what purpose, and the pages before and after.

/// One write, or one change in memory that a later write will carry.
package struct StorageEvent: Sendable {
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
  /// The pages the range touches, first to last, as they were and as they are.
  package let before: [Page]
  /// The pages as they are afterwards.
  package let after: [Page]
  /// Its place among the events of all files that one ``EventClock`` numbers; 0 without a clock.
  package let order: UInt64

  package init(
    _ kind: Kind, tag: WriteTag, offset: UInt64 = 0, count: UInt64 = 0, lengthBefore: UInt64,
    lengthAfter: UInt64, before: [Page] = [], after: [Page] = [], order: UInt64 = 0
  ) {
    self.kind = kind
    self.tag = tag
    self.offset = offset
    self.count = count
    self.lengthBefore = lengthBefore
    self.lengthAfter = lengthAfter
    self.before = before
    self.after = after
    self.order = order
  }

  /// The number of the page in which the change begins.
  package var firstPage: UInt64 { offset / UInt64(Page.size) }
}

/// Everything one command did to the bytes of an image, as one step of undo.
package final class StorageOperation {
  /// The number of the operation in its history, from 1 on.
  package let id: Int
  /// What was asked for, in words.
  package let title: String
  /// All changes it made, in order.
  package fileprivate(set) var events: [StorageEvent] = []

  fileprivate init(id: Int, title: String) {
    self.id = id
    self.title = title
  }

  /// An operation that has made no change yet.
  package static func make(id: Int, title: String) -> StorageOperation {
    StorageOperation(id: id, title: title)
  }
  /// Memory in bytes that the pages it made keep for themselves.
  private(set) var ownBytes = 0
  /// How often a page was changed: what taking the operation back costs.
  private(set) var pageChanges = 0

  func append(_ event: StorageEvent) {
    events.append(event)
    pageChanges += event.after.count
    ownBytes += event.after.reduce(0) { $0 + $1.ownBytes }
  }

  /// Every byte of the file, its length, and what the host keeps for it, are as before.
  package var changesNothing: Bool {
    events.allSatisfy { event in
      switch event.kind {
      case .note, .flush: true
      case .punch, .truncate: false
      case .write, .zero:
        event.lengthBefore == event.lengthAfter
          && event.before.elementsEqual(event.after) { $0.holdsSame(as: $1) }
      }
    }
  }

  /// Bytes of the file before it; nil without events.
  package var lengthBefore: UInt64? { events.first?.lengthBefore }
  /// Bytes of the file behind it; nil without events.
  package var lengthAfter: UInt64? { events.last?.lengthAfter }
}
