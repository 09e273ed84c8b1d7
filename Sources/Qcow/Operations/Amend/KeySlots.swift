// The key slots of a LUKS header: a passphrase more, or one less. The key of the disk stays what it is.

internal import QcowFormat
internal import Storage

/// What is done with the key slots.
package struct KeySlotChange {
  /// Locks the key with another passphrase in a free slot, or empties slots.
  package enum State: String, Sendable { case active, inactive }

  /// Whether the slot has a key afterwards.
  package var state: State
  /// The passphrase that opens the image now.
  package var secret: Secret?
  /// The passphrase for a slot that becomes active.
  package var newSecret: Secret?
  /// Slots with this passphrase are emptied.
  package var oldSecret: Secret?
  /// The number of the slot, 0 to 7.
  package var slot: Int?
  /// How long stretching the new passphrase may take on this machine; nil for two seconds.
  package var milliseconds: Int?
  /// Slots in use may be overwritten, and the last one emptied.
  package var isForced = false

  package init(_ state: State) { self.state = state }

  /// Checks that an image has key slots.
  /// - Throws: ``ImageError`` with the code ``ImageError/Code/option`` if not.
  package static func check(_ image: Image) throws(ImageError) {
    guard image.header.cryptMethod != 0 else {
      throw ImageError(.option, "Can't amend encryption options - encryption not present")
    }
    guard image.header.cryptMethod == 2 else {
      throw ImageError(.option, "Only LUKS encryption options can be amended")
    }
  }
}

/// Changes the key slots of one image.
struct KeySlots {
  private let tables: TableWriter

  init(_ tables: TableWriter) { self.tables = tables }

  /// Throws ``ImageError/Code/option`` for words that do not belong together, and
  /// ``ImageError/Code/encrypted`` for a wrong passphrase.
  func change(_ change: KeySlotChange) throws(ImageError) {
    guard tables.header.cryptMethod == 2, let area = tables.extensions.encryption else {
      throw ImageError(.option, "Only LUKS encryption options can be amended")
    }
    let header = try DataCipher.header(area, tables.storage)
    do throws(FormatError) { try header.check(areaLength: area.length) } catch { throw ImageError(error) }
    switch change.state {
    case .active: try activate(change, header, area)
    case .inactive: try erase(change, header, area)
    }
  }

  private func refuse(_ text: String) -> ImageError { ImageError(.option, text) }

  private func number(_ slot: Int) throws(ImageError) -> Int {
    guard (0..<LUKSHeader.slotCount).contains(slot) else {
      throw refuse(
        "Invalid keyslot \(slot) specified, must be between 0 and \(LUKSHeader.slotCount - 1)")
    }
    return slot
  }

  private func activate(
    _ change: KeySlotChange, _ header: LUKSHeader, _ area: EncryptionExtension
  ) throws(ImageError) {
    guard let newSecret = change.newSecret else {
      throw refuse("'new-secret' is required to activate a keyslot")
    }
    guard change.oldSecret == nil else {
      throw refuse("'old-secret' must not be given when activating keyslots")
    }
    let slot: Int
    if let asked = change.slot {
      slot = try number(asked)
    } else {
      guard let free = header.slots.firstIndex(where: { !$0.isActive }) else {
        throw refuse("Can't add a keyslot - all keyslots are in use")
      }
      slot = free
    }
    guard change.isForced || !header.slots[slot].isActive else {
      throw refuse("Refusing to overwrite active keyslot \(slot) - please erase it first")
    }
    guard let secret = change.secret else { throw ImageError(.encrypted, "a passphrase is missing") }
    let key = try LUKSKey.unlock(header, area, tables.storage, secret).key
    var new = header
    let bytes = try new.seal(key, in: slot, with: newSecret, milliseconds: change.milliseconds ?? 2000)
    // The key's place is filled before the header names it.
    try tables.overwriteKeys(bytes, at: HostOffset(area.offset + new.slots[slot].keyOffset))
    try tables.flush()
    try tables.overwriteKeys(new.encoded, at: HostOffset(area.offset))
    try tables.flush()
  }

  private func erase(
    _ change: KeySlotChange, _ header: LUKSHeader, _ area: EncryptionExtension
  ) throws(ImageError) {
    guard change.newSecret == nil else {
      throw refuse("'new-secret' must not be given when erasing keyslots")
    }
    guard change.milliseconds == nil else {
      throw refuse("'iter-time' must not be given when erasing keyslots")
    }
    let active = header.slots.count { $0.isActive }
    var gone: [Int]
    if let asked = change.slot {
      let slot = try number(asked)
      if let secret = change.oldSecret, try !opens(secret, slot, header, area) {
        throw refuse("Given keyslot \(slot) doesn't contain the given old password for erase operation")
      }
      guard change.isForced || header.slots[slot].isActive else {
        throw refuse("Given keyslot \(slot) is already erased (inactive) ")
      }
      guard change.isForced || active != 1 else {
        throw refuse(
          "Attempt to erase the only active keyslot \(slot) which will erase all the data in the image "
            + "irreversibly - refusing operation")
      }
      gone = [slot]
    } else {
      guard let secret = change.oldSecret else {
        throw refuse(
          "To erase keyslot(s), either explicit keyslot index or the password currently contained in them "
            + "must be given")
      }
      gone = []
      for slot in header.slots.indices where try opens(secret, slot, header, area) { gone.append(slot) }
      guard !gone.isEmpty else {
        throw refuse("No keyslots match given (old) password for erase operation")
      }
      guard change.isForced || gone.count != active else {
        throw refuse(
          "All the active keyslots match the (old) password that was given and erasing them will erase all "
            + "the data in the image irreversibly - refusing operation")
      }
    }
    var new = header
    for slot in gone {
      new.slots[slot].isActive = false
      new.slots[slot].iterations = 0
      new.slots[slot].salt = []
      try tables.overwriteKeys(new.encoded, at: HostOffset(area.offset))
      try tables.flush()
      // What locked the key must not be found again.
      try tables.overwriteKeys(
        try LUKSKey.noise(Int(header.keyMaterialSize)),
        at: HostOffset(area.offset + header.slots[slot].keyOffset))
      try tables.flush()
    }
  }

  /// Whether a passphrase is that of a slot.
  private func opens(
    _ secret: Secret, _ slot: Int, _ header: LUKSHeader, _ area: EncryptionExtension
  ) throws(ImageError) -> Bool {
    guard header.slots[slot].isActive else { return false }
    var alone = header
    for other in alone.slots.indices where other != slot { alone.slots[other].isActive = false }
    do throws(ImageError) { _ = try LUKSKey.unlock(alone, area, tables.storage, secret) } catch {
      guard error.code == .encrypted else { throw error }
      return false
    }
    return true
  }
}
