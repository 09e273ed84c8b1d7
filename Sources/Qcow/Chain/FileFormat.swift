// What a file is by its first bytes.

import QcowFormat
package import Storage

/// Formats by their names.
package enum FileFormat {
  private static let imageMagic: [UInt8] = [0x51, 0x46, 0x49, 0xfb]

  /// Beginnings of files that are neither raw nor images of this format.
  private static let foreign: [(name: String, bytes: [UInt8])] = [
    ("qed", [0x51, 0x45, 0x44, 0]), ("vmdk", Array("KDMV".utf8)), ("vmdk", Array("COWD".utf8)),
    ("vmdk", Array("# Disk DescriptorFile".utf8)), ("vhdx", Array("vhdxfile".utf8)),
    ("vpc", Array("conectix".utf8)), ("luks", [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]),
    ("parallels", Array("WithoutFreeSpace".utf8)), ("parallels", Array("WithouFreSpacExt".utf8)),
    ("bochs", Array("Bochs Virtual HD Image".utf8)),
  ]

  /// Whether the file begins as images do; false if it cannot be read.
  static func isImage(_ file: any Storage) -> Bool { (try? file.bytes(at: 0, count: 4)) == imageMagic }

  /// The name of a file's format by its first bytes; "raw" for whatever is not known.
  ///
  /// - Throws: ``ImageError`` if the first bytes cannot be read.
  package static func name(of file: any Storage) throws(ImageError) -> String {
    let start: [UInt8]
    do throws(StorageError) { start = try file.bytes(at: 0, count: 128) } catch { throw ImageError(error) }
    if start.starts(with: imageMagic) {
      switch BigEndian.u32(start, 4) {
      case 0: return "raw"
      case 1: return "qcow"
      default: return "qcow2"
      }
    }
    // VirtualBox has its magic behind 64 bytes of text.
    if start[64..<68].elementsEqual([0x7f, 0x10, 0xda, 0xbe]) { return "vdi" }
    return foreign.first { start.starts(with: $0.bytes) }?.name ?? "raw"
  }
}
