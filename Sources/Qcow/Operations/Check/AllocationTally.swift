// How `qemu-img check` counts allocated, fragmented and compressed clusters. The check and the view of
// fragmentation count here, so that both print the same percentage.

package import QcowFormat

/// Allocated clusters of the active L2 tables, in the order of their entries.
package struct AllocationTally: Equatable, Sendable {
  /// Entries with a host cluster, reserved ones and compressed ones included.
  package private(set) var allocated: UInt64 = 0
  /// Clusters that do not lie directly behind the one before in the same table, and all compressed ones.
  package private(set) var fragmented: UInt64 = 0
  /// Compressed clusters among them.
  package private(set) var compressed: UInt64 = 0
  /// Where an unfragmented cluster would follow; 0 before the first one of a table.
  private var next = HostOffset(0)

  package init() {}

  /// Fragmented clusters in percent of the allocated ones; 0 if there are none.
  package var percentage: Double { allocated == 0 ? 0 : Double(fragmented) * 100 / Double(allocated) }
  /// The same without the compressed clusters.
  package var percentageWithoutCompressed: Double {
    let standard = allocated - min(allocated, compressed)
    guard standard > 0 else { return 0 }
    return Double(fragmented - min(fragmented, compressed)) * 100 / Double(standard)
  }

  /// The next entries are those of another table, where the first cluster is never fragmented.
  @inline(__always)
  package mutating func beginTable() { next = HostOffset(0) }

  /// Adds `count` clusters that lie in a row from host offset `offset` on and end before `end`.
  @inline(__always)
  package mutating func addRow(at offset: HostOffset, count: ClusterCount, end: HostOffset) {
    allocated &+= count.value
    if next.value != 0 && offset != next { fragmented &+= 1 }
    next = end
  }

  /// Where a cluster goes on unfragmented; 0 at the start of a table.
  package var following: HostOffset { next }

  /// Adds what was counted elsewhere of entries in the order of a table, of which the last one ends at `next`.
  package mutating func add(allocated: ClusterCount, fragmented: ClusterCount, next: HostOffset) {
    self.allocated &+= allocated.value
    self.fragmented &+= fragmented.value
    self.next = next
  }

  /// Adds a compressed cluster, which says nothing about where the next one should lie.
  @inline(__always)
  package mutating func addCompressed() {
    allocated &+= 1
    fragmented &+= 1
    compressed &+= 1
  }

  static func += (a: inout Self, b: Self) {
    a.allocated &+= b.allocated
    a.fragmented &+= b.fragmented
    a.compressed &+= b.compressed
  }
}
