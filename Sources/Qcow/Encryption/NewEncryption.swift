// The encryption of a new image: the legacy AES method, which is a number in the header, or a LUKS
// header whose first slot holds the key of the disk, locked with the passphrase.

internal import CGcrypt
internal import Glibc
internal import QcowFormat
internal import Storage

/// How a new image encrypts its guest data.
package struct NewEncryption {
  /// The two that the format has.
  package enum Method: Sendable { case aes, luks }

  /// How the disk is encrypted.
  package var method: Method
  /// The passphrase of the first key slot.
  package var secret: Secret
  /// The cipher's name as LUKS writes it.
  package var cipher = "aes"
  /// Bits of its key.
  package var keyBits: UInt32 = 256
  /// The mode of the cipher.
  package var mode = "xts"
  /// Where the vector of a sector comes from: plain, plain64, essiv.
  package var vectors = "plain64"
  /// The hash that makes the vectors of a mode that needs one.
  package var vectorHash: String?
  /// The hash of all derivations.
  package var hash = "sha256"
  /// How long stretching the passphrase may take on this machine.
  package var milliseconds: UInt64 = 2000

  package init(_ method: Method, _ secret: Secret) {
    self.method = method
    self.secret = secret
  }

  /// Bytes of the key; XTS has a second one for the sector numbers.
  private var keyBytes: UInt32 { mode == "xts" ? keyBits / 4 : keyBits / 8 }

  /// Mode and vectors as LUKS writes them, "cbc-essiv:sha256".
  private var modeText: String {
    let hash = vectorHash ?? (vectors == "essiv" ? "sha256" : nil)
    return "\(mode)-\(vectors)" + (hash.map { ":\($0)" } ?? "")
  }

  /// Throws what creating would throw about the choices alone.
  ///
  /// - Throws: ``ImageError`` for a cipher, a mode or a hash that cannot be had.
  package func check() throws(ImageError) {
    guard method == .luks else { return }
    do throws(ImageError) { _ = try spec() } catch {
      guard mode == "xts",
        (try? CipherSpec(name: cipher, mode: "cbc-plain64", keyBytes: Int(keyBits / 8))) != nil
      else { throw error }
      throw ImageError(.option, "Unsupported cipher mode \(mode)")
    }
  }

  /// Bytes of the header with its keys in a file; 0 for a method without one.
  package var headerSize: UInt64 {
    guard method == .luks else { return 0 }
    return LUKSHeader(cipherName: cipher, cipherMode: modeText, hash: hash, keyBytes: keyBytes, uuid: "")
      .payloadOffset
  }

  private func spec() throws(ImageError) -> CipherSpec {
    try CipherSpec(name: cipher, mode: modeText, keyBytes: Int(keyBytes))
  }

  /// A new key for the disk in the first slot of a new header: the header, and the bytes of the slot.
  func makeHeader() throws(ImageError) -> (header: LUKSHeader, slot: [UInt8]) {
    let spec = try spec()
    let hash = try HashFunction(self.hash)
    var header = LUKSHeader(
      cipherName: cipher, cipherMode: modeText, hash: self.hash, keyBytes: keyBytes, uuid: try Random.uuid())
    let iterations = try LUKSKey.iterations(Int(clamping: milliseconds), Int(keyBytes), hash)
    let key = try Random.secret(Int(keyBytes))
    header.digestIterations = max(1000, iterations / 8)
    header.digestSalt = try Random.bytes(LUKSHeader.saltSize)
    let slot = try header.seal(key, in: 0, with: secret, iterations: iterations, spec, hash)
    let digest = try LUKSKey.stretch(
      key, header.digestSalt, header.digestIterations, LUKSHeader.digestSize, hash)
    header.digest = unsafe digest.withBytes { unsafe Array($0) }
    return (header, slot)
  }

  /// Makes a new, empty image an encrypted one. The LUKS header lies behind everything else and its
  /// last cluster is filled up with zeroes, as QEMU leaves it. Throws as ``GuestWriter``.
  func setUp(_ writer: GuestWriter) throws(ImageError) {
    let (tables, geometry) = (writer.tables, writer.geometry)
    var place: EncryptionExtension?
    if method == .luks {
      let (luks, slot) = try makeHeader()
      let clusters = ClusterCount(geometry.clustersCovering(luks.payloadOffset))
      let offset = try writer.allocator.allocate(clusters)
      // The first bytes of each key's place and the header; what lies between is zero.
      var area = [UInt8](repeating: 0, count: Int(geometry.bytes(clusters).value))
      area.replaceSubrange(0..<LUKSHeader.size, with: luks.encoded)
      let start = Int(luks.slots[0].keyOffset)
      area.replaceSubrange(start..<start + slot.count, with: slot)
      try writer.allocator.refcounts.cache.flush()
      try tables.writeNew(area, .header, .create, at: offset)
      try tables.flush()
      place = EncryptionExtension(offset: offset.value, length: luks.payloadOffset)
    }
    try tables.rewriteHeader(.create) {
      if let place { $0.extensions.list.append(.encryption(place)) }
      $0.header.cryptMethod = method == .luks ? 2 : 1
    }
  }
}

extension LUKSHeader {
  /// Locks the key of the disk with a passphrase; the slot says so.
  ///
  /// - Returns: the bytes of the slot's key material.
  fileprivate mutating func seal(
    _ key: Secret, in slot: Int, with secret: Secret, iterations: UInt32, _ spec: CipherSpec,
    _ hash: HashFunction
  ) throws(ImageError) -> [UInt8] {
    slots[slot].isActive = true
    slots[slot].iterations = iterations
    slots[slot].salt = try Random.bytes(Self.saltSize)
    slots[slot].stripes = Self.stripes
    // What this engine could not open again is not made.
    try LUKSKey.checkWork(self, hash)
    let stretched = try LUKSKey.stretch(secret, slots[slot].salt, iterations, Int(keyBytes), hash)
    let stripes = try LUKSKey.split(key, Int(Self.stripes), hash)
    let cipher = try SectorCipher(spec, key: stretched)
    unsafe try stripes.withBytes { (bytes) throws(ImageError) in unsafe try cipher.encrypt(bytes, sector: 0) }
    return unsafe stripes.withBytes { unsafe Array($0) }
  }

  /// The same for a header that there is; stretching takes about so long.
  mutating func seal(
    _ key: Secret, in slot: Int, with secret: Secret, milliseconds: Int
  ) throws(ImageError) -> [UInt8] {
    let spec = try CipherSpec(name: cipherName, mode: cipherMode, keyBytes: Int(keyBytes))
    let hash = try HashFunction(self.hash)
    let iterations = try LUKSKey.iterations(milliseconds, Int(keyBytes), hash)
    return try seal(key, in: slot, with: secret, iterations: iterations, spec, hash)
  }
}

extension LUKSKey {
  /// Bytes that say nothing.
  static func noise(_ count: Int) throws(ImageError) -> [UInt8] { try Random.bytes(count) }

  /// How many rounds take so long on this machine.
  static func iterations(
    _ milliseconds: Int, _ keyBytes: Int, _ hash: HashFunction
  ) throws(ImageError) -> UInt32 {
    let perSecond = try iterationsPerSecond(keyBytes, hash)
    let (scaled, overflow) = perSecond.multipliedReportingOverflow(by: UInt64(clamping: milliseconds))
    guard !overflow else {
      throw ImageError(
        .option, "PBKDF iterations \(perSecond) too large to scale: Numerical result out of range")
    }
    let iterations = max(1000, scaled / 1000)
    guard let result = UInt32(exactly: iterations) else {
      throw ImageError(.option, "PBKDF iterations \(iterations) larger than \(UInt32.max)")
    }
    return result
  }

  /// How often this machine can stretch a key of `size` bytes in a second of its time.
  static func iterationsPerSecond(_ size: Int, _ hash: HashFunction) throws(ImageError) -> UInt64 {
    let secret = unsafe Secret(capacity: 8) { (room) throws(Never) in room.count }
    let salt = [UInt8](repeating: 0, count: LUKSHeader.saltSize)
    var iterations: UInt32 = 1 << 12
    while true {
      let start = processorTime()
      _ = try stretch(secret, salt, iterations, size, hash)
      let taken = processorTime() - start
      // A long enough look is exact to a few percent.
      if taken >= 50_000_000 || iterations >= 1 << 26 {
        return UInt64(iterations) * 1_000_000_000 / max(1, taken)
      }
      iterations <<= 1
    }
  }

  /// Nanoseconds that this thread has computed.
  private static func processorTime() -> UInt64 {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0 else { return 0 }
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Spreads a key over stripes of which each is needed to get it back; all but the last are random.
  static func split(_ key: Secret, _ count: Int, _ hash: HashFunction) throws(ImageError) -> Secret {
    let size = key.count
    let stripes = unsafe try Secret(capacity: size * count) { (room) throws(ImageError) in
      unsafe try Random.fill(UnsafeMutableRawBufferPointer(rebasing: room[0..<size * (count - 1)]))
      return size * count
    }
    // The last stripe is zero until now, so this is what it has to turn into the key.
    let merged = try merge(stripes, size, hash)
    unsafe stripes.withBytes { stripes in
      unsafe merged.withBytes { merged in
        unsafe key.withBytes { key in
          for at in 0..<size { unsafe stripes[size * (count - 1) + at] = merged[at] ^ key[at] }
        }
      }
    }
    return stripes
  }
}

/// Bytes that nobody can guess, from the system.
private enum Random {
  static func fill(_ room: UnsafeMutableRawBufferPointer) throws(ImageError) {
    // The system gives at most 256 bytes at a time.
    var done = 0
    while done < room.count {
      let step = min(256, room.count - done)
      let error = unsafe room.baseAddress.map { unsafe getentropy($0 + done, step) } ?? -1
      guard error == 0 else { throw ImageError(.unsupported, "the system gives no random numbers") }
      done += step
    }
  }

  static func secret(_ count: Int) throws(ImageError) -> Secret {
    unsafe try Secret(capacity: count) { (room) throws(ImageError) in
      unsafe try fill(room)
      return count
    }
  }

  static func bytes(_ count: Int) throws(ImageError) -> [UInt8] {
    let bytes = try secret(count)
    return unsafe bytes.withBytes { unsafe Array($0) }
  }

  /// A random UUID, version 4, in small letters.
  static func uuid() throws(ImageError) -> String {
    var bytes = try bytes(16)
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    var text = ""
    for (at, byte) in bytes.enumerated() {
      if [4, 6, 8, 10].contains(at) { text += "-" }
      text += String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }
    return text
  }
}
