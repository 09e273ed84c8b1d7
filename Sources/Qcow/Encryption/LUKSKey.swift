// From a passphrase to the key of the disk: each active slot of the LUKS header is tried. The
// passphrase is stretched, the stretched key decrypts the slot's stripes, the stripes are merged to a
// key, and a digest in the header tells whether it is the right one.

internal import CGcrypt
internal import QcowFormat
internal import Storage

enum LUKSKey {
  /// Rounds of hashing that opening one image may take, about a minute of one core. Slots ask for
  /// their own number of iterations, so that a hostile header could ask for days.
  static let largestWork: UInt64 = 1 << 27

  /// Unlocks the key of the disk. `area` is where the LUKS header lies in the image.
  static func unlock(
    _ header: LUKSHeader, _ area: EncryptionExtension, _ storage: any Storage, _ secret: Secret
  ) throws(ImageError) -> (key: Secret, cipher: CipherSpec) {
    do throws(FormatError) { try header.check(areaLength: area.length) } catch { throw ImageError(error) }
    let cipher = try CipherSpec(
      name: header.cipherName, mode: header.cipherMode, keyBytes: Int(header.keyBytes))
    let hash = try HashFunction(header.hash)
    try checkWork(header, hash)
    guard header.slots.contains(where: \.isActive) else {
      throw ImageError(.encrypted, "the LUKS header has no active key slot; no passphrase can open it")
    }
    for (index, slot) in header.slots.enumerated() where slot.isActive {
      let stretched = try stretch(secret, slot.salt, slot.iterations, Int(header.keyBytes), hash)
      let (place, overflow) = area.offset.addingReportingOverflow(slot.keyOffset)
      guard !overflow else {
        throw ImageError(
          .corrupt, "a LUKS key slot lies outside the file", at: .header, index: UInt64(index),
          HostOffset(area.offset))
      }
      let size = Int(header.keyMaterialSize)
      let stripes = unsafe try Secret(capacity: size) { (room) throws(ImageError) in
        do throws(StorageError) { unsafe try storage.read(at: place, into: room) } catch {
          throw ImageError(error)
        }
        return size
      }
      let slotCipher = try SectorCipher(cipher, key: stretched)
      unsafe try stripes.withBytes { (bytes) throws(ImageError) in
        unsafe try slotCipher.decrypt(bytes, sector: 0)
      }
      let key = try merge(stripes, Int(header.keyBytes), hash)
      let digest = try stretch(
        key, header.digestSalt, header.digestIterations, LUKSHeader.digestSize, hash)
      if unsafe digest.withBytes({ unsafe $0.elementsEqual(header.digest) }) { return (key, cipher) }
    }
    throw ImageError(.encrypted, "Invalid password, cannot unlock any keyslot")
  }

  /// Adds up what all slots together could cost, before any of it is done.
  static func checkWork(_ header: LUKSHeader, _ hash: HashFunction) throws(ImageError) {
    func rounds(_ iterations: UInt32, _ bytes: Int) -> UInt64 {
      UInt64(iterations) * UInt64((bytes + hash.size - 1) / hash.size)
    }
    let digest = rounds(header.digestIterations, LUKSHeader.digestSize)
    var total: UInt64 = 0
    for slot in header.slots where slot.isActive {
      total += rounds(slot.iterations, Int(header.keyBytes)) + digest
    }
    guard total <= largestWork else {
      throw ImageError(
        .unsupported,
        "the LUKS header asks for \(total) rounds of hashing to try all key slots, more than the limit of \(largestWork); it may be damaged"
      )
    }
  }

  /// PBKDF2.
  static func stretch(
    _ secret: Secret, _ salt: [UInt8], _ iterations: UInt32, _ size: Int, _ hash: HashFunction
  ) throws(ImageError) -> Secret {
    unsafe try Secret(capacity: size) { (room) throws(ImageError) in
      let error = unsafe secret.withBytes { bytes in
        unsafe salt.withUnsafeBytes { salt in
          unsafe gcry_kdf_derive(
            bytes.baseAddress, bytes.count, Int32(GCRY_KDF_PBKDF2.rawValue), hash.algorithm,
            salt.baseAddress, salt.count, UInt(iterations), size, room.baseAddress)
        }
      }
      try Gcrypt.check(error, "libgcrypt cannot derive a key")
      return size
    }
  }

  /// The stripes XORed into one, which is spread over all its bits after each of them but the last.
  static func merge(
    _ stripes: Secret, _ size: Int, _ hash: HashFunction
  ) throws(ImageError) -> Secret {
    var handle: gcry_md_hd_t?
    try unsafe Gcrypt.check(gcry_md_open(&handle, hash.algorithm, 0), "libgcrypt cannot hash")
    guard let context = unsafe handle else { throw ImageError(.unsupported, "libgcrypt cannot hash") }
    defer { unsafe gcry_md_close(context) }
    return unsafe Secret(capacity: size) { (key) throws(Never) in
      unsafe stripes.withBytes { source in
        let count = source.count / size
        for stripe in 0..<count {
          for i in 0..<size { unsafe key[i] ^= source[stripe * size + i] }
          if stripe + 1 < count { unsafe diffuse(key, hash, context) }
        }
      }
      return size
    }
  }

  /// Replaces each piece as long as a hash by the hash of its number and itself; the last may be cut.
  private static func diffuse(
    _ key: UnsafeMutableRawBufferPointer, _ hash: HashFunction, _ context: gcry_md_hd_t
  ) {
    var number: UInt32 = 0
    var at = 0
    while at < key.count {
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: key[at..<min(at + hash.size, key.count)])
      unsafe gcry_md_reset(context)
      unsafe withUnsafeBytes(of: number.bigEndian) { unsafe gcry_md_write(context, $0.baseAddress, $0.count) }
      unsafe gcry_md_write(context, piece.baseAddress, piece.count)
      if let result = unsafe gcry_md_read(context, hash.algorithm) {
        unsafe piece.copyMemory(from: UnsafeRawBufferPointer(start: result, count: piece.count))
      }
      number += 1
      at += hash.size
    }
  }
}
