// Writing guest bytes. A request is cut into pieces that are contiguous in the file; for each piece
// clusters are found, what the new ones need around the data is filled in, the data is written, and
// only then the L2 entries begin to point there.

package import QcowFormat
import Storage

/// A stretch of clusters of one piece that is linked in one go.
struct ClusterLink {
  /// Guest offset of the first cluster.
  var guest: UInt64
  /// Host offset of the first cluster.
  var host: UInt64
  var clusters: UInt64
  /// The clusters were there before; only their bitmap or zero flag changes.
  var keepsHost: Bool
  /// Bytes from the first cluster's start to where filling in begins, where the guest's data
  /// begins and ends, and where filling in ends.
  var fillStart: UInt64
  var dataStart: UInt64
  var dataEnd: UInt64
  var fillEnd: UInt64

  var needsFill: Bool { fillStart < dataStart || dataEnd < fillEnd }
}

/// A host-contiguous part of a write request.
struct WritePiece {
  /// Host offset of the first byte.
  var host: UInt64
  var length: UInt64
  var links: [ClusterLink]
}

extension Image {
  /// Writes guest bytes; the whole range must lie on the disk.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, an image that may not be written,
  ///   damage, and a host without room.
  package func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    try requireWritable()
    try requireOnDisk(guest, UInt64(bytes.count))
    try guarded { () throws(ImageError) in
      unsafe try writeRequest(bytes, at: guest)
      if options.cache == .writethrough { try flush() }
    }
  }

  /// A request of any bytes; an encrypted image takes whole sectors.
  func writeRequest(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    if dataCipher == nil {
      unsafe try writeDetecting(bytes, at: guest)
    } else {
      unsafe try writeSectors(bytes, at: guest)
    }
  }

  /// The request as a whole, not its pieces, decides whether it becomes a zero-write.
  func writeDetecting(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    if options.detectZeroes != .off, unsafe bytes.isZero {
      try makeZero(guest, UInt64(bytes.count), mayUnmap: options.detectZeroes == .unmap)
    } else {
      unsafe try writeData(bytes, at: guest)
    }
  }

  /// The write without the flush at its end.
  func writeData(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    let count = UInt64(bytes.count)
    var done: UInt64 = 0
    while done < count {
      let piece = try findPlace(
        at: guest.value + done, min(count - done, largestPiece(at: guest.value + done)))
      guard piece.length > 0 else {
        throw ImageError(.noSpace, "no place found for guest offset \(hex(guest.value + done))")
      }
      do throws(ImageError) {
        let data = unsafe UnsafeRawBufferPointer(rebasing: bytes[Int(done)..<Int(done + piece.length)])
        unsafe try writePiece(piece, data, at: guest.value + done)
      } catch {
        releaseClusters(of: piece.links)
        throw error
      }
      for link in piece.links.reversed() { try linkClusters(link) }
      done += piece.length
    }
  }

  private func writePiece(
    _ piece: WritePiece, _ data: UnsafeRawBufferPointer, at guest: UInt64
  ) throws(ImageError) {
    try guardData(piece.host, piece.length)
    let target = try openData()
    for link in piece.links where link.needsFill { try fillAround(link) }
    if let dataCipher { return unsafe try writeEncrypted(data, guest: guest, at: piece.host, dataCipher) }
    do throws(StorageError) {
      unsafe try target.write(
        data, at: piece.host, tag: WriteTag(.data, .guestData, table: piece.host, index: piece.length))
    } catch {
      throw ImageError(error)
    }
  }

  /// Keeps guest data away from all tables; an external data file has none.
  func guardData(_ offset: UInt64, _ length: UInt64) throws(ImageError) {
    if !hasExternalData { try tables.guardWrite(HostOffset(offset), length) }
  }

  // MARK: Finding a place

  /// An entry that can be written in place has a host cluster of its own.
  @inline(__always)
  private func needsNewCluster(_ entry: L2Entry) -> Bool {
    entry.isCompressed || !entry.isCopied || !geometry.hasHost(entry)
  }

  /// The first piece of a request: reused clusters where they continue each other, new ones
  /// behind them if that place is free.
  func findPlace(at guest: UInt64, _ length: UInt64) throws(ImageError) -> WritePiece {
    var piece = WritePiece(host: 0, length: 0, links: [])
    do throws(ImageError) {
      while piece.length < length {
        guard try extend(&piece, at: guest + piece.length, length - piece.length) else { break }
      }
    } catch {
      releaseClusters(of: piece.links)
      throw error
    }
    return piece
  }

  /// Adds one step to a piece; false if the host place does not continue.
  private func extend(_ piece: inout WritePiece, at guest: UInt64, _ left: UInt64) throws(ImageError) -> Bool
  {
    let slice = try sliceForWriting(at: GuestOffset(guest))
    let inCluster = geometry.offsetInCluster(guest)
    let room = UInt64(sliceEntries - slice.index)
    let wanted = min(geometry.clustersCovering(inCluster + left), room)
    let first = unsafe entry(slice.memory, slice.index)
    let next = piece.length == 0 ? nil : piece.host + piece.length
    var count: UInt64 = 1
    var host: UInt64
    let keepsHost = !needsNewCluster(first)
    if keepsHost {
      try checkPlace(first, guest)
      host = first.offsetBits
      if let next, next != host { return false }
      while count < wanted {
        let following = unsafe entry(slice.memory, slice.index + Int(count))
        guard !needsNewCluster(following),
          following.offsetBits == host &+ count << UInt64(geometry.clusterBits)
        else { break }
        count += 1
      }
      try checkBitmaps(slice, count, guest)
    } else {
      while count < wanted, needsNewCluster(unsafe entry(slice.memory, slice.index + Int(count))) {
        count += 1
      }
      try checkBitmaps(slice, count, guest)
      if hasExternalData {
        // The place of guest data in its own file is fixed.
        host = geometry.roundDown(guest)
      } else if let pin = activePin {
        guard let place = try allocatePinned(geometry.roundDown(guest), count, pin, next: next) else {
          return false
        }
        (host, count) = place
      } else if let next {
        count = try allocate(at: next, count)
        guard count > 0 else { return false }
        host = next
      } else {
        host = try allocate(count)
        guard host != 0 else {
          throw ImageError(.corrupt, "Preventing invalid write on metadata (overlaps with qcow2_header)")
        }
      }
    }
    let length = min(left, count << UInt64(geometry.clusterBits) - inCluster)
    if piece.length == 0 { piece.host = host + inCluster }
    let link = try makeLink(
      geometry.roundDown(guest), host, count, keepsHost: keepsHost, dataStart: inCluster,
      dataEnd: inCluster + length)
    if let link { piece.links.append(link) }
    piece.length += length
    return true
  }

  /// Refuses a place that no writer may follow. An entry that gets a new place is only looked at where its
  /// old content is needed.
  private func checkPlace(_ entry: L2Entry, _ guest: UInt64) throws(ImageError) {
    guard !geometry.isAligned(entry.offsetBits) else { return }
    let what = entry.descriptor & L2Entry.zeroFlag != 0 ? "Preallocated zero cluster" : "Data cluster"
    throw ImageError(
      .corrupt, "\(what) offset \(hex(entry.offsetBits)) unaligned (guest offset: \(hex(guest)))")
  }

  /// Refuses a step that has an invalid bitmap in any of its entries.
  private func checkBitmaps(_ slice: Slice, _ count: UInt64, _ guest: UInt64) throws(ImageError) {
    guard geometry.hasExtendedL2 else { return }
    for i in 0..<count {
      let entry = unsafe entry(slice.memory, slice.index + Int(i))
      guard !entry.isCompressed, case .invalid(let fault) = geometry.mapping(of: entry, version: 3),
        fault != .unalignedOffset
      else { continue }
      throw invalidEntry(entry, slice.table, GuestOffset(guest + i << UInt64(geometry.clusterBits)))
    }
  }

  /// What must be filled in around the data; nil if linking would change nothing.
  private func makeLink(
    _ guest: UInt64, _ host: UInt64, _ clusters: UInt64, keepsHost: Bool, dataStart: UInt64, dataEnd: UInt64
  ) throws(ImageError) -> ClusterLink? {
    let slice = try sliceForWriting(at: GuestOffset(guest))
    let version = header.version
    func touched(_ position: UInt64) -> (entry: L2Entry, state: SubclusterState) {
      let entry = unsafe entry(slice.memory, slice.index + Int(position >> UInt64(geometry.clusterBits)))
      let subcluster = geometry.subcluster(of: GuestOffset(position))
      return (entry, geometry.state(of: entry, subcluster, version: version))
    }
    let first = touched(dataStart)
    let last = touched(dataEnd - 1)
    var link = ClusterLink(
      guest: guest, host: host, clusters: clusters, keepsHost: keepsHost, fillStart: dataStart,
      dataStart: dataStart, dataEnd: dataEnd, fillEnd: dataEnd)
    let mask = geometry.subclusterMask
    let subclusterStart = dataStart & ~mask
    let subclusterEnd = (dataEnd + mask) & ~mask
    if keepsHost {
      if allData(slice, dataStart, dataEnd) { return nil }
      if first.state != .data { link.fillStart = subclusterStart }
      if last.state != .data { link.fillEnd = subclusterEnd }
      return link
    }
    link.fillStart = fillStart(first, dataStart, subclusterStart)
    link.fillEnd = fillEnd(last, dataEnd, subclusterEnd)
    return link
  }

  private func allData(_ slice: Slice, _ start: UInt64, _ end: UInt64) -> Bool {
    var position = start
    while position < end {
      let index = slice.index + Int(position >> UInt64(geometry.clusterBits))
      let state = unsafe geometry.state(
        of: entry(slice.memory, index), geometry.subcluster(of: GuestOffset(position)),
        version: header.version)
      guard state == .data else { return false }
      position = (position | geometry.subclusterMask) + 1
    }
    return true
  }

  /// A new cluster must take over what an old host cluster held before the data.
  private func fillStart(
    _ touched: (entry: L2Entry, state: SubclusterState), _ dataStart: UInt64, _ subclusterStart: UInt64
  ) -> UInt64 {
    let clusterStart = geometry.roundDown(dataStart)
    switch touched.state {
    case .compressed: return clusterStart
    case .data, .zeroMapped, .unallocatedMapped:
      guard geometry.hasExtendedL2 else { return clusterStart }
      let allocated = UInt64(touched.entry.bitmap.allocated.trailingZeroBitCount)
      return min(subclusterStart, clusterStart + allocated << UInt64(geometry.subclusterBits))
    default: return subclusterStart
    }
  }

  /// The same behind the data.
  private func fillEnd(
    _ touched: (entry: L2Entry, state: SubclusterState), _ dataEnd: UInt64, _ subclusterEnd: UInt64
  ) -> UInt64 {
    let clusterStart = geometry.roundDown(dataEnd - 1)
    switch touched.state {
    case .compressed: return clusterStart + geometry.clusterSize
    case .data, .zeroMapped, .unallocatedMapped:
      guard geometry.hasExtendedL2 else { return clusterStart + geometry.clusterSize }
      let behind = UInt64(32 - touched.entry.bitmap.allocated.leadingZeroBitCount)
      return max(subclusterEnd, clusterStart + behind << UInt64(geometry.subclusterBits))
    default: return subclusterEnd
    }
  }

  // MARK: Copy on write

  /// Writes what the guest saw around the data before into the new cluster.
  private func fillAround(_ link: ClusterLink) throws(ImageError) {
    let head = (link.guest + link.fillStart, link.dataStart - link.fillStart)
    let tail = (link.guest + link.dataEnd, link.fillEnd - link.dataEnd)
    let tag = WriteTag(
      .data, .copyOnWrite, table: link.host + link.fillStart, index: link.fillEnd - link.fillStart)
    try guardData(link.host + link.fillStart, link.fillEnd - link.fillStart)
    let target = try openData()
    // Zeroes of the guest are no zeroes in an encrypted file.
    if dataCipher == nil, try coversZeroes(head.0, head.1), try coversZeroes(tail.0, tail.1) {
      // New clusters are zeroed in one go; old ones may hold data between the ends, which must be the
      // old or the new one at every moment.
      let parts =
        link.keepsHost
        ? [(link.fillStart, link.dataStart), (link.dataEnd, link.fillEnd)] : [(link.fillStart, link.fillEnd)]
      try io { () throws(StorageError) in
        for (start, end) in parts where start < end {
          try target.writeZeroes(at: link.host + start, count: end - start, tag: tag)
        }
      }
      return
    }
    for (guest, count) in [head, tail] where count > 0 {
      try copyOld(guest, count, to: link.host + (guest - link.guest), target, tag)
    }
    l2Cache.dependOnFlush()
  }

  /// Writes what the guest saw at the two ends of a link, and leaves the middle as it is.
  func fillEnds(_ link: ClusterLink) throws(ImageError) {
    let tag = WriteTag(
      .data, .copyOnWrite, table: link.host + link.fillStart, index: link.fillEnd - link.fillStart)
    let ends = [(link.fillStart, link.dataStart), (link.dataEnd, link.fillEnd)]
    for (start, end) in ends where end > start {
      try guardData(link.host + start, end - start)
      try copyOld(link.guest + start, end - start, to: link.host + start, try openData(), tag)
    }
    if link.needsFill { l2Cache.dependOnFlush() }
  }

  /// The old content of a stretch within a cluster, as the guest sees it, goes to its new place.
  private func copyOld(
    _ guest: UInt64, _ count: UInt64, to host: UInt64, _ target: any Storage, _ tag: WriteTag
  ) throws(ImageError) {
    var bytes = [UInt8](repeating: 0, count: Int(count))
    var problem: ImageError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(ImageError) {
        unsafe try readRuns(at: GuestOffset(guest), into: buffer)
        if let dataCipher { unsafe try dataCipher.encrypt(buffer, guest: guest, host: host) }
      } catch {
        problem = error
      }
    }
    if let problem { throw problem }
    try io { () throws(StorageError) in try target.write(bytes, at: host, tag: tag) }
  }

  /// Whether a stretch to fill in is known to be zeroes. A longer backing file may have bytes behind
  /// the end of the disk, which belong into the last cluster.
  private func coversZeroes(_ guest: UInt64, _ count: UInt64) throws(ImageError) -> Bool {
    if backing != nil && guest + count > geometry.virtualSize { return count == 0 }
    return try readsAsZero(guest, count)
  }

  /// Whether a range reads as zeroes by its state, without looking at bytes. What lies behind the
  /// end of the disk counts as zero.
  func readsAsZero(_ guest: UInt64, _ count: UInt64) throws(ImageError) -> Bool {
    guard guest < geometry.virtualSize else { return true }
    var position = guest
    let end = min(geometry.virtualSize, guest + count)
    while position < end {
      let run = try mapping(at: GuestOffset(position), limit: end - position)
      guard run.length > 0 else { return false }
      if run.state.isUnallocated {
        guard try belowReadsAsZero(position, run.length) else { return false }
      } else if !run.state.readsAsZero {
        return false
      }
      position += run.length
    }
    return true
  }

  // MARK: Linking

  /// Lets the L2 entries point to the clusters, and frees what they pointed to before.
  func linkClusters(_ link: ClusterLink, preallocating: Bool = false) throws(ImageError) {
    try announceLazyRefcounts()
    if !isDirty { try l2Cache.depend(on: refcountCache) }
    let slice = try sliceForWriting(at: GuestOffset(link.guest))
    var replaced: [L2Entry] = []
    for i in 0..<link.clusters {
      let index = slice.index + Int(i)
      let old = unsafe entry(slice.memory, index)
      let start = i << UInt64(geometry.clusterBits)
      var new = L2Entry(descriptor: (link.host + start) | L2Entry.copiedFlag)
      if geometry.hasExtendedL2 {
        new.bitmap = old.isCompressed ? SubclusterBitmap(raw: 0) : old.bitmap
        if !preallocating {
          let from = max(link.fillStart, start) - start
          let to = min(link.fillEnd, start + geometry.clusterSize) - start
          let bits = SubclusterBitmap.mask(
            Int(from >> UInt64(geometry.subclusterBits)), Int((to - 1) >> UInt64(geometry.subclusterBits)))
          new.bitmap = SubclusterBitmap(
            allocated: new.bitmap.allocated | bits, zero: new.bitmap.zero & ~bits)
        }
      }
      guard new != old else { continue }
      setEntry(slice, index, new, guestCluster: (link.guest + start) >> UInt64(geometry.clusterBits), .link)
      if !link.keepsHost { replaced.append(old) }
    }
    for old in replaced { try freeCluster(of: old, .never) }
  }

  /// Frees the host clusters that an entry pointed to.
  func freeCluster(of entry: L2Entry, _ freeClass: FreeClass) throws(ImageError) {
    if hasExternalData {
      // Clusters of an external file have no refcounts; they can only be given back to the host.
      if passesDiscard(freeClass), !entry.isCompressed, geometry.hasHost(entry) {
        try punchData(entry.offsetBits, geometry.clusterSize)
      }
    } else if entry.isCompressed {
      let extent = geometry.compressedExtent(of: entry.descriptor)
      release(extent.offset.value, extent.byteCount, freeClass)
    } else if entry.offsetBits != 0 {
      guard geometry.isAligned(entry.offsetBits) else {
        return tellCorruption("Cannot free unaligned cluster \(hex(entry.offsetBits))")
      }
      release(entry.offsetBits, geometry.clusterSize, freeClass)
    }
  }

  /// Gives back clusters that were taken for a piece that failed.
  func releaseClusters(of links: [ClusterLink]) {
    for link in links where !link.keepsHost && !hasExternalData {
      release(link.host, link.clusters << UInt64(geometry.clusterBits), .never)
    }
  }
}
