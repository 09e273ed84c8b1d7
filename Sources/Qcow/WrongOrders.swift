// Faults that writers of this format have had, to be looked at: what goes wrong, in which order, and what a check says.
// They exist for images in memory alone; an image with a file behind it cannot be told to take one.

import QcowFormat
import Storage

/// A known wrong order that an image in memory can be told to take.
package enum WrongOrder: String, CaseIterable, Sendable {
  /// The bytes of what a request frees are given back when the next request is done, whoever has them then.
  case stalePunch = "stale-punch"
  /// A zero-write that frees its cluster leaves an entry of 0, which lets the layer below answer.
  case zeroAsNothing = "zero-as-nothing"
  /// A new L2 table is named by the L1 table, and its count goes back to 0.
  case publishedUncounted = "published-uncounted"
  /// A request that frees a cluster does not wait for one that is about to write there. Requests of one image come
  /// one after the other here: whoever plays them knows what that means.
  case noWait = "no-wait"
  /// The place behind the last stream is remembered when its cluster has another owner.
  case packed
  /// Taking a snapshot leaves COPIED in the first L2 entry that maps a cluster.
  case keepCopied = "keep-copied"
}

extension WrongOrder {
  /// Lets an image take these orders from now on, and no others; nothing is done unless all of it is in memory.
  package static func switchOn(_ orders: Set<WrongOrder>, in image: Image) {
    if image.storage.isInMemory { image.rules.wrongOrders = orders }
  }

  /// The orders that an image takes now.
  package static func on(in image: Image) -> Set<WrongOrder> { image.rules.wrongOrders }
}

extension TableEditor {
  /// A request has come to its end; with punches that come too late, those of the one before are made now.
  func punchLate() {
    // What cannot be written now shows itself when the image is closed.
    try? flush(announcing: false)
    try? allocator.discards.processLate()
  }

  /// Forgets in memory that a table has an owner.
  func uncount(_ table: HostOffset) throws(ImageError) {
    let cluster = tables.geometry.cluster(of: table)
    guard let block = try allocator.refcounts.block(tables.geometry.refcountTableIndex(of: cluster)) else {
      return
    }
    allocator.refcounts.set(0, of: cluster, in: block, .claim)
  }
}
