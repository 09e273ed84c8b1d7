// What a LUKS header names as cipher, mode, vectors and hash, as the numbers of libgcrypt. Names
// that are not known here are refused with what was found.

internal import CGcrypt
internal import QcowFormat

/// A hash function by its name.
struct HashFunction {
  let algorithm: Int32
  let size: Int

  init(_ name: String) throws(ImageError) {
    let known: [String: gcry_md_algos] = [
      "md5": GCRY_MD_MD5, "sha1": GCRY_MD_SHA1, "sha224": GCRY_MD_SHA224, "sha256": GCRY_MD_SHA256,
      "sha384": GCRY_MD_SHA384, "sha512": GCRY_MD_SHA512, "ripemd160": GCRY_MD_RMD160, "sm3": GCRY_MD_SM3,
    ]
    guard let found = known[name] else {
      throw ImageError(.unsupported, "the hash '\(name)' of the LUKS header is not supported")
    }
    try Gcrypt.start()
    algorithm = Int32(found.rawValue)
    size = Int(gcry_md_get_algo_dlen(algorithm))
  }
}

/// How sectors are encrypted.
struct CipherSpec {
  /// Where the initial vector of a sector comes from.
  enum Vectors {
    case none
    /// The low 32 bits of the sector number, little-endian.
    case plain
    /// All 64 bits of it.
    case plain64
    /// All 64 bits, encrypted with the hash of the key.
    case essiv(HashFunction)
  }

  let algorithm: Int32
  let mode: Int32
  let vectors: Vectors
  let keyBytes: Int

  /// The cipher of the vectors, for essiv.
  let vectorAlgorithm: Int32?

  /// The vector is a counter.
  var isCounter: Bool { mode == Int32(GCRY_CIPHER_MODE_CTR.rawValue) }

  /// `mode` is mode and generator, "xts-plain64".
  init(name: String, mode text: String, keyBytes: Int) throws(ImageError) {
    try Gcrypt.start()
    let parts = text.split(separator: "-", maxSplits: 1).map(String.init)
    let modes: [String: gcry_cipher_modes] = [
      "xts": GCRY_CIPHER_MODE_XTS, "cbc": GCRY_CIPHER_MODE_CBC, "ecb": GCRY_CIPHER_MODE_ECB,
      "ctr": GCRY_CIPHER_MODE_CTR,
    ]
    guard parts.count == 2, let found = modes[parts[0]] else {
      throw ImageError(.unsupported, "the cipher mode '\(text)' of the LUKS header is not supported")
    }
    let isXTS = found == GCRY_CIPHER_MODE_XTS
    // XTS has a second key for the sector numbers.
    let own = isXTS ? keyBytes / 2 : keyBytes
    guard !isXTS || keyBytes % 2 == 0, let cipher = Self.algorithm(name, own),
      !isXTS || gcry_cipher_get_algo_blklen(cipher) == 16
    else {
      throw ImageError(
        .unsupported,
        "the cipher '\(name)' in mode '\(parts[0])' with a key of \(keyBytes) bytes is not supported")
    }
    algorithm = cipher
    mode = Int32(found.rawValue)
    self.keyBytes = keyBytes
    vectors = found == GCRY_CIPHER_MODE_ECB ? .none : try Self.vectors(parts[1])
    if case .essiv(let hash) = vectors {
      // The hash is the key, so the cipher must have one of that length.
      guard let found = Self.algorithm(name, hash.size) else {
        throw ImageError(.unsupported, "the vectors '\(parts[1])' do not fit the cipher '\(name)'")
      }
      vectorAlgorithm = found
    } else {
      vectorAlgorithm = nil
    }
  }

  private static func algorithm(_ name: String, _ keyBytes: Int) -> Int32? {
    let known: [String: gcry_cipher_algos] = [
      "aes 16": GCRY_CIPHER_AES, "aes 24": GCRY_CIPHER_AES192, "aes 32": GCRY_CIPHER_AES256,
      "serpent 16": GCRY_CIPHER_SERPENT128, "serpent 24": GCRY_CIPHER_SERPENT192,
      "serpent 32": GCRY_CIPHER_SERPENT256, "twofish 16": GCRY_CIPHER_TWOFISH128,
      "twofish 32": GCRY_CIPHER_TWOFISH, "cast5 16": GCRY_CIPHER_CAST5,
    ]
    return known["\(name) \(keyBytes)"].map { Int32($0.rawValue) }
  }

  private static func vectors(_ text: String) throws(ImageError) -> Vectors {
    // A hash that they do not use may be named behind them.
    let name = text.prefix { $0 != ":" }
    if name == "plain" { return .plain }
    if name == "plain64" { return .plain64 }
    guard text.hasPrefix("essiv:") else {
      throw ImageError(.unsupported, "the vectors '\(text)' of the LUKS header are not supported")
    }
    return .essiv(try HashFunction(String(text.dropFirst(6))))
  }
}

/// The library's own state.
enum Gcrypt {
  private static let isReady = cgcrypt_start() == 0

  /// Makes the library ready, once.
  static func start() throws(ImageError) {
    guard isReady else {
      throw ImageError(.unsupported, "libgcrypt is too old; version 1.8 or later is needed")
    }
  }

  /// Turns an error of the library into one of the engine.
  static func check(_ error: gcry_error_t, _ what: String) throws(ImageError) {
    guard error != 0 else { return }
    let text = unsafe gcry_strerror(error).map { unsafe String(cString: $0) } ?? "error \(error)"
    throw ImageError(.unsupported, "\(what): \(text)")
  }
}
