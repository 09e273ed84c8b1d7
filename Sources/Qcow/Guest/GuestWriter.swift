// Writing guest bytes. A request is cut into pieces that are contiguous in the file; for each piece
// clusters are found, what the new ones need around the data is filled in, the data is written, and
// only then the L2 entries begin to point there.

import QcowFormat
import Storage

/// A stretch of clusters of one piece that is linked in one go.
struct ClusterLink {
  /// Guest offset of the first cluster.
  var guest: GuestOffset
  /// Host offset of the first cluster.
  var host: HostOffset
  var clusters: ClusterCount
  /// The clusters were there before; only their bitmap or zero flag changes.
  var keepsHost: Bool
  /// Bytes from the first cluster's start to where filling in begins, where the guest's data
  /// begins and ends, and where filling in ends.
  var fillStart: ByteCount
  var dataStart: ByteCount
  var dataEnd: ByteCount
  var fillEnd: ByteCount

  var needsFill: Bool { fillStart < dataStart || dataEnd < fillEnd }
}

/// A host-contiguous part of a write request.
struct WritePiece {
  /// Host offset of the first byte.
  var host: HostOffset
  var length: ByteCount
  var links: [ClusterLink]
}

/// Changes what the guest reads. What it throws, unless a method says more: ``ImageError/Code/corrupt`` and
/// ``ImageError/Code/overlap`` for damage that a request meets, ``ImageError/Code/noSpace``, what reading the
/// old content throws (``GuestReader/read(at:into:)``), and what the host says.
final class GuestWriter {
  let reader: GuestReader
  let editor: TableEditor
  let allocator: Allocator
  let options: Image.Options
  /// The persistent bitmaps; nil for images without.
  var bitmaps: PersistentBitmaps?

  init(_ reader: GuestReader, _ editor: TableEditor, _ options: Image.Options) {
    self.reader = reader
    self.editor = editor
    self.options = options
    allocator = editor.allocator
  }

  var tables: TableWriter { editor.tables }
  var l2: L2Tables { editor.l2 }
  var geometry: Geometry { editor.tables.geometry }
  var rules: MappingRules { reader.rules }
  private var cipher: DataCipher? { reader.cipher }
  /// Memory for old content on its way to a new place; from the first use on, a cluster.
  private var room: CopyBuffer?

  // MARK: Requests

  /// A request is about to change a range of the disk, which bitmaps keep in mind even if it fails. Throws what
  /// marking them throws.
  func record(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    guard bitmaps != nil else { return }
    try bitmaps?.mark(with: editor)
    // An encrypted image is written in whole sectors.
    let alignment: UInt64 = cipher == nil ? 1 : 512
    let start = guest.value / alignment * alignment
    let end = ((guest + count).value + alignment - 1) / alignment * alignment
    bitmaps?.record(GuestOffset(start), ByteCount(end - start))
  }

  /// A request of any bytes; an encrypted image takes whole sectors.
  func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    if cipher == nil {
      unsafe try writeDetecting(bytes, at: guest)
    } else {
      unsafe try writeSectors(bytes, at: guest)
    }
  }

  /// The request as a whole, not its pieces, decides whether it becomes a zero-write.
  private func writeDetecting(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    if options.detectZeroes != .off, unsafe bytes.isZero {
      try Zeroer(self).makeZero(guest, ByteCount(bytes.count), mayUnmap: options.detectZeroes == .unmap)
    } else {
      unsafe try writeData(bytes, at: guest)
    }
  }

  /// Writes zero bytes as data.
  func writeZeroBytes(at guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    let zeroes = [UInt8](repeating: 0, count: Int(count.value))
    unsafe try lending(zeroes) { (bytes) throws(ImageError) in unsafe try writeData(bytes, at: guest) }
  }

  /// Calls `body` with the bytes of an array.
  private func lending(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(ImageError) -> Void
  ) throws(ImageError) {
    var problem: ImageError?
    unsafe bytes.withUnsafeBytes { bytes in
      do throws(ImageError) { unsafe try body(bytes) } catch { problem = error }
    }
    if let problem { throw problem }
  }

  /// The write of bytes as they are.
  func writeData(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    var pieces = PiecesInFlight()
    do throws(ImageError) {
      unsafe try writePieces(bytes, at: guest, &pieces)
    } catch {
      // What was written before is not lost; whoever asked hears of the first failure.
      try? pieces.end(linkClusters)
      throw error
    }
    try pieces.end(linkClusters)
  }

  private func writePieces(
    _ bytes: UnsafeRawBufferPointer, at guest: GuestOffset, _ pieces: inout PiecesInFlight
  ) throws(ImageError) {
    let count = ByteCount(bytes.count)
    var done: ByteCount = 0
    while done < count {
      let position = guest + done
      try pieces.makeRoom(linkClusters)
      let made = allocator.madeTables
      let piece = try findPlace(at: position, min(count - done, largestPiece(at: position)))
      guard piece.length > 0 else {
        throw ImageError(.noSpace, "no place found for guest offset \(hex(position.value))")
      }
      let end = done + piece.length
      do throws(ImageError) {
        // A table that was made waited for the disk, and those in front have come to their end meanwhile.
        if allocator.madeTables != made { try pieces.end(linkClusters) }
        let data = unsafe UnsafeRawBufferPointer(rebasing: bytes[Int(done.value)..<Int(end.value)])
        unsafe try writePiece(piece, data, at: position)
      } catch {
        releaseClusters(of: piece.links)
        throw error
      }
      pieces.start(piece.links)
      done = end
    }
  }

  private func writePiece(
    _ piece: WritePiece, _ data: UnsafeRawBufferPointer, at guest: GuestOffset
  ) throws(ImageError) {
    try guardData(piece.host, piece.length)
    let target = try reader.openData()
    for link in piece.links where link.needsFill {
      let isShort = link.clusters == 1 && piece.length == link.dataEnd - link.dataStart
      if unsafe try fillAround(link, isShort && data.count <= Self.shortData ? data : nil) { return }
    }
    if let cipher {
      return unsafe try Self.writeEncrypted(data, guest: guest, at: piece.host, cipher, on: target)
    }
    do throws(StorageError) {
      unsafe try target.write(data, at: piece.host.value, tag: Self.dataTag(piece.host, piece.length))
    } catch {
      throw ImageError(error)
    }
  }

  private static func dataTag(_ host: HostOffset, _ length: ByteCount) -> WriteTag {
    WriteTag(.data, .guestData, table: host.value, index: length.value)
  }

  /// Keeps guest data away from all tables; an external data file has none.
  private func guardData(_ offset: HostOffset, _ length: ByteCount) throws(ImageError) {
    if !l2.hasExternalData { try tables.guardWrite(offset, length) }
  }

  // MARK: Finding a place

  /// An entry that can be written in place has a host cluster of its own.
  @inline(__always)
  private func needsNewCluster(_ entry: L2Entry) -> Bool {
    entry.isCompressed || !entry.isCopied || !geometry.hasHost(entry)
  }

  /// The first piece of a request: reused clusters where they continue each other, new ones
  /// behind them if that place is free.
  func findPlace(at guest: GuestOffset, _ length: ByteCount) throws(ImageError) -> WritePiece {
    var piece = WritePiece(host: HostOffset(0), length: 0, links: [])
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
  private func extend(
    _ piece: inout WritePiece, at guest: GuestOffset, _ left: ByteCount
  ) throws(ImageError) -> Bool {
    let slice = try editor.slice(at: guest)
    let inCluster = ByteCount(geometry.offsetInCluster(guest.value))
    let room = UInt64(l2.sliceEntries - slice.index)
    let wanted = min(geometry.clustersCovering((inCluster + left).value), room)
    let first = l2.entry(slice, slice.index)
    let next = piece.length == 0 ? nil : piece.host + piece.length
    let start = GuestOffset(geometry.roundDown(guest.value))
    var count: UInt64 = 1
    var host: HostOffset
    let keepsHost = !needsNewCluster(first)
    if keepsHost {
      try checkPlace(first, guest, slice)
      host = HostOffset(first.offsetBits)
      if let next, next != host { return false }
      while count < wanted {
        let following = l2.entry(slice, slice.index + Int(count))
        guard !needsNewCluster(following),
          following.offsetBits == host.value &+ geometry.byteCount(ofClusters: count)
        else { break }
        count += 1
      }
      try checkBitmaps(slice, ClusterCount(count), guest)
    } else {
      while count < wanted, needsNewCluster(l2.entry(slice, slice.index + Int(count))) { count += 1 }
      try checkBitmaps(slice, ClusterCount(count), guest)
      guard let place = try takeClusters(for: start, ClusterCount(count), next: next) else { return false }
      (host, count) = (place.host, place.count.value)
    }
    let length = min(left, geometry.bytes(ClusterCount(count)) - inCluster)
    if piece.length == 0 { piece.host = host + inCluster }
    var link = ClusterLink(
      guest: start, host: host, clusters: ClusterCount(count), keepsHost: keepsHost, fillStart: inCluster,
      dataStart: inCluster, dataEnd: inCluster + length, fillEnd: inCluster + length)
    if try prepare(&link) { piece.links.append(link) }
    piece.length += length
    return true
  }

  /// Takes new clusters for a stretch of the guest's disk: `next` is where the piece would continue. Nil if the
  /// piece must end here.
  private func takeClusters(
    for guest: GuestOffset, _ count: ClusterCount, next: HostOffset?
  ) throws(ImageError) -> (host: HostOffset, count: ClusterCount)? {
    // The place of guest data in its own file is fixed.
    if l2.hasExternalData { return (HostOffset(guest.value), count) }
    if let pin = rules.activePin { return try takePinned(guest, count, pin, next: next) }
    if let next {
      let taken = try allocator.allocate(at: next, count)
      return taken > 0 ? (next, taken) : nil
    }
    let host = try allocator.allocate(count)
    guard host.value != 0 else {
      throw ImageError(
        .corrupt, "Preventing invalid write on metadata (overlaps with qcow2_header)", at: .header,
        HostOffset(0))
    }
    return (host, count)
  }

  /// The same under the pinned policy: a cluster gets its own place if nobody else is there, and one that is
  /// displaced goes on like any other, but never to a place that belongs to a guest cluster.
  private func takePinned(
    _ guest: GuestOffset, _ count: ClusterCount, _ pin: PinExtension, next: HostOffset?
  ) throws(ImageError) -> (host: HostOffset, count: ClusterCount)? {
    let (own, overflow) = guest.value.addingReportingOverflow(pin.shift)
    // Machine state has no place of its own.
    let isState = isState(guest)
    var isFree = false
    var same = isState ? 1 : count
    if !overflow, !isState, own < Geometry.hostOffsetLimit {
      let first = geometry.cluster(of: HostOffset(own))
      isFree = try allocator.refcounts.count(of: first) == 0
      same = 1
      while same < count, try (allocator.refcounts.count(of: first + same) == 0) == isFree {
        same.value += 1
      }
    }
    if isFree {
      if let next, next.value != own { return nil }
      // Making a refcount block takes no place of a guest cluster, so what was free still is.
      let taken = try allocator.allocate(at: HostOffset(own), same)
      return taken > 0 ? (HostOffset(own), taken) : nil
    }
    guard let next else { return (try allocator.allocate(same), same) }
    if let places = rules.pinnedClusters, places.contains(geometry.cluster(of: next)) { return nil }
    let taken = try allocator.allocate(at: next, same)
    return taken > 0 ? (next, taken) : nil
  }

  /// Refuses a place that no writer may follow. An entry that gets a new place is only looked at where its
  /// old content is needed.
  private func checkPlace(_ entry: L2Entry, _ guest: GuestOffset, _ slice: L2Slice) throws(ImageError) {
    guard !geometry.isAligned(entry.offsetBits) else { return }
    let what = entry.descriptor & L2Entry.zeroFlag != 0 ? "Preallocated zero cluster" : "Data cluster"
    throw ImageError(
      .corrupt, "\(what) offset \(hex(entry.offsetBits)) unaligned (guest offset: \(hex(guest.value)))",
      at: .l2Table, index: UInt64(geometry.l2Index(of: guest)), slice.table)
  }

  /// Refuses a step that has an invalid bitmap in any of its entries.
  private func checkBitmaps(
    _ slice: L2Slice, _ count: ClusterCount, _ guest: GuestOffset
  ) throws(ImageError) {
    guard geometry.hasExtendedL2 else { return }
    for i in 0..<count.value {
      let entry = l2.entry(slice, slice.index + Int(i))
      guard !entry.isCompressed, case .invalid(let fault) = geometry.mapping(of: entry, version: 3),
        fault != .unalignedOffset
      else { continue }
      throw l2.invalidEntry(entry, slice.table, guest + geometry.bytes(ClusterCount(i)))
    }
  }

  /// Says in a link what must be filled in around the data; false if linking would change nothing.
  private func prepare(_ link: inout ClusterLink) throws(ImageError) -> Bool {
    let slice = try editor.slice(at: link.guest)
    let first = touched(slice, link.dataStart)
    let last = touched(slice, link.dataEnd - 1)
    let subclusterStart = ByteCount(geometry.roundDownToSubcluster(link.dataStart.value))
    let subclusterEnd = ByteCount(geometry.roundUpToSubcluster(link.dataEnd.value))
    if link.keepsHost {
      if allData(slice, link) { return false }
      if first.state != .data { link.fillStart = subclusterStart }
      if last.state != .data { link.fillEnd = subclusterEnd }
      return true
    }
    link.fillStart = fillStart(first, link.dataStart, subclusterStart)
    link.fillEnd = fillEnd(last, link.dataEnd, subclusterEnd)
    return true
  }

  /// An entry and the state of one of its subclusters.
  private typealias Touched = (entry: L2Entry, state: SubclusterState)

  /// What lies so many bytes behind the start of the cluster of a slice's entry.
  private func touched(_ slice: L2Slice, _ position: ByteCount) -> Touched {
    let entry = l2.entry(slice, slice.index + Int(geometry.wholeClusters(position.value)))
    let subcluster = geometry.subcluster(of: GuestOffset(position.value))
    return (entry, geometry.state(of: entry, subcluster, version: tables.header.version))
  }

  private func allData(_ slice: L2Slice, _ link: ClusterLink) -> Bool {
    var position = link.dataStart
    while position < link.dataEnd {
      guard touched(slice, position).state == .data else { return false }
      position = ByteCount(geometry.roundDownToSubcluster(position.value) + geometry.subclusterSize)
    }
    return true
  }

  /// A new cluster must take over what an old host cluster held before the data.
  private func fillStart(
    _ touched: Touched, _ dataStart: ByteCount, _ subclusterStart: ByteCount
  ) -> ByteCount {
    let clusterStart = ByteCount(geometry.roundDown(dataStart.value))
    switch touched.state {
    case .compressed: return clusterStart
    case .data, .zeroMapped, .unallocatedMapped:
      guard geometry.hasExtendedL2 else { return clusterStart }
      let allocated = UInt64(touched.entry.bitmap.allocated.trailingZeroBitCount)
      return min(subclusterStart, clusterStart + ByteCount(geometry.byteCount(ofSubclusters: allocated)))
    default: return subclusterStart
    }
  }

  /// The same behind the data.
  private func fillEnd(_ touched: Touched, _ dataEnd: ByteCount, _ subclusterEnd: ByteCount) -> ByteCount {
    let clusterStart = ByteCount(geometry.roundDown((dataEnd - 1).value))
    let clusterEnd = clusterStart + ByteCount(geometry.clusterSize)
    switch touched.state {
    case .compressed: return clusterEnd
    case .data, .zeroMapped, .unallocatedMapped:
      guard geometry.hasExtendedL2 else { return clusterEnd }
      let behind = UInt64(32 - touched.entry.bitmap.allocated.leadingZeroBitCount)
      return max(subclusterEnd, clusterStart + ByteCount(geometry.byteCount(ofSubclusters: behind)))
    default: return subclusterEnd
    }
  }

  // MARK: Copy on write

  /// Bytes of guest data that are read and written together with what lies around them: one request to the host
  /// instead of three costs less than the bytes that are read in vain.
  private static let shortData = 16 << 10

  /// Writes what the guest saw around the data before into the new cluster; true if it wrote the data as well, which
  /// it is given if that may be.
  private func fillAround(_ link: ClusterLink, _ data: UnsafeRawBufferPointer?) throws(ImageError) -> Bool {
    let head = (link.guest + link.fillStart, link.dataStart - link.fillStart)
    let tail = (link.guest + link.dataEnd, link.fillEnd - link.dataEnd)
    let tag = fillTag(link)
    try guardData(link.host + link.fillStart, link.fillEnd - link.fillStart)
    let target = try reader.openData()
    // Zeroes of the guest are no zeroes in an encrypted file.
    if cipher == nil, try coversZeroes(head.0, head.1), try coversZeroes(tail.0, tail.1) {
      // New clusters are zeroed in one go; old ones may hold data between the ends, which must be the
      // old or the new one at every moment.
      let parts =
        link.keepsHost
        ? [(link.fillStart, link.dataStart), (link.dataEnd, link.fillEnd)] : [(link.fillStart, link.fillEnd)]
      do throws(StorageError) {
        for (start, end) in parts where start < end {
          try target.writeZeroes(at: (link.host + start).value, count: (end - start).value, tag: tag)
        }
      } catch { throw ImageError(error) }
      return false
    }
    if let data = unsafe data, cipher == nil, !tables.followsMoments,
      unsafe try writeTogether(link, data, head.1, tail.1, target, tag)
    {
      return true
    }
    if head.1 > 0 { try copyOld(head.0, head.1, to: link.host + link.fillStart, target, tag) }
    if tail.1 > 0 { try copyOld(tail.0, tail.1, to: link.host + link.dataEnd, target, tag) }
    l2.cache.dependOnFlush()
    return false
  }

  /// Reads what lies around short data in one go and writes all of it in one; false if that cannot be read, which
  /// whoever reads it piece by piece tells.
  private func writeTogether(
    _ link: ClusterLink, _ data: UnsafeRawBufferPointer, _ head: ByteCount, _ tail: ByteCount,
    _ target: any Storage, _ tag: WriteTag
  ) throws(ImageError) -> Bool {
    let (start, end) = (Int(head.value), Int(head.value) + data.count)
    let bytes = unsafe memory(end + Int(tail.value))
    do throws(ImageError) {
      unsafe try reader.read(at: link.guest + link.fillStart, into: bytes)
    } catch { return false }
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end]).copyMemory(from: data)
    // The order in which the parts are told.
    var parts: [WrittenPart] = []
    parts.reserveCapacity(3)
    if start > 0 { parts.append(WrittenPart(0..<start, tag)) }
    if end < bytes.count { parts.append(WrittenPart(end..<bytes.count, tag)) }
    parts.append(
      WrittenPart(
        start..<end, Self.dataTag(link.host + link.dataStart, ByteCount(data.count))))
    l2.cache.dependOnFlush()
    do throws(StorageError) {
      unsafe try target.write(
        UnsafeRawBufferPointer(bytes), at: (link.host + link.fillStart).value, parts: parts)
    } catch { throw ImageError(error) }
    return true
  }

  /// So many bytes of the room for old content, which are what they were left as.
  private func memory(_ count: Int) -> UnsafeMutableRawBufferPointer {
    if let room, room.count >= count { return unsafe room.part(0, count) }
    let made = CopyBuffer(max(count, Int(geometry.clusterSize)))
    room = made
    return unsafe made.part(0, count)
  }

  private func fillTag(_ link: ClusterLink) -> WriteTag {
    WriteTag(
      .data, .copyOnWrite, table: (link.host + link.fillStart).value,
      index: (link.fillEnd - link.fillStart).value)
  }

  /// Writes what the guest saw at the two ends of a link, and leaves the middle as it is.
  func fillEnds(_ link: ClusterLink) throws(ImageError) {
    let ends = [(link.fillStart, link.dataStart), (link.dataEnd, link.fillEnd)]
    for (start, end) in ends where end > start {
      try guardData(link.host + start, end - start)
      try copyOld(
        link.guest + start, end - start, to: link.host + start, try reader.openData(),
        fillTag(link))
    }
    if link.needsFill { l2.cache.dependOnFlush() }
  }

  /// The old content of a stretch within a cluster, as the guest sees it, goes to its new place.
  private func copyOld(
    _ guest: GuestOffset, _ count: ByteCount, to host: HostOffset, _ target: any Storage, _ tag: WriteTag
  ) throws(ImageError) {
    tables.reach(.cowRead)
    let bytes = unsafe memory(Int(count.value))
    unsafe try reader.read(at: guest, into: bytes)
    if let cipher { unsafe try cipher.encrypt(bytes, guest: guest, host: host) }
    do throws(StorageError) {
      unsafe try target.write(UnsafeRawBufferPointer(bytes), at: host.value, tag: tag)
    } catch { throw ImageError(error) }
  }

  /// The place lies behind the disk, and behind what a resize is about to make of it: machine state.
  private func isState(_ guest: GuestOffset) -> Bool {
    guest.value >= geometry.roundUp(max(geometry.virtualSize, rules.plannedSize))
  }

  /// Whether a stretch to fill in is known to be zeroes. A longer backing file may have bytes behind
  /// the end of the disk, which belong into the last cluster. Machine state is no part of the disk, of which alone
  /// that can be asked.
  private func coversZeroes(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) -> Bool {
    if isState(guest) { return count == 0 }
    if reader.backing != nil && (guest + count).value > geometry.virtualSize { return count == 0 }
    return try reader.readsAsZero(guest, count)
  }

  // MARK: Linking

  /// Lets the L2 entries point to the clusters of a link of a write, and frees what they pointed to before; true if
  /// that was anything.
  private func linkClusters(_ link: ClusterLink) throws(ImageError) -> Bool {
    try linkClusters(link, preallocating: false)
  }

  /// The same for clusters that hold what the guest wrote, or are there before it writes.
  @discardableResult
  func linkClusters(_ link: ClusterLink, preallocating: Bool) throws(ImageError) -> Bool {
    try editor.announceLink()
    let slice = try editor.slice(at: link.guest)
    let firstCluster = geometry.cluster(of: link.guest)
    var replaced: [L2Entry] = []
    for i in 0..<link.clusters.value {
      let index = slice.index + Int(i)
      let old = l2.entry(slice, index)
      let start = geometry.byteCount(ofClusters: i)
      var new = L2Entry(descriptor: (link.host.value + start) | L2Entry.copiedFlag)
      if geometry.hasExtendedL2 {
        new.bitmap = old.isCompressed ? SubclusterBitmap(raw: 0) : old.bitmap
        if !preallocating {
          let from = max(link.fillStart.value, start) - start
          let to = min(link.fillEnd.value, start + geometry.clusterSize) - start
          let bits = SubclusterBitmap.mask(geometry.wholeSubclusters(from), geometry.wholeSubclusters(to - 1))
          new.bitmap = SubclusterBitmap(
            allocated: new.bitmap.allocated | bits, zero: new.bitmap.zero & ~bits)
        }
      }
      guard new != old else { continue }
      l2.setEntry(slice, index, new, of: firstCluster + ClusterCount(i), .link)
      if !link.keepsHost { replaced.append(old) }
    }
    for old in replaced { try freeCluster(of: old, .never) }
    return replaced.contains { $0.isCompressed || $0.offsetBits != 0 }
  }

  /// Frees the host clusters that an entry pointed to.
  func freeCluster(of entry: L2Entry, _ freeClass: FreeClass) throws(ImageError) {
    if l2.hasExternalData {
      // Clusters of an external file have no refcounts; they can only be given back to the host.
      if allocator.discards.passes(freeClass), !entry.isCompressed, geometry.hasHost(entry) {
        try punchData(HostOffset(entry.offsetBits), ByteCount(geometry.clusterSize))
      }
    } else if entry.isCompressed {
      let extent = geometry.compressedExtent(of: entry.descriptor)
      allocator.release(extent.offset, ByteCount(extent.byteCount), freeClass)
    } else if entry.offsetBits != 0 {
      guard geometry.isAligned(entry.offsetBits) else {
        return allocator.health.tellCorruption("Cannot free unaligned cluster \(hex(entry.offsetBits))")
      }
      allocator.release(HostOffset(entry.offsetBits), ByteCount(geometry.clusterSize), freeClass)
    }
  }

  /// Gives guest data's place back to the host, at once or, beside tables, together with others.
  func punchData(_ offset: HostOffset, _ length: ByteCount) throws(ImageError) {
    guard l2.hasExternalData else { return allocator.discards.add(offset, length) }
    let target = try reader.openData()
    do throws(StorageError) {
      try target.punch(
        at: offset.value, count: length.value, tag: WriteTag(.data, .discard, table: offset.value))
    } catch { throw ImageError(error) }
  }

  /// Gives back clusters that were taken for a piece that failed.
  func releaseClusters(of links: [ClusterLink]) {
    for link in links where !link.keepsHost && !l2.hasExternalData {
      allocator.release(link.host, geometry.bytes(link.clusters), .never)
    }
  }
}

extension GuestWriter {
  // MARK: Encrypted data

  /// Bytes that one piece of a write may have. QEMU encrypts at most 32 clusters at a time, which
  /// shows in where the clusters of long requests go.
  private func largestPiece(at guest: GuestOffset) -> ByteCount {
    let largest = ByteCount(1 << 31 - 512)
    guard cipher != nil else { return largest }
    return min(largest, ByteCount(32 * geometry.clusterSize - geometry.offsetInCluster(guest.value)))
  }

  /// Writes guest bytes as a request of whole sectors: those at the ends are read first.
  private func writeSectors(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    let head = SectorCipher.offsetInSector(guest)
    let start = GuestOffset(guest.value - UInt64(head))
    let count = ByteCount(head + bytes.count)
    let whole = SectorCipher.roundUp(count)
    guard bytes.count > 0, head != 0 || whole != count else {
      return unsafe try writeDetecting(bytes, at: guest)
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(whole.value), alignment: 16)
    defer {
      unsafe Secret.wipe(buffer)
      unsafe buffer.deallocate()
    }
    let sector = SectorCipher.sectorSize
    unsafe try reader.read(
      at: start, into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<sector]))
    if buffer.count > sector {
      let last = buffer.count - sector
      unsafe try reader.read(
        at: start + ByteCount(last), into: UnsafeMutableRawBufferPointer(rebasing: buffer[last...]))
    }
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[head..<head + bytes.count]).copyMemory(from: bytes)
    unsafe try writeDetecting(UnsafeRawBufferPointer(buffer), at: start)
  }

  /// Writes the sectors at the ends of a zero-write that it covers only in part, and calls `middle`
  /// for the whole sectors between them. Two sectors that are both covered in part are one request.
  func zeroSectors(
    _ guest: GuestOffset, _ count: ByteCount,
    _ middle: (_ offset: GuestOffset, _ count: ByteCount) throws(ImageError) -> Void
  ) throws(ImageError) {
    let sector = UInt64(SectorCipher.sectorSize)
    let head = UInt64(SectorCipher.offsetInSector(guest))
    let tail = UInt64(SectorCipher.offsetInSector(guest + count))
    let covered = head + count.value + (tail == 0 ? 0 : sector - tail)
    if (head != 0 || tail != 0) && covered <= (head != 0 && tail != 0 ? 2 * sector : sector) {
      return try zeroPart(guest, count)
    }
    var start = guest
    var left = count.value
    if head != 0 {
      try zeroPart(start, ByteCount(sector - head))
      start = start + (sector - head)
      left -= sector - head
    }
    if left > tail { try middle(start, ByteCount(left - tail)) }
    if tail != 0 { try zeroPart(start + (left - tail), ByteCount(tail)) }
  }

  private func zeroPart(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    let zeroes = [UInt8](repeating: 0, count: Int(count.value))
    unsafe try lending(zeroes) { (bytes) throws(ImageError) in unsafe try write(bytes, at: guest) }
  }

  /// Encrypts guest data in pieces beside the caller's bytes, which stay as they are, and writes it.
  /// Both offsets are those of the first byte, a whole sector each.
  private static func writeEncrypted(
    _ data: UnsafeRawBufferPointer, guest: GuestOffset, at host: HostOffset, _ cipher: DataCipher,
    on target: any Storage
  ) throws(ImageError) {
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(1, min(data.count, 4 << 20)), alignment: 16)
    defer {
      // A failure may leave plain text.
      unsafe Secret.wipe(room)
      unsafe room.deallocate()
    }
    var done = 0
    while done < data.count {
      let count = min(room.count, data.count - done)
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: room[0..<count])
      unsafe piece.copyMemory(from: UnsafeRawBufferPointer(rebasing: data[done..<done + count]))
      let place = host + ByteCount(done)
      unsafe try cipher.encrypt(piece, guest: guest + ByteCount(done), host: place)
      do throws(StorageError) {
        unsafe try target.write(
          UnsafeRawBufferPointer(piece), at: place.value,
          tag: WriteTag(.data, .guestData, table: place.value, index: UInt64(count)))
      } catch {
        throw ImageError(error)
      }
      done += count
    }
  }
}
