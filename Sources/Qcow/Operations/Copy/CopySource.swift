// What a copy reads: one disk, or several in a row as if they were one. It answers what a stretch is without
// reading it, as far as tables and host files tell, and gives its bytes.

import QcowFormat
import Storage

/// Disks in a row.
struct CopySource {
  /// What is to be done with a stretch.
  enum Content {
    /// Its bytes have to be looked at.
    case data
    case zero
    /// The layer below the target answers.
    case below
  }

  private struct Part {
    let disk: any GuestLayer
    /// Where it begins in the row.
    let start: UInt64
    let size: UInt64
    /// Stretches end at multiples of this where they can, so that no cluster is read twice.
    let alignment: UInt64
    var walk: ChainWalk

    var end: UInt64 { start + size }
  }

  private var parts: [Part] = []
  /// Bytes of all disks.
  private(set) var size: UInt64 = 0

  /// With `keepsBelow` what a disk takes from the layer below it is left to the layer below the target.
  /// Throws ``ImageError/Code/invalidRequest`` if the disks are more than can be addressed.
  init(_ disks: [any GuestLayer], keepsBelow: Bool) throws(ImageError) {
    for disk in disks {
      let layers = disk.chain
      parts.append(
        Part(
          disk: disk, start: size, size: disk.virtualSize,
          alignment: (disk as? Image)?.geometry.clusterSize ?? UInt64(ZeroSearch.sector),
          walk: ChainWalk(keepsBelow ? Array(layers.prefix(1)) : layers)))
      let (sum, overflow) = size.addingReportingOverflow(disk.virtualSize)
      guard !overflow, sum <= UInt64(Int64.max) else {
        throw ImageError(.invalidRequest, "the disks together are larger than a disk can be")
      }
      size = sum
    }
  }

  private func index(at offset: GuestOffset) -> Int {
    parts.firstIndex { offset.value < $0.end } ?? parts.count - 1
  }

  /// What is at `offset`, and for how many bytes, a multiple of a sector and at most `limit` rounded up to one;
  /// and whether the bytes lie as they are in some file. Throws what reading the tables throws.
  mutating func content(
    at offset: UInt64, limit: UInt64, orElse other: Content
  ) throws(ImageError) -> (content: Content, length: UInt64, hasPlace: Bool) {
    let index = index(at: GuestOffset(offset))
    let own = offset - parts[index].start
    let extent = try parts[index].walk.extent(at: own, limit: min(limit, parts[index].size - own))
    let sector = UInt64(ZeroSearch.sector)
    var length = max(1, (extent.length + sector - 1) / sector) * sector
    let behind = (own + length) % parts[index].alignment
    if length > behind { length -= behind }
    if extent.isZero { return (.zero, length, true) }
    return (extent.isData ? .data : other, length, extent.offset != nil)
  }

  /// The disk that has the byte at `offset`, and the place of the byte there.
  func place(of offset: GuestOffset) -> GuestOffset {
    GuestOffset(offset.value - parts[index(at: offset)].start)
  }

  /// Fills the buffer; it may reach over several disks. Calls `lost` for every sector that cannot be read,
  /// which then is zero; without `lost` such a sector ends the reading and its error is thrown.
  func read(
    at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, lost: ((UInt64, ImageError) -> Void)?
  ) throws(ImageError) {
    var done = 0
    // Up to here sector by sector.
    var singleUntil = 0
    while done < buffer.count {
      let part = parts[index(at: GuestOffset(offset + UInt64(done)))]
      let own = offset + UInt64(done) - part.start
      var step = Int(min(UInt64(buffer.count - done), part.size - own))
      if done < singleUntil { step = min(step, ZeroSearch.sector) }
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + step])
      do throws(ImageError) { unsafe try part.disk.readLayer(at: GuestOffset(own), into: piece) } catch {
        guard let lost else { throw error }
        guard step <= ZeroSearch.sector else {
          singleUntil = done + step
          continue
        }
        lost(own, error)
        unsafe piece.initializeMemory(as: UInt8.self, repeating: 0)
      }
      done += step
    }
  }
}

extension GuestLayer {
  /// The disk and everything below it, top first.
  package var chain: [any GuestLayer] {
    var list: [any GuestLayer] = [self]
    while let next = list.last?.layerBelow { list.append(next) }
    return list
  }
}
