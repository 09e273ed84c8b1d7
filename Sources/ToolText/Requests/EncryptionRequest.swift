// The options of `create` that say how a new image is encrypted, with the words of the genuine tool
// for what does not fit together.

import Cartography
package import Qcow

/// How a new image is to be encrypted, without the passphrase.
package struct EncryptionRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// How the image is to be encrypted.
  package var method: NewEncryption.Method
  /// The name of the secret with the passphrase.
  package var secretName: String?
  private var choices: [String: String]
  private var milliseconds: UInt64?

  /// The names in the order in which the announcement has them.
  package static let names = [
    "encryption", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode",
    "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time",
  ]

  private static let values: [String: [String]] = [
    "cipher-alg": [
      "aes-128", "aes-192", "aes-256", "des", "3des", "cast5-128", "serpent-128", "serpent-192",
      "serpent-256", "twofish-128", "twofish-192", "twofish-256", "sm4",
    ],
    "cipher-mode": ["ecb", "cbc", "xts", "ctr"],
    "ivgen-alg": ["plain", "plain64", "essiv"],
    "ivgen-hash-alg": hashes, "hash-alg": hashes,
  ]
  private static let hashes = [
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "sm3",
  ]

  /// Nil if no encryption is asked for. `isOn` is the value of the old option `encryption`.
  init?(_ given: [String: String], isOn: Bool, milliseconds: UInt64?) throws(Refusal) {
    let own = given.keys.filter { $0.hasPrefix("encrypt.") }
    if isOn, given["encrypt.format"] != nil {
      throw Refusal("'encrypt.format' and its alias 'encryption' can't be used at the same time")
    }
    guard let format = given["encrypt.format"] ?? (isOn ? "aes" : nil) else {
      guard own.isEmpty else { throw Refusal("Parameter 'encrypt.format' is missing") }
      return nil
    }
    switch format {
    case "aes": method = .aes
    case "luks": method = .luks
    default: throw Refusal("Parameter 'format' does not accept value '\(Escaping.human(format))'")
    }
    secretName = given["encrypt.key-secret"]
    choices = [:]
    self.milliseconds = milliseconds
    for name in Self.names.dropFirst(3) {
      guard let value = given[name] else { continue }
      guard method == .luks else { throw Refusal("Parameter '\(name)' is unexpected") }
      let short = String(name.dropFirst("encrypt.".count))
      if let known = Self.values[short], !known.contains(value) {
        throw Refusal("Parameter '\(short)' does not accept value '\(Escaping.human(value))'")
      }
      choices[short] = value
    }
    if let name = choices["cipher-alg"], name == "des" || name == "3des" {
      throw Refusal("Algorithm '\(name)' not supported")
    }
  }

  /// The whole of it.
  package func encryption(_ secret: Secret) -> NewEncryption {
    var result = NewEncryption(method, secret)
    let parts = (choices["cipher-alg"] ?? "aes-256").split(separator: "-")
    result.cipher = String(parts[0])
    result.keyBits = parts.count > 1 ? UInt32(parts[1]) ?? 128 : 128
    if let mode = choices["cipher-mode"] { result.mode = mode }
    if let vectors = choices["ivgen-alg"] { result.vectors = vectors }
    result.vectorHash = choices["ivgen-hash-alg"]
    if let hash = choices["hash-alg"] { result.hash = hash }
    if let milliseconds { result.milliseconds = milliseconds }
    return result
  }
}
