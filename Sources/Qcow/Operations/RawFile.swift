// A raw file as a disk of its own: made and resized as the genuine tool does it.

package import QcowFormat
import Storage

extension RawLayer {
  /// Changes the file's length to `size`; what is new gets host blocks if asked for.
  ///
  /// - Throws: ``ImageError`` for a host that refuses the size.
  package func resize(
    to size: ByteCount, _ preallocation: Image.CreateOptions.Preallocation = .off
  ) throws(ImageError) {
    guard preallocation != .metadata else {
      throw ImageError(.option, "Unsupported preallocation mode: metadata")
    }
    let old = ByteCount(storage.length)
    guard preallocation == .off || size >= old else {
      throw ImageError(.option, "Cannot use preallocation for shrinking files")
    }
    do throws(StorageError) {
      if size > old, preallocation != .off {
        try DiskResize.giveBlocks(
          to: HostOffset(old.value)..<HostOffset(size.value), of: storage, preallocation)
      } else {
        try storage.truncate(to: size.value, tag: WriteTag(.file, .resize))
        if old == 0 && size > 0 { try giveFirstBlock(size) }
      }
      try storage.flush()
    } catch {
      throw ImageError(error)
    }
  }

  /// A file that grows from nothing gets its first block at once, as the genuine tool gives it one so that
  /// the host's alignment can be found out by reading.
  private func giveFirstBlock(_ size: ByteCount) throws(StorageError) {
    let bytes = [UInt8](repeating: 0, count: size < 4096 ? min(512, Int(size.value)) : 4096)
    try storage.write(bytes, at: 0, tag: WriteTag(.file, .resize))
  }
}
