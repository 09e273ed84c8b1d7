// Changing the size of the disk. Growing maps the new area in advance if asked to; shrinking gives
// back everything behind the new end, tables included, and cuts the file.

import QcowFormat
import Storage

/// Changes the size of the disk of an image; throws as ``GuestWriter``.
struct DiskResize {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var editor: TableEditor { writer.editor }
  private var allocator: Allocator { writer.allocator }
  private var tables: TableWriter { writer.tables }
  private var l2: L2Tables { writer.l2 }
  private var rules: MappingRules { writer.rules }
  private var geometry: Geometry { writer.geometry }
  private var storage: any Storage { writer.tables.storage }

  /// Changes the virtual size to `size` bytes. Throws ``ImageError/Code/option`` for a size that is no multiple
  /// of 512 and for a preallocation that cannot be, and ``ImageError/Code/unsupported`` with snapshots in
  /// version 2.
  func resize(
    to size: ByteCount, _ preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    guard size.value % 512 == 0 else {
      throw ImageError(.option, "The new size must be a multiple of 512")
    }
    if tables.header.version < 3 && !tables.snapshots.isEmpty {
      throw ImageError(.unsupported, "Can't resize a v2 image which has snapshots")
    }
    if let name = writer.bitmaps?.firstInconsistent {
      throw ImageError(
        .unsupported, "Bitmap '\(name)' is inconsistent and cannot be used",
        hint: "Try block-dirty-bitmap-remove to delete this bitmap from disk")
    }
    try writer.bitmaps?.mark(with: editor)
    let isSmaller = size.value < geometry.virtualSize
    guard !isSmaller || preallocation == .off else {
      throw ImageError(.option, "Preallocation can't be used for shrinking an image")
    }
    try allocator.health.guarded { () throws(ImageError) in
      if isSmaller { return try shrink(to: size) }
      do throws(ImageError) { try grow(to: size, preallocation) } catch {
        // What was given back must be free on the disk too; behind damage nothing is written.
        if error.code == .storage || error.code == .noSpace { try? editor.flush(announcing: false) }
        throw error
      }
    }
  }

  // MARK: Growing

  /// Makes the disk larger; the new area reads as zeroes.
  func grow(to newSize: ByteCount, _ asked: Image.CreateOptions.Preallocation) throws(ImageError) {
    let (old, size) = (geometry.virtualSize, newSize.value)
    guard size > old else { return }
    let wanted = geometry.l1Entries(for: size)
    guard wanted <= L1Entry.maximumCount else {
      throw ImageError(.noSpace, "the disk would need an L1 table of more than 32 MiB")
    }
    rules.plannedSize = size
    defer { rules.plannedSize = 0 }
    let area = Area(start: GuestOffset(old), end: GuestOffset(size))
    try keepPlaces(area)
    do throws(ImageError) { try editor.growL1(to: Int(wanted)) } catch {
      throw error.failing("Failed to grow the L1 table")
    }
    // The tables of a raw data file always say where everything is.
    let isRaw = l2.hasExternalData && tables.header.autoclear.contains(.rawExternalData)
    let preallocation = isRaw && asked == .off ? .metadata : asked
    let mapped = try withoutCompressedStart(area)
    // A backing file that reaches behind the old end must not show through.
    let mustHide = writer.reader.backing.map { $0.virtualSize > old } ?? false
    var isHidden = false
    switch preallocation {
    case .off:
      if let data = writer.reader.data, l2.hasExternalData { try extend(data, to: newSize, .off) }
    case .metadata: try preallocate(mapped, .metadata)
    case .falloc, .full:
      if l2.hasExternalData {
        try preallocate(mapped, preallocation)
      } else if let pin = rules.activePin {
        let first = HostOffset(pin.shift + geometry.roundUp(old))
        let places = first..<HostOffset(pin.shift + geometry.roundUp(size))
        try claimBlocks(places, of: storage, preallocation)
        try preallocate(mapped, .metadata)
      } else {
        try preallocateRun(mapped, preallocation, allocated: mustHide)
        isHidden = mustHide
      }
    }
    if mustHide && !isHidden { try hideBacking(area) }
    try publish(newSize)
  }

  /// A stretch of the guest's disk.
  private struct Area {
    var start: GuestOffset
    var end: GuestOffset
  }

  /// The area without the rest of a compressed cluster that the disk ends in, which reads as zeroes already. Without
  /// writing data there is no new cluster with subclusters in its place: it would read as nothing at all, as with the
  /// genuine tool, which loses what the guest has there. Throws as ``L2Tables/slice(of:at:)``.
  private func withoutCompressedStart(_ area: Area) throws(ImageError) -> Area {
    guard geometry.hasExtendedL2, !geometry.isAligned(area.start.value),
      try l2.entry(at: GuestOffset(geometry.roundDown(area.start.value))).isCompressed
    else { return area }
    return Area(start: min(area.end, GuestOffset(geometry.roundUp(area.start.value))), end: area.end)
  }

  private func publish(_ size: ByteCount) throws(ImageError) {
    do throws(ImageError) {
      try editor.flush(announcing: false)
      try tables.setDiskSize(size)
    } catch { throw error.failing("Failed to update the image size") }
    writer.bitmaps?.resize(to: size)
    // The default size of a slice follows from the size of the disk.
    try editor.rebuildCaches()
  }

  /// Extends a file to `length`, with host blocks if asked to.
  private func extend(
    _ target: any Storage, to length: ByteCount, _ preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    let old = target.length
    guard length.value > old else { return }
    if preallocation == .off || preallocation == .metadata {
      do throws(StorageError) {
        try target.truncate(to: length.value, tag: WriteTag(.file, .create))
      } catch { throw ImageError(error) }
    } else {
      try claimBlocks(HostOffset(old)..<HostOffset(length.value), of: target, preallocation)
    }
  }

  /// Gives a part of a file its host blocks; if that fails the file has the length that it had.
  private func claimBlocks(
    _ range: Range<HostOffset>, of target: any Storage, _ preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    let before = target.length
    do throws(StorageError) { try Self.giveBlocks(to: range, of: target, preallocation) } catch {
      if target.length > before { try? target.truncate(to: before, tag: WriteTag(.file, .resize)) }
      throw ImageError(error)
    }
  }

  /// Gives a new part of a file its host blocks, if the preallocation wants them.
  static func giveBlocks(
    to range: Range<HostOffset>, of target: any Storage, _ preallocation: Image.CreateOptions.Preallocation
  ) throws(StorageError) {
    guard !range.isEmpty else { return }
    let tag = WriteTag(.file, .create)
    switch preallocation {
    case .off, .metadata: return
    case .falloc:
      try target.allocate(at: range.lowerBound.value, count: range.upperBound - range.lowerBound, tag: tag)
    case .full:
      let piece = [UInt8](repeating: 0, count: 1 << 20)
      var at = range.lowerBound
      while at < range.upperBound {
        let step = Int(min(UInt64(piece.count), range.upperBound - at))
        try target.write(step == piece.count ? piece : Array(piece.prefix(step)), at: at.value, tag: tag)
        at = at + ByteCount(step)
      }
    }
  }

  /// Makes sure that the places of what a pinned disk gains are free; otherwise it could not keep its
  /// shift.
  private func keepPlaces(_ area: Area) throws(ImageError) {
    guard let pin = rules.activePin else { return }
    let size = area.end.value
    guard size <= Geometry.hostOffsetLimit - pin.shift else {
      throw ImageError(.noSpace, "the places of a disk of \(size) bytes would lie behind host offset 2^56")
    }
    var guest = geometry.roundUp(area.start.value)
    let end = geometry.roundUp(storage.length)
    while guest < size, guest + pin.shift < end {
      let place = HostOffset(guest + pin.shift)
      guard try allocator.refcounts.count(of: geometry.cluster(of: place)) == 0 else {
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
    _ area: Area, _ preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    var position = area.start
    var dataEnd: UInt64 = 0
    let largest = geometry.roundDown(1 << 31 - 1)
    while position < area.end {
      let piece = try writer.findPlace(at: position, ByteCount(min(area.end - position, largest)))
      guard piece.length > 0 else {
        throw ImageError(.noSpace, "no place found for guest offset \(hex(position.value))")
      }
      var unlinked = piece.links
      do throws(ImageError) {
        for link in piece.links.reversed() {
          try writer.fillEnds(link)
          try writer.linkClusters(link, preallocating: true)
          unlinked.removeLast()
        }
      } catch {
        writer.releaseClusters(of: unlinked)
        throw error
      }
      position = position + piece.length
      dataEnd = (piece.host + piece.length).value
    }
    // Whole subclusters: a disk that ends inside a cluster does not need the rest of it.
    if !l2.hasExternalData { dataEnd = geometry.roundUpToSubcluster(dataEnd) }
    try extend(
      try writer.reader.openData(), to: ByteCount(dataEnd), l2.hasExternalData ? preallocation : .metadata)
  }

  /// Lays the new area out as one run behind everything, with the refcounts for it in front.
  private func preallocateRun(
    _ area: Area, _ preallocation: Image.CreateOptions.Preallocation, allocated: Bool
  ) throws(ImageError) {
    guard area.start < area.end else { return }
    let used: HostCluster
    if let last = try allocator.refcounts.lastUsedCluster() {
      used = last + 1
    } else {
      used = HostCluster(geometry.clustersCovering(storage.length))
    }
    let first = geometry.cluster(of: area.start)
    var left = ClusterCount(geometry.clustersCovering(area.end.value) - first.value)
    let tables = ceil(left.value, UInt64(geometry.l2EntriesPerTable)) + 1
    let start = try allocator.makeArea(from: used, additional: ClusterCount(left.value + tables))
    var host = geometry.start(of: start)
    guard try allocator.allocate(at: host, left) == left else {
      throw ImageError(
        .corrupt, "host clusters behind the last one in use are not free", at: .refcountBlock,
        index: start.value, host)
    }
    do throws(ImageError) {
      try extend(storage, to: ByteCount((host + geometry.bytes(left)).value), preallocation)
      var guest = geometry.start(of: first)
      var head = ByteCount(area.start - guest)
      while left > 0 {
        let index = geometry.l2Index(of: guest)
        let count = min(left, ClusterCount(UInt64(l2.sliceEntries - index % l2.sliceEntries)))
        let length = geometry.bytes(count)
        let link = ClusterLink(
          guest: guest, host: host, clusters: count, keepsHost: false, fillStart: 0, dataStart: head,
          dataEnd: length, fillEnd: length)
        try writer.fillEnds(link)
        try writer.linkClusters(link, preallocating: !allocated)
        head = 0
        guest = guest + length
        host = host + length
        left.value -= count.value
      }
    } catch {
      // What no entry points to yet is free again.
      try? allocator.free(host, geometry.bytes(left), .other)
      throw error
    }
  }

  /// Zeroes what a longer backing file would show behind the old end.
  private func hideBacking(_ area: Area) throws(ImageError) {
    let (old, size) = (area.start.value, area.end.value)
    let start = min(size, geometry.roundUpToSubcluster(old))
    // The engine must take the new end for the end of the disk while it zeroes up to there.
    try tables.withDiskSize(ByteCount(size)) { () throws(ImageError) in
      if size > start {
        guard
          try Zeroer(writer).zeroAlignedPiece(GuestOffset(start), ByteCount(size - start), mayUnmap: false)
        else {
          throw ImageError(.unsupported, "Failed to zero out new clusters: Operation not supported")
        }
      }
      if start > old { try writer.writeZeroBytes(at: area.start, ByteCount(start - old)) }
    }
  }

  // MARK: Shrinking

  private func shrink(to newSize: ByteCount) throws(ImageError) {
    let size = newSize.value
    let start = geometry.roundUp(size)
    if start < geometry.virtualSize {
      do throws(ImageError) {
        try Discarder(writer).discardClusters(
          GuestOffset(start), ByteCount(geometry.virtualSize - start), .always, full: true)
      } catch { throw error.failing("Failed to discard cropped clusters") }
    }
    do throws(ImageError) { try cutL1(to: Int(geometry.l1Entries(for: size))) } catch {
      throw error.failing("Failed to reduce the number of L2 tables")
    }
    do throws(ImageError) { try dropUnusedRefcountBlocks() } catch {
      throw error.failing("Failed to discard unused refblocks")
    }
    do throws(StorageError) {
      if l2.hasExternalData, let data = writer.reader.data, data.length > size {
        try data.truncate(to: size, tag: WriteTag(.file, .resize))
      }
    } catch { throw ImageError(error) }
    if let last = try allocator.refcounts.lastUsedCluster() {
      let end = geometry.start(of: last + 1).value
      if end < storage.length {
        // What still lies in the caches for clusters in front of the new end goes out first.
        try editor.flush(announcing: false)
        do throws(StorageError) {
          try storage.truncate(to: end, tag: WriteTag(.file, .resize))
        } catch { throw ImageError(error) }
      }
    }
    try publish(newSize)
  }

  /// Empties the L1 entries from `count` on and frees their L2 tables. The table keeps its length.
  private func cutL1(to count: Int) throws(ImageError) {
    guard count < tables.l1.count else { return }
    try editor.flush(announcing: false)
    let dropped = try tables.cutL1(to: count)
    tables.reach(.l1ShrinkFreeL2Clusters)
    for entry in dropped.reversed() {
      if let table = entry.table { allocator.release(table, ByteCount(geometry.clusterSize), .always) }
    }
  }

  /// Takes refcount blocks out of the table that count nothing but themselves.
  private func dropUnusedRefcountBlocks() throws(ImageError) {
    let (refcounts, codec) = (allocator.refcounts, allocator.refcounts.codec)
    var unused: [Int] = []
    for index in tables.refcountTable.indices {
      guard let block = try refcounts.block(index) else { continue }
      let cluster = geometry.cluster(of: block.place)
      // Its count of itself does not count.
      let countsItself = geometry.refcountTableIndex(of: cluster) == index
      let own = countsItself ? geometry.refcountBlockIndex(of: cluster) : -1
      let count = unsafe codec.value(in: UnsafeRawBufferPointer(block.bytes), at: own)
      unsafe codec.store(0, in: block.bytes, at: own)
      if unsafe block.bytes.isZero { unused.append(index) }
      unsafe codec.store(count, in: block.bytes, at: own)
    }
    guard !unused.isEmpty else { return }
    let before = tables.refcountTable
    try editor.flush(announcing: false)
    try tables.dropRefcountBlocks(unused)
    for index in unused { try allocator.dropBlock(index, of: before) }
  }
}
