// Whether two disks have the same content, or to the last bit of what their tables say the same state: `compare`.

import QcowFormat
import Storage

/// A comparison of two disks.
package struct DiskComparison {
  /// The first thing that is different, if one is.
  package enum Difference: Equatable, Sendable {
    case none
    /// The disks have not the same size; looked at only if asked to be strict.
    case size
    /// The bytes from this offset on are not in the same state; looked at only if asked to be strict.
    case status(UInt64)
    /// The first sector that differs, or the first byte that is not zero where the other disk has nothing.
    case content(UInt64)
  }

  /// Why it could not be told.
  package struct Failure: Error, Sendable {
    /// ``CopyStep/lookup`` or ``CopyStep/read``.
    package let step: CopyStep
    /// The second disk, not the first.
    package let isSecond: Bool
    /// Bytes from the start of the disk.
    package let offset: UInt64
    /// What the engine or the host said.
    package let error: ImageError
  }

  /// One of the two.
  private struct Side {
    let disk: any GuestLayer
    let isSecond: Bool
    let buffer = CopyBuffer(DiskComparison.piece)
    let chain: [any GuestLayer]
    var walk: ChainWalk

    init(_ disk: any GuestLayer, isSecond: Bool) {
      self.disk = disk
      self.isSecond = isSecond
      chain = disk.chain
      walk = ChainWalk(chain)
    }

    mutating func status(at guest: GuestOffset) throws(Failure) -> Status {
      let offset = guest.value
      do throws(ImageError) {
        let extent = try walk.extent(at: offset, limit: disk.virtualSize - offset)
        // Zeroes behind the end of a layer below count as that layer's.
        let isSynthesized = extent.isZero && !extent.isPresent
        let isBelow = isSynthesized && chain[extent.depth].layerBelow != nil
        return Status(
          length: extent.length, isZero: extent.isZero, isData: extent.isData,
          isAllocated: extent.isPresent || isBelow, hasPlace: extent.offset != nil && !isBelow,
          isCompressed: extent.isCompressed, isLast: extent.length == disk.virtualSize - offset)
      } catch { throw Failure(step: .lookup, isSecond: isSecond, offset: offset, error: error) }
    }

    func read(at guest: GuestOffset, _ count: ByteCount) throws(Failure) -> UnsafeRawBufferPointer {
      let bytes = unsafe buffer.part(0, Int(count.value))
      do throws(ImageError) { unsafe try disk.readLayer(at: guest, into: bytes) } catch {
        throw Failure(step: .read, isSecond: isSecond, offset: guest.value, error: error)
      }
      return UnsafeRawBufferPointer(bytes)
    }
  }

  /// All that the genuine tool's block status tells of a stretch.
  private struct Status {
    var length: UInt64
    var isZero, isData, isAllocated, hasPlace, isCompressed, isLast: Bool

    func isAlike(_ other: Status) -> Bool {
      isZero == other.isZero && isData == other.isData && isAllocated == other.isAllocated
        && hasPlace == other.hasPlace && isCompressed == other.isCompressed && isLast == other.isLast
    }
  }

  /// Bytes that are read at once.
  private static let piece = 2 << 20
  private static let sector = 512

  private var first: Side
  private var second: Side
  private let isStrict: Bool
  /// Hears how many more bytes of the larger disk were looked at, and how many that has.
  package var tells: ((_ bytes: UInt64, _ total: UInt64) -> Void)?
  /// Asked between pieces with the share that is done; true ends the comparison with a failure.
  package var stops: ((Double) -> Bool)?
  /// Called when the disks are alike as far as the smaller one goes and the larger one goes on.
  package var sizesDiffer: (() -> Void)?

  /// Of two disks; with `isStrict` sizes and what is allocated count as well.
  package init(_ first: any GuestLayer, _ second: any GuestLayer, isStrict: Bool) {
    self.first = Side(first, isSecond: false)
    self.second = Side(second, isSecond: true)
    self.isStrict = isStrict
  }

  private var total: UInt64 { max(first.disk.virtualSize, second.disk.virtualSize) }

  /// Compares until something is different.
  ///
  /// - Throws: ``Failure`` for tables or bytes that cannot be read.
  package mutating func run() throws(Failure) -> Difference {
    let common = min(first.disk.virtualSize, second.disk.virtualSize)
    if isStrict, common != total { return .size }
    var offset: UInt64 = 0
    while offset < common {
      let one = try first.status(at: GuestOffset(offset))
      let other = try second.status(at: GuestOffset(offset))
      var length = min(one.length, other.length)
      if isStrict, !one.isAlike(other) { return .status(offset) }
      if !(one.isZero && other.isZero), one.isAllocated || other.isAllocated {
        length = min(length, UInt64(Self.piece))
        let place =
          one.isAllocated != other.isAllocated
          ? try Self.firstByte(one.isAllocated ? first : second, at: GuestOffset(offset), ByteCount(length))
          : try firstSector(at: GuestOffset(offset), ByteCount(length))
        if let place { return .content(place) }
      }
      offset += length
      tells?(length, total)
      try goOn(at: GuestOffset(offset))
    }
    return try compareRest(from: GuestOffset(common))
  }

  /// What the larger disk has behind the end of the other has to be zero.
  private mutating func compareRest(from end: GuestOffset) throws(Failure) -> Difference {
    let start = end.value
    guard start < total else { return .none }
    sizesDiffer?()
    var side = first.disk.virtualSize > start ? first : second
    var offset = start
    while offset < total {
      let status = try side.status(at: GuestOffset(offset))
      var length = status.length
      if status.isAllocated, !status.isZero {
        length = min(length, UInt64(Self.piece))
        if let place = try Self.firstByte(side, at: GuestOffset(offset), ByteCount(length)) {
          return .content(place)
        }
      }
      offset += length
      tells?(length, total)
      try goOn(at: GuestOffset(offset))
    }
    return .none
  }

  private func goOn(at guest: GuestOffset) throws(Failure) {
    let offset = guest.value
    guard stops?(Double(offset) / Double(max(1, total))) == true else { return }
    throw Failure(step: .read, isSecond: false, offset: offset, error: ImageError(.storage, "given up"))
  }

  /// The first byte of a range that is not zero.
  private static func firstByte(
    _ side: Side, at guest: GuestOffset, _ count: ByteCount
  ) throws(Failure) -> UInt64? {
    let bytes = unsafe try side.read(at: guest, count)
    return unsafe bytes.firstIndex(otherThan: 0).map { guest.value + UInt64($0) }
  }

  /// The first sector of a range that is not the same in both.
  private func firstSector(at guest: GuestOffset, _ count: ByteCount) throws(Failure) -> UInt64? {
    let one = unsafe try first.read(at: guest, count)
    let other = unsafe try second.read(at: guest, count)
    if unsafe one.isSame(other) { return nil }
    for start in stride(from: 0, to: one.count, by: Self.sector) {
      let end = min(start + Self.sector, one.count)
      let same = unsafe UnsafeRawBufferPointer(rebasing: one[start..<end]).isSame(
        UnsafeRawBufferPointer(rebasing: other[start..<end]))
      if !same { return guest.value + UInt64(start) }
    }
    return nil
  }
}
