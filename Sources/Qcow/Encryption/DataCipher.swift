// The encryption of guest data in one image: LUKS numbers its sectors by their place in the file,
// the legacy AES method by their place on the disk.

internal import QcowFormat
internal import Storage

/// Encrypts and decrypts what data clusters hold.
@safe
final class DataCipher {
  private let cipher: SectorCipher
  private let countsGuestSectors: Bool
  /// One sector, for ranges that begin or end inside one.
  let sector: UnsafeMutableRawBufferPointer

  /// Unlocks an image with its passphrase; for LUKS a wrong one is found out.
  init(_ opened: OpenedTables, _ storage: any Storage, _ secret: Secret) throws(ImageError) {
    countsGuestSectors = opened.header.cryptMethod == 1
    if countsGuestSectors {
      let spec = try CipherSpec(name: "aes", mode: "cbc-plain64", keyBytes: 16)
      // The passphrase itself is the key, cut or filled up with zeroes.
      let key = unsafe Secret(capacity: 16) { (room) throws(Never) in
        unsafe secret.withBytes {
          unsafe room.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(16)))
        }
        return 16
      }
      cipher = try SectorCipher(spec, key: key)
    } else {
      guard let area = opened.extensions.encryption else {
        throw ImageError(.format(.missingEncryptionHeader), "Missing CRYPTO header for crypt method 2")
      }
      let (key, spec) = try LUKSKey.unlock(
        try Self.header(area, storage), area, storage, secret)
      cipher = try SectorCipher(spec, key: key)
    }
    unsafe sector = UnsafeMutableRawBufferPointer.allocate(byteCount: SectorCipher.sectorSize, alignment: 16)
  }

  deinit {
    unsafe Secret.wipe(sector)
    unsafe sector.deallocate()
  }

  /// The LUKS header of an image. Throws ``ImageError/Code/format(_:)`` for what is none.
  static func header(
    _ area: EncryptionExtension, _ storage: any Storage
  ) throws(ImageError) -> LUKSHeader {
    guard area.length >= UInt64(LUKSHeader.size) else {
      throw ImageError(
        .format(.invalidLUKSHeader),
        "the encryption header has \(area.length) bytes, too few for a LUKS header")
    }
    let bytes: [UInt8]
    do throws(StorageError) { bytes = try storage.bytes(at: area.offset, count: LUKSHeader.size) } catch {
      throw ImageError(error)
    }
    do throws(FormatError) { return try LUKSHeader(parsing: bytes) } catch { throw ImageError(error) }
  }

  /// What is missing to write an encrypted image; nil if nothing is.
  static func refusal(_ header: Header, _ cipher: DataCipher?) -> String? {
    header.cryptMethod != 0 && cipher == nil ? "the image is encrypted; \(secretHint)" : nil
  }

  static let secretHint = "give its passphrase with --secret prompt, file=PATH or env=NAME"

  private func sector(_ guest: GuestOffset, _ host: HostOffset) -> UInt64 {
    (countsGuestSectors ? guest.value : host.value) / UInt64(SectorCipher.sectorSize)
  }

  /// Decrypts whole sectors in place; both offsets are those of the first byte. Throws what the library of the
  /// ciphers says.
  func decrypt(
    _ bytes: UnsafeMutableRawBufferPointer, guest: GuestOffset, host: HostOffset
  ) throws(ImageError) {
    unsafe try cipher.decrypt(bytes, sector: sector(guest, host))
  }

  /// Encrypts whole sectors in place; both offsets are those of the first byte. Throws as
  /// ``decrypt(_:guest:host:)``.
  func encrypt(
    _ bytes: UnsafeMutableRawBufferPointer, guest: GuestOffset, host: HostOffset
  ) throws(ImageError) {
    unsafe try cipher.encrypt(bytes, sector: sector(guest, host))
  }
}
