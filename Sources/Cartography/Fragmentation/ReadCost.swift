// What the order of clusters costs a guest that reads the disk from its start to its end: host reads
// for requests of one size.

/// Host reads that requests of one size need in a sequential read.
///
/// A request is aligned to its size. It needs one host read for every row of clusters inside it that
/// follow each other in the file, and one for every compressed cluster, because each stream is read alone.
/// Requests that no data cluster answers need none and do not count.
package struct ReadCost: Equatable, Sendable {
  /// Bytes of a request as a power of two.
  package let requestBits: Int
  /// Requests of that size that were counted.
  package private(set) var requests: UInt64 = 0
  /// Reads of the file that they need.
  package private(set) var hostReads: UInt64 = 0
  /// Host reads that would be left if every stretch of the disk lay in one row: parts of a request with
  /// nothing between them, and compressed clusters, need one each anyway.
  package private(set) var fewest: UInt64 = 0
  /// The request that the last cluster was part of.
  private var lastRequest = UInt64.max

  init(requestBits: Int) { self.requestBits = requestBits }

  /// Bytes of a request.
  package var requestSize: UInt64 { 1 << UInt64(requestBits) }
  /// Host reads beyond one per request.
  package var extra: UInt64 { hostReads - min(hostReads, requests) }
  /// Those of them that writing all clusters in order would save.
  package var avoidable: UInt64 { hostReads - min(hostReads, fewest) }

  /// Adds rows in the order of the disk, with what is known of each. `missing` bytes of cluster `end - 1` lie behind
  /// the end of the disk.
  mutating func add(
    _ rows: UnsafeBufferPointer<EntryRow>, _ marks: UnsafeMutableBufferPointer<RowMarks>, clusterBits: Int,
    end: UInt64, missing: UInt64
  ) {
    var cost = self
    if requestBits >= clusterBits {
      let shift = UInt64(requestBits - clusterBits)
      for index in rows.indices where unsafe marks[index].contains(.isRead) {
        let (row, marks) = unsafe (rows[index], marks[index])
        let first = row.guest &>> shift
        let last = (row.guest &+ row.count &- 1) &>> shift
        let span = last &- first &+ 1
        let goesOn = cost.lastRequest == first
        cost.requests &+= span &- (goesOn ? 1 : 0)
        cost.hostReads &+= span &- (goesOn && marks.contains(.followsRead) ? 1 : 0)
        cost.fewest &+= span &- (goesOn && marks.contains(.adjoinsRead) ? 1 : 0)
        cost.lastRequest = last
      }
    } else {
      for index in rows.indices where unsafe marks[index].contains(.isRead) {
        let row = unsafe rows[index]
        let cut = row.guest &+ row.count == end ? missing : 0
        let parts = row.count << UInt64(clusterBits - requestBits) - cut >> UInt64(requestBits)
        cost.requests &+= parts
        cost.hostReads &+= parts
        cost.fewest &+= parts
        cost.lastRequest = .max
      }
    }
    self = cost
  }
}
