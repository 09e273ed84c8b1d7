// Compressed clusters, writing: a whole cluster becomes one stream, and streams lie packed behind
// each other, so that several share a host cluster.

import CZlib
import CZstd
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
  /// end at a whole sector. Throws ``ImageError/Code/invalidRequest`` for a cluster that has a host place
  /// already, and as ``GuestWriter``.
  func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    guard unsafe !bytes.isEmpty else { return try padToSector() }
    var done = 0
    while done < bytes.count {
      let step = min(Int(geometry.clusterSize), bytes.count - done)
      let cluster = unsafe UnsafeRawBufferPointer(rebasing: bytes[done..<done + step])
      unsafe try writeCluster(cluster, at: guest + ByteCount(done))
      done += step
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

  private func writeCluster(_ data: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    guard let stream = unsafe compress(data) else {
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

  // MARK: Streams

  /// The stream of a cluster, padded with zeroes to a whole one; nil if it would not be smaller.
  private func compress(_ data: UnsafeRawBufferPointer) -> [UInt8]? {
    let size = Int(geometry.clusterSize)
    var whole = unsafe [UInt8](data)
    if whole.count < size { whole.append(contentsOf: repeatElement(0, count: size - whole.count)) }
    return Self.stream(of: whole, type: tables.header.compressionType)
  }

  /// The stream of the bytes of a whole cluster, 0 for zlib and 1 for zstd; nil if it would not be smaller.
  fileprivate static func stream(of bytes: [UInt8], type: UInt8) -> [UInt8]? {
    type == 0 ? deflate(bytes) : packZstd(bytes)
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

/// What compressing would make of a cluster, without writing it.
package enum CompressionTrial {
  /// Bytes that the cluster would take; as many as it has if its stream would not be smaller. `type` is that of
  /// the header, 0 for zlib and 1 for zstd.
  package static func size(of cluster: [UInt8], type: UInt8) -> Int {
    guard cluster.count > 1 else { return cluster.count }
    return CompressedWriter.stream(of: cluster, type: type)?.count ?? cluster.count
  }
}
