// All L2 entries of the active disk in guest order, slice by slice through the cache.

import QcowFormat
import Storage

/// A place in a walk over L2 entries.
struct WalkPosition {
  /// The next guest cluster.
  var guest = GuestCluster(0)
  /// Mapped standard clusters in front of it.
  var rank: ClusterCount = 0
}

/// An L2 entry that maps something on the host.
enum WalkedEntry {
  /// A standard host cluster; `rank` counts those in front of it.
  case data(host: HostCluster, rank: ClusterCount)
  /// A compressed stream, with its descriptor.
  case stream(descriptor: UInt64)
}

extension L2Tables {
  /// Calls `body` with every mapped guest cluster from `position` on, until it returns false; the
  /// position is then behind that cluster. False if the walk came to its end.
  ///
  /// `body` must not touch L2 tables. Throws as ``walkDescriptors(_:upTo:_:)``.
  func walkEntries(
    _ position: inout WalkPosition,
    _ body: (_ guest: GuestCluster, _ entry: WalkedEntry) throws(ImageError) -> Bool
  ) throws(ImageError) -> Bool {
    var rank = position.rank
    defer { position.rank = rank }
    return try walkDescriptors(&position.guest) { (guest, entry) throws(ImageError) in
      if entry.isCompressed { return try body(guest, .stream(descriptor: entry.descriptor)) }
      guard entry.offsetBits != 0 else { return true }
      rank += 1
      let host = geometry.cluster(of: HostOffset(entry.offsetBits))
      return try body(guest, .data(host: host, rank: rank - 1))
    }
  }

  /// The same from the start to the end.
  func walkEntries(
    _ body: (_ guest: GuestCluster, _ entry: WalkedEntry) throws(ImageError) -> Void
  ) throws(ImageError) {
    var position = WalkPosition()
    _ = try walkEntries(&position) { (guest, entry) throws(ImageError) in
      try body(guest, entry)
      return true
    }
  }
}
