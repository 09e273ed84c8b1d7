// A disk that takes requests of the guest: an image, or a raw file by itself. Who only moves data asks for
// this and not for an image.

package import QcowFormat
package import Storage

/// What the guest's requests reach.
///
/// Offsets and counts are bytes of the disk; a request lies within ``GuestLayer/virtualSize``.
package protocol GuestDisk: GuestLayer {
  var isWritable: Bool { get }
  /// Why it is not written although that was asked for; nil if it may be.
  var readOnlyReason: String? { get }
  /// Takes lines about damage, complete sentences.
  var report: ((String) -> Void)? { get set }

  func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  func write(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError)
  func writeCompressed(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError)
  func writeZeroes(at guest: GuestOffset, count: UInt64, mayUnmap: Bool) throws(ImageError)
  func discard(at guest: GuestOffset, count: UInt64) throws(ImageError)
  /// Returns when everything done so far would survive a power cut.
  func flush() throws(ImageError)
  /// Changes the size of the disk; see ``Image/CreateOptions/Preallocation``.
  func resize(to size: UInt64, preallocation: Image.CreateOptions.Preallocation) throws(ImageError)
  /// Ends its use; nothing may be asked of it afterwards.
  func close() throws(ImageError)
  /// Whether this file itself answers for the byte at `offset`, and for how many bytes, at most `limit`,
  /// that holds.
  func allocation(at offset: UInt64, limit: UInt64) throws(ImageError) -> (isAllocated: Bool, length: UInt64)
}

extension Image: GuestDisk {
  package func allocation(
    at offset: UInt64, limit: UInt64
  ) throws(ImageError) -> (isAllocated: Bool, length: UInt64) {
    let run = try mapping(at: GuestOffset(offset), limit: limit)
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

  package func readLayer(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    unsafe try layer.readLayer(at: offset, into: buffer)
  }

  package func layerExtent(at offset: UInt64, limit: UInt64) throws(ImageError) -> LayerExtent {
    try layer.layerExtent(at: offset, limit: limit)
  }

  package func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    unsafe try readLayer(at: guest.value, into: buffer)
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

  package func writeCompressed(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    throw ImageError(.unsupported, "a raw file holds no compressed data")
  }

  package func writeZeroes(at guest: GuestOffset, count: UInt64, mayUnmap: Bool) throws(ImageError) {
    guard count > 0 else { return }
    try changing { (storage) throws(StorageError) in
      let tag = WriteTag(.data, .guestData)
      if mayUnmap && options.discard == .unmap {
        try storage.punch(at: guest.value, count: count, tag: tag)
      } else {
        try storage.writeZeroes(at: guest.value, count: count, tag: tag)
      }
    }
  }

  package func discard(at guest: GuestOffset, count: UInt64) throws(ImageError) {
    guard options.discard == .unmap, count > 0 else { return }
    let end = min(guest.value + count, storage.length)
    guard guest.value < end else { return }
    try changing { (storage) throws(StorageError) in
      try storage.punch(at: guest.value, count: end - guest.value, tag: WriteTag(.data, .discard))
    }
  }

  package func flush() throws(ImageError) {
    do throws(StorageError) { try storage.flush() } catch { throw ImageError(error) }
  }

  package func resize(
    to size: UInt64, preallocation: Image.CreateOptions.Preallocation
  ) throws(ImageError) {
    try layer.resize(to: size, preallocation)
  }

  package func close() throws(ImageError) {
    if isWritable { try flush() }
  }

  package func allocation(
    at offset: UInt64, limit: UInt64
  ) throws(ImageError) -> (isAllocated: Bool, length: UInt64) { (true, limit) }

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
