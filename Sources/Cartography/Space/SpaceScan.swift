// Finds the space that an image could do without: from the atlas what nobody uses, from the snapshots' tables what
// only they have, and from the bytes of the disk what is zero. Only what the host stores is read.

import Qcow
import QcowFormat
import Storage

/// The scan; it goes on in slices, behind that of its atlas.
package final class SpaceScan: Work {
  private enum Phase { case atlas, host, snapshots, disk, done }

  /// What was found, once ``isDone``.
  package private(set) var result = ReclaimableSpace()
  private let atlas: Atlas
  private let readsData: Bool
  private var phase = Phase.atlas
  private var position: UInt64 = 0
  private var parts: [ReclaimableSpace.Kind: ReclaimableSpace.Part] = [:]
  private var sample = CompressionSample()
  private let zeroes = StoredBytes()
  /// Long rows of host clusters of the disk alone that are holes of the file, in order.
  private var holes: [Range<UInt64>] = []
  /// Shorter ones are looked at one by one.
  private static let longHole: UInt64 = 16
  private lazy var sharing = SnapshotSharing(image, parts: 1)

  /// Begins nothing yet. Without `readsData` nothing of the guest's data is read, and what is zero or could be
  /// compressed stays unknown.
  /// `blocks` is what the host keeps for the files, if there is a file of what is looked at.
  package init(_ atlas: Atlas, readsData: Bool = true, blocks: HostBlocks?) {
    self.atlas = atlas
    self.readsData = readsData
    result.blocks = blocks
  }

  private var image: Image { atlas.image }
  private var geometry: Geometry { image.geometry }
  private var clusterSize: UInt64 { geometry.clusterSize }

  /// Everything has been looked at.
  package var isDone: Bool { phase == .done }

  package var progress: Double {
    switch phase {
    case .atlas: atlas.progress / 4
    case .host, .snapshots: 0.25
    case .disk: 0.25 + 0.75 * Double(position) / Double(max(1, geometry.virtualSize))
    case .done: 1
    }
  }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      switch phase {
      case .atlas:
        if atlas.step(budgetNanoseconds: min(budgetNanoseconds, 20_000_000)) { phase = .host }
      case .host:
        lookAtFile()
        phase = .snapshots
      case .snapshots:
        guard image.snapshots.isEmpty || sharing.step(budgetNanoseconds: 20_000_000) else { continue }
        lookAtSnapshots()
        phase = .disk
      case .disk: lookAtDisk()
      case .done: return true
      }
    } while clock.now < end
    return isDone
  }

  private func add(_ kind: ReclaimableSpace.Kind, _ clusters: UInt64, _ bytes: UInt64, stored: UInt64) {
    var part = parts[kind] ?? ReclaimableSpace.Part(kind: kind)
    part.clusters &+= clusters
    part.bytes &+= bytes
    part.stored = (part.stored ?? 0) &+ stored
    parts[kind] = part
  }

  /// Clusters of the image file, of which the last one may be cut.
  private func add(_ kind: ReclaimableSpace.Kind, _ clusters: Range<UInt64>) {
    let length = image.storage.length
    func place(_ cluster: UInt64) -> UInt64 { min(cluster &* clusterSize, length) }
    add(
      kind, clusters.upperBound - clusters.lowerBound,
      place(clusters.upperBound) - place(clusters.lowerBound), stored: stored(clusters))
  }

  // MARK: The file

  private func lookAtFile() {
    let totals = atlas.totals
    let used = geometry.cluster(of: HostOffset(totals.imageEnd)).value
    atlas.hostRuns { first, count, facts in
      let behind = first &+ count
      switch facts.state {
      case .free:
        let tail = min(max(first, used), behind)
        if tail > first { add(.freeInside, first..<tail) }
        if behind > tail { add(.freeAtTail, tail..<behind) }
      case .leaked: add(.leaked, first..<behind)
      case .vmState where facts.users == .disk: add(.leftOverState, first..<behind)
      case .bitmap: add(.bitmaps, first..<behind)
      case .hole where facts.users == .disk && count >= Self.longHole: holes.append(first..<behind)
      default: break
      }
    }
    if let reason = atlas.partialReason { result.remarks.append(reason) }
    if let staleness = atlas.staleness { result.remarks.append(staleness.text) }
  }

  /// Bytes of a row of host clusters that the host stores.
  private func stored(_ clusters: Range<UInt64>) -> UInt64 {
    StoredBytes.count(
      clusters.lowerBound &* clusterSize..<clusters.upperBound &* clusterSize, in: image.storage)
  }

  // MARK: Snapshots

  /// What each snapshot holds alone, once ``sharing`` is done.
  private func lookAtSnapshots() {
    var alone: UInt64 = 0
    for holding in sharing.counted {
      guard let index = holding.snapshot else { continue }
      var part = ReclaimableSpace.Part(kind: .snapshot(index))
      part.clusters = holding.alone
      part.shared = holding.used - min(holding.used, holding.alone)
      part.bytes = holding.alone &* clusterSize
      part.stored = holding.rows.reduce(0) { $0 &+ stored($1) }
      parts[part.kind] = part
      alone += holding.alone
    }
    let all = atlas.totals.snapshotClusters + atlas.totals.host[.snapshotTables]
    if all > alone {
      var part = ReclaimableSpace.Part(kind: .snapshotsTogether)
      (part.clusters, part.bytes, part.stored) = (all - alone, (all - alone) &* clusterSize, nil)
      parts[part.kind] = part
    }
    if let remark = sharing.remark { result.remarks.append(remark) }
  }

  // MARK: The disk

  /// Bytes that are looked at between two looks at the clock.
  private static let piece: UInt64 = 32 << 20

  private func lookAtDisk() {
    guard position < geometry.virtualSize else { return finish() }
    let run: Mapping
    do throws(ImageError) {
      run = try image.mapping(
        at: GuestOffset(position), limit: ByteCount(min(Self.piece, geometry.virtualSize - position)))
    } catch {
      // A table that cannot be read: what it maps is not known.
      if !result.remarks.contains(Self.unreadable) { result.remarks.append(Self.unreadable) }
      position = min(geometry.virtualSize, (position / tableSpan + 1) &* tableSpan)
      return
    }
    position = min(geometry.virtualSize, run.end.value)
    guard let host = run.host, run.state.hasHost, let storage = image.dataStorage else { return }
    switch run.state {
    case .zeroMapped:
      let bytes = StoredBytes.count(host.value..<host.value &+ run.length.value, in: storage)
      add(.zeroKept, run.length.value / clusterSize, run.length.value, stored: bytes)
    case .data where readsData && !isEncrypted: lookAtData(host.value, run.length.value, storage)
    default: break
    }
  }

  private static let unreadable = "some tables cannot be read, and what they map is not counted"
  /// Bytes of the disk that one L2 table maps.
  private var tableSpan: UInt64 { geometry.guestOffset(l1Index: 1, l2Index: 0).value }
  private var isEncrypted: Bool { image.header.cryptMethod != 0 }

  /// Whole clusters of a row of them.
  private func lookAtData(_ start: UInt64, _ length: UInt64, _ storage: any Storage) {
    var at = (start + clusterSize - 1) / clusterSize &* clusterSize
    let end = start &+ length
    while at < end, end - at >= clusterSize {
      let hole = wholeHole(at, end, storage)
      if hole > 0 {
        add(.zeroData, hole, hole &* clusterSize, stored: 0)
        at += hole &* clusterSize
        continue
      }
      defer { at += clusterSize }
      // A cluster that a snapshot has as well stays, whatever the disk does.
      let facts = image.hasExternalData ? nil : atlas.hostFacts(of: at / clusterSize)
      guard facts == nil || facts?.users == .disk else { continue }
      let bytes = StoredBytes.count(at..<at &+ clusterSize, in: storage)
      if zeroes.areZero(at..<at &+ clusterSize, in: storage) {
        add(.zeroData, 1, clusterSize, stored: bytes)
      } else if !image.hasExternalData {
        sample.offer(at, clusterSize)
      }
    }
  }

  /// Whole clusters from a byte on that are one hole of the file and the disk's alone: zeroes that need not be read.
  private func wholeHole(_ at: UInt64, _ end: UInt64, _ storage: any Storage) -> UInt64 {
    if image.hasExternalData {
      let extent = storage.extent(at: at)
      return extent.isHole && extent.end > at ? (min(extent.end, end) - at) / clusterSize : 0
    }
    let cluster = at / clusterSize
    var (low, high) = (0, holes.count)
    while low < high {
      let middle = (low + high) / 2
      if holes[middle].upperBound > cluster { high = middle } else { low = middle + 1 }
    }
    guard low < holes.count, holes[low].contains(cluster) else { return 0 }
    return min(holes[low].upperBound, end / clusterSize) - cluster
  }

  private func finish() {
    phase = .done
    if readsData && isEncrypted {
      result.remarks.append("the disk is encrypted, so that what is zero or could be compressed is not known")
    } else if readsData {
      sample.compress(image)
      if sample.taken > 0, sample.saved > 0 {
        let bytes = Double(sample.seen) * Double(clusterSize) * sample.saved
        parts[.compressible] = ReclaimableSpace.Part(
          kind: .compressible, clusters: UInt64(sample.taken), bytes: UInt64(max(0, bytes)), stored: nil)
      }
    }
    let order: [ReclaimableSpace.Kind] =
      [.zeroData, .zeroKept, .freeInside, .freeAtTail, .leaked, .leftOverState, .bitmaps]
      + image.snapshots.indices.map { .snapshot($0) } + [.snapshotsTogether, .compressible]
    result.parts = order.compactMap { parts[$0] }.filter { part in
      if case .snapshot = part.kind { return true }
      return part.clusters > 0
    }
  }
}

/// A few clusters of many, of which each is chosen with the same chance; the same image has always the same.
private struct CompressionSample {
  private static let size = 64
  private var places: [UInt64] = []
  private var random: UInt64 = 0x9e37_79b9_7f4a_7c15
  /// Clusters that were offered.
  private(set) var seen: UInt64 = 0
  /// Clusters that were compressed.
  private(set) var taken = 0
  /// The share of their bytes that compressing saves, 0 ... 1.
  private(set) var saved = 0.0

  mutating func offer(_ place: UInt64, _ clusterSize: UInt64) {
    seen += 1
    guard places.count >= Self.size else { return places.append(place) }
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    let slot = random % seen
    if slot < UInt64(Self.size) { places[Int(slot)] = place }
  }

  mutating func compress(_ image: Image) {
    let size = Int(image.geometry.clusterSize)
    var packed = 0
    for place in places {
      guard let bytes = try? image.storage.bytes(at: place, count: size) else { continue }
      packed += CompressionTrial.size(of: bytes, type: image.header.compressionType)
      taken += 1
    }
    if taken > 0 { saved = 1 - Double(packed) / Double(taken * size) }
  }
}
