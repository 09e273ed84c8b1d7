// What can be asked of an image that changes it. Each verb has a type of its own; here they are called by name,
// after a look at whether the image may be changed and whether the request lies on the disk.

package import QcowFormat
import Storage

extension Image {
  /// Runs a request on the disk, with the flush at its end that the cache mode asks for. Throws
  /// ``ImageError/Code/readOnly``, ``ImageError/Code/invalidRequest`` behind the end of the disk,
  /// ``ImageError/Code/outOfService`` after damage, and what the request throws.
  private func request(
    _ guest: GuestOffset, _ count: ByteCount, flushes: Bool = true,
    _ body: (GuestWriter) throws(ImageError) -> Void
  ) throws(ImageError) {
    let writer = try changing()
    try requireOnDisk(guest, count)
    try health.guarded { () throws(ImageError) in
      defer { writer.editor.endRequest() }
      try writer.record(guest, count)
      try body(writer)
      if flushes && options.cache == .writethrough { try flush() }
    }
  }

  /// Writes guest bytes; the whole range must lie on the disk.
  ///
  /// - Throws: ``ImageError/Code/readOnly``, ``ImageError/Code/invalidRequest`` behind the end of the disk,
  ///   and as ``GuestWriter``, as all requests do.
  package func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    try request(guest, ByteCount(bytes.count)) { (writer) throws(ImageError) in
      unsafe try writer.write(bytes, at: guest)
    }
  }

  /// Makes guest bytes read as zeroes.
  ///
  /// With `mayUnmap` host clusters may be freed; without, they stay reserved.
  ///
  /// - Throws: As ``write(_:at:)``.
  package func writeZeroes(at guest: GuestOffset, count: ByteCount, mayUnmap: Bool) throws(ImageError) {
    try request(guest, count) { (writer) throws(ImageError) in
      try Zeroer(writer).makeZero(guest, count, mayUnmap: mayUnmap)
    }
  }

  /// Tells that guest bytes are no longer needed. Parts of clusters at the ends are ignored, except the last
  /// cluster of the disk when the request reaches the disk's end. By option the same holds for subclusters
  /// instead (``DiscardGranularity``).
  ///
  /// - Throws: As ``write(_:at:)``.
  package func discard(at guest: GuestOffset, count: ByteCount) throws(ImageError) {
    let writer = try changing()
    try requireOnDisk(guest, count)
    guard options.discard == .unmap else { return }
    try health.guarded { () throws(ImageError) in
      defer { writer.editor.endRequest() }
      try writer.record(guest, count)
      try Discarder(writer).discard(guest, count)
    }
  }

  /// Writes whole clusters compressed; those that do not shrink are written as they are.
  ///
  /// The request starts at a cluster boundary and ends at one or at the end of the disk. Clusters that have a
  /// host place already are refused: compressed data never overwrites. An empty request makes the file end at
  /// a whole sector, which ends a series of them. A packer has made all of `packed` of the bytes.
  ///
  /// - Throws: ``ImageError/Code/misaligned``, ``ImageError/Code/unsupported`` for an image that has no such
  ///   clusters, and as ``write(_:at:)``.
  package func writeCompressed(
    _ bytes: UnsafeRawBufferPointer, at guest: GuestOffset, packed: [PackedCluster]?
  ) throws(ImageError) {
    let writer = try changing()
    let compressor = CompressedWriter(writer)
    try compressor.check()
    let count = UInt64(bytes.count)
    try requireOnDisk(guest, ByteCount(count))
    let end = guest.value + count
    guard count == 0 || geometry.isAligned(guest.value) && (geometry.isAligned(end) || end == virtualSize)
    else {
      throw ImageError(
        .misaligned,
        "compressed writes take whole clusters of \(geometry.clusterSize) bytes; guest offset \(hex(guest.value)) +\(count) is not"
      )
    }
    try health.guarded { () throws(ImageError) in
      defer { writer.editor.endRequest() }
      try writer.record(guest, ByteCount(count))
      unsafe try compressor.write(bytes, at: guest, packed: packed)
    }
  }

  /// Changes the virtual size to `size`, a multiple of 512 bytes.
  ///
  /// A smaller disk loses what lay behind its new end. What a larger one gains reads as zeroes.
  ///
  /// - Throws: As ``write(_:at:)``, and ``ImageError/Code/option`` for what cannot be.
  package func resize(
    to size: ByteCount, preallocation: CreateOptions.Preallocation = .off
  ) throws(ImageError) {
    try DiskResize(try changing()).resize(to: size, preallocation)
  }

  /// Brings the persistent bitmaps to the file, which may be read by others then. The next change marks them as
  /// in use again.
  ///
  /// - Throws: ``ImageError/Code/noSpace``, and what the host says.
  package func storeBitmaps() throws(ImageError) {
    guard let writer = try? changing() else { return }
    if writer.bitmaps?.areAhead == true { try writer.bitmaps?.store(with: writer.editor) }
  }

  /// Bitmaps know of changes that the file does not.
  package var hasUnstoredBitmaps: Bool { (try? changing())?.bitmaps?.areAhead ?? false }

  // MARK: Bitmaps

  /// What there is to know of a bitmap without its bits.
  package struct BitmapFacts: Equatable, Sendable {
    /// Its name, with every byte of it.
    package let name: String
    /// Bytes of the disk that a bit stands for.
    package let granularity: UInt64
    /// It records what is written.
    package let recordsWrites: Bool
    /// The program that used it last did not store it: it is never used, only removed.
    package let isInconsistent: Bool
  }

  /// The persistent bitmaps as this session knows them, in the order of their directory; none for an image that
  /// is only read.
  package var bitmaps: [BitmapFacts] {
    ((try? changing())?.bitmaps?.list ?? []).map {
      BitmapFacts(
        name: $0.entry.name, granularity: $0.entry.granularity, recordsWrites: $0.recordsWrites,
        isInconsistent: $0.bits == nil)
    }
  }

  /// Changes persistent bitmaps. A removal is in the file at once, the rest after ``close()`` or
  /// ``storeBitmaps()``; until then the file has what it had before.
  ///
  /// - Throws: ``ImageError/Code/invalidRequest`` for a name that is taken or that no bitmap has,
  ///   ``ImageError/Code/option`` for a granularity or a name that cannot be, ``ImageError/Code/bitmaps`` if the
  ///   image cannot have such a bitmap or it cannot be trusted, and as ``write(_:at:)``.
  package func changeBitmaps(_ action: BitmapAction) throws(ImageError) {
    let writer = try changing()
    try health.guarded { () throws(ImageError) in try BitmapEditor(writer).run(action) }
  }

  // MARK: Snapshots

  /// Takes a snapshot of the disk as it is now.
  ///
  /// The new ID is one more than the highest number among the others. Names may repeat. One that is refused
  /// leaves nothing behind; with `leavesHalf` it leaks what the genuine tool leaks then.
  ///
  /// - Throws: ``ImageError/Code/unsupported`` with an external data file, and as ``write(_:at:)``, as the
  ///   others do.
  package func createSnapshot(
    name: String, seconds: UInt32, nanoseconds: UInt32, leavesHalf: Bool = false
  ) throws(ImageError) {
    try InternalSnapshots(try changing()).create(
      name: name, seconds: seconds, nanoseconds: nanoseconds, leavesHalf: leavesHalf)
  }

  /// Makes the disk what it was when the snapshot was taken; what it is now is lost.
  ///
  /// `name` is an ID or, if none matches, a name.
  ///
  /// - Throws: ``ImageError/Code/invalidRequest`` if no snapshot has it.
  package func applySnapshot(_ name: String) throws(ImageError) {
    try InternalSnapshots(try changing()).apply(name)
  }

  /// Deletes the first snapshot of that name.
  ///
  /// - Throws: ``ImageError/Code/invalidRequest`` if there is none.
  package func deleteSnapshot(name: String) throws(ImageError) {
    try InternalSnapshots(try changing()).delete(name: name)
  }

  /// Writes the snapshot table anew, with all fields that its entries can have.
  ///
  /// - Throws: As the others.
  func rewriteSnapshotTable() throws(ImageError) { try InternalSnapshots(try changing()).rewriteTable() }

  // MARK: Options

  /// Changes what the image is as a whole, step by step; a step that fails leaves the earlier ones done.
  /// `keys` changes key slots besides. `tell` hears how much of how much is done, both in units of their own.
  ///
  /// - Throws: ``ImageError/Code/option`` and ``ImageError/Code/unsupported`` for what cannot be,
  ///   ``ImageError/Code/bitmaps`` if bitmaps would be lost, and as ``write(_:at:)``.
  package func amend(
    _ amendment: Amendment, keys: KeySlotChange? = nil,
    tell: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(ImageError) {
    let writer = try changing()
    try amendment.check(self)
    try health.guarded { () throws(ImageError) in
      try ImageAmender(writer).run(amendment, keys: keys, tell)
    }
  }

  // MARK: Pin

  /// Makes the pin a property of the image, after a look at all its clusters.
  ///
  /// The bit that vouches for it is only set when every cluster is at its place or has none.
  ///
  /// - Throws: ``ImageError/Code/option`` if the image cannot have one, and as ``write(_:at:)``.
  package func setPin() throws(ImageError) -> PlacesReport { try pinning.set(try changing()) }

  /// Removes the pin; the clusters stay where they are.
  ///
  /// - Throws: ``ImageError/Code/option`` without one.
  package func removePin() throws(ImageError) { try pinning.remove(try changing()) }
}
