// Space that an image could do without, in its parts: each is something else, is found in another way, and comes
// back through another verb. How much of it the host really stores is told beside it.

import Qcow
import QcowFormat

/// What an image takes and need not, as far as the image itself tells.
package struct ReclaimableSpace: Equatable, Sendable {
  /// One kind of space.
  package enum Kind: Hashable, Sendable {
    /// Clusters of data in which every byte is zero.
    case zeroData
    /// Clusters that are kept for entries that read as zeroes.
    case zeroKept
    /// Clusters in front of the last one in use that nobody uses.
    case freeInside
    /// The same behind the last cluster in use.
    case freeAtTail
    /// Clusters with a refcount and without an owner.
    case leaked
    /// Machine state that no snapshot has any more.
    case leftOverState
    /// Persistent bitmaps with their tables.
    case bitmaps
    /// What deleting one snapshot gives back, by its index.
    case snapshot(Int)
    /// What snapshots share with each other, but not with the disk, beyond what one of them has alone.
    case snapshotsTogether
    /// What compressing all plain clusters would save, from a sample.
    case compressible
  }

  /// How much of one kind there is.
  package struct Part: Equatable, Sendable {
    package let kind: Kind
    /// Host clusters; for ``Kind/compressible`` those that were sampled.
    package internal(set) var clusters: UInt64 = 0
    /// Bytes of the file or of the disk that they are, stored or not; for ``Kind/compressible`` those that would be
    /// saved.
    package internal(set) var bytes: UInt64 = 0
    /// How many of ``bytes`` the host stores; nil where that was not looked at.
    package internal(set) var stored: UInt64? = 0
    /// For a snapshot: clusters that others have as well, which stay.
    package internal(set) var shared: UInt64 = 0
  }

  /// All kinds that there can be in the image, in the order above.
  package internal(set) var parts: [Part] = []
  /// Bytes that the host stores for the files; nil if there is no file of what is looked at.
  package internal(set) var blocks: HostBlocks?
  /// Why some of it is not known, a sentence each.
  package internal(set) var remarks: [String] = []

  /// The part of a kind; nothing if there is none.
  package subscript(kind: Kind) -> Part { parts.first { $0.kind == kind } ?? Part(kind: kind) }
}

extension ReclaimableSpace.Kind {
  /// Its name in reports, the same in text and JSON.
  package var name: String {
    switch self {
    case .zeroData: "zeroes as data"
    case .zeroKept: "zeroes with a cluster"
    case .freeInside: "free inside"
    case .freeAtTail: "free at the end"
    case .leaked: "leaked"
    case .leftOverState: "left over machine state"
    case .bitmaps: "bitmaps"
    case .snapshot: "snapshot"
    case .snapshotsTogether: "snapshots together"
    case .compressible: "compressible"
    }
  }

  /// What it is, in half a sentence.
  package var meaning: String {
    switch self {
    case .zeroData: "clusters of data in which every byte is zero"
    case .zeroKept: "clusters kept for places that read as zeroes"
    case .freeInside: "nobody uses them; new clusters go there first"
    case .freeAtTail: "nobody uses them, and nothing lies behind them"
    case .leaked: "a refcount counts them, and nothing refers to them"
    case .leftOverState: "saved by a snapshot that is gone"
    case .bitmaps: "which parts of the disk changed, for backups"
    case .snapshot: "comes back if it is deleted"
    case .snapshotsTogether: "comes back if all are deleted, beyond what each has alone"
    case .compressible: "saved by compressing what is not compressed"
    }
  }

  /// What brings it back.
  package var remedy: SpaceRemedy {
    switch self {
    case .zeroData, .zeroKept, .leftOverState: .copy
    case .freeInside, .freeAtTail: .defrag
    case .leaked: .repairLeaks
    case .bitmaps: .removeBitmaps
    case .snapshot, .snapshotsTogether: .deleteSnapshot
    case .compressible: .copyCompressed
    }
  }
}
