// The comparison of references with refcounts, cluster by cluster, in pieces that lie in one refcount
// block and in one chunk of the tally, so that what is equal is passed in words.

import QcowFormat

extension ImageCheck {
  /// Compares all clusters and returns the end of the last one in use, in bytes.
  func compareRefcounts() throws(CheckStop) -> UInt64 {
    var highest: UInt64 = 0
    var at: UInt64 = 0
    while at < countedClusters {
      let end = min(countedClusters, geometry.endOfBlock(at), HostTally.endOfChunk(at))
      let chunk = tally.chunk(HostTally.chunkNumber(at))
      do throws(CheckRefcounts.Failure) {
        let bytes = unsafe try refcounts.bytes(of: at..<end)
        try unsafe compare(at..<end, chunk, bytes, &highest)
      } catch {
        try tellUnreadable(at..<end, error)
      }
      at = end
    }
    return geometry.byteCount(ofClusters: highest + 1)
  }

  private func compare(
    _ clusters: Range<UInt64>, _ chunk: HostTally.Chunk?, _ bytes: UnsafeRawBufferPointer?,
    _ highest: inout UInt64
  ) throws(CheckRefcounts.Failure) {
    if unsafe chunk == nil && bytes == nil { return }
    let codec = refcounts.codec
    let base = Int(clusters.lowerBound & UInt64(HostTally.chunkClusters - 1))
    let count = clusters.count
    var index = 0
    while index < count {
      if let bytes = unsafe bytes, codec.order == 4, index & 31 == 0, index + 32 <= count, base & 31 == 0 {
        // 32 clusters that all have one owner and refcount 1, or none and 0.
        let isUsed = unsafe isUniform(chunk, bytes, index, base)
        if let isUsed {
          if isUsed { highest = clusters.lowerBound + UInt64(index) + 31 }
          index += 32
          continue
        }
      }
      let stop = min(count, (index | 31) + 1)
      while index < stop {
        let cluster = clusters.lowerBound + UInt64(index)
        let refcount = unsafe bytes.map { unsafe codec.value(in: $0, at: index) } ?? 0
        let references = chunk.map { HostTally.value($0, base + index) } ?? 0
        if refcount != 0 || references != 0 { highest = cluster }
        if refcount != references {
          do throws(CheckStop) { try tellWrong(cluster, refcount, references) } catch { throw .stop(error) }
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

  private func tellWrong(_ cluster: UInt64, _ refcount: UInt64, _ references: UInt64) throws(CheckStop) {
    try tell(
      CheckFinding(
        .refcountWrong(cluster: cluster, refcount: refcount, references: references),
        at: geometry.byteCount(ofClusters: cluster)))
  }

  private func tellUnreadable(
    _ clusters: Range<UInt64>, _ failure: CheckRefcounts.Failure
  ) throws(CheckStop) {
    let error = try explain(failure)
    for cluster in clusters {
      try tell(
        CheckFinding(
          .refcountUnreadable(cluster: cluster, error: error),
          at: geometry.byteCount(ofClusters: cluster)))
    }
  }

  /// The host's number for a refcount that cannot be read; says once which block is unusable.
  func explain(_ failure: CheckRefcounts.Failure) throws(CheckStop) -> Int32 {
    switch failure {
    case .unaligned(let offset, let index):
      if !hasSaidUnusableBlock {
        hasSaidUnusableBlock = true
        try tell(
          CheckFinding(
            .refcountBlockUnusable(offset: offset, index: index), at: header.refcountTableOffset + index * 8,
            .refcountTableEntry(Int(clamping: index))))
      }
      return CheckStop.ioError.error
    case .stop(let stop):
      // A limit of this program ends the check; what the host cannot read is told and passed.
      guard stop.detail == nil else { throw stop }
      return stop.error
    }
  }
}
