// Compressed clusters, reading: one stream is expanded to exactly one cluster. Output and input are
// bounded by the cluster, whatever the stream says.

import CDeflate
import CZlib
import CZstd
import QcowFormat
import Storage

/// Expands the streams of compressed clusters.
final class StreamReader {
  private let tables: TableWriter
  /// The cluster that ``expanded`` holds. It goes with the next change of the tables, because the place may be
  /// given to another stream from then on.
  private var known: CompressedExtent?
  /// Memory for one cluster of expanded bytes, and for stored ones; from the first use on.
  private var expanded: CopyBuffer?
  private var input: CopyBuffer?

  init(_ tables: TableWriter) { self.tables = tables }

  func forget() { known = nil }

  /// Copies bytes from `start` within the cluster that the stream expands to. Throws
  /// ``ImageError/Code/unreadable`` if it does not expand to a whole one, and what the host says.
  func read(
    _ extent: CompressedExtent, from start: Int, into target: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    // Damaged entries can name the same place with another length.
    if known != extent || expanded == nil {
      known = nil
      let input = unsafe try stored(extent)
      guard target.count < clusterSize else {
        return try require(unsafe expand(input, into: target).produced, extent)
      }
      let output = unsafe Self.memory(clusterSize, &expanded)
      try require(unsafe expand(input, into: output).produced, extent)
      known = extent
    }
    guard let bytes = unsafe expanded?.part(0, clusterSize), start + target.count <= bytes.count else {
      return
    }
    unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + target.count]))
  }

  /// Expands whole clusters in a row, several at a time, as many as are sound and can be read.
  ///
  /// Returns how many that is; what is wrong with the next one says ``read(_:from:into:)``.
  func readRow(_ extents: [CompressedExtent], into target: UnsafeMutableRawBufferPointer) -> Int {
    var inputs: [Range<Int>] = []
    inputs.reserveCapacity(extents.count)
    var end = 0
    for extent in extents {
      inputs.append(end..<end + Int(extent.byteCount))
      end += Int(extent.byteCount)
    }
    let memory = unsafe Self.memory(end, &input)
    var count = extents.count
    for (index, range) in inputs.enumerated() {
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[range])
      guard (try? unsafe load(extents[index], into: part)) != nil else {
        count = index
        break
      }
    }
    var produced = [Int](repeating: 0, count: count)
    unsafe produced.withUnsafeMutableBufferPointer { produced in
      guard let places = produced.baseAddress else { return }
      Cores.each(count) { index in
        let cluster = unsafe UnsafeMutableRawBufferPointer(
          rebasing: target[index * clusterSize..<(index + 1) * clusterSize])
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: memory[inputs[index]])
        unsafe places[index] = unsafe expand(bytes, into: cluster).produced
      }
    }
    return produced.firstIndex { $0 != clusterSize } ?? produced.count
  }

  private var clusterSize: Int { Int(tables.geometry.clusterSize) }

  private func require(_ produced: Int, _ extent: CompressedExtent) throws(ImageError) {
    guard produced != clusterSize else { return }
    throw ImageError(
      .unreadable,
      "the compressed cluster at host offset \(hex(extent.offset.value)) is damaged: it gives \(produced) of \(clusterSize) bytes",
      at: .compressedData, extent.offset)
  }

  /// The bytes of a stream up to the end of its last sector: at most one cluster and one sector, by the width of the
  /// sector field. They are there until the next call.
  private func stored(_ extent: CompressedExtent) throws(ImageError) -> UnsafeRawBufferPointer {
    let memory = unsafe Self.memory(Int(extent.byteCount), &input)
    unsafe try load(extent, into: memory)
    return UnsafeRawBufferPointer(memory)
  }

  private func load(
    _ extent: CompressedExtent, into memory: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    do throws(StorageError) {
      unsafe try tables.storage.read(at: extent.offset.value, into: memory)
    } catch { throw ImageError(error) }
  }

  /// So many bytes of a buffer, which is made anew if it is too small.
  private static func memory(_ count: Int, _ buffer: inout CopyBuffer?) -> UnsafeMutableRawBufferPointer {
    if let buffer, buffer.count >= count { return unsafe buffer.part(0, count) }
    let made = CopyBuffer(count)
    buffer = made
    return unsafe made.part(0, count)
  }

  /// Bytes of a stream; nil if it does not expand to a whole cluster. A stream that does not say where it
  /// ends is as long as its sectors, and not exact. Throws
  /// what the host says.
  func length(of extent: CompressedExtent) throws(ImageError) -> (bytes: UInt64, isExact: Bool)? {
    known = nil
    let input = unsafe try stored(extent)
    let output = unsafe Self.memory(clusterSize, &expanded)
    let (produced, consumed) = unsafe expand(input, into: output)
    guard produced == output.count else { return nil }
    guard let consumed, consumed > 0 else { return (extent.byteCount, false) }
    return (UInt64(consumed), true)
  }

  /// Expands a stream; `consumed` is nil if its end mark was not met.
  private func expand(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> (produced: Int, consumed: Int?) {
    guard tables.header.compressionType == 0 else { return unsafe Self.expandZstd(input, into: output) }
    if let consumed = unsafe Self.inflateFast(input, into: output) { return (output.count, consumed) }
    return unsafe Self.inflate(input, into: output)
  }

  /// Expands a deflate stream that fills the cluster and has an end mark, in half of the time that zlib takes;
  /// returns the bytes of the stream. Nil for every other stream: what is damaged and how is for zlib to say,
  /// which the genuine tool asks.
  ///
  /// Codes that mean nothing are no error here. Damage comes upon them in blocks of the fixed code, which are
  /// rare and short: those are for zlib as well. A table of a code that repeats behind its end is left, which few
  /// damaged streams in a million have: such a cluster gives bytes where zlib gives an error.
  static func inflateFast(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    let isFixed = unsafe input.first.map { $0 & 6 == 2 } ?? true
    guard !isFixed, let decompressor = unsafe libdeflate_alloc_decompressor() else { return nil }
    defer { unsafe libdeflate_free_decompressor(decompressor) }
    var consumed = 0
    let result = unsafe libdeflate_deflate_decompress_ex(
      decompressor, input.baseAddress, input.count, output.baseAddress, output.count, &consumed, nil)
    return result == LIBDEFLATE_SUCCESS ? consumed : nil
  }

  /// Raw deflate with the window QEMU uses.
  static func inflate(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> (produced: Int, consumed: Int?) {
    var stream = unsafe z_stream()
    guard unsafe inflateInit2_(&stream, -12, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      return (0, nil)
    }
    defer { unsafe inflateEnd(&stream) }
    unsafe stream.next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    unsafe stream.avail_in = UInt32(input.count)
    unsafe stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    unsafe stream.avail_out = UInt32(output.count)
    let result = unsafe CZlib.inflate(&stream, Z_FINISH)
    // Input may go on behind the stream, and a stream may fill the output before its end mark.
    guard result == Z_STREAM_END || result == Z_BUF_ERROR else { return (0, nil) }
    let consumed = unsafe input.count - Int(stream.avail_in)
    return unsafe (output.count - Int(stream.avail_out), result == Z_STREAM_END ? consumed : nil)
  }

  /// One or more frames, until the cluster is full.
  private static func expandZstd(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> (produced: Int, consumed: Int?) {
    guard let stream = unsafe ZSTD_createDStream() else { return (0, nil) }
    defer { unsafe ZSTD_freeDStream(stream) }
    // A frame may ask for a window; more than a cluster is never needed.
    _ = unsafe ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 22)
    var source = unsafe ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
    var target = unsafe ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
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
