// What the bytes of a cluster look like, whatever the tables say of it. A shape is a name for people and programs;
// how well bytes fit a structure is told by ``ShapeFit``.

/// What bytes look like.
package enum ClusterShape: UInt8, Sendable, CaseIterable {
  case zeroes
  case header
  case l1Table, l2Table
  case refcountTable, refcountBlock
  case snapshotTable
  case bitmapDirectory, bitmapTable
  /// The header of an encrypted image.
  case encryptionHeader
  /// A stream of zstd, gzip or another compression that has a magic number.
  case compressed
  case text
  /// No order can be seen: encrypted, compressed without a magic number, or random.
  case random
  /// A structure of a file system, a partition table or a volume.
  case fileSystem
  /// One byte over and over, not zero.
  case pattern
  case other

  /// The name in lists and JSON.
  package var name: String {
    switch self {
    case .zeroes: "zeroes"
    case .header: "header"
    case .l1Table: "L1 table"
    case .l2Table: "L2 table"
    case .refcountTable: "refcount table"
    case .refcountBlock: "refcount block"
    case .snapshotTable: "snapshot table"
    case .bitmapDirectory: "bitmap directory"
    case .bitmapTable: "bitmap table"
    case .encryptionHeader: "encryption header"
    case .compressed: "compressed data"
    case .text: "text"
    case .random: "random or encrypted data"
    case .fileSystem: "file system"
    case .pattern: "a pattern"
    case .other: "other data"
    }
  }

  /// A structure of an image, not bytes of a guest.
  package var isStructure: Bool {
    switch self {
    case .header, .l1Table, .l2Table, .refcountTable, .refcountBlock, .snapshotTable, .bitmapDirectory,
      .bitmapTable, .encryptionHeader:
      true
    default: false
    }
  }
}
