// Plain entries of an L2 table whose clusters lie anywhere in the file. Millions of them are what a check of a
// scattered image spends its time with, so that each costs a few steps here and no call; whatever is remarkable
// about one of them is left to the walk.

import CSys
import QcowFormat

/// The words of an L2 table and what a plain entry looks like.
@safe struct PlainEntries {
  private let base: UnsafeRawPointer
  /// Words of the table, and of an entry.
  let words: Int
  let step: Int
  /// Bits that no plain entry has.
  let special: UInt64
  let clusterSize: UInt64
  /// Plain entries lead below this offset.
  let end: HostOffset

  /// Nil for a table without bytes.
  init?(_ bytes: UnsafeRawBufferPointer, isExtended: Bool, _ geometry: Geometry, end: HostOffset) {
    guard let start = bytes.baseAddress else { return nil }
    unsafe base = start
    words = bytes.count >> 3
    step = isExtended ? 2 : 1
    // All but COPIED and whole clusters: other flags, reserved bits, and offset bits in a cluster.
    special = ~(L2Entry.copiedFlag | L2Entry.offsetMask & ~geometry.clusterMask)
    clusterSize = geometry.clusterSize
    self.end = end
  }

  /// A word; `index` lies in the table.
  @inline(__always)
  subscript(index: Int) -> UInt64 {
    UInt64(bigEndian: unsafe base.loadUnaligned(fromByteOffset: index &<< 3, as: UInt64.self))
  }

  /// Entries that lie far enough ahead for their counts to arrive in time.
  static var ahead: Int { 12 }

  /// The entry looks like the first one of a row that is long enough to be counted as one.
  @inline(__always)
  func beginsRow(at index: Int) -> Bool {
    let ahead = index &+ step &* 7
    return ahead < words && self[ahead] == self[index] &+ clusterSize &* 7
  }
}

extension ReferenceCounter {
  /// Counts plain entries from `first` on and returns the first one that it did not count: it is not plain, begins
  /// a long row, leads to a cluster that has an owner already, or its COPIED flag may be wrong.
  @inline(__always)
  func claimScattered(
    _ entries: PlainEntries, from first: Int, isActive: Bool, isExtended: Bool, _ facts: inout TableFacts
  ) -> Int {
    let judgesCopied = isActive && !facts.isSuspect
    let (special, step) = (entries.special, isExtended ? 2 : 1)
    let (end, size) = (entries.end.value &- 1, entries.clusterSize)
    // By hand: this is too hot for calls into another module.
    let shiftOfSize = UInt64(truncatingIfNeeded: size.trailingZeroBitCount)
    let offsets = L2Entry.offsetMask
    let (copied, mask) = (L2Entry.copiedFlag, UInt64(HostTally.chunkClusters - 1))
    // Tables of snapshots share clusters with each other and with the active disk.
    let limit = isActive ? 1 : min(tally.maximum, 3)
    var (allocated, fragmented, following) = (UInt64(0), UInt64(0), facts.tally.following.value)
    var behind: UInt64 = 0
    let stop = tally.withChunks { chunks in
      refcounts.withPlanes { planes in
        var index = first
        while index &+ step <= entries.words {
          let raw = entries[index]
          if isExtended {
            let bitmap = entries[index &+ 1]
            if raw | bitmap == 0 {
              index &+= step
              continue
            }
            guard bitmap >> 32 & bitmap == 0 else { break }
          } else if raw == 0 {
            index &+= step
            continue
          }
          // Counts of clusters that lie anywhere are waited for, unless they are asked for early.
          let ahead = index &+ step &* PlainEntries.ahead
          if ahead < entries.words {
            let cluster = (entries[ahead] & offsets) &>> shiftOfSize
            let number = Int(truncatingIfNeeded: cluster &>> HostTally.chunkBits)
            let inChunk = Int(truncatingIfNeeded: cluster & mask)
            if let pairs = unsafe chunks.pairs(number) { unsafe csys_prefetch(pairs + inChunk &>> 5) }
            if judgesCopied, let ones = unsafe planes.words(number) {
              unsafe csys_prefetch(ones + inChunk &>> 6)
            }
          }
          let offset = raw & ~copied
          guard raw & special == 0, offset &- 1 < end, !entries.beginsRow(at: index) else { break }
          let cluster = offset &>> shiftOfSize
          let number = Int(truncatingIfNeeded: cluster &>> HostTally.chunkBits)
          let inChunk = Int(truncatingIfNeeded: cluster & mask)
          guard let pairs = unsafe chunks.pairs(number) else { break }
          let pair = unsafe pairs + inChunk &>> 5
          let shift = UInt64(truncatingIfNeeded: inChunk &<< 1)
          let old = unsafe UInt64(littleEndian: pair.pointee)
          guard old &>> shift & 3 < limit else { break }
          if judgesCopied {
            guard let ones = unsafe planes.words(number) else { break }
            let isOne = unsafe ones[inChunk &>> 6] &>> UInt64(truncatingIfNeeded: inChunk) & 1
            guard isOne == raw &>> 63 else { break }
          }
          unsafe pair.pointee = (old &+ 1 &<< shift).littleEndian
          behind = max(behind, cluster &+ 1)
          allocated &+= 1
          if following != 0 && offset != following { fragmented &+= 1 }
          following = offset &+ size
          index &+= step
        }
        return index
      }
    }
    if isActive {
      facts.tally.add(
        allocated: ClusterCount(allocated), fragmented: ClusterCount(fragmented), next: HostOffset(following))
    }
    reached(HostCluster(behind))
    return stop
  }
}
