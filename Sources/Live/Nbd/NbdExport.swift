// A disk under the name by which clients ask for it.

import Nbd

/// What a server offers.
package struct NbdExport: Sendable {
  /// Bytes of the name; a client that asks for no name gets it too.
  let name: [UInt8]
  /// For people.
  let description: String
  /// The disk.
  let disk: SharedDisk

  /// Offers a disk. The name is at most 4096 bytes; longer ones are cut.
  package init(_ disk: SharedDisk, name: String = "", description: String = "") {
    self.disk = disk
    self.name = Array(name.utf8.prefix(4096))
    self.description = String(description.prefix(1024))
  }

  func isNamed(_ asked: [UInt8]) -> Bool { asked.isEmpty || asked == name }

  /// What a client may do with it.
  func abilities(_ agreement: Agreement) -> NbdAbilities {
    // A flush covers what was answered on any connection: there is one disk behind all of them.
    var abilities: NbdAbilities = [.hasFlags, .flush, .forceUnitAccess, .multiConnection, .cache]
    if agreement.hasStructuredReplies { abilities.insert(.dontFragment) }
    if disk.isWritable {
      abilities.formUnion([.trim, .writeZeroes])
      if disk.hasFastZeroes { abilities.insert(.fastZero) }
    } else {
      abilities.insert(.readOnly)
    }
    return abilities
  }
}
