// Repairing as a verb: refcounts, COPIED flags and the dirty bit are set right, leaks are given back. Other
// damage is named and left alone.

import QcowFormat
import Storage

/// Brings refcounts and COPIED flags in line with the references and clears the dirty bit.
package struct Repair: Change {
  /// What people are told of it.
  package static let words = ChangeWords(
    "repair", hint: "repair",
    help: "set refcounts and COPIED flags right, as the references say; other damage is named and left alone",
    mendsUnclean: true)

  package init() {}
  /// Takes the flags that were given.
  package init(_ values: ChangeValues) {}

  /// An image that was not closed cleanly is only read because it needs this.
  package func refusal(of image: Image) -> String? {
    guard image.options.writable, image.storage.isWritable else {
      return "this image is only read: it is open read-only"
    }
    return image.isWritable || image.header.incompatible.contains(.dirty) ? nil : ChangeWords.readOnly(image)
  }

  package func run(on image: Image) throws(ImageError) {
    // What the bitmaps know is in the file before the image is read again; else they would stay in use there.
    try image.storeBitmaps()
    try image.flush()
    try ImageRepair(image.storage).clearDirty()
    try image.reload()
  }
}
