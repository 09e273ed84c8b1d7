// Moves clusters and streams in batches: claim the new places, copy, wait for the disk, let the entries
// point there, wait again, and only then give the old places back. A crash in between leaks at most.

import QcowFormat
import Storage

/// A standard data cluster and where it goes; host clusters.
struct ClusterMove {
  var guest: UInt64
  var from: UInt64
  var to: UInt64
}

/// A compressed stream and where it goes; host bytes.
struct StreamMove {
  var guest: UInt64
  var descriptor: UInt64
  var to: UInt64
  var length: UInt64
}

final class ClusterMover {
  let image: Image
  let copier: ClusterCopy
  /// Clusters from here on are nobody's final place; what has to wait goes there.
  let beyond: UInt64
  private var search: UInt64
  private var bits: UInt64 { UInt64(image.geometry.clusterBits) }

  init(_ image: Image, beyond: UInt64) {
    self.image = image
    self.beyond = beyond
    copier = ClusterCopy(image)
    search = beyond
  }

  // MARK: Places

  /// Takes the free clusters from `first` on.
  func claim(_ first: UInt64, _ count: UInt64) throws(ImageError) {
    // Refcount blocks that have to be made go where nothing else is to lie.
    image.cursor = search
    let got = try image.allocate(at: first << bits, count)
    guard got == count else {
      if got > 0 { try image.free(first << bits, got << bits, .never) }
      throw ImageError(
        .corrupt, "host cluster \(hex((first + got) << bits)) should be free and is not; stopped")
    }
  }

  /// Takes clusters in a row behind everything.
  func claimBeyond(_ count: UInt64) throws(ImageError) -> UInt64 {
    image.cursor = max(search, beyond)
    let first = try image.allocate(count) >> bits
    search = image.cursor
    return first
  }

  /// Free clusters behind everything are looked for from the start again.
  func rewind() { search = beyond }

  /// Everything written and claimed so far is on disk.
  func settle() throws(ImageError) {
    try image.refcountCache.write()
    try image.flushStorage()
  }

  func refcount(_ cluster: UInt64) throws(ImageError) -> UInt64 {
    try image.refcount(of: HostCluster(cluster))
  }

  // MARK: Clusters

  /// Moves clusters to places that are free. `areClaimed`: they have been taken by ``claimBeyond(_:)``.
  func move(_ moves: [ClusterMove], areClaimed: Bool = false) throws(ImageError) {
    guard !moves.isEmpty else { return }
    var claimed = areClaimed ? Self.runs(moves.map(\.to)) : []
    do throws(ImageError) {
      if !areClaimed {
        for run in Self.runs(moves.map(\.to)) {
          try claim(run.lowerBound, run.upperBound - run.lowerBound)
          claimed.append(run)
        }
      }
      try copy(moves)
      try settle()
    } catch {
      // Nothing points there yet. What cannot be given back either is leaked.
      for run in claimed { try? free(run) }
      throw error
    }
    for move in moves { try relink(move) }
    try image.l2Cache.flush()
    for run in Self.runs(moves.map(\.from)) { try free(run) }
  }

  private func free(_ run: Range<UInt64>) throws(ImageError) {
    try image.free(run.lowerBound << bits, (run.upperBound - run.lowerBound) << bits, .never)
  }

  private func copy(_ moves: [ClusterMove]) throws(ImageError) {
    var start = 0
    while start < moves.count {
      var end = start + 1
      while end < moves.count, moves[end].from == moves[end - 1].from + 1,
        moves[end].to == moves[end - 1].to + 1
      {
        end += 1
      }
      let count = UInt64(end - start) << bits
      try image.tables.guardWrite(HostOffset(moves[start].to << bits), count)
      try copier.copy(from: moves[start].from << bits, to: moves[start].to << bits, count: count, .data)
      start = end
    }
  }

  private func relink(_ move: ClusterMove) throws(ImageError) {
    let (slice, old) = try entry(of: move.guest)
    guard !old.isCompressed, old.offsetBits >> bits == move.from else {
      throw ImageError(.corrupt, "the entry of guest offset \(hex(move.guest << bits)) changed meanwhile")
    }
    let new = L2Entry(
      descriptor: old.descriptor & ~L2Entry.offsetMask | move.to << bits, bitmap: old.bitmap)
    image.setEntry(slice, slice.index, new, guestCluster: move.guest, .move)
  }

  /// The entry of a guest cluster with the slice it is in.
  func entry(of guest: UInt64) throws(ImageError) -> (Image.Slice, L2Entry) {
    guard let slice = try image.slice(at: GuestOffset(guest << bits)) else {
      throw ImageError(.corrupt, "guest offset \(hex(guest << bits)) has lost its L2 table")
    }
    return (slice, unsafe image.entry(slice.memory, slice.index))
  }

  /// Host cluster of a mapped standard cluster; nil for anything else.
  func host(of guest: UInt64) throws(ImageError) -> UInt64? {
    guard guest >> UInt64(image.geometry.l2Bits) < UInt64(image.l1.count),
      let slice = try image.slice(at: GuestOffset(guest << bits))
    else { return nil }
    let entry = unsafe image.entry(slice.memory, slice.index)
    return entry.isCompressed || entry.offsetBits == 0 ? nil : entry.offsetBits >> bits
  }

  /// Neighbours joined, in any order of the numbers.
  static func runs(_ clusters: [UInt64]) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for cluster in clusters.sorted() {
      if let last = result.last, last.upperBound == cluster {
        result[result.count - 1] = last.lowerBound..<cluster + 1
      } else {
        result.append(cluster..<cluster + 1)
      }
    }
    return result
  }

  // MARK: Streams

  /// Moves streams to bytes that no stream uses; every cluster they touch counts one more.
  func move(_ moves: [StreamMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    var claimed: [CompressedExtent] = []
    do throws(ImageError) {
      for move in moves {
        let extent = image.geometry.compressedExtent(of: descriptor(move))
        image.cursor = search
        while try image.updateRefcounts(
          extent.offset.value, extent.byteCount, increase: true, .never, .claim) == .retry
        { image.cursor = search }
        claimed.append(extent)
        try copy(move)
      }
      try settle()
    } catch {
      for extent in claimed { try? image.free(extent.offset.value, extent.byteCount, .never) }
      throw error
    }
    for move in moves {
      let (slice, old) = try entry(of: move.guest)
      guard old.descriptor == move.descriptor else {
        throw ImageError(.corrupt, "the entry of guest offset \(hex(move.guest << bits)) changed meanwhile")
      }
      image.setEntry(
        slice, slice.index, L2Entry(descriptor: descriptor(move), bitmap: old.bitmap),
        guestCluster: move.guest, .move)
    }
    try image.l2Cache.flush()
    image.decompressed = nil
    for move in moves {
      let extent = image.geometry.compressedExtent(of: move.descriptor)
      try image.free(extent.offset.value, extent.byteCount, .never)
    }
  }

  private func copy(_ move: StreamMove) throws(ImageError) {
    try image.tables.guardWrite(HostOffset(move.to), move.length)
    let old = image.geometry.compressedExtent(of: move.descriptor).offset.value
    try image.io { () throws(StorageError) in
      let bytes = try image.storage.bytes(at: old, count: Int(move.length))
      try image.storage.write(
        bytes, at: move.to, tag: WriteTag(.compressedData, .move, table: move.to, index: move.length))
    }
  }

  /// What the entry of a stream says at its new place.
  func descriptor(_ move: StreamMove) -> UInt64 {
    image.geometry.compressedDescriptor(offset: HostOffset(move.to), length: move.length)
  }
}
