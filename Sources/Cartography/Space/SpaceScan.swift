// Finds the space that an image could do without: from the atlas what nobody uses, from the snapshots' tables what
// only they have, and from the bytes of the disk what is zero. Only what the host stores is read.

import Qcow
import QcowFormat
import Storage

/// The scan; it goes on in slices, behind that of its atlas.
package final class SpaceScan: Work {
  private static let largestRead = 1 << 20

  private enum Phase { case atlas, host, snapshots, disk, done }

  /// What was found, once ``isDone``.
  package private(set) var result = ReclaimableSpace()
  private let atlas: Atlas
  private let readsData: Bool
  private var phase = Phase.atlas
  private var position: UInt64 = 0
  private var parts: [ReclaimableSpace.Kind: ReclaimableSpace.Part] = [:]
  private var sample = CompressionSample()
  private let buffer = CopyBuffer(largestRead)
  private lazy var sharing = SnapshotSharing(image, parts: 1)

  /// Begins nothing yet. Without `readsData` nothing of the guest's data is read, and what is zero or could be
  /// compressed stays unknown.
  package init(_ atlas: Atlas, readsData: Bool = true) {
    self.atlas = atlas
    self.readsData = readsData
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

  private func add(_ kind: ReclaimableSpace.Kind, _ clusters: UInt64, _ bytes: UInt64) {
    var part = parts[kind] ?? ReclaimableSpace.Part(kind: kind)
    part.clusters &+= clusters
    part.bytes &+= bytes
    parts[kind] = part
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
        if tail > first { add(.freeInside, tail - first, stored(first..<tail)) }
        if behind > tail { add(.freeAtTail, behind - tail, stored(tail..<behind)) }
      case .leaked: add(.leaked, count, stored(first..<behind))
      case .vmState where facts.users == .disk: add(.leftOverState, count, stored(first..<behind))
      case .bitmap: add(.bitmaps, count, stored(first..<behind))
      default: break
      }
    }
    result.stored = image.storage.allocatedBytes
    if image.hasExternalData, let data = image.dataStorage { result.stored &+= data.allocatedBytes }
    if let reason = atlas.partialReason { result.remarks.append(reason) }
    if let staleness = atlas.staleness { result.remarks.append(staleness.text) }
  }

  /// Bytes of a row of host clusters that the host stores.
  private func stored(_ clusters: Range<UInt64>) -> UInt64 {
    Self.stored(clusters.lowerBound &* clusterSize..<clusters.upperBound &* clusterSize, in: image.storage)
  }

  private static func stored(_ range: Range<UInt64>, in storage: any Storage) -> UInt64 {
    var bytes: UInt64 = 0
    var at = range.lowerBound
    let end = min(range.upperBound, storage.length)
    while at < end {
      let extent = storage.extent(at: at)
      let next = min(end, max(extent.end, at + 1))
      if !extent.isHole { bytes &+= next - at }
      at = next
    }
    return bytes
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
      part.bytes = holding.rows.reduce(0) { $0 &+ stored($1) }
      parts[part.kind] = part
      alone += holding.alone
    }
    let all = atlas.totals.snapshotClusters + atlas.totals.host[.snapshotTables]
    if all > alone { add(.snapshotsTogether, all - alone, (all - alone) &* clusterSize) }
    if let remark = sharing.remark { result.remarks.append(remark) }
  }

  // MARK: The disk

  /// Bytes that are looked at between two looks at the clock.
  private static let piece: UInt64 = 4 << 20

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
      let bytes = Self.stored(host.value..<host.value &+ run.length.value, in: storage)
      add(.zeroKept, run.length.value / clusterSize, bytes)
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
      defer { at += clusterSize }
      // A cluster that a snapshot has as well stays, whatever the disk does.
      let facts = image.hasExternalData ? nil : atlas.hostFacts(of: at / clusterSize)
      guard facts == nil || facts?.users == .disk else { continue }
      let bytes = Self.stored(at..<at &+ clusterSize, in: storage)
      if isZero(at..<at &+ clusterSize, storage) {
        add(.zeroData, 1, bytes)
      } else if !image.hasExternalData {
        sample.offer(at, clusterSize)
      }
    }
  }

  /// Every byte of a range is zero; ends with the first that is not.
  private func isZero(_ range: Range<UInt64>, _ storage: any Storage) -> Bool {
    var at = range.lowerBound
    // What a cluster with data holds mostly begins with it.
    var step: UInt64 = 4096
    while at < range.upperBound {
      let extent = storage.extent(at: at)
      if extent.isHole {
        at = min(range.upperBound, max(extent.end, at + 1))
        continue
      }
      let count = Int(min(step, min(extent.end, range.upperBound) - at))
      let bytes = unsafe buffer.part(0, count)
      do throws(StorageError) { unsafe try storage.read(at: at, into: bytes) } catch { return false }
      guard UnsafeRawBufferPointer(bytes).isZero else { return false }
      at += UInt64(count)
      step = UInt64(Self.largestRead)
    }
    return true
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
          kind: .compressible, clusters: UInt64(sample.taken), bytes: UInt64(max(0, bytes)))
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
