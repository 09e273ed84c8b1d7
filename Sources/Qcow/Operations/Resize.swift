// Changing the size of the disk. Growing maps the new area in advance if asked to; shrinking gives
// back everything behind the new end, tables included, and cuts the file.

import QcowFormat
import Storage

extension Image {
  /// Changes the virtual size to `size` bytes, a multiple of 512.
  ///
  /// A smaller disk loses what lay behind its new end. What a larger one gains reads as zeroes.
  ///
  /// - Throws: ``ImageError`` for a size the image cannot have, an image that may not be written, and a host
  ///   without room.
  package func resize(
    to size: UInt64, preallocation: CreateOptions.Preallocation = .off
  ) throws(ImageError) {
    try requireWritable()
    guard size % 512 == 0 else {
      throw ImageError(.option, "The new size must be a multiple of 512")
    }
    if header.version < 3 && !snapshots.isEmpty {
      throw ImageError(.unsupported, "Can't resize a v2 image which has snapshots")
    }
    if size < geometry.virtualSize {
      guard preallocation == .off else {
        throw ImageError(.option, "Preallocation can't be used for shrinking an image")
      }
      try guarded { () throws(ImageError) in try shrink(to: size) }
    } else {
      try guarded { () throws(ImageError) in
        do throws(ImageError) { try grow(to: size, preallocation) } catch {
          // What was given back must be free on the disk too; behind damage nothing is written.
          if error.code == .storage || error.code == .noSpace { try? flush() }
          throw error
        }
      }
    }
  }

  // MARK: Growing

  /// Makes the disk larger; the new area reads as zeroes.
  func grow(to size: UInt64, _ asked: CreateOptions.Preallocation) throws(ImageError) {
    let old = geometry.virtualSize
    guard size > old else { return }
    let wanted = geometry.l1Entries(for: size)
    guard wanted * 8 <= 32 << 20 else {
      throw ImageError(.noSpace, "the disk would need an L1 table of more than 32 MiB")
    }
    plannedSize = size
    defer { plannedSize = 0 }
    try keepPlaces(old, size)
    try growL1(to: wanted)
    // The tables of a raw data file always say where everything is.
    let isRaw = hasExternalData && header.autoclear.contains(.rawExternalData)
    let preallocation = isRaw && asked == .off ? .metadata : asked
    // A backing file that reaches behind the old end must not show through.
    let mustHide = backing.map { $0.virtualSize > old } ?? false
    var isHidden = false
    switch preallocation {
    case .off:
      if let dataStorage, hasExternalData { try extend(dataStorage, to: size, .off) }
    case .metadata: try preallocate(old, size, .metadata)
    case .falloc, .full:
      if hasExternalData {
        try preallocate(old, size, preallocation)
      } else if let pin = activePin {
        let places = (pin.shift + geometry.roundUp(old))..<(pin.shift + geometry.roundUp(size))
        try claimBlocks(places, of: storage, preallocation)
        try preallocate(old, size, .metadata)
      } else {
        try preallocateRun(old, size, preallocation, allocated: mustHide)
        isHidden = mustHide
      }
    }
    if mustHide && !isHidden { try hideBacking(old, size) }
    try flush()
    try publish(size: size)
  }

  private func publish(size: UInt64) throws(ImageError) {
    try tables.setDiskSize(size)
    // The default size of a slice follows from the size of the disk.
    try l2Cache.flush()
    try refcountCache.flush()
    try rebuildCaches()
  }

  /// Extends a file to `length`, with host blocks if asked to.
  private func extend(
    _ target: any Storage, to length: UInt64, _ preallocation: CreateOptions.Preallocation
  ) throws(ImageError) {
    let old = target.length
    guard length > old else { return }
    if preallocation == .off || preallocation == .metadata {
      try io { () throws(StorageError) in try target.truncate(to: length, tag: WriteTag(.file, .create)) }
    } else {
      try claimBlocks(old..<length, of: target, preallocation)
    }
  }

  /// Gives a part of a file its host blocks; if that fails the file has the length that it had.
  private func claimBlocks(
    _ range: Range<UInt64>, of target: any Storage, _ preallocation: CreateOptions.Preallocation
  ) throws(ImageError) {
    let before = target.length
    do throws(StorageError) { try Self.giveBlocks(to: range, of: target, preallocation) } catch {
      if target.length > before { try? target.truncate(to: before, tag: WriteTag(.file, .resize)) }
      throw ImageError(error)
    }
  }

  /// Gives a new part of a file its host blocks, if the preallocation wants them.
  static func giveBlocks(
    to range: Range<UInt64>, of target: any Storage, _ preallocation: CreateOptions.Preallocation
  ) throws(StorageError) {
    guard !range.isEmpty else { return }
    let tag = WriteTag(.file, .create)
    switch preallocation {
    case .off, .metadata: return
    case .falloc:
      try target.allocate(at: range.lowerBound, count: range.upperBound - range.lowerBound, tag: tag)
    case .full:
      let piece = [UInt8](repeating: 0, count: 1 << 20)
      var at = range.lowerBound
      while at < range.upperBound {
        let step = Int(min(UInt64(piece.count), range.upperBound - at))
        try target.write(step == piece.count ? piece : Array(piece.prefix(step)), at: at, tag: tag)
        at += UInt64(step)
      }
    }
  }

  /// Makes sure that the places of what a pinned disk gains are free; otherwise it could not keep its
  /// shift.
  private func keepPlaces(_ old: UInt64, _ size: UInt64) throws(ImageError) {
    guard let pin = activePin else { return }
    guard size <= Geometry.hostOffsetLimit - pin.shift else {
      throw ImageError(.noSpace, "the places of a disk of \(size) bytes would lie behind host offset 2^56")
    }
    var guest = geometry.roundUp(old)
    let end = geometry.roundUp(storage.length)
    while guest < size, guest + pin.shift < end {
      let place = HostOffset(guest + pin.shift)
      guard try refcount(of: geometry.cluster(of: place)) == 0 else {
        throw ImageError(
          .option,
          "the new area cannot keep the shift \(hex(pin.shift)): the place of guest offset \(hex(guest)) at host offset \(hex(place.value)) is in use; 'qatlas pin --restore' may free it, 'qatlas unpin' gives the shift up"
        )
      }
      guest += geometry.clusterSize
    }
  }

  /// Maps guest bytes to new clusters without writing data, in the order of a write.
  private func preallocate(
    _ start: UInt64, _ end: UInt64, _ preallocation: CreateOptions.Preallocation
  ) throws(ImageError) {
    var position = start
    var dataEnd: UInt64 = 0
    let largest = geometry.roundDown(1 << 31 - 1)
    while position < end {
      let piece = try findPlace(at: position, min(end - position, largest))
      guard piece.length > 0 else {
        throw ImageError(.noSpace, "no place found for guest offset \(hex(position))")
      }
      var unlinked = piece.links
      do throws(ImageError) {
        for link in piece.links.reversed() {
          try fillEnds(link)
          try linkClusters(link, preallocating: true)
          unlinked.removeLast()
        }
      } catch {
        releaseClusters(of: unlinked)
        throw error
      }
      position += piece.length
      dataEnd = piece.host + piece.length
    }
    // Whole subclusters: a disk that ends inside a cluster does not need the rest of it.
    if !hasExternalData { dataEnd = (dataEnd + geometry.subclusterMask) & ~geometry.subclusterMask }
    try extend(try openData(), to: dataEnd, hasExternalData ? preallocation : .metadata)
  }

  /// Lays the new area out as one run behind everything, with the refcounts for it in front.
  private func preallocateRun(
    _ old: UInt64, _ size: UInt64, _ preallocation: CreateOptions.Preallocation, allocated: Bool
  ) throws(ImageError) {
    let bits = UInt64(geometry.clusterBits)
    let used = try lastUsedCluster().map { ($0 + 1) << bits } ?? geometry.roundUp(storage.length)
    let first = geometry.roundDown(old)
    var left = (geometry.roundUp(size) - first) >> bits
    let tables = ceil(left, UInt64(geometry.l2EntriesPerTable)) + 1
    let start = try makeRefcountArea(start: used, additionalClusters: left + tables, exact: true, preset: nil)
    guard try allocate(at: start, left) == left else {
      throw ImageError(.corrupt, "host clusters behind the last one in use are not free")
    }
    var host = start
    do throws(ImageError) {
      try extend(storage, to: start + left << bits, preallocation)
      var guest = first
      var head = old - first
      while left > 0 {
        let index = geometry.l2Index(of: GuestOffset(guest))
        let count = min(left, UInt64(sliceEntries - index % sliceEntries))
        let length = count << bits
        let link = ClusterLink(
          guest: guest, host: host, clusters: count, keepsHost: false, fillStart: 0, dataStart: head,
          dataEnd: length, fillEnd: length)
        try fillEnds(link)
        try linkClusters(link, preallocating: !allocated)
        head = 0
        guest += length
        host += length
        left -= count
      }
    } catch {
      // What no entry points to yet is free again.
      try? free(host, left << bits, .other)
      throw error
    }
  }

  /// Zeroes what a longer backing file would show behind the old end.
  private func hideBacking(_ old: UInt64, _ size: UInt64) throws(ImageError) {
    let start = min(size, (old + geometry.subclusterMask) & ~geometry.subclusterMask)
    // The engine must take the new end for the end of the disk while it zeroes up to there.
    try tables.withDiskSize(size) { () throws(ImageError) in
      if size > start {
        guard try zeroAlignedPiece(start, size - start, mayUnmap: false) else {
          throw ImageError(.unsupported, "Failed to zero out new clusters: Operation not supported")
        }
      }
      guard start > old else { return }
      let zeroes = [UInt8](repeating: 0, count: Int(start - old))
      var problem: ImageError?
      unsafe zeroes.withUnsafeBytes { bytes in
        do throws(ImageError) { unsafe try writeData(bytes, at: GuestOffset(old)) } catch { problem = error }
      }
      if let problem { throw problem }
    }
  }

  // MARK: Shrinking

  private func shrink(to size: UInt64) throws(ImageError) {
    let start = geometry.roundUp(size)
    if start < geometry.virtualSize {
      try discardClusters(start, geometry.virtualSize - start, .always, full: true)
    }
    try cutL1(to: Int(geometry.l1Entries(for: size)))
    try dropUnusedRefcountBlocks()
    if hasExternalData, let dataStorage {
      try io { () throws(StorageError) in
        if dataStorage.length > size { try dataStorage.truncate(to: size, tag: WriteTag(.file, .resize)) }
      }
    }
    if let last = try lastUsedCluster() {
      let end = (last + 1) << UInt64(geometry.clusterBits)
      if end < storage.length {
        // What still lies in the caches for clusters in front of the new end goes out first.
        try flush()
        try io { () throws(StorageError) in try storage.truncate(to: end, tag: WriteTag(.file, .resize)) }
      }
    }
    try flush()
    try publish(size: size)
  }

  /// Empties the L1 entries from `count` on and frees their L2 tables. The table keeps its length.
  private func cutL1(to count: Int) throws(ImageError) {
    guard count < l1.count else { return }
    try flush()
    for entry in try tables.cutL1(to: count).reversed() {
      if let table = entry.table { release(table.value, geometry.clusterSize, .always) }
    }
  }

  /// Takes refcount blocks out of the table that count nothing but themselves.
  private func dropUnusedRefcountBlocks() throws(ImageError) {
    let perBlock = geometry.refcountsPerBlock
    var unused: [Int] = []
    for index in refcountTable.indices {
      guard let offset = try refcountBlockOffset(UInt64(index)) else { continue }
      let memory = unsafe try refcountCache.table(at: offset)
      let block = unsafe UnsafeMutableRawBufferPointer(start: memory, count: refcountCache.tableSize)
      let cluster = offset >> UInt64(geometry.clusterBits)
      // Its count of itself does not count.
      let own = cluster / perBlock == UInt64(index) ? Int(cluster % perBlock) : -1
      let count = unsafe codec.value(in: UnsafeRawBufferPointer(block), at: own)
      unsafe codec.store(0, in: block, at: own)
      if unsafe block.isZero { unused.append(index) }
      unsafe codec.store(count, in: block, at: own)
    }
    guard !unused.isEmpty else { return }
    let before = refcountTable
    try flush()
    try tables.dropRefcountBlocks(unused)
    for index in unused { try dropRefcountBlock(index, of: before) }
  }

  /// Gives up the cluster of a refcount block that the table no longer names, but did `before`. The block
  /// that counts it must have been there and say that it has one user; everything else is damage.
  private func dropRefcountBlock(_ index: Int, of before: [UInt64]) throws(ImageError) {
    let block = before[index] & RefcountTableEntry.offsetMask
    let cluster = HostCluster(block >> UInt64(geometry.clusterBits))
    let counting = geometry.refcountTableIndex(of: cluster)
    guard let countingBlock = try refcountBlockOffset(counting, in: before) else {
      throw ImageError(.corrupt, "Refblock at \(hex(block)) is not covered by the refcount structures")
    }
    let memory = unsafe try refcountCache.table(at: countingBlock)
    let counts = unsafe UnsafeRawBufferPointer(start: memory, count: refcountCache.tableSize)
    let place = geometry.refcountBlockIndex(of: cluster)
    let count = unsafe codec.value(in: counts, at: place)
    guard count == 1 else {
      throw ImageError(
        .corrupt,
        "Invalid refcount: refblock offset \(hex(countingBlock)), reftable index \(counting), block offset \(hex(block)), refcount \(hex(count))"
      )
    }
    // A block that counted itself goes with its only count.
    if countingBlock != block {
      unsafe setCount(0, of: cluster.value, in: memory, at: countingBlock, .release)
      refcountCache.markDirty(countingBlock)
    }
    cursor = min(cursor, cluster.value)
    refcountCache.drop(block)
    try io { () throws(StorageError) in
      try storage.punch(
        at: block, count: geometry.clusterSize, tag: WriteTag(.refcountBlock, .discard, table: block))
    }
  }

  /// The last host cluster of the file with a refcount; nil if none has one.
  func lastUsedCluster() throws(ImageError) -> UInt64? {
    var cluster = geometry.clustersCovering(storage.length)
    let perBlock = geometry.refcountsPerBlock
    while cluster > 0 {
      let first = (cluster - 1) / perBlock * perBlock
      if let offset = try refcountBlockOffset((cluster - 1) / perBlock) {
        let memory = unsafe try refcountCache.table(at: offset)
        let block = unsafe UnsafeRawBufferPointer(start: memory, count: refcountCache.tableSize)
        var index = Int(cluster - first)
        while index > 0 {
          // Free clusters are passed by the word.
          if codec.order <= 6, index << codec.order & 63 == 0, index << codec.order >= 64 {
            let word = unsafe block.load(fromByteOffset: (index << codec.order) >> 3 - 8, as: UInt64.self)
            if word == 0 {
              index -= 64 >> codec.order
              continue
            }
          }
          if unsafe codec.value(in: block, at: index - 1) != 0 { return first + UInt64(index - 1) }
          index -= 1
        }
      }
      cluster = first
    }
    return nil
  }
}
