// Addresses as types: guest and host positions, in bytes and in clusters, cannot be mixed up.
// Only the arithmetic that means something exists; `Geometry` converts between them. All of it is inlinable, comparing
// and hashing too, so that an address costs other modules no more than a number.

/// A byte position on the virtual disk.
@usableFromInline
package struct GuestOffset: Hashable, Comparable, Sendable {
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
}

/// A byte position in the image file.
@usableFromInline
package struct HostOffset: Hashable, Comparable, Sendable {
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable
  package func hash(into hasher: inout Hasher) { hasher.combine(value) }
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
}

/// The number of a cluster of the virtual disk.
@usableFromInline
package struct GuestCluster: Hashable, Comparable, Sendable {
  /// Clusters of the disk before it.
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

/// The number of a cluster of the image file.
@usableFromInline
package struct HostCluster: Hashable, Comparable, Sendable {
  /// Clusters of the file before it.
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable
  package func hash(into hasher: inout Hasher) { hasher.combine(value) }
}

/// How many clusters.
@usableFromInline
package struct ClusterCount: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral {
  /// How many, from 0 on.
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  /// `value` is not negative.
  @inlinable
  package init(_ value: Int) { self.value = UInt64(value) }
  @inlinable
  package init(integerLiteral value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  /// Wraps around at 2^64; counts of an open image stay far below.
  @inlinable
  package static func + (a: Self, b: Self) -> Self { Self(a.value &+ b.value) }
  /// What `a` has more than `b`; it must not have less.
  @inlinable
  package static func - (a: Self, b: Self) -> Self { Self(a.value &- b.value) }
  /// Wraps around at 2^64; counts of an open image stay far below.
  @inlinable
  package static func += (a: inout Self, b: Self) { a.value &+= b.value }
}

/// How many bytes.
@usableFromInline
package struct ByteCount: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral {
  @usableFromInline package var value: UInt64
  @inlinable
  package init(_ value: UInt64) { self.value = value }
  /// `value` is not negative.
  @inlinable
  package init(_ value: Int) { self.value = UInt64(value) }
  @inlinable
  package init(integerLiteral value: UInt64) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  /// Wraps around at 2^64; counts of an open image stay far below.
  @inlinable
  package static func + (a: Self, b: Self) -> Self { Self(a.value &+ b.value) }
  /// What `a` has more than `b`; it must not have less.
  @inlinable
  package static func - (a: Self, b: Self) -> Self { Self(a.value &- b.value) }
  /// Wraps around at 2^64; counts of an open image stay far below.
  @inlinable
  package static func += (a: inout Self, b: Self) { a.value &+= b.value }
}

/// The number of a subcluster within its cluster, 0 to 31; always 0 without extended L2 entries.
@usableFromInline
package struct SubclusterIndex: Hashable, Comparable, Sendable {
  /// Subclusters before it in the same cluster.
  @usableFromInline package var value: Int
  @inlinable
  package init(_ value: Int) { self.value = value }
  @inlinable
  package static func < (a: Self, b: Self) -> Bool { a.value < b.value }
}

extension GuestOffset {
  /// Wraps around at 2^64; positions of an open image stay far below.
  @inlinable
  @_disfavoredOverload package static func + (a: Self, bytes: ByteCount) -> Self {
    Self(a.value &+ bytes.value)
  }
  /// Wraps around at 2^64; positions of an open image stay far below.
  @inlinable
  package static func + (a: Self, bytes: UInt64) -> Self { Self(a.value &+ bytes) }
  /// Bytes from `b` to `a`; `a` must not lie before `b`.
  @inlinable
  package static func - (a: Self, b: Self) -> UInt64 { a.value &- b.value }
}

extension HostOffset {
  /// Wraps around at 2^64; positions of an open image stay far below.
  @inlinable
  @_disfavoredOverload package static func + (a: Self, bytes: ByteCount) -> Self {
    Self(a.value &+ bytes.value)
  }
  /// Wraps around at 2^64; positions of an open image stay far below.
  @inlinable
  package static func + (a: Self, bytes: UInt64) -> Self { Self(a.value &+ bytes) }
  /// Bytes from `b` to `a`; `a` must not lie before `b`.
  @inlinable
  package static func - (a: Self, b: Self) -> UInt64 { a.value &- b.value }
}

extension GuestCluster: Strideable {
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  @inlinable
  package func distance(to other: Self) -> Int { Int(truncatingIfNeeded: other.value &- value) }
  @inlinable
  package func advanced(by count: Int) -> Self { Self(value &+ UInt64(truncatingIfNeeded: count)) }
  /// Wraps around at 2^64; clusters of an open image stay far below.
  @inlinable
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
  /// Clusters from `b` to `a`; `a` must not lie before `b`.
  @inlinable
  package static func - (a: Self, b: Self) -> ClusterCount { ClusterCount(a.value &- b.value) }
}

extension HostCluster: Strideable {
  @inlinable
  package static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  @inlinable
  package func distance(to other: Self) -> Int { Int(truncatingIfNeeded: other.value &- value) }
  @inlinable
  package func advanced(by count: Int) -> Self { Self(value &+ UInt64(truncatingIfNeeded: count)) }
  /// Wraps around at 2^64; clusters of an open image stay far below.
  @inlinable
  package static func + (a: Self, count: ClusterCount) -> Self { Self(a.value &+ count.value) }
  /// Clusters from `b` to `a`; `a` must not lie before `b`.
  @inlinable
  package static func - (a: Self, b: Self) -> ClusterCount { ClusterCount(a.value &- b.value) }
}

extension Range where Bound == HostCluster {
  /// How many clusters of the file.
  package var clusters: ClusterCount { upperBound - lowerBound }
}
