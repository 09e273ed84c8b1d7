// What an open image knows besides its file, so that whoever takes a change of the file back can take that back as well.

package import QcowFormat

/// What lives from open to close and is not in the file: where the next clusters go, what bitmaps record, and the layer
/// below, which a rebase exchanges.
package struct ImageSessionState: Equatable {
  /// Where the search for a new cluster begins; the start of the file for an image that cannot be written.
  package internal(set) var cursor = HostCluster(0)
  var byteCursor = HostOffset(0)
  /// What the bitmaps know and the file does not.
  var bitmaps: PersistentBitmaps?
  /// The layer below.
  package var backing = LayerReference()
}
