// Addresses as types: guest and host positions, in bytes and in clusters, cannot be mixed up.
// Only the arithmetic that means something exists; `Geometry` converts between them.

/// A byte position on the virtual disk.
public struct GuestOffset: Hashable, Comparable, Sendable {
  /// Bytes from the start.
  public var value: UInt64
  /// The position that many bytes from the start.
  public init(_ value: UInt64) { self.value = value }
  /// Nearer to the start.
  public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// A byte position in the image file.
public struct HostOffset: Hashable, Comparable, Sendable {
  /// Bytes from the start.
  public var value: UInt64
  /// The position that many bytes from the start.
  public init(_ value: UInt64) { self.value = value }
  /// Nearer to the start.
  public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a cluster of the virtual disk.
package struct GuestCluster: Hashable, Comparable, Sendable {
  /// Clusters of the disk before it.
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a cluster of the image file.
package struct HostCluster: Hashable, Comparable, Sendable {
  /// Clusters of the file before it.
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// How many clusters.
package struct ClusterCount: Hashable, Comparable, Sendable {
  /// How many, from 0 on.
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a subcluster within its cluster, 0 to 31; always 0 without extended L2 entries.
package struct SubclusterIndex: Hashable, Comparable, Sendable {
  /// Subclusters before it in the same cluster.
  package var value: Int
  package init(_ value: Int) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

extension GuestOffset {
  /// Wraps around at 2^64; positions of an open image stay far below.
  package static func + (a: Self, bytes: UInt64) -> Self { Self(a.value &+ bytes) }
  /// Bytes from `b` to `a`; `a` must not lie before `b`.
  package static func - (a: Self, b: Self) -> UInt64 { a.value &- b.value }
}

extension HostOffset {
  /// Wraps around at 2^64; positions of an open image stay far below.
  package static func + (a: Self, bytes: UInt64) -> Self { Self(a.value &+ bytes) }
  /// Bytes from `b` to `a`; `a` must not lie before `b`.
  package static func - (a: Self, b: Self) -> UInt64 { a.value &- b.value }
}

extension GuestCluster {
  /// Wraps around at 2^64; clusters of an open image stay far below.
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
}

extension HostCluster {
  /// Wraps around at 2^64; clusters of an open image stay far below.
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
}
