// What a guest asks of its disk, by a key, a line, a lesson or a workload of the lab, with the line that asks
// for it.

import Qcow
import QcowFormat

/// A change or a look at guest bytes, with everything checked but the image.
package struct Request: Hashable, Sendable {
  /// What is asked for.
  package enum Kind: Hashable, Sendable {
    case write(pattern: UInt8)
    case zero(mayUnmap: Bool)
    case discard
    case read(expected: UInt8?, verbose: Bool)
  }

  /// What is asked for.
  package var kind: Kind
  /// Where on the disk, in bytes.
  package var offset: UInt64
  package var length: UInt64

  package init(_ kind: Kind, at offset: UInt64, length: UInt64) {
    self.kind = kind
    self.offset = offset
    self.length = length
  }

  /// The line that asks for it.
  package var commandLine: String {
    let range = "0x\(String(offset, radix: 16)) \(DiskSize.short(ByteCount(length)))"
    switch kind {
    case .write(let pattern): return "write -P 0x\(String(pattern, radix: 16)) \(range)"
    case .zero(let mayUnmap): return "write -z \(mayUnmap ? "-u " : "")\(range)"
    case .discard: return "discard \(range)"
    case .read: return "read \(range)"
    }
  }
}
