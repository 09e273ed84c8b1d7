// Moves clusters and streams in batches: claim the new places, copy, wait for the disk, let the entries
// point there, wait again, and only then give the old places back. A crash in between leaks at most.

import QcowFormat
import Storage

/// A standard data cluster and where it goes.
struct ClusterMove {
  var guest: GuestCluster
  var from: HostCluster
  var to: HostCluster
}

/// A compressed stream and where it goes.
struct StreamMove {
  var guest: GuestCluster
  var descriptor: UInt64
  var to: HostOffset
  var length: ByteCount
}

final class ClusterMover {
  let editor: TableEditor
  let copier: ClusterCopy
  /// Clusters from here on are nobody's final place; what has to wait goes there.
  let beyond: HostCluster
  private var search: HostCluster
  private let streams: StreamReader

  init(_ editor: TableEditor, _ streams: StreamReader, beyond: HostCluster) {
    self.editor = editor
    self.streams = streams
    self.beyond = beyond
    copier = ClusterCopy(editor.tables)
    search = beyond
  }

  var tables: TableWriter { editor.tables }
  var l2: L2Tables { editor.l2 }
  var allocator: Allocator { editor.allocator }
  var refcounts: RefcountBlocks { editor.allocator.refcounts }
  var geometry: Geometry { editor.tables.geometry }

  /// Host offset of a cluster.
  func start(_ cluster: HostCluster) -> HostOffset { geometry.start(of: cluster) }

  // MARK: Places

  /// Takes the free clusters from `first` on.
  func claim(_ first: HostCluster, _ count: ClusterCount) throws(ImageError) {
    // Refcount blocks that have to be made go where nothing else is to lie.
    allocator.cursor = search
    let got = try allocator.allocate(at: start(first), count)
    guard got == count else {
      if got > 0 { try allocator.free(start(first), geometry.bytes(got), .never) }
      throw ImageError(
        .corrupt, "host cluster \(hex(start(first + got).value)) should be free and is not; stopped",
        at: .refcountBlock, index: (first + got).value, start(first + got))
    }
  }

  /// Takes clusters in a row behind everything.
  func claimBeyond(_ count: ClusterCount) throws(ImageError) -> HostCluster {
    allocator.cursor = max(search, beyond)
    let first = geometry.cluster(of: try allocator.allocate(count))
    search = allocator.cursor
    return first
  }

  /// Free clusters behind everything are looked for from the start again.
  func rewind() { search = beyond }

  /// Everything written and claimed so far is on disk.
  func settle() throws(ImageError) {
    try refcounts.cache.write()
    try flushStorage()
  }

  /// Waits until all that was written is on disk.
  func flushStorage() throws(ImageError) { try allocator.health.flushStorage() }

  func refcount(_ cluster: HostCluster) throws(ImageError) -> UInt64 {
    try refcounts.count(of: cluster)
  }

  // MARK: Clusters

  /// Moves clusters to places that are free. `areClaimed`: they have been taken by ``claimBeyond(_:)``.
  func move(_ moves: [ClusterMove], areClaimed: Bool = false) throws(ImageError) {
    guard !moves.isEmpty else { return }
    var claimed = areClaimed ? Self.runs(moves.map(\.to)) : []
    do throws(ImageError) {
      if !areClaimed {
        for run in Self.runs(moves.map(\.to)) {
          try claim(run.lowerBound, run.clusters)
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
    try l2.cache.flush()
    for run in Self.runs(moves.map(\.from)) { try free(run) }
  }

  private func free(_ run: Range<HostCluster>) throws(ImageError) {
    try allocator.free(start(run.lowerBound), geometry.bytes(run.clusters), .never)
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
      let count = geometry.bytes(ClusterCount(end - start))
      let target = self.start(moves[start].to)
      try tables.guardWrite(target, count)
      try copier.copy(from: self.start(moves[start].from), to: target, count, .data)
      start = end
    }
  }

  private func relink(_ move: ClusterMove) throws(ImageError) {
    let (slice, old) = try entry(of: move.guest)
    guard !old.isCompressed, old.offsetBits == start(move.from).value else {
      throw changed(move.guest, slice)
    }
    let new = L2Entry(
      descriptor: old.descriptor & ~L2Entry.offsetMask | start(move.to).value, bitmap: old.bitmap)
    l2.setEntry(slice, slice.index, new, of: move.guest, .move)
  }

  private func changed(_ guest: GuestCluster, _ slice: L2Slice) -> ImageError {
    let offset = geometry.start(of: guest)
    return ImageError(
      .corrupt, "the entry of guest offset \(hex(offset.value)) changed meanwhile", at: .l2Table,
      index: UInt64(geometry.l2Index(of: offset)), slice.table)
  }

  /// The entry of a guest cluster with the slice it is in.
  func entry(of guest: GuestCluster) throws(ImageError) -> (L2Slice, L2Entry) {
    let offset = geometry.start(of: guest)
    guard let slice = try l2.slice(at: offset) else {
      throw ImageError(
        .corrupt, "guest offset \(hex(offset.value)) has lost its L2 table", at: .l1Table,
        index: UInt64(geometry.l1Index(of: offset)), HostOffset(editor.tables.header.l1TableOffset))
    }
    return (slice, l2.entry(slice, slice.index))
  }

  /// Host cluster of a mapped standard cluster; nil for anything else.
  func host(of guest: GuestCluster) throws(ImageError) -> HostCluster? {
    guard geometry.l1Index(of: guest) < UInt64(tables.l1.count),
      let slice = try l2.slice(at: geometry.start(of: guest))
    else { return nil }
    let entry = l2.entry(slice, slice.index)
    guard !entry.isCompressed, entry.offsetBits != 0 else { return nil }
    return geometry.cluster(of: HostOffset(entry.offsetBits))
  }

  /// Neighbours joined, in any order of the numbers.
  static func runs(_ clusters: [HostCluster]) -> [Range<HostCluster>] {
    var result: [Range<HostCluster>] = []
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
        let extent = geometry.compressedExtent(of: descriptor(move))
        allocator.cursor = search
        while try allocator.update(
          extent.offset, ByteCount(extent.byteCount), increase: true, .never, .claim) == .retry
        { allocator.cursor = search }
        claimed.append(extent)
        try copy(move)
      }
      try settle()
    } catch {
      for extent in claimed { try? allocator.free(extent.offset, ByteCount(extent.byteCount), .never) }
      throw error
    }
    for move in moves {
      let (slice, old) = try entry(of: move.guest)
      guard old.descriptor == move.descriptor else {
        throw changed(move.guest, slice)
      }
      l2.setEntry(
        slice, slice.index, L2Entry(descriptor: descriptor(move), bitmap: old.bitmap),
        of: move.guest, .move)
    }
    try l2.cache.flush()
    streams.forget()
    for move in moves {
      let extent = geometry.compressedExtent(of: move.descriptor)
      try allocator.free(extent.offset, ByteCount(extent.byteCount), .never)
    }
  }

  private func copy(_ move: StreamMove) throws(ImageError) {
    try tables.guardWrite(move.to, move.length)
    let old = geometry.compressedExtent(of: move.descriptor).offset.value
    do throws(StorageError) {
      let bytes = try tables.storage.bytes(at: old, count: Int(move.length.value))
      try tables.storage.write(
        bytes, at: move.to.value,
        tag: WriteTag(.compressedData, .move, table: move.to.value, index: move.length.value))
    } catch { throw ImageError(error) }
  }

  /// What the entry of a stream says at its new place.
  func descriptor(_ move: StreamMove) -> UInt64 {
    geometry.compressedDescriptor(offset: move.to, length: move.length.value)
  }
}
