// Everything about one host cluster in one value: what it is, whether that is in order, who uses it, and
// its refcount. Role and health are two things: a table in conflict is still a table.

import Storage

/// Whether a host cluster is in order.
package enum HostHealth: UInt8, Sendable, CaseIterable {
  case sound
  /// The refcount is higher than the number of owners.
  case leaked
  /// The refcount says less than the owners do, in an image whose refcounts are known not to be kept up:
  /// they are made anew before the image is written.
  case uncounted
  /// The refcount is lower than the number of owners.
  case tooLow
  /// Owners of kinds that cannot share: an entry for data points to a table, or a compressed stream
  /// lies in a plain cluster.
  case mixed
  /// It has an owner and lies behind the end of the file.
  case pastEnd

  /// Writing to it, or giving it away, can lose bytes.
  package var isConflict: Bool { self == .tooLow || self == .mixed || self == .pastEnd }

  /// The word beside the role.
  package var name: String {
    switch self {
    case .sound: "sound"
    case .leaked: "refcount too high"
    case .uncounted: "refcount not kept up"
    case .tooLow: "refcount too low"
    case .mixed: "used in two ways"
    case .pastEnd: "behind the end of the file"
    }
  }
}

/// Whose entries lead to a host cluster.
package enum HostUsers: UInt8, Sendable, CaseIterable {
  /// Nobody's, or no entries do: headers and tables are found from the header.
  case none
  /// Only those of the disk as it is now.
  case disk
  /// Those of the disk and of snapshots.
  case shared
  /// Only those of snapshots.
  case snapshots

  package var name: String {
    switch self {
    case .none: "none"
    case .disk: "disk"
    case .shared: "disk and snapshots"
    case .snapshots: "snapshots only"
    }
  }
}

/// What is counted beside the states of host clusters; a cluster may have several.
package enum HostMark: UInt8, Sendable, CaseIterable {
  /// In the file and in conflict.
  case conflict
  /// Has owners, and a refcount that counts more.
  case leaked
  /// Has owners that its refcount does not count, and need not yet.
  case uncounted
  /// Content that the disk shares with snapshots.
  case shared
  /// Content that only snapshots have.
  case snapshots
  /// Saved VM state that no snapshot has.
  case leftOver
}

/// What is known of one host cluster.
package struct HostFacts: Equatable, Sendable {
  /// What the cluster is.
  package var state: HostState
  /// Whether that is in order.
  package var health = HostHealth.sound
  /// Whose entries lead to it.
  package var users = HostUsers.none
  /// Its refcount; 0 where no refcount block counts it.
  package var refcount: UInt64 = 0

  /// Adds `count` clusters like this one.
  func add(_ count: UInt64, to counts: inout StateCounts<HostState>) {
    guard state != .pastEnd else { return }
    counts[state] += count
    switch health {
    case .tooLow, .mixed: counts[mark: .conflict] += count
    case .leaked where state != .leaked: counts[mark: .leaked] += count
    case .uncounted: counts[mark: .uncounted] += count
    default: break
    }
    guard state.isContent else { return }
    switch users {
    case .shared: counts[mark: .shared] += count
    case .snapshots: counts[mark: .snapshots] += count
    case .disk where state == .vmState: counts[mark: .leftOver] += count
    default: break
    }
  }
}

/// Why what an entry points to cannot be right.
package enum Conflict: Hashable, Sendable {
  /// It begins behind the last byte of the file.
  case pastEnd
  /// It is a table or another structure of the image.
  case table(HostState)
  /// It is an L2 table, and entries for data lead there as well.
  case data
  /// A plain cluster and a compressed stream lie there at once.
  case stream
  /// More entries lead there than the refcount counts.
  case refcount(UInt64, owners: UInt64)

  /// "points into the refcount table".
  package var text: String {
    switch self {
    case .pastEnd: "behind the end of the file"
    case .table(let state): "points into \(Self.name(of: state))"
    case .data: "an entry for data points into it"
    case .stream: "a compressed stream and a plain cluster lie in the same host cluster"
    case .refcount(0, _): "the refcount of its host cluster is 0: the next new cluster may take its place"
    case .refcount(let count, let owners):
      "\(counted(owners, "entry shares", "entries share")) its host cluster, whose refcount is \(count)"
    }
  }

  private static func name(of state: HostState) -> String {
    switch state {
    case .header: "the header"
    case .refcountTable: "the refcount table"
    case .refcountBlock: "a refcount block"
    case .l1Table: "the L1 table"
    case .snapshotTable: "the snapshot table"
    case .snapshotTables: "a table of a snapshot"
    case .bitmap: "a bitmap"
    case .crypto: "the encryption header"
    default: "an L2 table"
    }
  }
}
