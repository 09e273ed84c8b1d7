// What the bytes of every cell look like, and where that contradicts what the tables say of them.

import QcowFormat
import Qcow
import Storage

/// Looks at clusters.
final class LooksMeasure: ClusterMeasure {
  private let scan: LooksScan
  private let image: Image
  private let fileClusters: UInt64
  private lazy var data = image.dataStorage.map {
    ReadWindow($0, longest: Int(image.geometry.clusterSize))
  }
  private var isBroken = false

  init(_ atlas: Atlas) {
    scan = LooksScan(atlas)
    image = atlas.image
    fileClusters = atlas.fileClusters
  }

  static func isWorth(_ state: HostState) -> Bool {
    switch state {
    case .free, .hole, .wrong, .pastEnd: false
    default: true
    }
  }

  static func isRunWorth(_ state: SubclusterState) -> Bool { state == .data }

  /// A cluster.
  struct Answer {
    let shape: ClusterShape
    let contradicts: Bool
    /// It says what is wrong, and nothing of what most of the cell is.
    var isExtra = false
  }

  var subject: String { "" }

  func prepare() -> Bool {
    do throws(StorageError) { return try scan.prepare() } catch {
      // Every cluster that needs it says so itself.
      isBroken = true
      return true
    }
  }

  func measure(_ cluster: SampledCluster) -> Answer? {
    guard !isBroken else { return nil }
    do throws(StorageError) {
      if cluster.isData {
        let place = image.geometry.start(of: HostCluster(cluster.cluster)).value
        guard let data, place < image.dataStorage?.length ?? 0 else { return nil }
        let bytes = unsafe try data.bytes(at: place, count: Int(image.geometry.clusterSize))
        return unsafe Answer(shape: ClusterShape.content(bytes), contradicts: false)
      }
      let host = HostCluster(cluster.cluster)
      guard cluster.cluster < fileClusters else { return nil }
      if let look = try scan.look(at: host) {
        return Answer(shape: look.shape, contradicts: look.isBroken, isExtra: cluster.isExtra)
      }
      return Answer(shape: try scan.shape(at: host), contradicts: false)
    } catch { return nil }
  }

  func cell(_ answers: [Answer], of sample: ClusterSample, in range: Range<UInt64>?) -> LensCell {
    var counts: [ClusterShape: Int] = [:]
    let even = answers.filter { !$0.isExtra }
    for answer in even.isEmpty ? answers : even { counts[answer.shape, default: 0] += 1 }
    if sample.compressed > 0 { counts[.compressed, default: 0] += sample.compressed }
    let isMixed = counts.count > 1
    if answers.contains(where: \.contradicts) { return LensCell(.contradiction, isMixed: isMixed) }
    guard
      let most = counts.max(by: { ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue) })
    else { return .nothing }
    return LensCell(.shape(most.key, isSample: sample.isPartial), isMixed: isMixed)
  }
}

extension Atlas {
  /// The sheet of what bytes look like.
  package var looksSheet: any LensSheet { SampleSheet(self, LooksMeasure(self)) }
}
