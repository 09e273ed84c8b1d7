// How well a cluster fits every structure of an image, from one look at its bytes: the value that `looks-like`,
// salvage and everybody else judge by.

import Storage

/// What the bytes of one cluster could be.
package struct ShapeFit: Sendable {
  /// Nothing but zeroes: an empty table of any kind, or nothing.
  package let isZero: Bool
  /// The same byte everywhere, zero or not.
  package let isUniform: Bool
  /// As a table of pointers.
  package let pointers: PointerTally
  /// As a refcount block.
  package let refcounts: RefcountTally
  /// What its own fields say it is: a header, a snapshot table, a bitmap directory, or an encryption header.
  package let named: ClusterShape?

  /// Entries out of a hundred that a table must have right. Healthy ones have all.
  package static let enough = 90

  /// Looks at `bytes`, one cluster or the part of one that a structure uses.
  package init(_ bytes: UnsafeRawBufferPointer, _ limits: ShapeLimits) {
    isZero = unsafe bytes.isZero
    isUniform = unsafe isZero || bytes.firstIndex(otherThan: bytes[0]) == nil
    guard !isZero else {
      pointers = PointerTally()
      refcounts = RefcountTally()
      named = nil
      return
    }
    pointers = unsafe PointerTally(bytes, limits)
    refcounts = unsafe RefcountTally(bytes, order: limits.geometry.refcountOrder)
    named =
      unsafe limits.isHeader(bytes)
      ? .header
      : limits.isEncryptionHeader(bytes)
        ? .encryptionHeader
        : limits.bitmaps(bytes) > 0 ? .bitmapDirectory : limits.snapshots(bytes) > 0 ? .snapshotTable : nil
  }

  /// Entries out of a hundred that fit, 0 ... 100; 0 for bytes without any entry.
  package func score(_ shape: ClusterShape) -> Int {
    func share(_ part: Int, _ all: Int) -> Int { all == 0 || pointers.isHopeless ? 0 : part * 100 / all }
    switch shape {
    case .l1Table: return share(pointers.l1, pointers.words)
    case .l2Table: return share(pointers.l2, pointers.l2Entries)
    case .refcountTable: return share(pointers.refcountTable, pointers.words)
    case .bitmapTable: return share(pointers.bitmapTable, pointers.words)
    case .refcountBlock: return refcounts.isPossible ? refcounts.isLikely ? 100 : 50 : 0
    case .zeroes: return isZero ? 100 : 0
    default: return named == shape ? 100 : 0
    }
  }

  /// The bytes can be such a table; an empty one can be any.
  package func canBe(_ shape: ClusterShape) -> Bool {
    if isZero { return true }
    return shape == .refcountBlock ? refcounts.isPossible : score(shape) >= Self.enough
  }

  /// The places are those of a table and not one place over and over.
  package var hasDistinctPlaces: Bool {
    pointers.places > 0 && (pointers.places < 4 || pointers.repeated * 2 < pointers.places)
  }
}
