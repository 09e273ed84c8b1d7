// From the size that the guest sees down to the blocks that the host keeps: each rung is a size of its own or a part
// of the file, with what it is and what moves it. The parts add up to the length of the file, to the byte.

import Qcow
import QcowFormat
import Storage

/// The sizes of an image, from the largest idea to the smallest fact.
package struct SizeLadder: Equatable, Sendable {
  /// One of them. Those from ``disk`` to ``freeAtTail`` are parts of the file.
  package enum Kind: String, CaseIterable, Sendable {
    case virtual = "virtual size"
    case mapped
    case compressed
    case reserved
    case length = "file length"
    case disk = "the disk alone"
    case shared
    case snapshots = "snapshots alone"
    case machineState = "machine state"
    case bitmaps
    case tables
    case leaked
    case freeInside = "free inside"
    case freeAtTail = "free at the end"
    case holes = "never written"
    case blocks = "host blocks"
    case dataLength = "data file"
    case dataBlocks = "data file blocks"
    case cache = "L2 cache"

    /// A part of the file: whole clusters of it, the last one as long as it is.
    package var isPart: Bool {
      switch self {
      case .disk, .shared, .snapshots, .machineState, .bitmaps, .tables, .leaked, .freeInside, .freeAtTail:
        true
      default: false
      }
    }

    /// What it is a part of; nil if it is a size of its own.
    package var parent: Kind? { isPart ? .length : self == .compressed ? .mapped : nil }
  }

  /// One size.
  package struct Rung: Equatable, Sendable {
    package let kind: Kind
    package internal(set) var bytes: UInt64
    /// What it is, without a full stop.
    package let meaning: String
    /// What moves it; nil if nothing does.
    package let remedy: SpaceRemedy?
  }

  /// From the top down; what an image of this kind cannot have is left out.
  package private(set) var rungs: [Rung] = []

  /// The rung of a kind; nil if the image has none.
  package subscript(kind: Kind) -> Rung? { rungs.first { $0.kind == kind } }

  /// The parts of the file, those that ``Kind/length`` is made of.
  package var parts: [Rung] { rungs.filter(\.kind.isPart) }

  /// What the atlas has counted so far. `blocks` is what the host keeps for the files; nil if no file is there.
  package init(_ atlas: Atlas, blocks: HostBlocks?) {
    let image = atlas.image
    let totals = atlas.totals
    addDisk(image, totals)
    add(.length, totals.fileLength, "what ls -l says: the parts below, in whole clusters of the file")
    addContent(image, totals)
    addTables(image, totals)
    cutLastCluster(atlas, totals)
    addKept(image, totals, blocks)
    let geometry = image.geometry
    let tables = geometry.l1Entries(for: geometry.virtualSize).multipliedReportingOverflow(
      by: geometry.clusterSize)
    add(
      .cache, tables.overflow ? .max : tables.partialValue,
      "memory that keeps every L2 table of a full disk at hand; those that the disk has now are "
        + "\(totals.host[.l2Table] &* geometry.clusterSize) bytes; QEMU takes 32 MiB at most unless l2-cache-size says more"
    )
  }

  private mutating func add(_ kind: Kind, _ bytes: UInt64, _ meaning: String, _ remedy: SpaceRemedy? = nil) {
    rungs.append(Rung(kind: kind, bytes: bytes, meaning: meaning, remedy: remedy))
  }

  /// Bytes of the guest.
  private mutating func addDisk(_ image: Image, _ totals: Totals) {
    let geometry = image.geometry
    let size = geometry.clusterSize
    let bits = UInt64(geometry.subclusterBits)
    add(.virtual, geometry.virtualSize, "what the guest sees", .resize)
    add(
      .mapped, totals.guestData,
      "of the disk have a place in \(image.hasExternalData ? "the data file" : "the file"), in bytes of the guest"
        + (totals.host[.hole] > 0 ? " (see '\(Kind.holes.rawValue)')" : "")
        + "; the rest is zeroes, or a layer below answers", .discard)
    if totals.guest[.compressed] > 0 {
      add(
        .compressed, totals.guest[.compressed] << bits,
        "of these, in bytes of the guest; the streams take \(Notation.compact(totals.host[.compressed] &* size)) of "
          + "the file" + (image.snapshots.isEmpty ? "" : ", with those of snapshots"))
    }
    let reserved = (totals.guest[.preallocated] + totals.guest[.zeroKept]) << bits
    if reserved > 0 {
      add(
        .reserved, reserved,
        "of the disk have a place kept in a cluster and no bytes there: not written yet, or zero", .copy)
    }
  }

  /// Clusters with content, by whose they are. What is in two counts is told once, so that the sum is right also
  /// where the counts of a damaged image do not go together.
  private mutating func addContent(_ image: Image, _ totals: Totals) {
    let size = image.geometry.clusterSize
    let content = HostState.allCases.reduce(0) { $0 + ($1.isContent ? totals.host[$1] : 0) }
    let machine = totals.host[.vmState]
    var left = content - min(content, machine)
    let shared = min(totals.sharedClusters, left)
    left -= shared
    // Of the clusters that only snapshots have some are state.
    let state = machine - min(machine, totals.leftOverState)
    let alone = min(totals.snapshotClusters - min(totals.snapshotClusters, state), left)
    left -= alone
    add(.disk, left &* size, "content that only the disk as it is now has, in whole clusters")
    if !image.snapshots.isEmpty || totals.sharedClusters + totals.snapshotClusters > 0 {
      add(
        .shared, shared &* size, "content of the disk that snapshots keep too: a write copies first",
        .deleteSnapshot)
      add(.snapshots, alone &* size, "content that only snapshots keep", .deleteSnapshot)
    }
    if machine > 0 {
      add(
        .machineState, machine &* size,
        totals.leftOverState > 0
          ? "saved machine state; \(counted(totals.leftOverState, "cluster")) of it without a snapshot"
          : "saved machine state",
        .deleteSnapshot)
    }
  }

  private mutating func addTables(_ image: Image, _ totals: Totals) {
    let size = image.geometry.clusterSize
    let bitmaps = totals.host[.bitmap] &* size
    if bitmaps > 0 { add(.bitmaps, bitmaps, "bitmaps of what changed, for backups", .removeBitmap) }
    add(
      .tables, totals.metadata - min(totals.metadata, bitmaps),
      "header, refcounts, L1 and L2 tables, those of snapshots too")
    if totals.host[.leaked] > 0 {
      add(
        .leaked, totals.host[.leaked] &* size, "a refcount counts them, and nothing refers to them",
        .repairLeaks)
    }
    let inside = totals.freeClusters - min(totals.freeClusters, totals.freeAtTail)
    add(.freeInside, inside &* size, "nobody uses them; new clusters go there first", .defrag)
    add(.freeAtTail, totals.freeAtTail &* size, "nobody uses them, and nothing lies behind", .defrag)
  }

  /// The last cluster of the file may be cut: the part that it is of has as many bytes as there are.
  private mutating func cutLastCluster(_ atlas: Atlas, _ totals: Totals) {
    let whole = totals.fileClusters &* atlas.image.geometry.clusterSize
    let cut = whole - min(whole, totals.fileLength)
    guard cut > 0, let facts = atlas.hostFacts(of: totals.fileClusters - 1) else { return }
    let kinds: [Kind]
    switch facts.state {
    case .bitmap: kinds = [.bitmaps]
    case .leaked: kinds = [.leaked]
    case .free: kinds = [.freeAtTail]
    case .vmState: kinds = [.machineState]
    case .data, .compressed, .hole:
      let own: Kind = facts.users == .shared ? .shared : facts.users == .snapshots ? .snapshots : .disk
      kinds = [own, .disk, .shared, .snapshots]
    default: kinds = [.tables]
    }
    for kind in kinds {
      guard let index = rungs.firstIndex(where: { $0.kind == kind }), rungs[index].bytes >= cut else {
        continue
      }
      rungs[index].bytes -= cut
      return
    }
  }

  /// What the host keeps of it.
  private mutating func addKept(_ image: Image, _ totals: Totals, _ blocks: HostBlocks?) {
    let size = image.geometry.clusterSize
    if totals.host[.hole] > 0 {
      add(
        .holes, totals.host[.hole] &* size,
        "of the content above are holes of the file: clusters in use for which the host keeps nothing, never "
          + "written or given back")
    }
    if let blocks {
      add(
        .blocks, blocks.image,
        "what du says\(blocks.remark): holes take nothing, and a host that compresses takes less")
    }
    guard image.hasExternalData, let data = image.dataStorage else { return }
    add(.dataLength, data.length, "the length of the external data file, which holds the content")
    if let kept = blocks?.data {
      add(.dataBlocks, kept, "what the host keeps for the data file\(blocks?.remark ?? "")")
    }
  }
}
