// The cursor of the explorer: one position of the image with an address on the guest's disk and one in a file.

/// Which of the two addresses of the cursor was moved last.
package enum Side: Hashable, Sendable { case guest, host }

/// Which file a host address is in: the image file, or its external data file.
package enum HostFileKind: Hashable, Sendable { case image, data }

/// One position with two addresses.
package struct TwinCursor: Hashable, Sendable {
  /// The side that keys move on.
  package var side = Side.guest
  /// Bytes; both always lie on their map.
  package var guest: UInt64 = 0
  /// The byte of the file.
  package var host: UInt64 = 0
  /// The file that ``host`` is an address of.
  package var file = HostFileKind.image
  /// The other address is the same place; otherwise it is where that side was left.
  package var isTwinned = false
}
