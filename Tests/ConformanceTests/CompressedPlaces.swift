// Where random scripts write compressed clusters, and when they must not: QEMU goes on behind the last
// stream even when its host cluster was freed and given to somebody else, and destroys what is there.
// Nobody wants those bytes, so scripts stay away from them; as long as the cluster is free they go on.

import EngineSupport
import Foundation
import Qcow
import TestSupport

/// Follows the clusters of a script as far as compressed writes need it.
struct CompressedPlaces {
  private let size: UInt64
  private let clusterSize: UInt64
  /// Clusters that certainly have no place in the file.
  private var free: Set<UInt64>
  /// Clusters that may be compressed.
  private var compressed: Set<UInt64> = []
  /// Clusters whose stream may be the last one of this session.
  private var last: Set<UInt64> = []
  /// The last stream of this session may be gone, and nothing has been allocated since. The only
  /// place for the next one is below this L2 table, which needs no cluster of its own.
  private var looseTable: UInt64?
  /// The cluster of the last stream may belong to somebody else.
  private var isStale = false
  /// Guest clusters that one L2 table maps.
  private let perTable: UInt64
  /// No refcount block is made after the first.
  private let hasOneBlock: Bool

  init(_ create: Image.CreateOptions) {
    size = create.size
    clusterSize = create.clusterSize
    perTable = create.clusterSize / (create.extendedL2 ? 16 : 8)
    let count = (create.size + create.clusterSize - 1) / create.clusterSize
    hasOneBlock = 2 * count + 16 < create.clusterSize * 8 / UInt64(create.refcountBits)
    free = create.preallocation == .off ? Set(0..<count) : []
  }

  /// A compressed write of one cluster; nil while there must be none.
  func request(_ random: inout SplitMix64) -> GuestRequest? {
    guard !isStale else { return nil }
    let count = (size + clusterSize - 1) / clusterSize
    func any() -> UInt64 {
      guard let looseTable else { return random.below(count) }
      return looseTable * perTable + random.below(min(perTable, count - looseTable * perTable))
    }
    var cluster = any()
    // Most of the time one that is free; now and then whatever comes, which may be refused.
    if random.below(5) > 0 {
      var tries = 0
      while !free.contains(cluster), tries < 20 {
        cluster = any()
        tries += 1
      }
    }
    let offset = cluster * clusterSize
    let length = min(clusterSize, size - offset)
    if random.below(3) == 0 {
      return .compress(offset: offset, count: length, byte: UInt8(1 + random.below(255)))
    }
    return .compressMixed(
      offset: offset, count: length, source: Int(random.below(UInt64(MixedBytes.sources.count))))
  }

  /// A request as it may go to the tools. Of many pieces over compressed clusters QEMU gives the old clusters back
  /// whenever one is done, and also if a table has to be made meanwhile. So such a write is cut to one cluster.
  func tamed(_ request: GuestRequest) -> GuestRequest {
    func cut(_ offset: UInt64, _ count: UInt64) -> (offset: UInt64, count: UInt64) {
      let clusters = offset / clusterSize...((offset + count - 1) / clusterSize)
      let isShort =
        clusters.count <= 8 && clusters.lowerBound / perTable == clusters.upperBound / perTable && hasOneBlock
      guard clusters.count > 1, !isShort, let cluster = clusters.first(where: compressed.contains) else {
        return (offset, count)
      }
      let start = max(offset, cluster * clusterSize)
      return (start, min(offset + count, (cluster + 1) * clusterSize) - start)
    }
    switch request {
    case .write(let offset, let count, let byte):
      let part = cut(offset, count)
      return .write(offset: part.offset, count: part.count, byte: byte)
    default: return request
    }
  }

  /// Takes notice of a request.
  mutating func follow(_ request: GuestRequest) {
    switch request {
    case .compressMixed(let offset, _, MixedBytes.incompressible):
      // Written as it is, if the cluster is free: no stream, and the last one stays the last.
      free.remove(offset / clusterSize)
      if looseTable != nil { isStale = true }
    case .compress(let offset, _, _), .compressMixed(let offset, _, _):
      let cluster = offset / clusterSize
      compressed.insert(cluster)
      // Certain success makes it the only last one.
      if free.remove(cluster) != nil {
        last = []
        looseTable = nil
      } else if looseTable != nil {
        isStale = true
      }
      last.insert(cluster)
    case .write(let offset, let count, _), .zero(let offset, let count, _), .discard(let offset, let count):
      let clusters = offset / clusterSize...((offset + count - 1) / clusterSize)
      if looseTable != nil { isStale = true }
      if !last.isDisjoint(with: clusters) {
        // One cluster takes its new place before it gives the old one back, and discards take none.
        var takesNothing = clusters.count == 1
        if case .discard = request {
          takesNothing = clusters.lowerBound / perTable == clusters.upperBound / perTable
        }
        if takesNothing { looseTable = clusters.lowerBound / perTable } else { isStale = true }
      }
      if case .discard = request {
        // Whole clusters lose their place.
        for cluster in clusters where cluster * clusterSize >= offset {
          guard min((cluster + 1) * clusterSize, size) <= offset + count else { continue }
          free.insert(cluster)
          compressed.remove(cluster)
        }
      } else {
        free.subtract(clusters)
        compressed.subtract(clusters)
      }
    case .flush: break
    }
  }

  /// The next session starts with nothing remembered.
  mutating func endSession() {
    last = []
    isStale = false
    looseTable = nil
  }
}
