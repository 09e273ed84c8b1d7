// A raw file as a disk of its own: made and resized as the genuine tool does it.

import Storage

extension RawLayer {
  /// Changes the file's length to `size` bytes; what is new gets host blocks if asked for.
  package func resize(
    to size: UInt64, _ preallocation: Image.CreateOptions.Preallocation = .off
  ) throws(ImageError) {
    guard preallocation != .metadata else {
      throw ImageError(.option, "Unsupported preallocation mode: metadata")
    }
    let old = storage.length
    do throws(StorageError) {
      if size > old, preallocation != .off {
        try Image.giveBlocks(to: old..<size, of: storage, preallocation)
      } else {
        try storage.truncate(to: size, tag: WriteTag(.file, .resize))
      }
      try storage.flush()
    } catch {
      throw ImageError(error)
    }
  }
}
