// The bits of one persistent bitmap in memory, in pieces of one cluster of the file each. A piece without a
// set bit is not kept, as it takes no cluster in the file.

import Glibc
import QcowFormat
import Storage

/// The bits of one bitmap: bit n stands for the bytes n << granularity ... of the disk.
struct BitmapBits: Equatable {
  /// Bytes that a bit stands for, a power of two.
  let granularity: UInt64
  /// Bytes of a piece: the cluster size.
  let pieceBytes: Int
  /// Bits of the whole disk.
  private(set) var count: UInt64
  private var pieces: [Int: [UInt8]] = [:]

  init(granularity: ByteCount, _ geometry: Geometry) {
    self.granularity = granularity.value
    pieceBytes = Int(geometry.clusterSize)
    count = ceil(geometry.virtualSize, granularity.value)
  }

  /// The same bits for an image of other clusters and the same size.
  init(_ bits: BitmapBits, _ geometry: Geometry) {
    self.init(granularity: ByteCount(bits.granularity), geometry)
    for index in bits.piecesInOrder {
      guard let bytes = bits.piece(index) else { continue }
      // Both sizes are powers of two.
      let start = index * bits.pieceBytes
      let step = min(pieceBytes, bytes.count)
      for at in stride(from: 0, to: bytes.count, by: step) {
        let part = bytes[at..<at + step]
        guard part.contains(where: { $0 != 0 }) else { continue }
        let place = (start + at) % pieceBytes
        pieces[(start + at) / pieceBytes, default: Self.empty(pieceBytes)]
          .replaceSubrange(place..<place + step, with: part)
      }
    }
  }

  private var bitsPerPiece: UInt64 { UInt64(pieceBytes) * 8 }

  /// Pieces that cover the disk: the entries of the table. Bits come in whole words of 64.
  var pieceCount: Int {
    Int(clamping: ceil(ceil(count, 64) * 8, UInt64(pieceBytes)))
  }

  /// The bytes of a piece that has set bits, as they go to the file; nil for one without. Only bits of the disk
  /// make a piece worth keeping.
  func piece(_ index: Int) -> [UInt8]? {
    guard let bytes = pieces[index] else { return nil }
    let first = UInt64(index) * bitsPerPiece
    guard first < count else { return nil }
    let used = min(bitsPerPiece, count - first)
    let whole = Int(used / 8)
    if !Self.isZero(bytes, whole) { return bytes }
    let rest = used % 8
    return rest != 0 && bytes[whole] & UInt8(1 << rest - 1) != 0 ? bytes : nil
  }

  /// The pieces that may have set bits, in order.
  var piecesInOrder: [Int] { pieces.keys.sorted() }

  /// Takes the bytes of a piece from the file. What lies behind the last word of the disk is not kept.
  mutating func load(_ index: Int, _ bytes: [UInt8]) {
    guard index >= 0, index < pieceCount, bytes.count == pieceBytes else { return }
    var bytes = bytes
    let end = ceil(count, 64) * 8
    let used = min(UInt64(pieceBytes), end - UInt64(index) * UInt64(pieceBytes))
    for at in Int(used)..<pieceBytes { bytes[at] = 0 }
    pieces[index] = Self.isZero(bytes, pieceBytes) ? nil : bytes
  }

  /// Sets all bits of a piece.
  mutating func fill(_ index: Int) {
    guard index >= 0, index < pieceCount else { return }
    let first = UInt64(index) * bitsPerPiece
    set(bits: first..<min(count, first + bitsPerPiece))
  }

  /// Sets every bit that bytes of the range belong to; the range lies on the disk.
  mutating func set(_ guest: GuestOffset, _ length: ByteCount) {
    guard length > 0, count > 0 else { return }
    let first = guest.value / granularity
    let last = (guest.value + length.value - 1) / granularity
    set(bits: min(first, count - 1)..<min(last, count - 1) + 1)
  }

  private mutating func set(bits: Range<UInt64>) {
    var at = bits.lowerBound
    while at < bits.upperBound {
      let index = Int(at / bitsPerPiece)
      let start = UInt64(index) * bitsPerPiece
      let end = min(bits.upperBound, start + bitsPerPiece)
      Self.set(Int(at - start)..<Int(end - start), in: &pieces[index, default: Self.empty(pieceBytes)])
      at = end
    }
  }

  private static func isZero(_ bytes: [UInt8], _ count: Int) -> Bool {
    unsafe bytes.withUnsafeBytes { unsafe UnsafeRawBufferPointer(rebasing: $0[..<count]).isZero }
  }

  private static func empty(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

  private static func set(_ bits: Range<Int>, in bytes: inout [UInt8]) {
    let first = bits.lowerBound / 8
    let last = (bits.upperBound - 1) / 8
    let head: UInt8 = .max << UInt8(bits.lowerBound % 8)
    let tail: UInt8 = .max >> UInt8(7 - (bits.upperBound - 1) % 8)
    if first == last {
      bytes[first] |= head & tail
      return
    }
    bytes[first] |= head
    bytes[last] |= tail
    guard last - first > 1 else { return }
    unsafe bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      unsafe memset(base + first + 1, 0xff, last - first - 1)
    }
  }

  /// Takes all bits back.
  mutating func clear() { pieces = [:] }

  /// Sets the bits of all ranges of which `other`, a bitmap of a disk of the same size, has some bit set. What
  /// a coarse bit stands for is set whole.
  mutating func merge(_ other: BitmapBits) {
    for index in other.piecesInOrder {
      guard let bytes = other.pieces[index] else { continue }
      if other.granularity == granularity && other.pieceBytes == pieceBytes && other.count == count {
        unite(index, bytes)
      } else {
        other.forEachRun(in: index, bytes) { run in
          set(
            GuestOffset(run.lowerBound * other.granularity),
            ByteCount((run.upperBound - run.lowerBound) * other.granularity))
        }
      }
    }
  }

  private mutating func unite(_ index: Int, _ bytes: [UInt8]) {
    guard var mine = pieces[index] else {
      pieces[index] = bytes
      return
    }
    for at in 0..<pieceBytes { mine[at] |= bytes[at] }
    pieces[index] = mine
  }

  /// Calls `body` with every run of set bits of a piece, as far as they lie on the disk.
  func forEachRun(in index: Int, _ bytes: [UInt8], _ body: (Range<UInt64>) -> Void) {
    let first = UInt64(index) * bitsPerPiece
    guard first < count else { return }
    let end = Int(min(bitsPerPiece, count - first))
    var at = 0
    while at < end {
      // Bytes that are all the same are passed whole.
      if at % 8 == 0, bytes[at / 8] == 0 {
        at += 8
        continue
      }
      guard bytes[at / 8] >> UInt8(at % 8) & 1 != 0 else {
        at += 1
        continue
      }
      let start = at
      while at < end {
        if at % 8 == 0, bytes[at / 8] == 0xff {
          at = min(end, at + 8)
        } else if bytes[at / 8] >> UInt8(at % 8) & 1 != 0 {
          at += 1
        } else {
          break
        }
      }
      body(first + UInt64(start)..<first + UInt64(at))
    }
  }

  /// The disk has another size now: what is cut off is forgotten, what is new is clean.
  mutating func resize(to size: ByteCount) {
    let new = ceil(size.value, granularity)
    defer { count = new }
    guard new < count else { return }
    for index in pieces.keys {
      let first = UInt64(index) * bitsPerPiece
      if first >= new {
        pieces[index] = nil
      } else if new - first < bitsPerPiece, var bytes = pieces[index] {
        let kept = Int(new - first)
        if kept % 8 != 0 { bytes[kept / 8] &= UInt8(1 << (kept % 8) - 1) }
        for at in (kept + 7) / 8..<pieceBytes { bytes[at] = 0 }
        pieces[index] = bytes
      }
    }
  }
}
