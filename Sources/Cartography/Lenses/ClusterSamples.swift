// The clusters that speak for a cell: all of them where the cell stands for a few, else some that lie evenly in it.
// What lenses say that look at bytes is measured on them.

import Qcow
import QcowFormat
import Storage

/// A cluster of a file that is measured.
struct SampledCluster {
  /// It is one of the external data file.
  let isData: Bool
  /// The cluster of its file.
  let cluster: UInt64
  /// What the map of the image file says of it; nil in the data file.
  let facts: HostFacts?
  /// What the disk reads there; nil if it was found by the file.
  let run: SubclusterState?
  /// It was taken besides those that lie evenly, because it is a table.
  var isExtra = false
}

/// The clusters of a cell.
struct ClusterSample {
  var clusters: [SampledCluster] = []
  /// There are more than were taken.
  var isPartial = false
  /// Guest clusters with compressed bytes among those looked at.
  var compressed = 0
  /// A table could not be read, so that something may be missing.
  var isUnreadable = false
}

/// Chooses them.
struct ClusterSampler {
  /// Bytes of clusters that are read for one cell.
  private static let bytesPerCell: UInt64 = 512 << 10
  /// Clusters with tables that one cell is asked for beside the others.
  private static let maximumTables = 32
  /// Clusters of a part of a cell that are passed until one is found.
  private static let patience: UInt64 = 4096
  private static let runsPerPart = 32

  let atlas: Atlas
  /// Clusters of the file that say something.
  let isWorth: (HostState) -> Bool
  /// The same of runs of the disk.
  let isRunWorth: (SubclusterState) -> Bool
  private var image: Image { atlas.image }
  private var geometry: Geometry { image.geometry }

  /// Clusters of a cell that are taken at most.
  var most: UInt64 { max(1, min(16, Self.bytesPerCell / geometry.clusterSize)) }

  /// Those of a part of the image file.
  func file(_ range: Range<UInt64>) -> ClusterSample {
    var sample = ClusterSample()
    let range = range.clamped(to: 0..<atlas.hostClusters)
    guard !range.isEmpty else { return sample }
    func add(_ cluster: UInt64, _ facts: HostFacts) {
      sample.clusters.append(SampledCluster(isData: false, cluster: cluster, facts: facts, run: nil))
    }
    guard UInt64(range.count) > most else {
      for cluster in range {
        if let facts = atlas.hostFacts(of: cluster), isWorth(facts.state) { add(cluster, facts) }
      }
      return sample
    }
    let counts = atlas.hostCounts(clusters: range)
    let worth = HostState.allCases.reduce(UInt64(0)) { $0 &+ (isWorth($1) ? counts[$1] : 0) }
    guard worth > 0 else { return sample }
    for part in parts(range) {
      var found = false
      let end = min(part.upperBound, part.lowerBound + Self.patience)
      _ = atlas.survey.classifier.classify(part.lowerBound..<end) { first, _, facts in
        guard !found, self.isWorth(facts.state) else { return }
        found = true
        add(first, facts)
      }
    }
    addTables(of: range, counts, to: &sample)
    sample.isPartial = UInt64(sample.clusters.count) < worth
    return sample
  }

  /// Tables are few, and one that is wrong says more than the data beside it.
  private func addTables(
    of range: Range<UInt64>, _ counts: StateCounts<HostState>, to sample: inout ClusterSample
  ) {
    let tables = HostState.allCases.filter { $0.isMetadata && isWorth($0) && counts[$0] > 0 }
    guard !tables.isEmpty, range.count <= 1 << 16 else { return }
    let taken = Set(sample.clusters.map(\.cluster))
    var found: [SampledCluster] = []
    _ = atlas.survey.classifier.classify(range) { first, count, facts in
      guard facts.state.isMetadata, self.isWorth(facts.state) else { return }
      for cluster in first..<first + count where found.count < Self.maximumTables && !taken.contains(cluster)
      {
        found.append(SampledCluster(isData: false, cluster: cluster, facts: facts, run: nil, isExtra: true))
      }
    }
    sample.clusters += found
  }

  /// Those of a part of the data file.
  func dataFile(_ range: Range<UInt64>, _ storage: any Storage) -> ClusterSample {
    var sample = ClusterSample()
    let range = range.clamped(to: 0..<geometry.clustersCovering(storage.length))
    guard !range.isEmpty else { return sample }
    let all = UInt64(range.count) <= most ? Array(range) : parts(range).map(\.lowerBound)
    sample.isPartial = all.count < range.count
    for cluster in all
    where !storage.extent(at: geometry.start(of: HostCluster(cluster)).value).isHole {
      sample.clusters.append(SampledCluster(isData: true, cluster: cluster, facts: nil, run: nil))
    }
    return sample
  }

  /// Those that a part of the disk is mapped to.
  func disk(_ bytes: Range<UInt64>) -> ClusterSample {
    var sample = ClusterSample()
    let size = geometry.clusterSize
    let range = bytes.clamped(to: 0..<geometry.virtualSize)
    guard !range.isEmpty else { return sample }
    if UInt64(range.count) <= size {
      addFirst(of: range, to: &sample)
      return sample
    }
    let clusters = range.lowerBound / size..<geometry.clustersCovering(range.upperBound)
    sample.isPartial = UInt64(clusters.count) > most
    let pieces = sample.isPartial ? parts(clusters) : clusters.map { $0..<$0 + 1 }
    for part in pieces {
      addFirst(of: part.lowerBound &* size..<min(range.upperBound, part.upperBound &* size), to: &sample)
    }
    return sample
  }

  /// The first cluster of a range of the disk that says something.
  private func addFirst(of range: Range<UInt64>, to sample: inout ClusterSample) {
    var at = range.lowerBound
    for _ in 0..<Self.runsPerPart where at < range.upperBound {
      let run: Mapping
      do throws(ImageError) {
        run = try image.mapping(at: GuestOffset(at), limit: ByteCount(range.upperBound - at))
      } catch {
        sample.isUnreadable = true
        return
      }
      if run.state == .compressed { sample.compressed += 1 }
      if isRunWorth(run.state), let host = run.host {
        let cluster = geometry.cluster(of: host).value
        sample.clusters.append(
          SampledCluster(
            isData: geometry.hasExternalData, cluster: cluster,
            facts: geometry.hasExternalData ? nil : atlas.hostFacts(of: cluster), run: run.state))
        return
      }
      at = max(at + 1, run.end.value)
    }
  }

  /// A range in ``most`` parts of nearly the same size.
  private func parts(_ range: Range<UInt64>) -> [Range<UInt64>] {
    let count = UInt64(range.count)
    // At most 2^55 clusters and 16 parts.
    return (0..<most).map { part in
      range.lowerBound + count * part / most..<range.lowerBound + count * (part + 1) / most
    }
  }
}
