// Counts the entries of a piece of an L2 table. This is the loop that a scan spends its time in:
// raw words, nothing allocated, and zeroes skipped by the cache line.

import Qcow
import QcowFormat
import Storage

/// Where the host clusters of a stretch of the disk lie: one bit for each of 256 classes of
/// regions of the file.
struct HostSignature: Equatable, Sendable {
  var bits = SIMD4<UInt64>(repeating: 0)

  @inline(__always)
  mutating func insert(_ region: UInt64) {
    bits[Int(truncatingIfNeeded: region >> 6 & 3)] |= 1 << (region & 63)
  }

  func contains(_ region: UInt64) -> Bool {
    bits[Int(truncatingIfNeeded: region >> 6 & 3)] & 1 << (region & 63) != 0
  }
}

/// Counts entries and what they refer to.
struct GuestDecoder {
  let decoder: EntryDecoder
  /// Tells which host clusters have a refcount above 1.
  let shared: SharedClusters
  /// Clusters of a region of the file, as a power of two.
  let regionBits: UInt64

  /// Decodes against the file as it is now.
  ///
  /// - Parameters:
  ///   - unallocated: what places without an entry are where the layer below covers them.
  ///   - regionBits: nil chooses what suits the file.
  init(_ image: Image, _ unallocated: GuestState, _ shared: SharedClusters, regionBits: UInt64? = nil) {
    decoder = EntryDecoder(
      geometry: image.geometry, version: image.header.version, fileLength: image.storage.length,
      unallocated: unallocated, belowEnd: Self.belowEnd(image, unallocated),
      hasExternalData: image.header.incompatible.contains(.externalDataFile))
    var bits: UInt64 = 0
    while bits < 56, decoder.fileClusters >> bits > 256 { bits += 1 }
    self.shared = shared
    self.regionBits = regionBits ?? bits
  }

  /// Where the layer below ends; nobody knows of one that is missing.
  private static func belowEnd(_ image: Image, _ unallocated: GuestState) -> UInt64 {
    guard unallocated != .none else { return 0 }
    guard let backing = image.backing, !backing.isMissing else { return .max }
    return backing.virtualSize
  }

  /// Adds what the entries in `table` map to `counts`, except for places without an entry, which
  /// the caller knows as the rest; adds the regions they lie in to `signature`.
  ///
  /// With `references` the host clusters are counted `times` times each.
  func count(
    _ table: UnsafeRawBufferPointer, into counts: inout StateCounts<GuestState>,
    signature: inout HostSignature,
    references: ReferenceCounts?, times: UInt64 = 1
  ) {
    if decoder.geometry.hasExtendedL2 {
      unsafe countExtended(table, into: &counts, signature: &signature, references: references, times: times)
    } else {
      unsafe countStandard(table, into: &counts, signature: &signature, references: references, times: times)
    }
  }

  /// Entries that a counter is asked for early.
  private static let ahead = 12

  /// Counts plain host clusters, remembering the chunk and the region of the last one.
  @safe private struct FastReferences {
    // Outlived by the caller's own reference; counting references per entry would cost a third.
    unowned(unsafe) let counts: ReferenceCounts?
    let times: UInt64
    let regionBits: UInt64
    private var lastRegion = UInt64.max
    private var chunkNumber = UInt64.max
    private var chunk: UnsafeMutablePointer<UInt8>?
    private(set) var end: UInt64 = 0

    init(_ counts: ReferenceCounts?, _ times: UInt64, _ regionBits: UInt64) {
      unsafe self.counts = counts
      self.times = times
      self.regionBits = regionBits
    }

    /// Counts a cluster. `later` gives one that is counted soon: where clusters lie anywhere, its byte is asked for.
    @inline(__always)
    mutating func add(_ cluster: UInt64, _ signature: inout HostSignature, later: () -> UInt64) {
      if cluster >> regionBits != lastRegion {
        lastRegion = cluster >> regionBits
        signature.insert(lastRegion)
      }
      if cluster >> ReferenceCounts.chunkBits != chunkNumber {
        guard let counts = unsafe counts else { return }
        chunkNumber = cluster >> ReferenceCounts.chunkBits
        unsafe chunk = counts.chunk(chunkNumber) ?? counts.makeChunk(chunkNumber)
        counts.prefetch(later())
      }
      if let chunk = unsafe chunk, times == 1,
        unsafe ReferenceCounts.addData(chunk, Int(truncatingIfNeeded: cluster & 0xffff))
      {
        end = max(end, cluster &+ 1)
      } else {
        unsafe counts?.add(cluster, .data, times: times)
      }
    }
  }

  /// The cluster of the entry that comes ``ahead`` entries later; nil behind the last. Entries have so many bytes.
  @inline(__always)
  private static func later(
    _ table: UnsafeRawBufferPointer, entry: Int, of bytes: Int, _ clusterBits: UInt64
  ) -> UInt64? {
    let at = (entry &+ Self.ahead) &* bytes
    guard at &+ bytes <= table.count else { return nil }
    let word = unsafe table.loadUnaligned(fromByteOffset: at, as: UInt64.self)
    return (UInt64(bigEndian: word) & L2Entry.offsetMask) >> clusterBits
  }

  private func countStandard(
    _ table: UnsafeRawBufferPointer, into counts: inout StateCounts<GuestState>,
    signature: inout HostSignature,
    references: ReferenceCounts?, times: UInt64
  ) {
    guard let base = table.baseAddress else { return }
    let count = table.count / 8
    let bits = UInt64(decoder.geometry.clusterBits)
    let clusterMask = decoder.geometry.clusterMask
    let fileClusters = decoder.fileClusters
    // With these bits set an entry is not plain data.
    let special = L2Entry.compressedFlag | L2Entry.zeroFlag
    let isFast = !decoder.hasExternalData
    var data: UInt64 = 0
    var shared: UInt64 = 0
    var fast = FastReferences(references, times, regionBits)
    var i = 0
    while i < count {
      let word = unsafe base.loadUnaligned(fromByteOffset: i &* 8, as: UInt64.self)
      if word == 0 {
        i &+= 1
        while i &+ 8 <= count, unsafe Self.isZero(base + i &* 8) { i &+= 8 }
        continue
      }
      i &+= 1
      let descriptor = UInt64(bigEndian: word)
      let offset = descriptor & L2Entry.offsetMask
      let cluster = offset >> bits
      guard isFast, descriptor & special == 0, offset & clusterMask == 0, offset != 0, cluster < fileClusters
      else {
        countSlowly(L2Entry(descriptor: descriptor), &counts, &signature, references, times)
        continue
      }
      if descriptor & L2Entry.copiedFlag != 0 || !self.shared.contains(cluster) {
        data &+= 1
      } else {
        shared &+= 1
      }
      fast.add(cluster, &signature) { unsafe Self.later(table, entry: i, of: 8, bits) ?? cluster }
    }
    counts[.data] += data
    counts[.shared] += shared
    references?.reached(fast.end)
  }

  @inline(__always)
  private static func isZero(_ words: UnsafeRawPointer) -> Bool {
    unsafe words.loadUnaligned(as: SIMD8<UInt64>.self) == SIMD8<UInt64>(repeating: 0)
  }

  private func countExtended(
    _ table: UnsafeRawBufferPointer, into counts: inout StateCounts<GuestState>,
    signature: inout HostSignature,
    references: ReferenceCounts?, times: UInt64
  ) {
    guard let base = table.baseAddress else { return }
    let count = table.count / 16
    let bits = UInt64(decoder.geometry.clusterBits)
    let clusterMask = decoder.geometry.clusterMask
    let fileClusters = decoder.fileClusters
    let isFast = !decoder.hasExternalData
    var data: UInt64 = 0
    var shared: UInt64 = 0
    var kept: UInt64 = 0
    var reserved: UInt64 = 0
    var fast = FastReferences(references, times, regionBits)
    var i = 0
    while i < count {
      let first = unsafe base.loadUnaligned(fromByteOffset: i &* 16, as: UInt64.self)
      let second = unsafe base.loadUnaligned(fromByteOffset: i &* 16 &+ 8, as: UInt64.self)
      if first | second == 0 {
        i &+= 1
        while i &+ 4 <= count, unsafe Self.isZero(base + i &* 16) { i &+= 4 }
        continue
      }
      i &+= 1
      let descriptor = UInt64(bigEndian: first)
      // The bits by hand: this is too hot for calls into another module.
      let bitmap = UInt64(bigEndian: second)
      let allocatedBits = bitmap & 0xffff_ffff
      let zeroBits = bitmap >> 32
      let offset = descriptor & L2Entry.offsetMask
      let cluster = offset >> bits
      guard isFast, descriptor & L2Entry.compressedFlag == 0, offset & clusterMask == 0, offset != 0,
        cluster < fileClusters, allocatedBits & zeroBits == 0
      else {
        countSlowly(
          L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: bitmap)), &counts, &signature,
          references, times)
        continue
      }
      let allocated = UInt64(truncatingIfNeeded: allocatedBits.nonzeroBitCount)
      let zero = UInt64(truncatingIfNeeded: zeroBits.nonzeroBitCount)
      if descriptor & L2Entry.copiedFlag != 0 || !self.shared.contains(cluster) {
        data &+= allocated
      } else {
        shared &+= allocated
      }
      kept &+= zero
      if allocated == 0 { reserved &+= 32 &- zero }
      fast.add(cluster, &signature) { unsafe Self.later(table, entry: i, of: 16, bits) ?? cluster }
    }
    counts[.data] += data
    counts[.shared] += shared
    counts[.zeroKept] += kept
    counts[.preallocated] += reserved
    references?.reached(fast.end)
  }

  private func countSlowly(
    _ entry: L2Entry, _ counts: inout StateCounts<GuestState>, _ signature: inout HostSignature,
    _ references: ReferenceCounts?, _ times: UInt64
  ) {
    let reference = decoder.reference(of: entry.descriptor)
    var isShared = false
    if case .cluster(let cluster) = reference, !entry.isCopied { isShared = shared.contains(cluster) }
    decoder.tally(entry, isShared: isShared, into: &counts)
    switch reference {
    case .none: break
    case .cluster(let cluster):
      signature.insert(cluster >> regionBits)
      refer(cluster, .data, references, times)
    case .compressed(let clusters):
      for cluster in clusters {
        signature.insert(cluster >> regionBits)
        refer(cluster, .compressed, references, times)
      }
    }
  }

  private func refer(
    _ cluster: UInt64, _ kind: ReferenceKind, _ references: ReferenceCounts?, _ times: UInt64
  ) {
    guard cluster < Self.mapLimit(fileClusters: decoder.fileClusters) else { return }
    references?.add(cluster, kind, times: times)
  }

  /// Host clusters that the map can show: those of the file, and as many again behind its end.
  static func mapLimit(fileClusters: UInt64) -> UInt64 {
    min(fileClusters, 1 << 43) * 2 + 4096
  }
}
