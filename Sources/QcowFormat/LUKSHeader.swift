// The header of a LUKS version 1 area: which cipher encrypts the disk, and eight places that each
// may hold the key, locked with a passphrase. Every field is untrusted.

import Storage

/// A LUKS version 1 header ("Encryption"). Offsets are bytes from the start of the LUKS area.
package struct LUKSHeader: Equatable, Sendable {
  /// One of the eight places for a locked key.
  package struct KeySlot: Equatable, Sendable {
    /// The slot holds a key.
    package var isActive: Bool
    /// Rounds that make the passphrase into the slot's key.
    package var iterations: UInt32
    /// 32 bytes that go into them.
    package var salt: [UInt8]
    /// Where the split key begins, in bytes from the start of the header.
    package var keyOffset: UInt64
    /// Pieces the key is split into; 4000 by everybody.
    package var stripes: UInt32
  }

  /// "aes", "serpent" and the like.
  package var cipherName: String
  /// Mode and generator of initial vectors, as in "xts-plain64" or "cbc-essiv:sha256".
  package var cipherMode: String
  /// The hash of all derivations, "sha256" and the like.
  package var hash: String
  /// Bytes of header and key material, in sectors of 512.
  package var payloadOffset: UInt64
  /// Bytes of the key that encrypts the disk; two keys in one for XTS.
  package var keyBytes: UInt32
  /// What the right master key gives, 20 bytes.
  package var digest: [UInt8]
  /// 32 bytes that go into the digest.
  package var digestSalt: [UInt8]
  /// Rounds of the digest.
  package var digestIterations: UInt32
  /// The name of the header, text of at most 40 bytes.
  package var uuid: String
  /// The eight key slots.
  package var slots: [KeySlot]

  /// Bytes of the header with its eight slots.
  package static let size = 592
  /// Key slots of a header.
  package static let slotCount = 8
  /// Every key is spread over this many stripes.
  package static let stripes: UInt32 = 4000
  /// Bytes of the digest that tells the right key.
  package static let digestSize = 20
  /// Bytes of a sector of the encrypted disk.
  package static let sectorSize = 512

  private static let magic: [UInt8] = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
  private static let activeSlot: UInt32 = 0x00ac_71f3
  private static let freeSlot: UInt32 = 0x0000_dead
  /// Bytes of the salts.
  package static let saltSize = 32

  /// Byte ranges of what a key is found and known by: digest, its salt, and the salts of the slots.
  package static let secrets: [Range<Int>] =
    [112..<132, 132..<164] + (0..<slotCount).map { 208 + 48 * $0 + 8..<208 + 48 * $0 + 40 }

  /// Reads the fields as they are; ``check(areaLength:)`` says whether they can be used.
  ///
  /// - Throws: ``FormatError`` for bytes that are no LUKS header of version 1.
  package init(parsing bytes: [UInt8]) throws(FormatError) {
    guard bytes.count >= Self.size, Array(bytes[0..<6]) == Self.magic else {
      throw Self.refuse("the encryption header holds no LUKS header")
    }
    let version = BigEndian.u16(bytes, 6)
    guard version == 1 else { throw Self.refuse("LUKS version \(version) is not supported, only version 1") }
    cipherName = Self.text(bytes, 8, 32)
    cipherMode = Self.text(bytes, 40, 32)
    hash = Self.text(bytes, 72, 32)
    payloadOffset = UInt64(BigEndian.u32(bytes, 104)) * 512
    keyBytes = BigEndian.u32(bytes, 108)
    digest = Array(bytes[112..<132])
    digestSalt = Array(bytes[132..<164])
    digestIterations = BigEndian.u32(bytes, 164)
    uuid = Self.text(bytes, 168, 40)
    slots = (0..<Self.slotCount).map { number in
      let at = 208 + 48 * number
      return KeySlot(
        isActive: BigEndian.u32(bytes, at) == Self.activeSlot, iterations: BigEndian.u32(bytes, at + 4),
        salt: Array(bytes[(at + 8)..<(at + 40)]), keyOffset: UInt64(BigEndian.u32(bytes, at + 40)) * 512,
        stripes: BigEndian.u32(bytes, at + 44))
    }
  }

  /// Bytes that the stripes of one key take.
  package var keyMaterialSize: UInt64 { UInt64(keyBytes) * UInt64(Self.stripes) }

  /// Checks the places of the keys against the area they lie in, so that what is read and computed
  /// for them is bounded: 2 MiB for the longest key that is accepted, 512 bytes.
  ///
  /// - Throws: ``FormatError`` for key material outside of the area, and for sizes nobody uses.
  package func check(areaLength: UInt64) throws(FormatError) {
    guard keyBytes > 0, keyBytes <= 512, keyMaterialSize % UInt64(Self.sectorSize) == 0 else {
      throw Self.refuse("the LUKS header asks for a key of \(keyBytes) bytes, which no supported cipher has")
    }
    guard digestIterations > 0 else {
      throw Self.refuse("the LUKS header has a key digest without iterations")
    }
    for (number, slot) in slots.enumerated() where slot.isActive {
      guard slot.stripes == Self.stripes else {
        throw Self.refuse(
          "LUKS key slot \(number) has \(slot.stripes) stripes, but must have \(Self.stripes)")
      }
      guard slot.iterations > 0 else { throw Self.refuse("LUKS key slot \(number) has no iterations") }
      // The offset is below 2^41 and the size below 2^22: the sum cannot overflow.
      guard slot.keyOffset >= UInt64(Self.size), slot.keyOffset + keyMaterialSize <= areaLength else {
        throw Self.refuse(
          "LUKS key slot \(number) lies at offset \(slot.keyOffset) of the encryption header, outside its \(areaLength) bytes"
        )
      }
    }
  }

  // MARK: Writing

  /// Keys begin at whole multiples of this many bytes.
  package static let keyAlignment: UInt64 = 4096

  /// A header whose eight slots are all free, with the places for keys of `keyBytes` bytes.
  package init(cipherName: String, cipherMode: String, hash: String, keyBytes: UInt32, uuid: String) {
    self.cipherName = cipherName
    self.cipherMode = cipherMode
    self.hash = hash
    self.keyBytes = keyBytes
    self.uuid = uuid
    digest = []
    digestSalt = []
    digestIterations = 0
    payloadOffset = 0
    slots = []
    let size = (keyMaterialSize + Self.keyAlignment - 1) / Self.keyAlignment * Self.keyAlignment
    slots = (0..<UInt64(Self.slotCount)).map { number in
      KeySlot(
        isActive: false, iterations: 0, salt: [], keyOffset: Self.keyAlignment + number * size,
        stripes: Self.stripes)
    }
    payloadOffset = Self.keyAlignment + UInt64(Self.slotCount) * size
  }

  /// The header's bytes; texts and salts that are too long are cut.
  package var encoded: [UInt8] {
    var bytes = Self.magic + [0, 1]
    func add(_ part: [UInt8], _ width: Int) {
      bytes += part.prefix(width)
      bytes += [UInt8](repeating: 0, count: max(0, width - part.count))
    }
    func add(_ number: UInt64) { BigEndian.append(number, width: 4, to: &bytes) }
    for text in [cipherName, cipherMode, hash] { add(ByteText.bytes(text), 32) }
    add(payloadOffset / UInt64(Self.sectorSize))
    add(UInt64(keyBytes))
    add(digest, Self.digestSize)
    add(digestSalt, Self.saltSize)
    add(UInt64(digestIterations))
    add(ByteText.bytes(uuid), 40)
    for slot in slots {
      add(UInt64(slot.isActive ? Self.activeSlot : Self.freeSlot))
      add(UInt64(slot.iterations))
      add(slot.salt, Self.saltSize)
      add(slot.keyOffset / UInt64(Self.sectorSize))
      add(UInt64(slot.stripes))
    }
    return bytes
  }

  private static func refuse(_ text: String) -> FormatError { FormatError(.invalidLUKSHeader, text) }

  private static func text(_ bytes: [UInt8], _ at: Int, _ count: Int) -> String {
    ByteText.text(bytes[at..<(at + count)].prefix { $0 != 0 })
  }
}
