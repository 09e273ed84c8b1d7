// What bytes are that are written to a file: the guest's, copies around them, or tables.

import Qcow
package import Storage

/// What written bytes are.
package enum WrittenBytes: Sendable {
  /// What a guest wrote, packed or not.
  case guest
  /// What a new cluster needed around that.
  case copy
  /// Tables, the header among them.
  case table
}

extension WriteTag {
  /// What the bytes of a write with this tag are.
  package var written: WrittenBytes {
    switch (target, why) {
    case (.data, .copyOnWrite): .copy
    case (.data, _), (.compressedData, _): .guest
    default: .table
    }
  }
}
