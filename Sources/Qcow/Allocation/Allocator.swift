// Taking and freeing host clusters: the search for free ones the way QEMU does it, and the changes of refcounts
// that follow. A change that needed a new block is taken back and tried again, as QEMU does, because the
// block's place depends on the run the caller had found.

import Glibc
import QcowFormat
import Storage

/// How a change of refcounts ended.
enum RefcountUpdate {
  case done
  /// Something had to be allocated; the change was taken back and the caller searches again.
  case retry
}

/// Owns the free clusters of an image; only an image that may be written has one.
final class Allocator {
  let tables: TableWriter
  let refcounts: RefcountBlocks
  let discards: DiscardQueue
  let health: Health
  private let l2: L2Tables
  private let rules: MappingRules
  /// Where the search for free clusters begins. It only moves forward past everything it has looked at, and
  /// falls back when something lower is freed.
  var cursor = HostCluster(0)
  /// Where the next compressed cluster may go; 0 for nowhere.
  var byteCursor = HostOffset(0)
  /// L2 tables and refcount blocks that were made so far; whoever made one has waited for the disk.
  var madeTables = 0

  init(
    _ refcounts: RefcountBlocks, _ l2: L2Tables, _ rules: MappingRules, _ health: Health,
    _ discards: DiscardQueue
  ) {
    tables = refcounts.tables
    self.refcounts = refcounts
    self.l2 = l2
    self.rules = rules
    self.health = health
    self.discards = discards
  }

  private var geometry: Geometry { tables.geometry }

  // MARK: Free clusters

  /// Brings to disk that clusters freed since the last flush are no longer pointed to.
  ///
  /// Otherwise new data could be written to such a cluster while the entry on disk still points to
  /// it, and a crash would show one part of the disk the data of another. The link of the new data
  /// would wait for the same flush, so this one only comes earlier. Throws as ``TableCache/write()``.
  func settleFrees() throws(ImageError) { try refcounts.cache.flushDependency() }

  /// Takes `count` contiguous clusters, wherever the search finds them. Throws ``ImageError/Code/noSpace``,
  /// ``ImageError/Code/corrupt`` for damaged refcounts, and what the host says.
  ///
  /// - Returns: the host offset of the first.
  func allocate(_ count: ClusterCount) throws(ImageError) -> HostOffset {
    tables.reach(.clusterAlloc)
    try settleFrees()
    // A retry happens once per refcount block or table that was missing.
    while true {
      let offset = geometry.start(of: try searchFree(count))
      if try update(offset, geometry.bytes(count), increase: true, .never, .claim) == .done { return offset }
    }
  }

  /// Takes up to `count` free clusters from `offset` on; stops at the first used one. Neither uses nor moves
  /// the cursor. Throws as ``allocate(_:)``.
  ///
  /// - Returns: how many were taken, possibly none.
  func allocate(at offset: HostOffset, _ count: ClusterCount) throws(ImageError) -> ClusterCount {
    try settleFrees()
    let first = geometry.cluster(of: offset)
    guard offset.value < Geometry.hostOffsetLimit else { return 0 }
    while true {
      let found = try refcounts.clusters(from: first, limit: count, areFree: true)
      guard found > 0 else { return 0 }
      if try update(offset, geometry.bytes(found), increase: true, .never, .claim) == .done { return found }
    }
  }

  /// The first of `count` contiguous free clusters from the cursor on. Throws as ``allocate(_:)``.
  ///
  /// Every cluster looked at is passed for good, also those of holes that were too small. Behind
  /// the end of the refcount table everything is free, so the search ends.
  func searchFree(_ count: ClusterCount) throws(ImageError) -> HostCluster {
    // What waits to be punched must not be given out before it was.
    if discards.isCollecting { try discards.process() }
    let (geometry, codec) = (geometry, refcounts.codec)
    let limit = geometry.hostClusterLimit
    let wanted = count.value
    // An honest image has no more used clusters than its file holds, and some slack.
    var patience = geometry.clustersCovering(tables.storage.length) + 1 << 26
    var run: UInt64 = 0
    let places = rules.pinnedClusters
    while run < wanted {
      if let places, places.contains(cursor) {
        cursor = places.upperBound
        run = 0
      }
      let start = cursor.value
      guard start < limit else { throw ImageError(.noSpace, "no free cluster below host offset 2^56") }
      let perBlock = geometry.refcountsPerBlock
      var end = (start / perBlock + 1) * perBlock
      if let places, cursor < places.lowerBound { end = min(end, places.lowerBound.value) }
      guard let block = try refcounts.block(geometry.refcountTableIndex(of: cursor)) else {
        let step = min(wanted - run, end - start)
        run += step
        cursor.value += step
        continue
      }
      let bytes = unsafe UnsafeRawBufferPointer(block.bytes)
      var position = start
      while position < end && run < wanted {
        let index = Int(position & (perBlock - 1))
        let used = unsafe codec.firstUsed(in: bytes, index..<index + Int(min(end - position, wanted - run)))
        run += UInt64(used - index)
        position += UInt64(used - index)
        guard position < end && run < wanted else { break }
        run = 0
        position += UInt64(unsafe codec.firstFree(in: bytes, used..<used + Int(end - position)) - used)
      }
      let seen = position - start
      cursor.value = position
      guard seen <= patience else {
        throw ImageError(.noSpace, "the refcounts say that far more clusters are in use than the file has")
      }
      patience -= seen
    }
    return HostCluster(cursor.value - wanted)
  }

  // MARK: Changing a range

  /// Adds one to, or takes one from, the refcount of every cluster that `length` bytes at `offset`
  /// touch. Throws ``ImageError/Code/refcountOverflow`` for a count that cannot change so, and as
  /// ``allocate(_:)``.
  func update(
    _ offset: HostOffset, _ length: ByteCount, increase: Bool, _ freeClass: FreeClass, _ reason: Reason
  ) throws(ImageError) -> RefcountUpdate {
    guard length > 0 else { return .done }
    let first = geometry.cluster(of: offset)
    let last = geometry.cluster(of: HostOffset(offset.value &+ length.value &- 1))
    // A count may only sink on disk after the reference is gone.
    if !increase { try refcounts.cache.depend(on: l2.cache) }
    var cluster = first
    do throws(ImageError) {
      while cluster <= last {
        guard try change(cluster, increase: increase, offset, freeClass, reason) else {
          cursor = min(cursor, first)
          undo(first, cluster, increased: increase)
          return .retry
        }
        cluster.value += 1
      }
    } catch {
      if !discards.isCollecting { discards.forget() }
      undo(first, cluster, increased: increase)
      throw error
    }
    if !discards.isCollecting { try discards.process() }
    return .done
  }

  /// What becomes of a count.
  enum Recount { case increase, decrease, refresh }

  /// Changes the counts of clusters that are in use and stay so, from `first` on, as far as one block counts
  /// them; `tells` hears which cluster of the row then has one user. What ``update(_:_:increase:_:_:)``
  /// does, for as long as there is nothing to make, to refuse or to free. Throws what the host says.
  ///
  /// - Returns: of how many clusters that is true.
  func recount(
    _ first: HostCluster, _ count: ClusterCount, _ recount: Recount, _ reason: Reason,
    _ tells: (_ index: Int, _ isOnly: Bool) -> Void
  ) throws(ImageError) -> Int {
    if recount == .decrease { try refcounts.cache.depend(on: l2.cache) }
    guard let block = try refcounts.block(geometry.refcountTableIndex(of: first)) else { return 0 }
    let start = geometry.refcountBlockIndex(of: first)
    let room = min(count.value, geometry.refcountsPerBlock - UInt64(start))
    let (codec, most) = (refcounts.codec, geometry.maximumRefcount)
    if recount != .refresh { refcounts.cache.markDirty(block.place) }
    for index in 0..<Int(room) {
      let old = unsafe codec.value(in: UnsafeRawBufferPointer(block.bytes), at: start + index)
      var new = old
      switch recount {
      case .increase:
        guard old > 0, old < most else { return index }
        new += 1
      case .decrease:
        guard old > 1 else { return index }
        new -= 1
      case .refresh: break
      }
      if new != old {
        refcounts.replace(old, by: new, of: first + ClusterCount(UInt64(index)), in: block, reason)
      }
      tells(index, new == 1)
    }
    return Int(room)
  }

  /// Takes back what a change has done before it failed. What cannot be taken back stays as a leak; the
  /// caller hears of the first failure only.
  private func undo(_ first: HostCluster, _ end: HostCluster, increased: Bool) {
    var cluster = first
    while cluster < end {
      guard
        (try? change(cluster, increase: !increased, geometry.start(of: cluster), .never, .retry)) == true
      else { return }
      cluster.value += 1
    }
  }

  /// Changes one refcount; false if its block had to be made first.
  private func change(
    _ cluster: HostCluster, increase: Bool, _ table: HostOffset, _ freeClass: FreeClass, _ reason: Reason
  ) throws(ImageError) -> Bool {
    tables.reach(.refblockAlloc)
    guard let place = try refcounts.place(ofBlock: geometry.refcountTableIndex(of: cluster)) else {
      try makeBlock(for: cluster)
      return false
    }
    tables.reach(.refblockLoad)
    let block = try refcounts.block(at: place)
    let old = refcounts.count(in: block, of: cluster)
    // A block that a change was meant for is written back even if the change fails, as the genuine tool has
    // it: a damaged table shows itself there, and not only when more has been built on it.
    refcounts.cache.markDirty(block.place)
    guard increase ? old < geometry.maximumRefcount : old > 0 else {
      let place = geometry.start(of: cluster)
      throw ImageError(
        .refcountOverflow,
        "refcount \(old) of host cluster \(hex(place.value)) cannot be \(increase ? "raised" : "lowered")",
        at: .refcountBlock, index: cluster.value, place)
    }
    let new = increase ? old + 1 : old - 1
    refcounts.replace(old, by: new, of: cluster, in: block, reason)
    // QEMU goes on behind the last stream even when its cluster was freed and now belongs to others,
    // and destroys them. As long as the cluster is free, going on there is harmless, and done.
    if old == 0 && geometry.cluster(of: byteCursor) == cluster && !rules.wrongOrders.contains(.packed) {
      byteCursor = HostOffset(0)
    }
    if new == 0 {
      cursor = min(cursor, cluster)
      // A freed table that was changed in memory must never reach the disk.
      refcounts.cache.drop(table)
      l2.drop(table)
      if discards.passes(freeClass) {
        discards.add(geometry.start(of: cluster), ByteCount(geometry.clusterSize))
      }
    }
    return true
  }

  /// Takes one reference from each cluster of a range. Throws as ``update(_:_:increase:_:_:)``.
  func free(_ offset: HostOffset, _ length: ByteCount, _ freeClass: FreeClass) throws(ImageError) {
    tables.reach(.clusterFree)
    // Blocks of clusters in use exist, so there is nothing to try again.
    _ = try update(offset, length, increase: false, freeClass, .release)
  }

  /// The same at the end of a request that has dropped its reference: if a count cannot be lowered, the
  /// clusters leak, that is told, and the request goes on. Damage marks the image at once, and what the
  /// request still has to unlink is unlinked nevertheless: an entry that is left in place would point to
  /// clusters that somebody else may be given.
  func release(_ offset: HostOffset, _ length: ByteCount, _ freeClass: FreeClass) {
    let reason: Int32
    tables.reach(.clusterFree)
    do throws(ImageError) {
      if try update(offset, length, increase: false, freeClass, .release) == .done { return }
      // A block had to be made first; the cluster has no count there that could be lowered.
      reason = EAGAIN
    } catch {
      switch error.code {
      case .refcountOverflow: reason = EINVAL
      case .noSpace: reason = EFBIG
      case .storage: reason = error.errno == 0 ? EIO : error.errno
      default:
        if error.marksImage { health.signalCorruption(error.description) }
        reason = EIO
      }
    }
    health.report?("qcow2_free_clusters failed: \(FileStorage.reason(reason))")
  }

  // MARK: Making blocks

  /// Makes the refcount block that covers `cluster`, growing the table if it must. Throws as ``allocate(_:)``,
  /// and ``ImageError/Code/overlap`` if the refcounts name a place that is in use.
  func makeBlock(for cluster: HostCluster) throws(ImageError) {
    try l2.cache.flush()
    // What the request has unlinked is on disk now; a marked image gets no new tables.
    try health.requireService()
    madeTables &+= 1
    try RefcountGrowth(self, l2, rules).makeBlock(for: cluster)
  }

  /// Lays out refcount blocks and a table from `start` on, where nothing is used, that can count so many
  /// clusters behind them. Throws as ``makeBlock(for:)``.
  ///
  /// - Returns: the first host cluster behind them.
  func makeArea(from start: HostCluster, additional: ClusterCount) throws(ImageError) -> HostCluster {
    try RefcountGrowth(self, l2, rules).makeArea(from: start, additional: additional, exact: true)
  }

  /// Gives up the cluster of a refcount block that the table no longer names, but did `before`. The block
  /// that counts it must have been there and say that it has one user. Throws ``ImageError/Code/corrupt`` for
  /// everything else, and what the host says.
  func dropBlock(_ index: Int, of before: [UInt64]) throws(ImageError) {
    let block = HostOffset(before[index] & RefcountTableEntry.offsetMask)
    let cluster = geometry.cluster(of: block)
    let counting = geometry.refcountTableIndex(of: cluster)
    guard let place = try refcounts.place(ofBlock: counting, in: before) else {
      throw ImageError(
        .corrupt, "Refblock at \(hex(block.value)) is not covered by the refcount structures",
        at: .refcountTable, index: UInt64(index), block)
    }
    let counts = try refcounts.block(at: place)
    let count = refcounts.count(in: counts, of: cluster)
    guard count == 1 else {
      throw ImageError(
        .corrupt,
        "Invalid refcount: refblock offset \(hex(place.value)), reftable index \(counting), block offset \(hex(block.value)), refcount \(hex(count))",
        at: .refcountBlock, index: cluster.value, place)
    }
    // A block that counted itself goes with its only count.
    if place != block { refcounts.set(0, of: cluster, in: counts, .release) }
    cursor = min(cursor, cluster)
    refcounts.cache.drop(block)
    try tables.punch(.refcountBlock, .discard, at: block, ByteCount(geometry.clusterSize))
  }
}
