// Names for bytes: for any byte of the file the structure and the field it is part of, where that
// field begins and ends, and what its value means.

package import QcowFormat
import Qcow

/// The field a byte is part of.
package struct ByteField: Equatable, Sendable {
  /// "header", "L2 table", "data" and the like.
  package var structure: String
  /// "cluster_bits", "L2[16] descriptor"; may be empty.
  package var name: String
  package var range: Range<HostOffset>
  /// The value in words.
  package var value: String
  /// What the structure is on the host map.
  package var state: HostState
}

/// Explains bytes of the file.
package final class ByteMap {
  package let owners: Owners
  package init(_ owners: Owners) { self.owners = owners }

  package func field(at offset: HostOffset) -> ByteField {
    ByteField(structure: "", name: "", range: offset..<offset + 1, value: "", state: .free)
  }

  /// The fields of a stretch of bytes, at most `limit` of them.
  package func fields(from offset: HostOffset, count: Int, limit: Int = 512) -> [ByteField] { [] }
}
