// Discards: whole clusters, or by option whole subclusters, lose their data. What is left reads as zeroes or
// shows the layer below, and the host cluster is freed or, by policy, kept mapped.

import QcowFormat
import Storage

/// Takes guest data away; throws as ``GuestWriter``.
struct Discarder {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var geometry: Geometry { writer.geometry }
  private var tables: TableWriter { writer.tables }
  private var rules: MappingRules { writer.rules }
  private var l2: L2Tables { writer.l2 }

  /// A guest's discard. Parts of clusters at the ends are ignored, except the last cluster of the disk when the
  /// request reaches the disk's end.
  func discard(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    if rules.discardGranularity == .subcluster && geometry.hasExtendedL2 {
      return try discardSubclusters(guest, count)
    }
    try GuestPieces.forEach(guest, count, alignment: ByteCount(geometry.clusterSize)) {
      (guest, length) throws(ImageError) in
      let isWhole = geometry.isAligned(guest.value) && geometry.isAligned(length.value)
      let reachesEnd = geometry.isAligned(guest.value) && (guest + length).value == geometry.virtualSize
      guard isWhole || reachesEnd, tables.header.version >= 3 || !rules.hasBacking else { return length }
      try discardClusters(guest, length, .request)
      return length
    }
  }

  /// Discards whole clusters; a last one that is cut by the end of the disk counts as whole.
  ///
  /// A full discard forgets everything, also that an area reads as zeroes; a guest's does not.
  func discardClusters(
    _ guest: GuestOffset, _ length: ByteCount, _ freeClass: FreeClass, full: Bool = false
  ) throws(ImageError) {
    try writer.allocator.discards.collecting { () throws(ImageError) in
      var start = guest
      var left = ClusterCount(geometry.clustersCovering(length.value))
      while left > 0 {
        let done = try discardSlice(start, left, freeClass, full)
        left.value -= done.value
        start = start + geometry.bytes(done)
      }
      // The layer below shows at once; bytes that a crash would bring back must still be there then.
      if full { try l2.cache.flush() }
    }
  }

  /// Discards clusters up to the end of the slice; returns how many.
  private func discardSlice(
    _ guest: GuestOffset, _ clusters: ClusterCount, _ freeClass: FreeClass, _ full: Bool
  ) throws(ImageError) -> ClusterCount {
    let slice = try writer.editor.slice(at: guest)
    let count = min(clusters.value, UInt64(l2.sliceEntries - slice.index))
    let firstCluster = geometry.cluster(of: guest)
    for i in 0..<count {
      let index = slice.index + Int(i)
      let old = l2.entry(slice, index)
      let isMapped = !old.isCompressed && geometry.hasHost(old)
      let keepsReference = isMapped && rules.keepsHost && !full
      let new = full ? .empty : discarded(old, isMapped: isMapped, keepsReference: keepsReference)
      guard new != old else { continue }
      l2.setEntry(slice, index, new, of: firstCluster + ClusterCount(i), .unlink)
      if keepsReference {
        try writer.punchKept(old)
      } else {
        try writer.freeCluster(of: old, freeClass)
      }
    }
    return ClusterCount(count)
  }

  /// What a guest's discard makes of an entry.
  private func discarded(_ entry: L2Entry, isMapped: Bool, keepsReference: Bool) -> L2Entry {
    if rules.fallsThrough {
      return L2Entry(descriptor: keepsReference ? entry.descriptor : 0)
    }
    if keepsReference { return geometry.zeroed(entry, dropsHost: false) }
    guard isMapped || entry.isCompressed || rules.hasBacking else { return entry }
    // Version 2 has no zero flag; without a backing file an unallocated cluster reads as zeroes.
    guard tables.header.version >= 3 else { return .empty }
    return geometry.zeroed(entry, dropsHost: true)
  }

  // MARK: Subclusters

  /// Discards the whole subclusters of a range; the last one of the disk counts as whole. Finer than QEMU's:
  /// neighbours in the cluster stay as they are.
  private func discardSubclusters(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    try GuestPieces.forEach(guest, count, alignment: ByteCount(geometry.subclusterSize)) {
      (guest, length) throws(ImageError) in
      let end = guest + length
      let isStart = guest.value & geometry.subclusterMask == 0
      let isWhole = isStart && length.value & geometry.subclusterMask == 0
      guard isWhole || (isStart && end.value == geometry.virtualSize) else { return length }
      try discardPiece(guest, end)
      return length
    }
  }

  private func discardPiece(_ start: GuestOffset, _ end: GuestOffset) throws(ImageError) {
    // The end of the disk ends its last cluster.
    let isLast = end.value == geometry.virtualSize
    let wholeEnd = GuestOffset(isLast ? geometry.roundUp(end.value) : geometry.roundDown(end.value))
    let wholeStart = GuestOffset(geometry.roundUp(start.value))
    try writer.allocator.discards.collecting { () throws(ImageError) in
      if wholeStart >= wholeEnd
        && geometry.roundDown(start.value) == geometry.roundDown(end.value - 1)
      {
        try discardPart(start, end)
      } else {
        if start < wholeStart { try discardPart(start, wholeStart) }
        if wholeStart < wholeEnd {
          try discardClusters(wholeStart, ByteCount(min(wholeEnd, end) - wholeStart), .request)
        }
        if wholeEnd < end { try discardPart(wholeEnd, end) }
      }
      // What shows the backing file next must not read as zeroes after a crash.
      if rules.fallsThrough { try l2.cache.flush() }
    }
  }

  /// Discards subclusters of one cluster, from `start` to `end`.
  ///
  /// The host cluster goes with the last subcluster that held data, or stays, as the policy has it.
  /// Zero bits outside of the range stay.
  private func discardPart(_ start: GuestOffset, _ end: GuestOffset) throws(ImageError) {
    let slice = try writer.editor.slice(at: start)
    let old = l2.entry(slice, slice.index)
    // A stream can only be given up as a whole.
    guard !old.isCompressed else { return }
    if case .invalid = geometry.mapping(of: old, version: tables.header.version) {
      throw l2.invalidEntry(old, slice.table, start)
    }
    let isMapped = geometry.hasHost(old)
    guard isMapped || rules.hasBacking else { return }
    let first = geometry.subcluster(of: start).value
    let last = geometry.subcluster(of: GuestOffset(end.value - 1)).value
    let bits = SubclusterBitmap.mask(first, last)
    let zero = rules.fallsThrough ? old.bitmap.zero & ~bits : old.bitmap.zero | bits
    var new = old
    new.bitmap = SubclusterBitmap(allocated: old.bitmap.allocated & ~bits, zero: zero)
    guard new != old else { return }
    let heldData = old.bitmap.allocated & bits != 0
    let freesHost = isMapped && heldData && new.bitmap.allocated == 0 && !rules.keepsHost
    if freesHost { new.descriptor = 0 }
    l2.setEntry(slice, slice.index, new, of: geometry.cluster(of: start), .unlink)
    if freesHost {
      try writer.freeCluster(of: old, .request)
    } else if heldData && writer.allocator.discards.passes(.request) && old.isCopied {
      let bytes = unreadable(first...last, new.bitmap)
      try writer.punchData(
        HostOffset(old.offsetBits + geometry.byteCount(ofSubclusters: UInt64(bytes.lowerBound))),
        ByteCount(geometry.byteCount(ofSubclusters: UInt64(bytes.count))))
    }
  }

  /// All subclusters around some that nobody can read any more. The host gives up whole blocks only, which
  /// may be larger than a subcluster, so that small discards must reach over what earlier ones left.
  private func unreadable(_ range: ClosedRange<Int>, _ bitmap: SubclusterBitmap) -> ClosedRange<Int> {
    var (first, last) = (range.lowerBound, range.upperBound)
    while first > 0, !bitmap.isAllocated(first - 1) { first -= 1 }
    while last < geometry.subclustersPerCluster - 1, !bitmap.isAllocated(last + 1) { last += 1 }
    return first...last
  }
}
