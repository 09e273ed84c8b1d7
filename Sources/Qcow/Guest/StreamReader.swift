// Compressed clusters, reading: one stream is expanded to exactly one cluster. Output and input are
// bounded by the cluster, whatever the stream says.

import CZlib
import CZstd
import QcowFormat
import Storage

/// Expands the streams of compressed clusters.
final class StreamReader {
  private let tables: TableWriter
  /// One cluster of decompressed bytes and where it came from. It goes with the next change of the
  /// tables, because the place may be given to another stream from then on.
  private var decompressed: (extent: CompressedExtent, bytes: [UInt8])?

  init(_ tables: TableWriter) { self.tables = tables }

  func forget() { decompressed = nil }

  /// Copies bytes from `start` within the cluster that the stream expands to. Throws
  /// ``ImageError/Code/unreadable`` if it does not expand to a whole one, and what the host says.
  func read(
    _ extent: CompressedExtent, from start: Int, into target: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    // Damaged entries can name the same place with another length.
    if decompressed?.extent != extent {
      decompressed = nil
      decompressed = (extent, try decompress(extent))
    }
    guard let bytes = decompressed?.bytes, start + target.count <= bytes.count else { return }
    unsafe bytes.withUnsafeBytes { source in
      unsafe target.copyMemory(
        from: UnsafeRawBufferPointer(rebasing: source[start..<start + target.count]))
    }
  }

  private func decompress(_ extent: CompressedExtent) throws(ImageError) -> [UInt8] {
    let size = Int(tables.geometry.clusterSize)
    // At most one cluster and one sector, by the width of the sector field.
    let input = try stored(extent)
    var output = [UInt8](repeating: 0, count: size)
    let (produced, _) = expand(input, into: &output)
    guard produced == size else {
      throw ImageError(
        .unreadable,
        "the compressed cluster at host offset \(hex(extent.offset.value)) is damaged: it gives \(produced) of \(size) bytes",
        at: .compressedData, extent.offset)
    }
    return output
  }

  private func stored(_ extent: CompressedExtent) throws(ImageError) -> [UInt8] {
    do throws(StorageError) {
      return try tables.storage.bytes(at: extent.offset.value, count: Int(extent.byteCount))
    } catch { throw ImageError(error) }
  }

  /// Bytes of a stream; nil if it does not expand to a whole cluster. A stream that does not say where it
  /// ends is as long as its sectors, and not exact. Throws
  /// what the host says.
  func length(of extent: CompressedExtent) throws(ImageError) -> (bytes: UInt64, isExact: Bool)? {
    let input = try stored(extent)
    var output = [UInt8](repeating: 0, count: Int(tables.geometry.clusterSize))
    let (produced, consumed) = expand(input, into: &output)
    guard produced == output.count else { return nil }
    guard let consumed, consumed > 0 else { return (extent.byteCount, false) }
    return (UInt64(consumed), true)
  }

  /// Expands a stream; `consumed` is nil if its end mark was not met.
  private func expand(_ input: [UInt8], into output: inout [UInt8]) -> (produced: Int, consumed: Int?) {
    tables.header.compressionType == 0
      ? Self.inflate(input, into: &output) : Self.expandZstd(input, into: &output)
  }

  /// Raw deflate with the window QEMU uses.
  private static func inflate(_ input: [UInt8], into output: inout [UInt8]) -> (
    produced: Int, consumed: Int?
  ) {
    var stream = unsafe z_stream()
    guard unsafe inflateInit2_(&stream, -12, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      return (0, nil)
    }
    defer { unsafe inflateEnd(&stream) }
    let size = output.count
    var source = input
    return unsafe source.withUnsafeMutableBufferPointer { from in
      unsafe output.withUnsafeMutableBufferPointer { to in
        unsafe stream.next_in = from.baseAddress
        unsafe stream.avail_in = UInt32(from.count)
        unsafe stream.next_out = to.baseAddress
        unsafe stream.avail_out = UInt32(size)
        let result = unsafe CZlib.inflate(&stream, Z_FINISH)
        // Input may go on behind the stream, and a stream may fill the output before its end mark.
        guard result == Z_STREAM_END || result == Z_BUF_ERROR else { return (0, nil) }
        let consumed = unsafe from.count - Int(stream.avail_in)
        return unsafe (size - Int(stream.avail_out), result == Z_STREAM_END ? consumed : nil)
      }
    }
  }

  /// One or more frames, until the cluster is full.
  private static func expandZstd(_ input: [UInt8], into output: inout [UInt8]) -> (
    produced: Int, consumed: Int?
  ) {
    guard let stream = unsafe ZSTD_createDStream() else { return (0, nil) }
    defer { unsafe ZSTD_freeDStream(stream) }
    // A frame may ask for a window; more than a cluster is never needed.
    _ = unsafe ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 22)
    return unsafe input.withUnsafeBytes { from in
      unsafe output.withUnsafeMutableBytes { to in
        var source = unsafe ZSTD_inBuffer(src: from.baseAddress, size: from.count, pos: 0)
        var target = unsafe ZSTD_outBuffer(dst: to.baseAddress, size: to.count, pos: 0)
        var isAtEnd = false
        // A full cluster may still lack the end of its last frame.
        while unsafe (target.pos < target.size || !isAtEnd) && source.pos < source.size {
          let before = unsafe (source.pos, target.pos)
          let result = unsafe ZSTD_decompressStream(stream, &target, &source)
          if ZSTD_isError(result) != 0 { break }
          isAtEnd = result == 0
          if unsafe (source.pos, target.pos) == before { break }
        }
        return unsafe (target.pos, isAtEnd ? source.pos : nil)
      }
    }
  }
}
