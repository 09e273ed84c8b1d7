// Which compressed stream a byte of the file belongs to: a host cluster may hold parts of several, of the disk and of
// snapshots, and bytes between them that no stream covers.

import Qcow
package import QcowFormat
import Storage

/// A compressed stream as the entry that leads to it tells of it: it ends anywhere in its last sector.
package struct CompressedStream: Equatable, Sendable {
  /// Bytes of the file.
  package let range: Range<HostOffset>
  /// Whose entry it is; the disk's before those of snapshots.
  package let owner: Owner
}

/// What a byte of a cluster with compressed streams is part of.
package struct StreamPlace: Equatable, Sendable {
  /// The stream; nil between streams, and where ``isKnown`` says no.
  package let stream: CompressedStream?
  /// The bytes that are the same: up to where the next stream begins.
  package let range: Range<HostOffset>
  /// All streams of the cluster are known.
  package let isKnown: Bool
}

extension Owners {
  /// Clusters that one stream may touch, and one more.
  private static let mostClusters: UInt64 = 4

  /// The compressed streams that touch a cluster, by where they begin, and whether these are all.
  package func streams(in cluster: HostCluster) -> (streams: [CompressedStream], areAll: Bool) {
    let list = owners(of: cluster)
    let image = atlas.image
    var found: [UInt64: CompressedStream] = [:]
    for owner in list.owners {
      switch owner {
      case .compressed, .snapshotData, .beyond, .vmState: break
      default: continue
      }
      guard let place = owner.entry(in: image, bitmaps),
        let bytes = try? image.storage.bytes(at: place.value, count: 8)
      else { continue }
      let descriptor = BigEndian.u64(bytes, 0)
      guard L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: 0)).isCompressed else { continue }
      let extent = image.geometry.compressedExtent(of: descriptor)
      // The first owner that is found of a stream is the disk's, if it has it.
      guard found[extent.offset.value] == nil, extent.byteCount > 0 else { continue }
      found[extent.offset.value] = CompressedStream(
        range: extent.offset..<extent.offset + extent.byteCount, owner: owner)
    }
    let areAll = list.isComplete && list.ownerCount <= UInt64(list.owners.count)
    return (found.values.sorted { $0.range.lowerBound < $1.range.lowerBound }, areAll)
  }

  /// What a byte is part of; nil in a cluster without compressed streams.
  package func stream(at offset: HostOffset) -> StreamPlace? {
    let geometry = atlas.image.geometry
    let cluster = geometry.cluster(of: offset)
    let (here, areAll) = streams(in: cluster)
    guard !here.isEmpty else { return nil }
    let start = geometry.start(of: cluster)
    guard let stream = here.last(where: { $0.range.contains(offset) }) else {
      let low = here.map(\.range.upperBound).filter { $0 <= offset }.max() ?? start
      let high = here.map(\.range.lowerBound).filter { $0 > offset }.min() ?? start + geometry.clusterSize
      return StreamPlace(
        stream: nil, range: max(low, start)..<min(high, start + geometry.clusterSize), isKnown: areAll)
    }
    // The next stream may begin in the last sector of this one, in a cluster behind.
    var others = here
    var next = cluster.value + 1
    let last = geometry.cluster(of: HostOffset(stream.range.upperBound.value - 1)).value
    while next <= min(last, cluster.value + Self.mostClusters) {
      others += streams(in: HostCluster(next)).streams
      next += 1
    }
    var range = stream.range
    for other in others where other.range.lowerBound > stream.range.lowerBound {
      if other.range.lowerBound > offset {
        range = range.lowerBound..<min(range.upperBound, other.range.lowerBound)
      } else if other.range.upperBound <= offset {
        range = max(range.lowerBound, other.range.upperBound)..<range.upperBound
      }
    }
    return StreamPlace(stream: stream, range: range, isKnown: true)
  }
}
