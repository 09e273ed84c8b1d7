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
    var rank = position.rank
    defer { position.rank = rank }
    return try walkDescriptors(&position.guest) { (guest, entry) throws(ImageError) in
      if entry.isCompressed { return try body(guest, .stream(descriptor: entry.descriptor)) }
      guard entry.offsetBits != 0 else { return true }
      rank += 1
      return try body(guest, .data(host: entry.offsetBits >> bits, rank: rank - 1))
    }
  }

  /// Calls `body` with every guest cluster from `next` up to `limit` whose descriptor is not zero, until
  /// it returns false; `next` is then behind that cluster. False if the walk came to its end.
  ///
  /// `body` must not touch L2 tables.
  func walkDescriptors(
    _ next: inout UInt64, upTo limit: UInt64 = .max,
    _ body: (_ guest: UInt64, _ entry: L2Entry) throws(ImageError) -> Bool
  ) throws(ImageError) -> Bool {
    let bits = UInt64(geometry.clusterBits)
    let tableBits = UInt64(geometry.l2Bits)
    while true {
      let l1Index = Int(next >> tableBits)
      guard l1Index < l1.count, next < limit else { return false }
      guard let table = try tableOffset(l1Index: l1Index) else {
        next = UInt64(l1Index + 1) << tableBits
        continue
      }
      let slice = try slice(of: table, at: GuestOffset(next << bits))
      var index = slice.index
      while index < sliceEntries {
        // Most entries of a sparse disk are empty.
        let empty = unsafe emptyEntries(slice.memory, from: index)
        index += empty
        next += UInt64(empty)
        guard index < sliceEntries else { break }
        guard next < limit else { return false }
        let entry = unsafe entry(slice.memory, index)
        let guest = next
        index += 1
        next += 1
        if try !body(guest, entry) { return true }
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
