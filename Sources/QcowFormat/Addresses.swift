// Addresses as types: guest and host positions, in bytes and in clusters, cannot be mixed up.
// Only the arithmetic that means something exists; `Geometry` converts between them.

/// A byte position on the virtual disk.
package struct GuestOffset: Hashable, Comparable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// A byte position in the image file.
package struct HostOffset: Hashable, Comparable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a cluster of the virtual disk.
package struct GuestCluster: Hashable, Comparable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a cluster of the image file.
package struct HostCluster: Hashable, Comparable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// How many clusters.
package struct ClusterCount: Hashable, Comparable, Sendable {
  package var value: UInt64
  package init(_ value: UInt64) { self.value = value }
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a subcluster within its cluster, 0 to 31; always 0 without extended L2 entries.
package struct SubclusterIndex: Hashable, Comparable, Sendable {
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
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
}

extension HostCluster {
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
}
