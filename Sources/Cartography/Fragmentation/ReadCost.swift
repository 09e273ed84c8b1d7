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

  /// Adds `count` clusters in a row. `follows`: they go on where the last ones ended, in the file too.
  /// `isAdjacent`: on the disk at least. `missing` bytes of the last cluster lie behind the end of the disk.
  @inline(__always)
  mutating func add(
    _ guest: UInt64, _ count: UInt64, clusterBits: Int, follows: Bool, isAdjacent: Bool, missing: UInt64
  ) {
    guard requestBits >= clusterBits else {
      let parts = count << UInt64(clusterBits - requestBits) - missing >> UInt64(requestBits)
      requests &+= parts
      hostReads &+= parts
      fewest &+= parts
      lastRequest = .max
      return
    }
    let shift = UInt64(requestBits - clusterBits)
    let first = guest >> shift
    let last = (guest &+ count &- 1) >> shift
    let span = last &- first &+ 1
    let goesOn = lastRequest == first
    requests &+= span &- (goesOn ? 1 : 0)
    hostReads &+= span &- (goesOn && follows ? 1 : 0)
    fewest &+= span &- (goesOn && isAdjacent ? 1 : 0)
    lastRequest = last
  }
}
