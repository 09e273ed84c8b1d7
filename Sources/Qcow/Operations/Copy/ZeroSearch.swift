// Where a buffer holds data and where nothing but zeroes: the search that decides which requests a copy writes.
// It works in sectors, and its answers decide the layout of the copy, so they are those of the genuine tool.

package import QcowFormat

/// Cuts buffers into stretches of data and of zeroes.
package struct ZeroSearch: Sendable {
  /// Bytes of a sector.
  package static let sector = 512
  /// Sectors of zeroes inside of data that are worth a gap; fewer are written like data.
  private let shortest: Int
  /// Sectors to which the ends of stretches are brought, a power of two.
  private let alignment: Int

  /// A gap has at least `shortest` bytes, a multiple of a sector and not 0.
  package init(shortest: UInt64) {
    self.shortest = Int(clamping: shortest / UInt64(Self.sector))
    alignment = 1 << max(0, Int.bitWidth - 1 - self.shortest.leadingZeroBitCount)
  }

  /// The first stretch of a buffer of whole sectors whose first byte lies at `offset` of the disk.
  ///
  /// - Returns: whether it is data, and its bytes, at least one sector.
  package func first(of bytes: UnsafeRawBufferPointer, at offset: GuestOffset) -> (isData: Bool, count: Int) {
    guard let base = bytes.baseAddress else { return (false, 0) }
    let count = bytes.count / Self.sector
    let start = Int(truncatingIfNeeded: offset.value / UInt64(Self.sector))
    let (isData, length) = unsafe stretch(base, count, start)
    guard isData else { return (false, length * Self.sector) }
    let shortest = min(shortest, count)
    var end = length
    var position = length
    while position < count {
      let next = unsafe stretch(base + position * Self.sector, count - position, start &+ position)
      position += next.length
      if next.isData {
        end = position
      } else if next.length >= shortest {
        break
      }
    }
    return (true, end * Self.sector)
  }

  /// Sectors from the start that are alike, with their end at the alignment: data reaches up to it, zeroes stay
  /// in front of it, and zeroes too few to reach it are data.
  private func stretch(
    _ base: UnsafeRawPointer, _ count: Int, _ start: Int
  ) -> (isData: Bool, length: Int) {
    let isZero = unsafe Self.isZero(base)
    var length = 1
    while length < count, unsafe Self.isZero(base + length * Self.sector) == isZero { length += 1 }
    guard length < count else { return (!isZero, length) }
    let behind = (start &+ length) & (alignment - 1)
    guard behind != 0 else { return (!isZero, length) }
    if isZero && length > behind { return (false, length - behind) }
    return (true, min(length + alignment - behind, count))
  }

  @inline(__always)
  private static func isZero(_ sector: UnsafeRawPointer) -> Bool {
    var at = 0
    while at < Self.sector {
      let words = unsafe sector.loadUnaligned(fromByteOffset: at, as: SIMD8<UInt64>.self)
      if words != .zero { return false }
      at += 64
    }
    return true
  }
}
