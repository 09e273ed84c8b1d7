// The sheet of every lens that looks at bytes: each cell of the picture is measured on its clusters, in slices, and a
// cluster that both maps show is measured once.

import Qcow
import QcowFormat
import Storage

/// What a lens measures of a cluster, and what it makes of several.
protocol ClusterMeasure: AnyObject {
  associatedtype Answer
  /// Clusters of the file, and runs of the disk, that it says something of.
  static func isWorth(_ state: HostState) -> Bool
  static func isRunWorth(_ state: SubclusterState) -> Bool
  /// What the lens is about; empty if its name says it all.
  var subject: String { get }
  /// Does a piece of what must be known first; true when nothing of that is left.
  func prepare() -> Bool
  /// Nil for bytes that cannot be read, or that cannot be told of.
  func measure(_ cluster: SampledCluster) -> Answer?
  /// What a cell with these clusters shows; `range` are clusters of the image file, if it is a cell of that.
  func cell(_ answers: [Answer], of sample: ClusterSample, in range: Range<UInt64>?) -> LensCell
}

/// A lens on bytes.
final class SampleSheet<Measure: ClusterMeasure>: LensSheet {
  private static var maximumKept: Int { 1 << 16 }

  private let atlas: Atlas
  private let measure: Measure
  private let sampler: ClusterSampler
  private var queue = CellQueue()
  private var isPrepared = false
  private struct Key: Hashable {
    let isData: Bool
    let cluster: UInt64
    /// The disk reads it as something else than its bytes.
    let run: SubclusterState?
  }
  private var kept: [Key: Measure.Answer?] = [:]

  /// Begins nothing yet.
  init(_ atlas: Atlas, _ measure: Measure) {
    self.atlas = atlas
    self.measure = measure
    sampler = ClusterSampler(atlas: atlas, isWorth: Measure.isWorth, isRunWorth: Measure.isRunWorth)
  }

  var subject: String { measure.subject }
  var progress: Double { !isPrepared ? 0 : queue.progress }

  func step(budgetNanoseconds: UInt64) -> Bool {
    // Which clusters there are is known then.
    guard atlas.isDone else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isPrepared {
      isPrepared = measure.prepare()
      if clock.now >= end { return false }
    }
    return queue.step(until: end) { find($0) }
  }

  private func find(_ cell: CellQueue.Cell) -> LensCell {
    let sample: ClusterSample
    var file: Range<UInt64>?
    switch cell {
    case .disk(let bytes): sample = sampler.disk(bytes)
    case .file(let clusters):
      sample = sampler.file(clusters)
      file = clusters
    case .dataFile(let clusters):
      guard let storage = atlas.image.dataStorage else { return .nothing }
      sample = sampler.dataFile(clusters, storage)
    }
    var answers: [Measure.Answer] = []
    var isUnreadable = sample.isUnreadable
    var isStored = sample.clusters.isEmpty
    for cluster in sample.clusters {
      guard Self.isStored(cluster, atlas.image) else { continue }
      isStored = true
      let key = Key(isData: cluster.isData, cluster: cluster.cluster, run: cluster.run)
      let answer: Measure.Answer?
      if let found = kept[key] {
        answer = found
      } else {
        answer = measure.measure(cluster)
        if kept.count >= Self.maximumKept { kept = [:] }
        kept[key] = .some(answer)
      }
      if let answer { answers.append(answer) } else { isUnreadable = true }
    }
    if isUnreadable && answers.isEmpty { return LensCell(.unknown) }
    let found = measure.cell(answers, of: sample, in: file)
    return found.value == .nothing && !isStored && sample.compressed == 0 ? LensCell(.notStored) : found
  }

  /// The host keeps bytes of the cluster; an image in memory keeps all of them.
  private static func isStored(_ cluster: SampledCluster, _ image: Image) -> Bool {
    guard let storage = cluster.isData ? image.dataStorage : image.storage else { return false }
    let start = image.geometry.start(of: HostCluster(cluster.cluster)).value
    return StoredBytes.count(start..<start &+ image.geometry.clusterSize, in: storage) > 0
  }

  func guest(_ bytes: Range<UInt64>) -> LensCell { queue.answer(.disk(bytes)) }

  func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell {
    queue.answer(isData ? .dataFile(clusters) : .file(clusters))
  }
}
