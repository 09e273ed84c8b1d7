// All L2 entries of the active disk in guest order, slice by slice through the cache.

import QcowFormat
import Storage

/// A place in a walk over L2 entries.
struct WalkPosition {
  /// The next guest cluster.
  var guest: UInt64 = 0
  /// Mapped standard clusters in front of it.
  var rank: UInt64 = 0
}

/// An L2 entry that maps something on the host.
enum WalkedEntry {
  /// A standard host cluster; `rank` counts those in front of it.
  case data(host: UInt64, rank: UInt64)
  /// A compressed stream, with its descriptor.
  case stream(descriptor: UInt64)
}

extension Image {
  /// Calls `body` with every mapped guest cluster from `position` on, until it returns false; the
  /// position is then behind that cluster. False if the walk came to its end.
  ///
  /// `body` must not touch L2 tables.
  func walkEntries(
    _ position: inout WalkPosition,
    _ body: (_ guest: UInt64, _ entry: WalkedEntry) throws(ImageError) -> Bool
  ) throws(ImageError) -> Bool {
    let bits = UInt64(geometry.clusterBits)
    let tableBits = UInt64(geometry.l2Bits)
    while true {
      let l1Index = Int(position.guest >> tableBits)
      guard l1Index < l1.count else { return false }
      guard let table = try tableOffset(l1Index: l1Index) else {
        position.guest = UInt64(l1Index + 1) << tableBits
        continue
      }
      let slice = try slice(of: table, at: GuestOffset(position.guest << bits))
      var index = slice.index
      while index < sliceEntries {
        // Most entries of a sparse disk are empty.
        let empty = unsafe emptyEntries(slice.memory, from: index)
        index += empty
        position.guest += UInt64(empty)
        guard index < sliceEntries else { break }
        let entry = unsafe entry(slice.memory, index)
        let guest = position.guest
        index += 1
        position.guest += 1
        let walked: WalkedEntry
        if entry.isCompressed {
          walked = .stream(descriptor: entry.descriptor)
        } else if entry.offsetBits != 0 {
          walked = .data(host: entry.offsetBits >> bits, rank: position.rank)
          position.rank += 1
        } else {
          continue
        }
        if try !body(guest, walked) { return true }
      }
    }
  }

  /// How many descriptors in a row are zero.
  private func emptyEntries(_ memory: UnsafeMutableRawPointer, from index: Int) -> Int {
    let shift = geometry.l2EntryBits
    let end = sliceEntries << shift
    var at = index << shift
    while at < end, unsafe memory.load(fromByteOffset: at, as: UInt64.self) == 0 { at += 1 << shift }
    return at >> shift - index
  }

  /// The same from the start to the end.
  func walkEntries(
    _ body: (_ guest: UInt64, _ entry: WalkedEntry) throws(ImageError) -> Void
  ) throws(ImageError) {
    var position = WalkPosition()
    _ = try walkEntries(&position) { (guest, entry) throws(ImageError) in
      try body(guest, entry)
      return true
    }
  }
}
