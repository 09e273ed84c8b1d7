// What a guest asks of its disk, as a value: campaigns draw it, the engine performs it, and `qemu-io` and
// `qatlas io` read it as a line.

import Qcow
import QcowFormat

/// A request; offsets and counts in bytes.
package enum GuestRequest: Equatable, Sendable {
  case write(offset: UInt64, count: UInt64, byte: UInt8)
  case zero(offset: UInt64, count: UInt64, mayUnmap: Bool)
  case discard(offset: UInt64, count: UInt64)
  case compress(offset: UInt64, count: UInt64, byte: UInt8)
  /// Compressed bytes of ``MixedBytes``, so that streams have all lengths.
  case compressMixed(offset: UInt64, count: UInt64, source: Int)
  case flush
}

extension GuestRequest: CustomStringConvertible {
  package var description: String { ioCommand }

  /// The command of `qemu-io` for it, which says what it did.
  package var ioCommand: String { command("") }

  /// The same without a word.
  package var quietIoCommand: String { command("-q ") }

  private func command(_ flag: String) -> String {
    switch self {
    case .write(let offset, let count, let byte): "write \(flag)-P \(byte) \(offset) \(count)"
    case .zero(let offset, let count, let mayUnmap):
      "write \(flag)-z \(mayUnmap ? "-u " : "")\(offset) \(count)"
    case .discard(let offset, let count): "discard \(flag)\(offset) \(count)"
    case .compress(let offset, let count, let byte): "write \(flag)-c -P \(byte) \(offset) \(count)"
    case .compressMixed(let offset, let count, let source):
      "write \(flag)-c -s mixed\(source) \(offset) \(count)"
    case .flush: "flush"
    }
  }
}

extension Image {
  /// Does a request, and throws what the engine throws.
  package func perform(_ request: GuestRequest) throws {
    switch request {
    case .write(let offset, let count, let byte):
      let data = [UInt8](repeating: byte, count: Int(count))
      try data.withUnsafeBytes { try write($0, at: GuestOffset(offset)) }
    case .zero(let offset, let count, let mayUnmap):
      try writeZeroes(at: GuestOffset(offset), count: ByteCount(count), mayUnmap: mayUnmap)
    case .discard(let offset, let count): try discard(at: GuestOffset(offset), count: ByteCount(count))
    case .compress(let offset, let count, let byte):
      let data = [UInt8](repeating: byte, count: Int(count))
      try data.withUnsafeBytes { try writeCompressed($0, at: GuestOffset(offset)) }
    case .compressMixed(let offset, let count, let source):
      try MixedBytes.sources[source].withUnsafeBytes { bytes in
        try writeCompressed(UnsafeRawBufferPointer(rebasing: bytes[..<Int(count)]), at: GuestOffset(offset))
      }
    case .flush: try flush()
    }
  }
}
