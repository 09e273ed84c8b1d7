// What the host keeps for the files of an image, which is less than their lengths where there are holes.

package import Qcow
import Storage

/// Bytes that the host keeps.
package struct HostBlocks: Equatable, Sendable {
  /// For the image file.
  package let image: UInt64
  /// For the external data file; nil without one that is open.
  package let data: UInt64?
  /// The image has changes that are in no file yet, and these are numbers of the files.
  package let isBeforeChanges: Bool

  package init(image: UInt64, data: UInt64? = nil, isBeforeChanges: Bool = false) {
    self.image = image
    self.data = data
    self.isBeforeChanges = isBeforeChanges
  }

  /// What the host keeps for the files of an image that is looked at as it is.
  package init(_ image: Image) {
    self.init(
      image: image.storage.allocatedBytes,
      data: image.hasExternalData ? image.dataStorage?.allocatedBytes : nil)
  }

  /// Which state of the files is meant; empty if there is one only.
  package var remark: String { isBeforeChanges ? ", of the file as saved" : "" }
}
