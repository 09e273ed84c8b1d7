// Refcounts in rows: the counts of consecutive clusters from a piece of a refcount block at a time,
// and whole stretches of zeroes as one answer.

import QcowFormat
import Qcow
import Storage

/// Reads the refcounts of an image in order.
@safe final class RefcountReader {
  /// Consecutive clusters whose counts are at hand, or all zero.
  struct Piece {
    var clusters: Range<UInt64>
    var isZero: Bool
    /// Where the counts are stored, if they are not all zero.
    var place: UInt64?
  }

  private let image: Image
  private let reader: TableReader
  private var codec: RefcountCodec
  private var piece = Piece(clusters: 0..<0, isZero: true)
  private var block: UnsafeRawBufferPointer?

  init(_ image: Image) {
    self.image = image
    reader = TableReader(of: image)
    codec = RefcountCodec(order: image.geometry.refcountOrder)
  }

  /// The file changed, and the width of its counts perhaps.
  func invalidate() {
    codec = RefcountCodec(order: image.geometry.refcountOrder)
    piece = Piece(clusters: 0..<0, isZero: true)
    unsafe block = nil
    reader.invalidate()
  }

  /// The piece that `cluster` is in; an unreadable or misplaced block counts as zeroes.
  func piece(at cluster: UInt64) -> Piece {
    if piece.clusters.contains(cluster) { return piece }
    let geometry = image.geometry
    let perBlock = geometry.refcountsPerBlock
    unsafe block = nil
    var number = cluster / perBlock
    let count = UInt64(image.refcountTableCount)
    if number >= count {
      piece = Piece(clusters: min(count * perBlock, cluster)..<UInt64.max, isZero: true)
      return piece
    }
    let offset = place(Int(number))
    guard let offset else {
      let first = number * perBlock
      while number < count, place(Int(number)) == nil { number += 1 }
      piece = Piece(clusters: first..<(number == count ? .max : number * perBlock), isZero: true)
      return piece
    }
    let size = min(Int(geometry.clusterSize), TableReader.pieceSize)
    let perPiece = (UInt64(size) << 3) >> UInt64(geometry.refcountOrder)
    let part = cluster % perBlock / perPiece
    let first = number * perBlock + part * perPiece
    let bytes = unsafe reader.bytes(at: offset + part * UInt64(size), count: size)
    piece = Piece(clusters: first..<first + perPiece, isZero: true)
    if let bytes = unsafe bytes, unsafe Self.hasContent(bytes) {
      unsafe block = bytes
      piece.isZero = false
      piece.place = offset + part * UInt64(size)
    }
    return piece
  }

  /// Where a refcount block lies, if it can be read at all.
  private func place(_ index: Int) -> UInt64? {
    guard let block = image.refcountTableEntry(index).block, image.geometry.isAligned(block.value),
      block.value < image.storage.length
    else { return nil }
    return block.value
  }

  private static func hasContent(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var at = 0
    while at + 8 <= bytes.count {
      if unsafe bytes.load(fromByteOffset: at, as: UInt64.self) != 0 { return true }
      at += 8
    }
    return false
  }

  /// The count of a cluster of the current piece.
  @inline(__always)
  func value(_ cluster: UInt64) -> UInt64 {
    guard let block = unsafe block else { return 0 }
    let index = Int(truncatingIfNeeded: cluster &- piece.clusters.lowerBound)
    if codec.order == 4, index >= 0, index < block.count >> 1 {
      return UInt64(
        UInt16(bigEndian: unsafe block.loadUnaligned(fromByteOffset: index << 1, as: UInt16.self)))
    }
    return unsafe codec.value(in: block, at: index)
  }

  /// The first of `clusters`, all of the current piece, whose count is 0; the end if none is.
  func firstZero(_ clusters: Range<UInt64>) -> UInt64 {
    guard let block = unsafe block else { return clusters.lowerBound }
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let index = Int(truncatingIfNeeded: at &- piece.clusters.lowerBound)
      // Four at a time where they have two bytes each.
      if codec.order == 4, index >= 0, clusters.upperBound &- at >= 4, index &+ 4 <= block.count >> 1 {
        let four = unsafe block.loadUnaligned(fromByteOffset: index << 1, as: UInt64.self)
        if (four &- 0x0001_0001_0001_0001) & ~four & 0x8000_8000_8000_8000 == 0 {
          at &+= 4
          continue
        }
      }
      if value(at) == 0 { return at }
      at &+= 1
    }
    return at
  }

  func refcount(of cluster: UInt64) -> UInt64 {
    _ = piece(at: cluster)
    return value(cluster)
  }
}
