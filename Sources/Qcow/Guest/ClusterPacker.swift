// Makes the streams of compressed clusters from their bytes. A stream depends on nothing else, so that those of many
// clusters are made at the same time.

import QcowFormat
import CDeflate
import CZlib
import CZstd
import Storage

/// How hard shorter streams are looked for.
package enum PackingEffort: Sendable {
  /// As the genuine tool does, to the same bytes.
  case usual
  /// In a fraction of the time, for files that are a few per cent larger.
  case low
}

/// A cluster before it is written.
package struct PackedCluster: Sendable {
  /// All of its bytes are zero, and nothing was packed.
  package var isZero = false
  /// Nil if it would not be smaller than the cluster.
  var stream: [UInt8]?
}

/// Makes streams for one image.
package struct ClusterPacker: Sendable {
  /// Bytes of a cluster.
  let clusterSize: Int
  /// That of the header, 0 for zlib and 1 for zstd.
  let type: UInt8
  let effort: PackingEffort

  init(clusterSize: Int, type: UInt8, effort: PackingEffort) {
    self.clusterSize = clusterSize
    self.type = type
    self.effort = effort
  }

  /// For the clusters of an image.
  init(_ image: Image, _ effort: PackingEffort) {
    let header = image.header
    self.init(clusterSize: Int(image.geometry.clusterSize), type: header.compressionType, effort: effort)
  }

  /// Bytes of as many clusters as are worth being packed at once.
  package var batch: Int { clusterSize * max(4, (2 << 20) / clusterSize) }

  /// The streams of a row of clusters, of which the last may end early; with `leavesZeroes` clusters of zeroes get
  /// none.
  package func pack(_ bytes: UnsafeRawBufferPointer, leavesZeroes: Bool) -> [PackedCluster] {
    let count = (bytes.count + clusterSize - 1) / clusterSize
    var packed = [PackedCluster](repeating: PackedCluster(), count: count)
    unsafe packed.withUnsafeMutableBufferPointer { packed in
      guard let places = packed.baseAddress else { return }
      Cores.each(count) { index in
        let start = index * clusterSize
        let cluster = unsafe UnsafeRawBufferPointer(
          rebasing: bytes[start..<min(bytes.count, start + clusterSize)])
        if leavesZeroes, unsafe cluster.isZero {
          unsafe places[index].isZero = true
        } else {
          unsafe places[index].stream = unsafe stream(of: cluster)
        }
      }
    }
    return packed
  }

  /// The stream of a cluster, padded with zeroes to a whole one; nil if it would not be smaller.
  func stream(of bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    guard bytes.count == clusterSize else {
      var whole = unsafe [UInt8](bytes)
      whole.append(contentsOf: repeatElement(0, count: clusterSize - whole.count))
      return unsafe whole.withUnsafeBytes { unsafe self.stream(of: $0) }
    }
    let packed = unsafe [UInt8](unsafeUninitializedCapacity: clusterSize - 1) { output, count in
      let output = unsafe UnsafeMutableRawBufferPointer(
        start: output.baseAddress, count: clusterSize - 1)
      count =
        unsafe type != 0
        ? packZstd(bytes, into: output)
        : effort == .low ? deflateFast(bytes, into: output) : deflate(bytes, into: output)
    }
    return packed.isEmpty ? nil : packed
  }

  /// Raw deflate with the parameters QEMU uses; 0 if the stream does not fit.
  private func deflate(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int {
    var stream = unsafe z_stream()
    guard
      unsafe deflateInit2_(
        &stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9,
        Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return 0 }
    defer { unsafe deflateEnd(&stream) }
    unsafe stream.next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    unsafe stream.avail_in = UInt32(input.count)
    unsafe stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    unsafe stream.avail_out = UInt32(output.count)
    return unsafe CZlib.deflate(&stream, Z_FINISH) == Z_STREAM_END ? output.count - Int(stream.avail_out) : 0
  }

  /// Raw deflate at the first level, which refers back as far as 32 KiB and not as zlib here 4 KiB: readers that
  /// expand a cluster as a whole have all of it, and no other is known. 0 if the stream does not fit.
  private func deflateFast(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int {
    guard let compressor = unsafe libdeflate_alloc_compressor(1) else { return 0 }
    defer { unsafe libdeflate_free_compressor(compressor) }
    return unsafe libdeflate_deflate_compress(
      compressor, input.baseAddress, input.count, output.baseAddress, output.count)
  }

  /// One frame with the library's default parameters, or with its first level; 0 if it does not fit.
  private func packZstd(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int {
    guard let context = unsafe ZSTD_createCCtx() else { return 0 }
    defer { unsafe ZSTD_freeCCtx(context) }
    if effort == .low { _ = unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 1) }
    var source = unsafe ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
    var target = unsafe ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
    while true {
      let before = unsafe (source.pos, target.pos)
      let left = unsafe ZSTD_compressStream2(context, &target, &source, ZSTD_e_end)
      if ZSTD_isError(left) != 0 { return 0 }
      if left == 0 { return unsafe target.pos }
      if unsafe (source.pos, target.pos) == before { return 0 }
    }
  }
}

/// What compressing would make of a cluster, without writing it.
package enum CompressionTrial {
  /// Bytes that the cluster would take; as many as it has if its stream would not be smaller. `type` is that of
  /// the header, 0 for zlib and 1 for zstd.
  package static func size(of cluster: [UInt8], type: UInt8, effort: PackingEffort = .usual) -> Int {
    guard cluster.count > 1 else { return cluster.count }
    let packer = ClusterPacker(clusterSize: cluster.count, type: type, effort: effort)
    return unsafe cluster.withUnsafeBytes { unsafe packer.stream(of: $0) }?.count ?? cluster.count
  }
}
