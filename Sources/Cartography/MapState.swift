// What a place on a map can be: the rows of the legends of the guest map and the host map. The
// order of importance decides which state a cell shows that stands for many places.

/// A row of a legend.
package protocol MapState: RawRepresentable<UInt8>, CaseIterable, Hashable, Sendable {
  /// The state that wins a cell has the greatest importance; no two states have the same.
  var importance: Int { get }
  /// Nothing is kept here; hiding such a place behind another state hides nothing.
  var isBackground: Bool { get }
  /// Counts as filled in the fill lens.
  var isFilled: Bool { get }
}

/// What a piece of the virtual disk is.
package enum GuestState: UInt8, MapState {
  /// Not allocated, reads as zeroes.
  case none
  /// Not allocated, a layer below answers.
  case below
  /// The bytes are in a host cluster that nobody else uses.
  case data
  /// Reads as zeroes, no host cluster.
  case zero
  /// Reads as zeroes, a host cluster is kept.
  case zeroKept
  /// A host cluster is reserved for it and has never been written.
  case preallocated
  case compressed
  /// The bytes are in a host cluster with a refcount above 1, which a write must copy: the entry
  /// is not COPIED.
  case shared
  /// Not allocated, and the layer below that answers is not there.
  case missing
  /// The entry is invalid or points behind the end of the file.
  case bad

  package var importance: Int {
    switch self {
    case .bad: 9
    case .missing: 8
    case .shared: 7
    case .data: 6
    case .compressed: 5
    case .preallocated: 4
    case .zeroKept: 3
    case .zero: 2
    case .below: 1
    case .none: 0
    }
  }

  package var isBackground: Bool { self == .none || self == .below }
  package var isFilled: Bool { self == .data || self == .shared || self == .compressed }
}

/// What a cluster of the image file is.
package enum HostState: UInt8, MapState {
  case header
  case refcountTable
  case refcountBlock
  /// The active L1 table.
  case l1Table
  /// An L2 table of the active L1 table.
  case l2Table
  case snapshotTable
  /// L1 tables of snapshots, and L2 tables that only snapshots use.
  case snapshotTables
  /// Bitmap directory, bitmap tables and bitmap data.
  case bitmap
  /// The encryption header.
  case crypto
  /// Saved machine state.
  case vmState
  case data
  case compressed
  case free
  /// In use, and punched out of the file.
  case hole
  /// The refcount is higher than the number of owners.
  case leaked
  /// More owners than the refcount says, owners that cannot share, or an owner of something behind
  /// the end of the file.
  case wrong
  /// Behind the end of the file.
  case pastEnd

  package var importance: Int {
    switch self {
    case .wrong: 16
    case .leaked: 15
    case .header: 14
    case .refcountTable: 13
    case .refcountBlock: 12
    case .l1Table: 11
    case .l2Table: 10
    case .snapshotTable: 9
    case .snapshotTables: 8
    case .bitmap: 7
    case .crypto: 6
    case .vmState: 5
    case .data: 4
    case .compressed: 3
    case .hole: 2
    case .free: 1
    case .pastEnd: 0
    }
  }

  package var isBackground: Bool { self == .free || self == .pastEnd }
  package var isFilled: Bool { !isBackground }
  /// A cluster that describes others.
  package var isMetadata: Bool { rawValue <= Self.crypto.rawValue }
}
