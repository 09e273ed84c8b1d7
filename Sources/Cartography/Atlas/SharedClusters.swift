// Which host clusters have a refcount above 1, one bit each: what the guest map asks for every entry that
// is not COPIED, in the order of the disk, which may be any order in the file.

import Qcow

/// Remembers where refcounts are above 1.
final class SharedClusters {
  /// Clusters of a piece, as a power of two.
  private static let pieceBits: UInt64 = 15
  /// Pieces that are kept at most: 16 MiB.
  private static let maximumPieces = 1 << 12

  private let reader: RefcountReader
  private var pieces: [UInt64: [UInt64]] = [:]
  private var number = UInt64.max
  private var piece: [UInt64] = []

  init(_ image: Image) { reader = RefcountReader(image) }

  /// The refcounts changed.
  func invalidate() {
    reader.invalidate()
    pieces = [:]
    number = .max
  }

  /// The refcount is above 1. A count that cannot be read is 0.
  @inline(__always)
  func contains(_ cluster: UInt64) -> Bool {
    if cluster >> Self.pieceBits != number { find(cluster >> Self.pieceBits) }
    guard !piece.isEmpty else { return false }
    let index = cluster & (1 << Self.pieceBits - 1)
    return piece[Int(truncatingIfNeeded: index >> 6)] >> (index & 63) & 1 != 0
  }

  private func find(_ wanted: UInt64) {
    number = wanted
    if let found = pieces[wanted] {
      piece = found
      return
    }
    piece = make(wanted)
    if pieces.count >= Self.maximumPieces { pieces = [:] }
    pieces[wanted] = piece
  }

  /// The bits of a piece; none if no refcount in it is above 1.
  private func make(_ number: UInt64) -> [UInt64] {
    var bits: [UInt64] = []
    var cluster = number << Self.pieceBits
    let end = cluster + 1 << Self.pieceBits
    while cluster < end {
      let stretch = reader.piece(at: cluster)
      let stop = min(end, stretch.clusters.upperBound)
      guard stop > cluster else { break }
      if !stretch.isZero {
        for at in cluster..<stop where reader.value(at) > 1 {
          if bits.isEmpty { bits = Array(repeating: 0, count: 1 << Int(Self.pieceBits - 6)) }
          let index = at & (1 << Self.pieceBits - 1)
          bits[Int(index >> 6)] |= 1 << (index & 63)
        }
      }
      cluster = stop
    }
    return bits
  }
}
