// What guests made of a served image, counted exactly from its events: never sampled, whatever the screen shows.

import Cartography
import Qcow
import QcowFormat
import Storage

/// Exact counts of what changed in an image since it is served.
package struct LiveFigures: Equatable, Sendable {
  /// Bytes of guests that reached a file.
  package var guestBytes: UInt64 = 0
  /// Bytes around them that a new cluster needed.
  package var copiedBytes: UInt64 = 0
  /// How often such bytes were copied.
  package var copies: UInt64 = 0
  /// Bytes of new clusters that the host was told to make zeroes, before bytes of guests came into them. None are
  /// written for that.
  package var zeroedBytes: UInt64 = 0
  /// Bytes of tables that were written back.
  package var metadataBytes: UInt64 = 0
  /// Refcounts that changed.
  package var refcountUpdates: UInt64 = 0
  /// Host clusters whose refcount rose from 0.
  package var clustersTaken: UInt64 = 0
  /// Host clusters whose refcount sank to 0.
  package var clustersFreed: UInt64 = 0
  /// L2 entries that changed.
  package var entriesChanged: UInt64 = 0
  /// L2 tables that came.
  package var tablesAdded: UInt64 = 0
  /// Refcount blocks that came.
  package var blocksAdded: UInt64 = 0
  /// Bytes that were given back to the host or made zero in the file, other than for a new cluster.
  package var bytesPunched: UInt64 = 0
  /// Bytes that the image file grew by, less what it lost.
  package var growth: Int64 = 0

  package init() {}

  /// Bytes that were written for each byte of a guest; nil before it wrote any.
  package var amplification: Double? {
    guestBytes == 0 ? nil : Double(guestBytes &+ copiedBytes &+ metadataBytes) / Double(guestBytes)
  }

  /// Takes an event of the image file in, or of its data file, whose length is none of the image's.
  mutating func take(_ event: StorageEvent, isData: Bool = false) {
    let tag = event.tag
    if !isData { growth &+= Int64(clamping: event.lengthAfter) &- Int64(clamping: event.lengthBefore) }
    switch event.kind {
    case .write:
      switch tag.written {
      case .copy:
        copiedBytes &+= event.count
        copies &+= 1
      case .guest: guestBytes &+= event.count
      case .table: metadataBytes &+= event.count
      }
    case .zero where tag.why == .copyOnWrite: zeroedBytes &+= event.count
    case .zero, .punch: bytesPunched &+= event.count
    case .truncate, .flush: break
    case .note: takeNote(tag)
    }
  }

  private mutating func takeNote(_ tag: WriteTag) {
    switch tag.target {
    case .l2Table: entriesChanged &+= 1
    case .refcountBlock:
      refcountUpdates &+= 1
      if tag.before.0 == 0 { clustersTaken &+= 1 }
      if tag.after.0 == 0 { clustersFreed &+= 1 }
    case .l1Table:
      if L1Entry(raw: tag.before.0).table == nil, L1Entry(raw: tag.after.0).table != nil { tablesAdded &+= 1 }
    case .refcountTable: if tag.before.0 == 0, tag.after.0 != 0 { blocksAdded &+= 1 }
    default: break
    }
  }
}
