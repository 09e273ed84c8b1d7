// What can be wrong with the bytes of a structure: one code for programs, one sentence for people.
// The sentences are those that users of qemu-img know.

/// A structure that does not hold what the format demands.
package struct FormatError: Error, Equatable, CustomStringConvertible, Sendable {
  /// What is wrong, for programs.
  package enum Code: Sendable, CaseIterable {
    case notQcow2, unsupportedVersion, unsupportedClusterSize, headerTooShort, headerTooLong
    case invalidBackingOffset, backingNameTooLong, unknownCompressionType, compressionBitMismatch
    case unsupportedFeatures, unsupportedSubclusterSize, refcountWidthTooLarge
    case noRefcountTable, refcountTableTooLarge, refcountTableMisaligned
    case snapshotTableTooLarge, snapshotTableMisaligned, snapshotExtraDataTooLarge
    case l1TooLarge, l1Misaligned, l1TooSmall, imageTooBig
    case extensionTooLarge, backingFormatTooLong, invalidEncryptionExtension, invalidBitmapsExtension
    case rawDataFileWithoutDataFile, unsupportedEncryption, missingEncryptionHeader, invalidLUKSHeader
    case headerFull

    /// An image whose header or tables are destroyed may look so; the other codes tell of images that are sound and
    /// that this program does not know.
    package var mayBeDamage: Bool {
      switch self {
      case .unsupportedFeatures, .unsupportedEncryption, .rawDataFileWithoutDataFile, .headerFull,
        .unsupportedSubclusterSize, .refcountWidthTooLarge:
        false
      default: true
      }
    }
  }

  /// What is wrong.
  package var code: Code
  package var description: String

  package init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}
