// The comparison of references with refcounts, cluster by cluster, in pieces that lie in one refcount
// block and in one chunk of the tally, so that what is equal is passed in words.

import QcowFormat

/// Compares the references of all clusters with their refcounts and tells where they differ.
struct RefcountComparison {
  private let image: CheckedImage
  private let references: ReferenceCounter
  private let refcounts: CheckRefcounts
  private let log: CheckLog
  /// The last cluster in use so far.
  private var highest = HostCluster(0)
  /// What comes next.
  private var at = HostCluster(0)

  init(_ image: CheckedImage, _ references: ReferenceCounter, _ refcounts: CheckRefcounts, _ log: CheckLog) {
    self.image = image
    self.references = references
    self.refcounts = refcounts
    self.log = log
  }

  /// Compares all clusters and returns the end of the last one in use. Throws for a limit of this program.
  mutating func run() throws(CheckStop) -> HostOffset {
    while try step() {}
    return highestEnd
  }

  /// Compares a piece; false if there is none left. Throws as ``run()``.
  mutating func step() throws(CheckStop) -> Bool {
    guard at < references.end else { return false }
    let end = min(references.end, image.geometry.endOfBlock(at), HostTally.endOfChunk(at))
    let chunk = references.tally.chunk(HostTally.chunkNumber(at))
    do throws(CheckRefcounts.Failure) {
      let bytes = unsafe try refcounts.bytes(of: at..<end)
      try unsafe compare(at..<end, chunk, bytes)
    } catch {
      try tellUnreadable(at..<end, error)
    }
    at = end
    return true
  }

  /// Behind the last cluster in use of those that were compared.
  var highestEnd: HostOffset { image.geometry.start(of: highest + 1) }
  /// How far it is, 0 ... 1.
  var progress: Double { Double(at.value) / Double(max(1, references.end.value)) }

  private mutating func compare(
    _ clusters: Range<HostCluster>, _ chunk: HostTally.Chunk?, _ bytes: UnsafeRawBufferPointer?
  ) throws(CheckRefcounts.Failure) {
    if unsafe chunk == nil && bytes == nil { return }
    let codec = refcounts.codec
    let first = clusters.lowerBound.value
    let base = Int(first & UInt64(HostTally.chunkClusters - 1))
    let count = Int(clusters.upperBound.value - first)
    var index = 0
    while index < count {
      if let bytes = unsafe bytes, codec.order == 4, index & 31 == 0, index + 32 <= count, base & 31 == 0 {
        // 32 clusters that all have one owner and refcount 1, or none and 0.
        let isUsed = unsafe isUniform(chunk, bytes, index, base)
        if let isUsed {
          if isUsed { highest = HostCluster(first + UInt64(index) + 31) }
          index += 32
          continue
        }
      }
      let stop = min(count, (index | 31) + 1)
      while index < stop {
        let refcount = unsafe bytes.map { unsafe codec.value(in: $0, at: index) } ?? 0
        let owners = chunk.map { HostTally.value($0, base + index) } ?? 0
        if refcount != 0 || owners != 0 { highest = HostCluster(first + UInt64(index)) }
        if refcount != owners {
          let cluster = HostCluster(first + UInt64(index))
          do throws(CheckStop) { try tellWrong(cluster, refcount, owners) } catch { throw .stop(error) }
        }
        index += 1
      }
    }
  }

  /// True for 32 clusters with one owner and refcount 1 each, false for 32 free ones, else nil.
  @inline(__always)
  private func isUniform(
    _ chunk: HostTally.Chunk?, _ bytes: UnsafeRawBufferPointer, _ index: Int, _ base: Int
  ) -> Bool? {
    let owners: UInt64
    if let chunk = chunk {
      guard chunk.order == 1, let memory = unsafe chunk.base else { return nil }
      owners = unsafe memory.load(fromByteOffset: ((base + index) >> 5) << 3, as: UInt64.self)
    } else {
      owners = 0
    }
    guard owners == 0 || owners == 0x5555_5555_5555_5555 else { return nil }
    let wanted: UInt64 = owners == 0 ? 0 : (0x0001_0001_0001_0001 as UInt64).bigEndian
    var differs: UInt64 = 0
    for word in index >> 2..<(index >> 2) + 8 {
      differs |= unsafe bytes.loadUnaligned(fromByteOffset: word << 3, as: UInt64.self) ^ wanted
    }
    return differs == 0 ? owners != 0 : nil
  }

  private func tellWrong(
    _ cluster: HostCluster, _ refcount: UInt64, _ references: UInt64
  ) throws(CheckStop) {
    try log.tell(
      CheckFinding(
        .refcountWrong(cluster: cluster.value, refcount: refcount, references: references),
        at: image.geometry.start(of: cluster)))
  }

  private func tellUnreadable(
    _ clusters: Range<HostCluster>, _ failure: CheckRefcounts.Failure
  ) throws(CheckStop) {
    let error = try log.explain(failure, image.header)
    for number in clusters.lowerBound.value..<clusters.upperBound.value {
      try log.tell(
        CheckFinding(
          .refcountUnreadable(cluster: number, error: error),
          at: image.geometry.start(of: HostCluster(number))
        ))
    }
  }
}
