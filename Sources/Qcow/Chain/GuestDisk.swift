// A disk that takes requests of the guest: an image, or a raw file by itself. Who only moves data asks for
// this and not for an image.

package import QcowFormat
package import Storage

/// What the guest's requests reach.
///
/// Offsets and counts are bytes of the disk; a request lies within ``GuestLayer/virtualSize``.
package protocol GuestDisk: GuestLayer {
  /// Changes are possible at all.
  var isWritable: Bool { get }
  /// Why it is not written although that was asked for; nil if it may be.
  var readOnlyReason: String? { get }
  /// Takes lines about damage, complete sentences.
  var report: ((String) -> Void)? { get set }

  /// Fills the buffer with the bytes of the disk.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, for damage, and for a missing layer.
  func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  /// Changes bytes of the disk.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, a disk that is only read, and a host
  ///   without room.
  func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError)
  /// Writes whole clusters compressed; `packed` are their streams, nil to have them made.
  ///
  /// - Throws: ``ImageError`` as ``write(_:at:)``, and for a range that is no whole cluster.
  func writeCompressed(
    _ bytes: UnsafeRawBufferPointer, at guest: GuestOffset, packed: [PackedCluster]?
  ) throws(ImageError)
  /// Makes a range read as zeroes; its clusters may be given back if `mayUnmap`.
  ///
  /// - Throws: ``ImageError`` as ``write(_:at:)``.
  func writeZeroes(at guest: GuestOffset, count: ByteCount, mayUnmap: Bool) throws(ImageError)
  /// Says that nobody needs the bytes of a range any more.
  ///
  /// - Throws: ``ImageError`` as ``write(_:at:)``.
  func discard(at guest: GuestOffset, count: ByteCount) throws(ImageError)
  /// Reads machine state, `offset` bytes behind the start of its area.
  ///
  /// - Throws: ``ImageError/Code/unsupported`` for a disk that keeps none, and as ``read(at:into:)``.
  func readState(at offset: ByteCount, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  /// Writes machine state there.
  ///
  /// - Throws: ``ImageError/Code/unsupported`` for a disk that keeps none, and as ``write(_:at:)``.
  func writeState(_ bytes: UnsafeRawBufferPointer, at offset: ByteCount) throws(ImageError)
  /// Returns when everything done so far would survive a power cut.
  ///
  /// - Throws: ``ImageError`` if the host could not keep the bytes.
  func flush() throws(ImageError)
  /// Changes the size of the disk; see ``Image/CreateOptions/Preallocation``.
  ///
  /// - Throws: ``ImageError`` for a size the disk cannot have, and a host without room.
  func resize(to size: ByteCount, preallocation: Image.CreateOptions.Preallocation) throws(ImageError)
  /// Ends its use; nothing may be asked of it afterwards.
  ///
  /// - Throws: ``ImageError`` if the host could not keep the bytes.
  func close() throws(ImageError)
  /// Whether this file itself answers for the byte at `guest`, and for how many bytes, at most `limit`,
  /// that holds.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  func allocation(
    at guest: GuestOffset, limit: ByteCount
  ) throws(ImageError) -> (isAllocated: Bool, length: ByteCount)
}

extension GuestDisk {
  /// Writes whole clusters compressed.
  ///
  /// - Throws: ``ImageError`` as ``writeCompressed(_:at:packed:)``.
  package func writeCompressed(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    unsafe try writeCompressed(bytes, at: guest, packed: nil)
  }
}

extension Image: GuestDisk {
  package func readState(at offset: ByteCount, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  {
    unsafe try MachineState(self).read(at: offset, into: buffer)
  }

  package func writeState(_ bytes: UnsafeRawBufferPointer, at offset: ByteCount) throws(ImageError) {
    unsafe try MachineState(self).write(bytes, at: offset)
  }

  /// An image tells what its own tables say.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func allocation(
    at guest: GuestOffset, limit: ByteCount
  ) throws(ImageError) -> (isAllocated: Bool, length: ByteCount) {
    let run = try mapping(at: guest, limit: limit)
    return (!run.state.isUnallocated, run.length)
  }
}

/// A raw file as a disk: guest offset is host offset.
package final class RawDisk: GuestDisk {
  private let layer: RawLayer
  private let options: Image.Options
  /// Nobody said that the file is raw, so a first sector that would make it look like something else is
  /// not written.
  private let isGuessed: Bool
  package var report: ((String) -> Void)?

  /// The bytes of a file as a disk; `isGuessed` keeps a guest from making it look like an image.
  package init(_ storage: any Storage, _ options: Image.Options, isGuessed: Bool) {
    layer = RawLayer(storage)
    self.options = options
    self.isGuessed = isGuessed
  }

  private var storage: any Storage { layer.storage }
  package var virtualSize: UInt64 { layer.virtualSize }
  package var layerName: String { layer.layerName }
  package var layerBelow: (any GuestLayer)? { nil }
  package var isWritable: Bool { options.writable && storage.isWritable }
  package var readOnlyReason: String? { nil }

  /// Reads what the guest sees.
  /// - Throws: `.storage` with the place, as the layer does.
  package func readLayer(
    at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    unsafe try layer.readLayer(at: guest, into: buffer)
  }

  package func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent {
    try layer.layerExtent(at: guest, limit: limit)
  }

  package func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    unsafe try readLayer(at: guest, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    if isGuessed, guest.value == 0, bytes.count >= 4,
      unsafe bytes.loadUnaligned(as: UInt32.self) == Self.magic
    {
      var error = ImageError(.storage, "the first sector of a disk that nobody called raw stays as it is")
      error.errno = Self.notPermitted
      throw error
    }
    try changing { (storage) throws(StorageError) in
      unsafe try storage.write(bytes, at: guest.value, tag: WriteTag(.data, .guestData))
    }
  }

  package func writeCompressed(
    _ bytes: UnsafeRawBufferPointer, at guest: GuestOffset, packed: [PackedCluster]?
  ) throws(ImageError) {
    throw ImageError(.unsupported, "a raw file holds no compressed data")
  }

  package func readState(at offset: ByteCount, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  {
    throw ImageError(.unsupported, "a raw file keeps no machine state")
  }

  package func writeState(_ bytes: UnsafeRawBufferPointer, at offset: ByteCount) throws(ImageError) {
    throw ImageError(.unsupported, "a raw file keeps no machine state")
  }

  package func writeZeroes(at guest: GuestOffset, count: ByteCount, mayUnmap: Bool) throws(ImageError) {
    guard count > 0 else { return }
    try changing { (storage) throws(StorageError) in
      let tag = WriteTag(.data, .guestData)
      if mayUnmap && options.discard == .unmap {
        try storage.punch(at: guest.value, count: count.value, tag: tag)
      } else {
        try storage.writeZeroes(at: guest.value, count: count.value, tag: tag)
      }
    }
  }

  package func discard(at guest: GuestOffset, count: ByteCount) throws(ImageError) {
    guard options.discard == .unmap, count > 0 else { return }
    let end = min(guest.value + count.value, storage.length)
    guard guest.value < end else { return }
    try changing { (storage) throws(StorageError) in
      try storage.punch(at: guest.value, count: end - guest.value, tag: WriteTag(.data, .discard))
    }
  }

  package func flush() throws(ImageError) {
    do throws(StorageError) { try storage.flush() } catch { throw ImageError(error) }
  }

  /// A raw disk becomes that long at once.
  ///
  /// - Throws: ``ImageError`` for a host that refuses the size.
  package func resize(
    to size: ByteCount, preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    try layer.resize(to: size, preallocation)
  }

  package func close() throws(ImageError) {
    if isWritable { try flush() }
  }

  /// All of a raw disk is allocated.
  ///
  /// - Throws: Nothing; other disks throw ``ImageError``.
  package func allocation(
    at guest: GuestOffset, limit: ByteCount
  ) throws(ImageError) -> (isAllocated: Bool, length: ByteCount) { (true, limit) }

  private static let magic = UInt32(bigEndian: 0x5146_49fb)
  private static let notPermitted: Int32 = 1

  private func changing(_ body: (any Storage) throws(StorageError) -> Void) throws(ImageError) {
    guard isWritable else { throw ImageError(.readOnly, "the file is open read-only") }
    do throws(StorageError) {
      try body(storage)
      if options.cache == .writethrough { try storage.flush() }
    } catch { throw ImageError(error) }
  }
}
