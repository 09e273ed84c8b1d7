// Refcount blocks are told by what they count: bytes of which every number can be a refcount are a block only if
// they agree with the users that clusters have.

import QcowFormat
import Qcow

/// Compares bytes with the users of the clusters that a refcount block counts.
final class BlockUsers {
  /// Blocks that a cluster of unknown origin is compared with.
  private static let comparedBlocks = 64
  /// Refcounts of a block that it is compared in, in use and not.
  private static let comparedCounts = 32
  /// Clusters of a block that are looked at.
  private static let lookedAt: UInt64 = 1 << 18

  private let atlas: Atlas
  private let codec: RefcountCodec
  private let fileClusters: UInt64
  /// The refcounts are known not to be kept up.
  let areUnknown: Bool
  private var prints: [Fingerprint]?
  /// What refcount blocks say can be believed.
  var storedCountsAreSound = false {
    didSet { if storedCountsAreSound != oldValue { prints = nil } }
  }
  /// How many users a cluster may have besides those that are known.
  private let unknownUsers: UInt64

  init(_ atlas: Atlas) {
    self.atlas = atlas
    codec = RefcountCodec(order: atlas.image.geometry.refcountOrder)
    fileClusters = atlas.fileClusters
    areUnknown = atlas.staleness != nil
    unknownUsers = UInt64(atlas.image.header.snapshotCount)
  }

  /// The bytes, or the start of a block, do not contradict the users of the clusters of block `index`.
  func agrees(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> Bool {
    guard !areUnknown, index >= 0 else { return true }
    let geometry = atlas.image.geometry
    let counts = UInt64(min(Int(geometry.refcountsPerBlock), bytes.count * 8 >> geometry.refcountOrder))
    let first = geometry.firstCluster(ofBlock: index).value
    guard first < fileClusters else { return true }
    let inside = min(min(counts, fileClusters - first), Self.lookedAt)
    var (used, equal, behind) = (0, 0, 0)
    for at in 0..<inside {
      let users = atlas.knownUsers(of: first + at)
      guard users > 0 else { continue }
      used += 1
      // Users that a lost table had are not known.
      let value = unsafe codec.value(in: bytes, at: Int(at))
      if value >= users, value - users <= unknownUsers { equal += 1 }
    }
    // Behind the end of the file nobody has clusters.
    for at in inside..<min(counts, inside + 4096) where first + at >= fileClusters {
      if unsafe codec.value(in: bytes, at: Int(at)) != 0, atlas.knownUsers(of: first + at) == 0 {
        behind += 1
      }
    }
    if behind * 2 > used + 16 { return false }
    // Every other bit of bytes without order is right by chance.
    let right = codec.order < 3 ? 75 : 50
    return used == 0 || equal * 100 >= used * right
  }

  // MARK: Any block

  /// Users of some clusters, and what the block in the file says of them: a table that was overwritten takes its
  /// users away and leaves the refcounts.
  private struct Fingerprint {
    var counts: [(index: Int, users: UInt64, stored: UInt64)]
  }

  /// The bytes are those of some refcount block of the image, as far as can be told.
  func matchesAny(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !areUnknown else { return false }
    let known = prints ?? makePrints()
    prints = known
    for print in known {
      var (byUsers, byStored) = (0, 0)
      for (index, users, stored) in print.counts {
        let value = unsafe codec.value(in: bytes, at: index)
        if value != users { byUsers += 1 }
        if value != stored { byStored += 1 }
        if min(byUsers, byStored) * 10 > print.counts.count { break }
      }
      if min(byUsers, byStored) * 10 <= print.counts.count { return true }
    }
    return false
  }

  private func makePrints() -> [Fingerprint] {
    let geometry = atlas.image.geometry
    var result: [Fingerprint] = []
    for index in 0..<min(atlas.image.refcountTableCount, Self.comparedBlocks) {
      let first = geometry.firstCluster(ofBlock: index).value
      guard first < fileClusters else { break }
      let count = min(geometry.refcountsPerBlock, fileClusters - first + 64)
      let stride = max(1, count / 4096)
      var used: [(index: Int, users: UInt64, stored: UInt64)] = []
      var free: [(index: Int, users: UInt64, stored: UInt64)] = []
      for at in Swift.stride(from: 0, to: count, by: Int(stride)) {
        let users = atlas.knownUsers(of: first + at)
        let stored = storedCountsAreSound ? atlas.hostFacts(of: first + at)?.refcount ?? users : users
        if users > 0 || stored > 0 {
          used.append((Int(at), users, stored))
        } else {
          free.append((Int(at), 0, 0))
        }
      }
      guard used.count >= 4 else { continue }
      result.append(Fingerprint(counts: Self.some(used) + Self.some(free)))
    }
    return result
  }

  private static func some(
    _ list: [(index: Int, users: UInt64, stored: UInt64)]
  ) -> [(index: Int, users: UInt64, stored: UInt64)] {
    let stride = max(1, (list.count + comparedCounts - 1) / comparedCounts)
    return Swift.stride(from: 0, to: list.count, by: stride).map { list[$0] }
  }
}
