// From the size that the guest sees down to the blocks that the host keeps: each rung is a part of the file or a
// size of its own, with what it is and what moves it. The parts add up to the length of the file, to the byte.

import Qcow
import QcowFormat
import Storage

/// The sizes of an image, from the largest idea to the smallest fact.
package struct SizeLadder: Equatable, Sendable {
  /// One of them. Those from ``disk`` to ``freeAtTail`` are parts of the file.
  package enum Kind: String, CaseIterable, Sendable {
    case virtual = "virtual size"
    case mapped
    case disk = "the disk alone"
    case shared = "shared"
    case snapshots = "snapshots alone"
    case machineState = "machine state"
    case bitmaps
    case tables
    case leaked
    case freeInside = "free inside"
    case freeAtTail = "free at the end"
    case length = "file length"
    case blocks = "host blocks"
    case dataLength = "data file"
    case dataBlocks = "its host blocks"
    case cache = "L2 cache"
  }

  /// One size.
  package struct Rung: Equatable, Sendable {
    package let kind: Kind
    package let bytes: UInt64
    /// What it is, without a full stop.
    package let meaning: String
    /// The words of the program that move it; nil if nothing does. `IMAGE` stands for the file.
    package let remedy: String?
  }

  /// From the top down; what an image of this kind cannot have is left out.
  package let rungs: [Rung]

  /// The rung of a kind; nil if the image has none.
  package subscript(kind: Kind) -> Rung? { rungs.first { $0.kind == kind } }

  /// What the atlas has counted so far. `blocks` is what the host keeps for the file; nil if no file is there.
  package init(_ atlas: Atlas, blocks: UInt64?) {
    let (image, totals) = (atlas.image, atlas.totals)
    let geometry = image.geometry
    let size = geometry.clusterSize
    var rungs: [Rung] = []
    func add(_ kind: Kind, _ bytes: UInt64, _ meaning: String, _ remedy: String? = nil) {
      rungs.append(Rung(kind: kind, bytes: bytes, meaning: meaning, remedy: remedy))
    }
    add(.virtual, geometry.virtualSize, "what the guest sees", "resize IMAGE SIZE")
    add(
      .mapped, totals.guestData,
      "of the disk have their bytes here; the rest is zeroes, or a layer below answers",
      "io -c 'discard OFF LEN' IMAGE")
    add(.disk, totals.diskClusters &* size, "content that only the disk as it is now has")
    if !image.snapshots.isEmpty || totals.sharedClusters + totals.snapshotClusters > 0 {
      let state = totals.host[.vmState] - min(totals.host[.vmState], totals.leftOverState)
      let alone = totals.snapshotClusters - min(totals.snapshotClusters, state)
      add(
        .shared, totals.sharedClusters &* size,
        "content of the disk that snapshots keep too: a write copies first",
        "snapshot -d NAME IMAGE")
      add(.snapshots, alone &* size, "content that only snapshots keep", "snapshot -d NAME IMAGE")
    }
    if totals.host[.vmState] > 0 {
      add(
        .machineState, totals.host[.vmState] &* size,
        totals.leftOverState > 0
          ? "saved machine state; \(totals.leftOverState) clusters of it belong to no snapshot any more"
          : "saved machine state", "snapshot -d NAME IMAGE")
    }
    if totals.host[.bitmap] > 0 {
      add(
        .bitmaps, totals.host[.bitmap] &* size, "bitmaps of what changed, for backups",
        "bitmap --remove IMAGE NAME")
    }
    add(
      .tables, totals.metadata - min(totals.metadata, totals.host[.bitmap] &* size),
      "header, refcounts, L1 and L2 tables, those of snapshots too")
    if totals.host[.leaked] > 0 {
      add(
        .leaked, totals.host[.leaked] &* size, "a refcount counts them, and nothing refers to them",
        "check -r leaks IMAGE")
    }
    let inside = totals.freeClusters - min(totals.freeClusters, totals.freeAtTail)
    add(.freeInside, inside &* size, "nobody uses them; new clusters go there first", "defrag IMAGE")
    add(.freeAtTail, totals.freeAtTail &* size, "nobody uses them, and nothing lies behind", "defrag IMAGE")
    let whole = totals.fileClusters &* size
    let cut = whole - min(whole, totals.fileLength)
    add(
      .length, totals.fileLength,
      cut == 0
        ? "what ls -l says: all parts above"
        : "what ls -l says: all parts above but \(cut) bytes of the last cluster")
    if let blocks {
      add(.blocks, blocks, "what du says: holes take nothing, and a host that compresses takes less")
    }
    if image.hasExternalData, let data = image.dataStorage {
      add(.dataLength, data.length, "the length of the external data file, which holds the content")
      add(.dataBlocks, data.allocatedBytes, "what the host keeps for the data file")
    }
    let tables = geometry.l1Entries(for: geometry.virtualSize).multipliedReportingOverflow(by: size)
    add(
      .cache, tables.overflow ? .max : tables.partialValue,
      "memory that keeps every L2 table of a full disk at hand; QEMU takes 32 MiB at most unless l2-cache-size says more"
    )
    self.rungs = rungs
  }

  /// The parts of the file, those that ``Kind/length`` is made of.
  package var parts: ArraySlice<Rung> {
    let first = rungs.firstIndex { $0.kind == .disk } ?? rungs.endIndex
    let end = rungs.firstIndex { $0.kind == .length } ?? rungs.endIndex
    return rungs[first..<max(first, end)]
  }
}
