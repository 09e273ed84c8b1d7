// How much smaller the clusters of every cell would be if they were compressed.

import Qcow
import QcowFormat
import Storage

/// Compresses clusters, and forgets the streams.
final class CompressibleMeasure: ClusterMeasure {
  private let image: Image

  init(_ image: Image) { self.image = image }

  static func isWorth(_ state: HostState) -> Bool { state == .data }
  static func isRunWorth(_ state: SubclusterState) -> Bool { state == .data }

  var subject: String { isEncrypted ? "the disk is encrypted: not known" : "" }
  func prepare() -> Bool { true }

  /// What is stored is as long as before, whatever the guest's bytes are.
  private var isEncrypted: Bool { image.header.cryptMethod != 0 }

  /// Bytes of the stream, or of the cluster where that would not be shorter.
  func measure(_ cluster: SampledCluster) -> Int? {
    guard !isEncrypted, let storage = cluster.isData ? image.dataStorage : image.storage else { return nil }
    let start = image.geometry.start(of: HostCluster(cluster.cluster)).value
    let size = Int(image.geometry.clusterSize)
    guard start < storage.length else { return nil }
    do throws(StorageError) {
      let count = Int(min(UInt64(size), storage.length - start))
      var bytes = try storage.bytes(at: start, count: count)
      bytes.append(contentsOf: repeatElement(0, count: size - count))
      // One of zeroes needs no cluster at all.
      if unsafe bytes.withUnsafeBytes({ unsafe $0.isZero }) { return 0 }
      return CompressionTrial.size(of: bytes, type: image.header.compressionType, effort: .low)
    } catch { return nil }
  }

  func cell(_ answers: [Int], of sample: ClusterSample, in range: Range<UInt64>?) -> LensCell {
    guard !answers.isEmpty else { return .nothing }
    let whole = UInt64(answers.count) &* image.geometry.clusterSize
    let packed = UInt64(answers.reduce(0, +))
    return LensCell(.saving(whole - min(whole, packed), of: whole, isSample: sample.isPartial))
  }
}

extension Atlas {
  /// The sheet of what compressing would save.
  package var compressibleSheet: any LensSheet { SampleSheet(self, CompressibleMeasure(image)) }
}
