// Compressed clusters, writing: a whole cluster becomes one stream, and streams lie packed behind
// each other, so that several share a host cluster.

import CZlib
import CZstd
package import QcowFormat
import Storage

extension Image {
  /// Writes whole clusters compressed; those that do not shrink are written as they are.
  ///
  /// The request starts at a cluster boundary and ends at one or at the end of the disk. Clusters
  /// that have a host place already are refused: compressed data never overwrites. An empty request
  /// makes the file end at a whole sector, which is what ends a series of compressed writes.
  ///
  /// - Throws: ``ImageError`` as a write, and for a range that is no whole cluster.
  package func writeCompressed(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    try requireWritable()
    guard !hasExternalData else {
      throw ImageError(.unsupported, "compressed clusters cannot lie in an external data file")
    }
    guard header.cryptMethod == 0 else {
      throw ImageError(.unsupported, "compressed clusters are never encrypted; an encrypted image gets none")
    }
    let count = UInt64(bytes.count)
    try requireOnDisk(guest, count)
    guard count > 0 else {
      try guarded { () throws(ImageError) in try padToSector() }
      return
    }
    let end = guest.value + count
    guard geometry.isAligned(guest.value), geometry.isAligned(end) || end == geometry.virtualSize else {
      throw ImageError(
        .misaligned,
        "compressed writes take whole clusters of \(geometry.clusterSize) bytes; guest offset \(hex(guest.value)) +\(count) is not"
      )
    }
    try guarded { () throws(ImageError) in
      var done: UInt64 = 0
      while done < count {
        let step = min(geometry.clusterSize, count - done)
        let cluster = unsafe UnsafeRawBufferPointer(rebasing: bytes[Int(done)..<Int(done + step)])
        unsafe try writeCompressedCluster(cluster, at: guest + done)
        done += step
      }
    }
  }

  private func padToSector() throws(ImageError) {
    let end = (storage.length + 511) & ~511
    guard end != storage.length else { return }
    try io { () throws(StorageError) in
      try storage.truncate(to: end, tag: WriteTag(.compressedData, .guestData, table: end))
    }
  }

  private func writeCompressedCluster(_ data: UnsafeRawBufferPointer, at guest: GuestOffset)
    throws(ImageError)
  {
    let stream = unsafe compress(data)
    guard let stream else {
      unsafe try writeData(data, at: guest)
      return
    }
    let slice = try sliceForWriting(at: guest)
    let old = unsafe entry(slice.memory, slice.index)
    guard !old.isCompressed, old.offsetBits == 0 else {
      throw ImageError(
        .invalidRequest,
        "guest offset \(hex(guest.value)) has a host cluster already; compressed data cannot overwrite it")
    }
    let host = try allocateBytes(UInt64(stream.count))
    try announceLazyRefcounts()
    if !isDirty { try l2Cache.depend(on: refcountCache) }
    do throws(ImageError) {
      try tables.guardWrite(HostOffset(host), UInt64(stream.count))
      try io { () throws(StorageError) in
        try storage.write(stream, at: host, tag: WriteTag(.compressedData, .guestData, table: host))
      }
    } catch {
      release(host, UInt64(stream.count), .never)
      throw error
    }
    let linked = try sliceForWriting(at: guest)
    setEntry(
      linked, linked.index,
      L2Entry(
        descriptor: geometry.compressedDescriptor(offset: HostOffset(host), length: UInt64(stream.count))),
      guestCluster: geometry.cluster(of: guest).value, .link)
  }

  // MARK: Places for streams

  /// Takes `size` bytes, behind the last stream if they fit there or into the cluster behind it.
  ///
  /// Every host cluster that is touched gets one more reference.
  private func allocateBytes(_ size: UInt64) throws(ImageError) -> UInt64 {
    try settleFrees()
    let bits = UInt64(geometry.clusterBits)
    var offset = byteCursor
    if offset != 0, try refcount(of: HostCluster(offset >> bits)) == geometry.maximumRefcount { offset = 0 }
    var room = geometry.clusterSize - geometry.offsetInCluster(offset)
    // Tried again once per refcount block or table that was missing.
    while true {
      if offset == 0 || room < size {
        let new = try searchFree(1) << bits
        guard new != 0 else {
          throw ImageError(.corrupt, "Preventing invalid allocation of compressed cluster at offset 0")
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
      if try updateRefcounts(offset, size, increase: true, .never, .claim) == .done { break }
      offset = 0
    }
    let next = offset + size
    byteCursor = geometry.isAligned(next) ? 0 : next
    return offset
  }

  // MARK: Streams

  /// The stream of a cluster, padded with zeroes to a whole one; nil if it would not be smaller.
  private func compress(_ data: UnsafeRawBufferPointer) -> [UInt8]? {
    let size = Int(geometry.clusterSize)
    var whole = unsafe [UInt8](data)
    if whole.count < size { whole.append(contentsOf: repeatElement(0, count: size - whole.count)) }
    return header.compressionType == 0 ? Self.deflate(whole) : Self.packZstd(whole)
  }

  /// Raw deflate with the parameters QEMU uses.
  private static func deflate(_ input: [UInt8]) -> [UInt8]? {
    var stream = unsafe z_stream()
    guard
      unsafe deflateInit2_(
        &stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return nil }
    defer { unsafe deflateEnd(&stream) }
    var source = input
    var output = [UInt8](repeating: 0, count: input.count - 1)
    let room = output.count
    let produced: Int? = unsafe source.withUnsafeMutableBufferPointer { from in
      unsafe output.withUnsafeMutableBufferPointer { to in
        unsafe stream.next_in = from.baseAddress
        unsafe stream.avail_in = UInt32(from.count)
        unsafe stream.next_out = to.baseAddress
        unsafe stream.avail_out = UInt32(room)
        return unsafe CZlib.deflate(&stream, Z_FINISH) == Z_STREAM_END ? room - Int(stream.avail_out) : nil
      }
    }
    return produced.map { Array(output.prefix($0)) }
  }

  /// One frame with the library's default parameters.
  private static func packZstd(_ input: [UInt8]) -> [UInt8]? {
    guard let context = unsafe ZSTD_createCCtx() else { return nil }
    defer { unsafe ZSTD_freeCCtx(context) }
    var output = [UInt8](repeating: 0, count: input.count - 1)
    let produced: Int? = unsafe input.withUnsafeBytes { from in
      unsafe output.withUnsafeMutableBytes { to in
        var source = unsafe ZSTD_inBuffer(src: from.baseAddress, size: from.count, pos: 0)
        var target = unsafe ZSTD_outBuffer(dst: to.baseAddress, size: to.count, pos: 0)
        while true {
          let before = unsafe (source.pos, target.pos)
          let left = unsafe ZSTD_compressStream2(context, &target, &source, ZSTD_e_end)
          if ZSTD_isError(left) != 0 { return nil }
          if left == 0 { return unsafe target.pos }
          if unsafe (source.pos, target.pos) == before { return nil }
        }
      }
    }
    return produced.map { Array(output.prefix($0)) }
  }
}
