// Compressed clusters, writing: a whole cluster becomes one stream, and streams lie packed behind
// each other, so that several share a host cluster.

import QcowFormat
import Storage

/// Writes whole clusters as streams.
struct CompressedWriter {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var geometry: Geometry { writer.geometry }
  private var tables: TableWriter { writer.tables }
  private var allocator: Allocator { writer.allocator }

  /// Throws ``ImageError/Code/unsupported`` for an image that can have no compressed clusters.
  func check() throws(ImageError) {
    guard !writer.l2.hasExternalData else {
      throw ImageError(.unsupported, "compressed clusters cannot lie in an external data file")
    }
    guard tables.header.cryptMethod == 0 else {
      throw ImageError(.unsupported, "compressed clusters are never encrypted; an encrypted image gets none")
    }
  }

  /// Writes whole clusters; those that do not shrink are written as they are. An empty request makes the file
  /// end at a whole sector. `packed` are their streams where somebody has made them already. Throws
  /// ``ImageError/Code/invalidRequest`` for a cluster that has a host place already, and as ``GuestWriter``.
  func write(
    _ bytes: UnsafeRawBufferPointer, at guest: GuestOffset, packed: [PackedCluster]?
  ) throws(ImageError) {
    guard unsafe !bytes.isEmpty else { return try padToSector() }
    let step = Int(geometry.clusterSize)
    let packer = ClusterPacker(clusterSize: step, type: tables.header.compressionType, effort: .usual)
    var start = 0
    while start < bytes.count {
      let end = packed == nil ? min(bytes.count, start + packer.batch) : bytes.count
      let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      for (index, cluster) in unsafe (packed ?? packer.pack(part, leavesZeroes: false)).enumerated() {
        let own = index * step
        let data = unsafe UnsafeRawBufferPointer(rebasing: part[own..<min(part.count, own + step)])
        unsafe try writeCluster(data, as: cluster.stream, at: guest + ByteCount(start + own))
      }
      start = end
    }
  }

  private func padToSector() throws(ImageError) {
    let storage = tables.storage
    let end = SectorCipher.roundUp(ByteCount(storage.length)).value
    guard end != storage.length else { return }
    do throws(StorageError) {
      try storage.truncate(to: end, tag: WriteTag(.compressedData, .guestData, table: end))
    } catch { throw ImageError(error) }
  }

  private func writeCluster(
    _ data: UnsafeRawBufferPointer, as stream: [UInt8]?, at guest: GuestOffset
  ) throws(ImageError) {
    guard let stream else {
      return unsafe try writer.writeData(data, at: guest)
    }
    let slice = try writer.editor.slice(at: guest)
    let old = writer.l2.entry(slice, slice.index)
    guard !old.isCompressed, old.offsetBits == 0 else {
      throw ImageError(
        .invalidRequest,
        "guest offset \(hex(guest.value)) has a host cluster already; compressed data cannot overwrite it")
    }
    let size = ByteCount(stream.count)
    let host = try allocate(size)
    try writer.editor.announceLink()
    do throws(ImageError) {
      try tables.guardWrite(host, size)
      do throws(StorageError) {
        try tables.storage.write(
          stream, at: host.value, tag: WriteTag(.compressedData, .guestData, table: host.value))
      } catch { throw ImageError(error) }
    } catch {
      allocator.release(host, size, .never)
      throw error
    }
    let linked = try writer.editor.slice(at: guest)
    writer.l2.setEntry(
      linked, linked.index,
      L2Entry(descriptor: geometry.compressedDescriptor(offset: host, length: size.value)),
      of: geometry.cluster(of: guest), .link)
  }

  // MARK: Places for streams

  /// Takes `size` bytes, behind the last stream if they fit there or into the cluster behind it.
  ///
  /// Every host cluster that is touched gets one more reference.
  private func allocate(_ size: ByteCount) throws(ImageError) -> HostOffset {
    tables.reach(.clusterAllocBytes)
    try allocator.settleFrees()
    var offset = allocator.byteCursor.value
    if offset != 0,
      try allocator.refcounts.count(of: geometry.cluster(of: HostOffset(offset)))
        == geometry.maximumRefcount
    {
      offset = 0
    }
    var room = geometry.clusterSize - geometry.offsetInCluster(offset)
    // Tried again once per refcount block or table that was missing.
    while true {
      if offset == 0 || room < size.value {
        let new = geometry.start(of: try allocator.searchFree(1)).value
        guard new != 0 else {
          throw ImageError(
            .corrupt, "Preventing invalid allocation of compressed cluster at offset 0", at: .header,
            HostOffset(0))
        }
        guard new < geometry.compressedOffsetLimit else {
          throw ImageError(.noSpace, "no free cluster that a compressed entry can address")
        }
        if offset == 0 || geometry.roundUp(offset) != new {
          offset = new
          room = geometry.clusterSize
        } else {
          room += geometry.clusterSize
        }
      }
      if try allocator.update(HostOffset(offset), size, increase: true, .never, .claim) == .done { break }
      offset = 0
    }
    let next = offset + size.value
    allocator.byteCursor = HostOffset(geometry.isAligned(next) ? 0 : next)
    return HostOffset(offset)
  }
}
