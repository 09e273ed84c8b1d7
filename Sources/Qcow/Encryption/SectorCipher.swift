// Encrypts and decrypts runs of sectors in place. One cipher context serves all sectors; only the
// vector changes, and nothing is allocated per sector.

internal import CGcrypt
import QcowFormat

/// A cipher with its key.
@safe
final class SectorCipher {
  /// Bytes that are encrypted by one vector.
  static let sectorSize = 512
  /// How far a byte lies behind the start of its sector, of the disk as of the file.
  static func offsetInSector(_ guest: GuestOffset) -> Int { Int(guest.value & UInt64(sectorSize - 1)) }
  /// Whole sectors that hold so many bytes; must not pass 2^64.
  static func roundUp(_ count: ByteCount) -> ByteCount {
    ByteCount((count.value + UInt64(sectorSize - 1)) & ~UInt64(sectorSize - 1))
  }

  private let context: OpaquePointer
  /// Encrypts vectors, for essiv.
  private let vectorContext: OpaquePointer?
  private let vectors: CipherSpec.Vectors
  private let isCounter: Bool
  /// The vector of the sector at hand: one block of the cipher, 8 or 16 bytes.
  private let vector: UnsafeMutableRawBufferPointer

  init(_ spec: CipherSpec, key: Secret) throws(ImageError) {
    let block = gcry_cipher_get_algo_blklen(spec.algorithm)
    let opened = unsafe try Self.open(spec.algorithm, spec.mode, key)
    var second: OpaquePointer?
    if case .essiv(let hash) = spec.vectors, let algorithm = spec.vectorAlgorithm {
      do throws(ImageError) {
        let hashed = unsafe try Secret(capacity: hash.size) { (room) throws(ImageError) in
          unsafe key.withBytes {
            unsafe gcry_md_hash_buffer(hash.algorithm, room.baseAddress, $0.baseAddress, $0.count)
          }
          return hash.size
        }
        unsafe second = try Self.open(algorithm, Int32(GCRY_CIPHER_MODE_ECB.rawValue), hashed)
      } catch {
        unsafe gcry_cipher_close(opened)
        throw error
      }
    }
    unsafe context = opened
    unsafe vectorContext = second
    vectors = spec.vectors
    isCounter = spec.isCounter
    unsafe vector = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, block), alignment: 16)
  }

  deinit {
    // Closing wipes the key schedule.
    unsafe gcry_cipher_close(context)
    if let vectorContext = unsafe vectorContext { unsafe gcry_cipher_close(vectorContext) }
    unsafe Secret.wipe(vector)
    unsafe vector.deallocate()
  }

  private static func open(_ algorithm: Int32, _ mode: Int32, _ key: Secret) throws(ImageError)
    -> OpaquePointer
  {
    var handle: OpaquePointer?
    try unsafe Gcrypt.check(gcry_cipher_open(&handle, algorithm, mode, 0), "libgcrypt cannot use the cipher")
    guard let opened = unsafe handle else {
      throw ImageError(.unsupported, "libgcrypt cannot use the cipher")
    }
    let error = unsafe key.withBytes { unsafe gcry_cipher_setkey(opened, $0.baseAddress, $0.count) }
    if error != 0 {
      unsafe gcry_cipher_close(opened)
      try Gcrypt.check(error, "libgcrypt refuses the key")
    }
    return unsafe opened
  }

  /// Decrypts whole sectors in place; `sector` is the number of the first one.
  func decrypt(_ bytes: UnsafeMutableRawBufferPointer, sector: UInt64) throws(ImageError) {
    unsafe try eachSector(bytes, sector, gcry_cipher_decrypt, "libgcrypt cannot decrypt")
  }

  /// Encrypts whole sectors in place; `sector` is the number of the first one.
  func encrypt(_ bytes: UnsafeMutableRawBufferPointer, sector: UInt64) throws(ImageError) {
    unsafe try eachSector(bytes, sector, gcry_cipher_encrypt, "libgcrypt cannot encrypt")
  }

  private typealias Transform = (
    OpaquePointer?, UnsafeMutableRawPointer?, Int, UnsafeRawPointer?, Int
  ) -> gcry_error_t

  @inline(__always)
  private func eachSector(
    _ bytes: UnsafeMutableRawBufferPointer, _ first: UInt64, _ transform: Transform, _ what: String
  ) throws(ImageError) {
    guard let base = bytes.baseAddress else { return }
    var sector = first
    var at = 0
    while at + Self.sectorSize <= bytes.count {
      var error = setVector(sector)
      if error == 0 { error = unsafe transform(context, base + at, Self.sectorSize, nil, 0) }
      if error != 0 { try Gcrypt.check(error, what) }
      at += Self.sectorSize
      sector &+= 1
    }
  }

  @inline(__always)
  private func setVector(_ sector: UInt64) -> gcry_error_t {
    let number: UInt64
    switch vectors {
    case .none: return 0
    case .plain: number = sector & 0xffff_ffff
    case .plain64, .essiv: number = sector
    }
    unsafe vector.storeBytes(of: number.littleEndian, as: UInt64.self)
    if unsafe vector.count > 8 { unsafe vector.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self) }
    if let vectorContext = unsafe vectorContext {
      let error = unsafe gcry_cipher_encrypt(vectorContext, vector.baseAddress, vector.count, nil, 0)
      if error != 0 { return error }
    }
    return isCounter
      ? unsafe gcry_cipher_setctr(context, vector.baseAddress, vector.count)
      : unsafe gcry_cipher_setiv(context, vector.baseAddress, vector.count)
  }
}
