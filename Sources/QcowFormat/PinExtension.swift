// The header extension of pinned images: a promise that every guest cluster has its place in the file
// at one constant distance. It is this program's own; others keep it and do not know it.

/// Where the clusters of a pinned image have their places.
///
/// On disk (type `0x7170696e`, "qpin", 24 bytes, big endian): version of the record, 0 (4 bytes);
/// reserved, 0 (4 bytes); the shift in bytes (8 bytes); the reserve in bytes (8 bytes). The autoclear
/// bit ``AutoclearFeatures/pinned`` says that nobody who does not know the record has written since
/// it was true.
package struct PinExtension: Equatable, Hashable, Sendable {
  /// Host offset minus guest offset of every guest cluster in its place: a multiple of the cluster
  /// size, at least one cluster, below 2^56.
  package var shift: UInt64
  /// Bytes of guest disk for which the file has places and room for tables; the disk may be smaller.
  package var reserve: UInt64

  package init(shift: UInt64, reserve: UInt64) {
    self.shift = shift
    self.reserve = reserve
  }

  /// Bytes of the record.
  package static let byteCount = 24

  /// Reads a record; nil for one that this version does not understand, which is then kept as it is.
  package init?(_ data: [UInt8], _ geometry: Geometry) {
    guard data.count == Self.byteCount, BigEndian.u64(data, 0) == 0 else { return nil }
    shift = BigEndian.u64(data, 8)
    reserve = BigEndian.u64(data, 16)
    guard shift >= geometry.clusterSize, geometry.isAligned(shift), shift < Geometry.hostOffsetLimit,
      reserve < Geometry.hostOffsetLimit
    else { return nil }
  }

  /// The data of the header extension.
  package var encoded: [UInt8] {
    var data: [UInt8] = []
    BigEndian.append(0, width: 8, to: &data)
    BigEndian.append(shift, width: 8, to: &data)
    BigEndian.append(reserve, width: 8, to: &data)
    return data
  }
}
