// The header extension of an image that is being put in order: what the disk maps, in a few numbers. Moving
// clusters never changes them, so whoever finds them true knows that every leaked cluster is a left-over.

/// What an image mapped when a relocation began.
///
/// On disk (type `0x716d6f76`, "qmov", 40 bytes, big endian): version of the record, 0 (8 bytes); mapped
/// standard clusters, compressed clusters, L2 tables, and a sum over which guest clusters they are (8 bytes
/// each). It is there from the first moved cluster to the last; others keep it and do not know it.
package struct RelocationExtension: Equatable, Hashable, Sendable {
  /// Guest clusters with a standard host cluster.
  package private(set) var dataClusters: UInt64 = 0
  /// Guest clusters with a compressed stream.
  package private(set) var streams: UInt64 = 0
  /// L2 tables that the L1 table names.
  package var l2Tables: UInt64
  private var sum: UInt64 = 0xcbf2_9ce4_8422_2325

  package init(l2Tables: UInt64) { self.l2Tables = l2Tables }

  /// Adds the next mapped guest cluster, in rising order.
  package mutating func add(_ guest: UInt64, isStream: Bool) {
    if isStream { streams &+= 1 } else { dataClusters &+= 1 }
    sum = (sum ^ (guest << 1 | (isStream ? 1 : 0))) &* 0x0000_0100_0000_01b3
    sum ^= sum >> 29
  }

  /// Bytes of the record.
  package static let byteCount = 40

  /// Reads a record; nil for one that this version does not understand, which is then kept as it is.
  package init?(_ data: [UInt8]) {
    guard data.count == Self.byteCount, BigEndian.u64(data, 0) == 0 else { return nil }
    dataClusters = BigEndian.u64(data, 8)
    streams = BigEndian.u64(data, 16)
    l2Tables = BigEndian.u64(data, 24)
    sum = BigEndian.u64(data, 32)
  }

  /// The data of the header extension.
  package var encoded: [UInt8] {
    var data: [UInt8] = []
    for value in [0, dataClusters, streams, l2Tables, sum] { BigEndian.append(value, width: 8, to: &data) }
    return data
  }
}
