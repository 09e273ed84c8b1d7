// What a place on a map can be: the rows of the legends of the guest map and the host map. The
// order of importance decides which state a cell shows that stands for many places.

/// A row of a legend.
package protocol MapState: RawRepresentable<UInt8>, CaseIterable, Hashable, Sendable {
  /// Decides between states of which a cell has equally much; no two states have the same.
  var importance: Int { get }
  /// States of a higher rank win a cell whatever there is of the others; within a rank the one wins
  /// that there is most of.
  var rank: Int { get }
  /// How many states there are.
  static var stateCount: Int { get }
  /// Numbers that are counted for a place: its states, and the marks beside them.
  static var slotCount: Int { get }
  /// The state that a cell with these counts shows; nil if there is nothing.
  static func leading(_ counts: StateCounts<Self>) -> Self?
  /// Something is inside that the picture of the leading state does not tell.
  static func hasMinority(_ counts: StateCounts<Self>) -> Bool
  /// Nothing is kept here; hiding such a place behind another state hides nothing.
  var isBackground: Bool { get }
  /// Counts as filled in the fill lens.
  var isFilled: Bool { get }
}

extension MapState {
  /// The state of the highest rank that there is most of.
  static func heaviest(_ counts: StateCounts<Self>) -> Self? {
    var best: Self?
    for state in allCases where counts[state] > 0 {
      if let found = best {
        let (a, b) = ((found.rank, counts[found]), (state.rank, counts[state]))
        if a > b || a == b && found.importance > state.importance { continue }
      }
      best = state
    }
    return best
  }

  package static func leading(_ counts: StateCounts<Self>) -> Self? { heaviest(counts) }

  package static func hasMinority(_ counts: StateCounts<Self>) -> Bool {
    leading(counts).map { hasOthers(counts, than: $0) } ?? false
  }

  /// Places in use that are not in `leading`.
  static func hasOthers(_ counts: StateCounts<Self>, than leading: Self) -> Bool {
    for state in allCases where counts[state] > 0 && state != leading && !state.isBackground { return true }
    return false
  }
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
  /// The bytes are in a host cluster with a refcount above 1, which a write must copy. The refcount
  /// decides; that the entry is not COPIED is not enough.
  case shared
  /// Not allocated, and the layer below that answers is not there.
  case missing
  /// The entry is invalid, or what it points to cannot be right: behind the end of the file, in a
  /// table, in use by more entries than its refcount allows.
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

  package var rank: Int {
    switch self {
    case .bad: 4
    case .missing: 3
    case .data, .shared, .compressed: 2
    case .zero, .zeroKept, .preallocated: 1
    case .none, .below: 0
    }
  }

  package static var stateCount: Int { 10 }
  package static var slotCount: Int { 10 }

  package var isBackground: Bool { self == .none || self == .below }
  package var isFilled: Bool { self == .data || self == .shared || self == .compressed }
}

/// What a cluster of the image file is: its role. Whether it is sound is told beside it, by
/// ``HostHealth``.
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
  /// It has a refcount and no owner. A cell also shows this for clusters whose refcount is higher than
  /// the number of owners.
  case leaked
  /// It has an owner and lies behind the end of the file. A cell also shows this for clusters of the
  /// file that are in conflict.
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

  package var rank: Int {
    switch self {
    case .wrong: 4
    case .leaked: 3
    case .free: 1
    case .pastEnd: 0
    default: 2
    }
  }

  package static var stateCount: Int { 17 }
  package static var slotCount: Int { 17 + HostMark.allCases.count }

  /// Conflicts and leaks are shown for whatever role they are in: one bad cluster in a gigabyte must
  /// be seen.
  package static func leading(_ counts: StateCounts<HostState>) -> HostState? {
    if counts[.wrong] + counts[mark: .conflict] > 0 { return .wrong }
    if counts[.leaked] + counts[mark: .leaked] > 0 { return .leaked }
    return heaviest(counts)
  }

  package static func hasMinority(_ counts: StateCounts<HostState>) -> Bool {
    guard let state = leading(counts) else { return false }
    let used = counts.total - counts[.free] - counts[.pastEnd]
    switch state {
    case .wrong: return used > counts[.wrong] + counts[mark: .conflict]
    case .leaked: return used > counts[.leaked] + counts[mark: .leaked]
    default: return hasOthers(counts, than: state)
    }
  }

  /// Holds bytes of the guest or of its machine, not tables.
  package var isContent: Bool { self == .data || self == .compressed || self == .hole || self == .vmState }

  package var isBackground: Bool { self == .free || self == .pastEnd }
  package var isFilled: Bool { !isBackground }
  /// A cluster that describes others.
  package var isMetadata: Bool { rawValue <= Self.crypto.rawValue }
}
