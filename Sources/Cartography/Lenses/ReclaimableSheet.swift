// Where bytes could be given back, by the kinds of space that an image could do without. What follows from the map of
// the file is counted; which clusters hold nothing but zeroes is measured.

import Qcow
import QcowFormat
import Storage

/// Tells of clusters why they could go.
final class ReclaimableMeasure: ClusterMeasure {
  private let atlas: Atlas
  private let owners: Owners
  private let bytes = StoredBytes()
  /// The first cluster behind the last one in use.
  private lazy var used = geometry.cluster(of: HostOffset(atlas.totals.imageEnd)).value
  private var image: Image { atlas.image }
  private var geometry: Geometry { image.geometry }

  init(_ atlas: Atlas) {
    self.atlas = atlas
    owners = Owners(atlas, maximumOwners: 2, maximumSnapshots: 2)
  }

  static func isWorth(_ state: HostState) -> Bool {
    switch state {
    case .wrong, .pastEnd: false
    default: true
    }
  }

  static func isRunWorth(_ state: SubclusterState) -> Bool { state.hasHost }

  var subject: String { isEncrypted ? "the disk is encrypted: zeroes in it are not known" : "" }
  func prepare() -> Bool { true }
  private var isEncrypted: Bool { image.header.cryptMethod != 0 }

  /// Why a cluster could go; nil if it is needed.
  struct Answer {
    let kind: ReclaimableSpace.Kind?
  }

  func measure(_ cluster: SampledCluster) -> Answer? {
    let start = geometry.start(of: HostCluster(cluster.cluster)).value
    guard let storage = cluster.isData ? image.dataStorage : image.storage else { return nil }
    return Answer(kind: kind(cluster, start, storage))
  }

  private func kind(
    _ cluster: SampledCluster, _ start: UInt64, _ storage: any Storage
  ) -> ReclaimableSpace.Kind? {
    if let facts = cluster.facts, let kind = kind(facts, cluster.cluster) { return kind }
    // A cluster that a snapshot has as well stays, whatever the disk does.
    if let facts = cluster.facts, facts.state != .data || facts.users != .disk { return nil }
    if let run = cluster.run ?? self.run(of: cluster), run != .data {
      // Where a layer below answers, nothing reads as zeroes by itself.
      return run == .zeroMapped || image.backing == nil ? .zeroKept : nil
    }
    guard !isEncrypted else { return nil }
    return bytes.areZero(start..<start &+ geometry.clusterSize, in: storage) ? .zeroData : nil
  }

  /// What the map of the file says without a look at bytes.
  private func kind(_ facts: HostFacts, _ cluster: UInt64) -> ReclaimableSpace.Kind? {
    switch facts.state {
    case .free: return cluster >= used ? .freeAtTail : .freeInside
    case .leaked: return .leaked
    case .vmState where facts.users == .disk: return .leftOverState
    case .bitmap: return .bitmaps
    case .snapshotTables: return .snapshotsTogether
    case .data, .compressed, .vmState: return facts.users == .snapshots ? .snapshotsTogether : nil
    default: return nil
    }
  }

  /// What the disk reads in all of a cluster of the file; nil if that is not one thing.
  private func run(of cluster: SampledCluster) -> SubclusterState? {
    guard !cluster.isData,
      case .data(_, _, _, let guest) = owners.owners(of: HostCluster(cluster.cluster)).owners.first,
      let run = try? image.mapping(at: guest, limit: ByteCount(geometry.clusterSize)), run.state.hasHost
    else { return nil }
    return run.length.value >= min(geometry.clusterSize, geometry.virtualSize - guest.value) ? run.state : nil
  }

  func cell(_ answers: [Answer], of sample: ClusterSample, in range: Range<UInt64>?) -> LensCell {
    var kinds: [ReclaimableSpace.Kind: UInt64] = [:]
    for case let kind? in answers.map(\.kind) { kinds[kind, default: 0] += 1 }
    let others = answers.count { $0.kind == nil }
    var isCounted = false
    if let range, sample.isPartial {
      // What was taken stands for all, but for what is counted.
      let counts = atlas.hostCounts(clusters: range)
      let step = max(1, counts.total / UInt64(max(1, answers.count)))
      kinds = kinds.mapValues { $0 &* step }
      let known: [(ReclaimableSpace.Kind, UInt64)] = [
        (.leaked, counts[.leaked]), (.bitmaps, counts[.bitmap]), (.leftOverState, counts[mark: .leftOver]),
        (.snapshotsTogether, counts[mark: .snapshots] + counts[.snapshotTables]),
      ]
      for (kind, count) in known { kinds[kind] = count > 0 ? count : nil }
      isCounted = true
    }
    guard
      let most = kinds.max(by: { ($0.value, $1.key.name) < ($1.value, $0.key.name) })
    else { return answers.isEmpty ? .nothing : LensCell(.needed) }
    let isExact: Bool
    switch most.key {
    case .leaked, .bitmaps, .leftOverState, .snapshotsTogether: isExact = isCounted || !sample.isPartial
    default: isExact = !sample.isPartial
    }
    return LensCell(
      .space(most.key, isSample: !isExact), isMixed: kinds.count > 1 || others > 0 || sample.compressed > 0)
  }
}

extension Atlas {
  /// The sheet of what could be given back.
  package var reclaimableSheet: any LensSheet { SampleSheet(self, ReclaimableMeasure(self)) }
}
