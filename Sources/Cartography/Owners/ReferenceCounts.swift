// How many owners every host cluster has, in one byte per cluster: six bits of count and two of
// kind. Chunks come into being where something is owned, and a limit bounds them all.

import CSys
import Glibc

/// What owns a host cluster.
enum ReferenceKind: UInt8 {
  case data = 0
  case compressed = 1
  /// A table or another structure.
  case table = 2
  /// Owners of different kinds, which cannot be right.
  case mixed = 3
}

/// The counter of owners per host cluster.
@safe final class ReferenceCounts {
  static let chunkBits: UInt64 = 16
  /// Chunks that are kept at most, whatever the image: 22 MiB, for 1.4 TiB of clusters of 64 KiB in use.
  private static let leastLimit = 352
  /// And for the largest: 1 GiB.
  private static let mostLimit: UInt64 = 1 << 14
  /// Pointers to chunks that are kept at most.
  static let maximumDirectory: UInt64 = 1 << 17
  private static let chunkSize = 1 << 16
  private static let countMask: UInt8 = 0x3f
  private static let maximumOverflow = 1 << 15

  private var directory: [UnsafeMutablePointer<UInt8>?] = unsafe []
  private var chunks = 0
  /// Exact counts of clusters with 63 owners or more.
  private var overflow: [UInt64: UInt64] = [:]

  /// Clusters with owners of different kinds of which one is a table; bounded like ``overflow``.
  private var mixedTables: Set<UInt64> = []

  /// Some owners could not be counted, so clusters outside the chunks may have any number.
  private(set) var isIncomplete = false
  /// A count was lost, so that taking an owner away can no longer be followed.
  private(set) var needsRescan = false
  /// One behind the highest cluster that was ever owned.
  private(set) var end: UInt64 = 0

  /// Chunks that are kept at most.
  private let maximumChunks: Int

  /// For an image that takes so many bytes on the host. One that really has so many clusters keeps at least eight for
  /// each there, in an entry, and a cluster takes one here.
  init(allocated: UInt64 = 0) {
    maximumChunks = max(Self.leastLimit, Int(min(allocated >> (3 + Self.chunkBits), Self.mostLimit)))
  }

  /// Bytes that counts take at most.
  var limit: UInt64 { UInt64(maximumChunks) << Self.chunkBits }

  deinit {
    for index in unsafe 0..<directory.count { unsafe free(directory[index]) }
  }

  /// Chunks from this cluster on do not exist.
  var directoryEnd: UInt64 { unsafe UInt64(directory.count) << Self.chunkBits }

  @inline(__always)
  func chunk(_ number: UInt64) -> UnsafeMutablePointer<UInt8>? {
    unsafe number < UInt64(directory.count) ? unsafe directory[Int(truncatingIfNeeded: number)] : nil
  }

  /// The chunk, made if it may be.
  func makeChunk(_ number: UInt64) -> UnsafeMutablePointer<UInt8>? {
    if let found = unsafe chunk(number) { return unsafe found }
    guard number < Self.maximumDirectory, chunks < maximumChunks else {
      isIncomplete = true
      return nil
    }
    // Fresh pages are zeroes already: of a chunk that holds one table only that page is touched.
    guard let memory = unsafe calloc(Self.chunkSize, 1) else {
      isIncomplete = true
      return nil
    }
    while unsafe UInt64(directory.count) <= number { unsafe directory.append(nil) }
    let new = unsafe memory.bindMemory(to: UInt8.self, capacity: Self.chunkSize)
    unsafe directory[Int(truncatingIfNeeded: number)] = new
    chunks += 1
    return unsafe new
  }

  func count(of cluster: UInt64) -> UInt64 {
    guard let chunk = unsafe chunk(cluster >> Self.chunkBits) else { return 0 }
    return unsafe count(chunk[Int(cluster & 0xffff)], cluster)
  }

  /// The count in a chunk's byte; for the largest value it is looked up.
  @inline(__always)
  func count(_ byte: UInt8, _ cluster: UInt64) -> UInt64 {
    let low = byte & Self.countMask
    return low < Self.countMask ? UInt64(low) : overflow[cluster] ?? UInt64(low)
  }

  @inline(__always)
  static func kind(_ byte: UInt8) -> ReferenceKind { ReferenceKind(rawValue: byte >> 6) ?? .mixed }

  /// What owns a cluster; nil if nothing does.
  func kind(of cluster: UInt64) -> ReferenceKind? {
    guard let chunk = unsafe chunk(cluster >> Self.chunkBits) else { return nil }
    let byte = unsafe chunk[Int(cluster & 0xffff)]
    return byte & Self.countMask == 0 ? nil : Self.kind(byte)
  }

  /// A table is among the owners.
  func isTable(_ cluster: UInt64) -> Bool {
    switch kind(of: cluster) {
    case .table: true
    case .mixed: mixedTables.contains(cluster)
    default: false
    }
  }

  func add(_ cluster: UInt64, _ kind: ReferenceKind, times: UInt64 = 1) {
    guard times > 0, let chunk = unsafe makeChunk(cluster >> Self.chunkBits) else { return }
    end = max(end, cluster + 1)
    let at = Int(cluster & 0xffff)
    let byte = unsafe chunk[at]
    let old = count(byte, cluster)
    let merged = old == 0 || Self.kind(byte) == kind ? kind : .mixed
    if merged == .mixed, kind == .table || Self.kind(byte) == .table,
      mixedTables.count < Self.maximumOverflow
    {
      mixedTables.insert(cluster)
    }
    unsafe chunk[at] = store(cluster, old &+ times < old ? .max : old &+ times, merged)
  }

  func remove(_ cluster: UInt64, _ kind: ReferenceKind, times: UInt64 = 1) {
    guard times > 0 else { return }
    guard let chunk = unsafe chunk(cluster >> Self.chunkBits) else {
      needsRescan = true
      return
    }
    let at = Int(cluster & 0xffff)
    let byte = unsafe chunk[at]
    let old = count(byte, cluster)
    guard old >= times, Self.kind(byte) == kind, old < UInt64(Self.countMask) || overflow[cluster] != nil
    else {
      needsRescan = true
      return
    }
    unsafe chunk[at] = store(cluster, old - times, kind)
  }

  /// The byte for a count, with the exact value kept aside when it does not fit.
  private func store(_ cluster: UInt64, _ count: UInt64, _ kind: ReferenceKind) -> UInt8 {
    if count < UInt64(Self.countMask) {
      if !overflow.isEmpty { overflow[cluster] = nil }
      return count == 0 ? 0 : UInt8(count) | kind.rawValue << 6
    }
    if overflow.count < Self.maximumOverflow || overflow[cluster] != nil {
      overflow[cluster] = count
    } else {
      needsRescan = true
    }
    return Self.countMask | kind.rawValue << 6
  }

  /// Asks the host for the byte of a cluster that is counted soon, if it has a chunk.
  @inline(__always)
  func prefetch(_ cluster: UInt64) {
    if let chunk = unsafe chunk(cluster >> Self.chunkBits) {
      unsafe csys_prefetch(chunk + Int(truncatingIfNeeded: cluster & 0xffff))
    }
  }

  /// Counts a plain data cluster; for the scan's inner loop, which found the chunk itself.
  @inline(__always)
  static func addData(_ chunk: UnsafeMutablePointer<UInt8>, _ at: Int) -> Bool {
    let byte = unsafe chunk[at]
    guard byte < countMask - 1 else { return false }
    unsafe chunk[at] = byte + 1
    return true
  }

  func reached(_ end: UInt64) { self.end = max(self.end, end) }

  /// Nobody owns a cluster from `end` on.
  func cut(to end: UInt64) { self.end = min(self.end, end) }

  /// True if any cluster of the range has an owner.
  func hasOwners(in range: Range<UInt64>) -> Bool {
    var cluster = range.lowerBound
    while cluster < min(range.upperBound, directoryEnd) {
      let stop = min(range.upperBound, (cluster >> Self.chunkBits + 1) << Self.chunkBits)
      if let chunk = unsafe chunk(cluster >> Self.chunkBits) {
        while cluster < stop {
          if unsafe chunk[Int(cluster & 0xffff)] != 0 { return true }
          cluster += 1
        }
      }
      cluster = stop
    }
    return false
  }
}
