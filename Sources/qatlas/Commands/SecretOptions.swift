// The options that name passphrases, shared by the commands that open images, and the getting of the
// passphrases themselves.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import TerminalHost
import ToolText

struct SecretOptions: PlainOptions {
  @Option(
    help: ArgumentHelp(
      "The passphrase of an encrypted image: prompt asks on the terminal, file=PATH takes all bytes of a file, env=NAME those of a variable.",
      valueName: "source"), completion: .secrets)
  var secret: String?

  static var plain: Self {
    var options = Self()
    options.secret = nil
    return options
  }

  /// Gets the passphrase for an image; nil if none is named or the image needs none.
  func get(for storage: any Storage, _ path: String) throws(ImageError) -> Secret? {
    guard let secret else { return nil }
    let request: SecretRequest
    do throws(CreateRequest.Refusal) { request = try SecretRequest(option: secret) } catch {
      throw ImageError(.encrypted, error.description)
    }
    return try Self.load(request, for: storage, path)
  }

  private static let largest: UInt64 = 1 << 20

  static func load(
    _ request: SecretRequest, for storage: any Storage, _ path: String
  ) throws(ImageError) -> Secret? {
    let secret: Secret
    switch request.source {
    case .prompt:
      guard isEncrypted(storage) else { return nil }
      do throws(TerminalError) {
        secret = unsafe try Secret(capacity: 4096) { (room) throws(TerminalError) in
          unsafe try PassphrasePrompt.ask("Passphrase of \(Escaping.human(path)): ", into: room)
        }
      } catch { throw ImageError(.encrypted, error.message) }
    case .file(let name): secret = try file(name)
    case .environment(let name):
      guard let value = unsafe ByteText.withCString(name, { unsafe getenv($0) }) else {
        throw ImageError(.encrypted, "the environment has no variable '\(Escaping.human(name))'")
      }
      secret = unsafe Secret(copying: UnsafeRawBufferPointer(start: value, count: strlen(value)))
    case .data(let text):
      secret = unsafe ByteText.bytes(text).withUnsafeBytes { unsafe Secret(copying: $0) }
    }
    return request.isBase64 ? try decoded(secret) : secret
  }

  private static func file(_ name: String) throws(ImageError) -> Secret {
    do throws(StorageError) {
      let file = try FileOpener().open(name, for: .text)
      guard file.length <= largest else {
        throw StorageError(.read, name: name, detail: "longer than \(largest) bytes, which is no passphrase")
      }
      let count = Int(file.length)
      return unsafe try Secret(capacity: count) { (room) throws(StorageError) in
        unsafe try file.read(at: 0, into: room)
        return count
      }
    } catch {
      throw ImageError(.encrypted, "Unable to read \(Escaping.human(name)): \(error.detail)")
    }
  }

  private static func decoded(_ secret: Secret) throws(ImageError) -> Secret {
    var isGood = true
    let result = unsafe secret.withBytes { bytes in
      unsafe Secret(capacity: bytes.count) { (room) throws(Never) in
        unsafe room.copyMemory(from: UnsafeRawBufferPointer(bytes))
        let count = unsafe SecretRequest.decodeBase64(room)
        isGood = count != nil
        return count ?? 0
      }
    }
    guard isGood else { throw ImageError(.encrypted, "the secret is not valid base64 text") }
    return result
  }

  /// Whether a file looks like an image with encrypted data; asking would be of no use for others.
  static func isEncrypted(_ storage: any Storage) -> Bool {
    guard let first = try? storage.bytes(at: 0, count: 36) else { return false }
    return BigEndian.u32(first, 0) == Header.magic && BigEndian.u32(first, 32) != 0
  }
}

/// The same, and the words of the genuine tools: `--object`, to which `encrypt.key-secret` in
/// `--image-opts` refers.
struct UnlockOptions: PlainOptions {
  @OptionGroup var secrets: SecretOptions
  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A secret for encrypt.key-secret in --image-opts: secret,id=NAME,file=PATH or data=TEXT.",
      valueName: "object"))
  var object: [String] = []

  static var plain: Self {
    var options = Self()
    options.secrets = .plain
    options.object = []
    return options
  }

  /// Refuses objects that cannot be read, before any file is looked at.
  func checkObjects(_ streams: Streams) throws {
    for object in object {
      do throws(CreateRequest.Refusal) { _ = try SecretRequest(object: object) } catch {
        throw streams.failure(error.description)
      }
    }
  }

  /// Gets the passphrase that the option string names, or else the one of `--secret`.
  func get(_ request: OpenRequest, for storage: any Storage) throws(ImageError) -> Secret? {
    try get(named: request.secretName, for: storage, request.file)
  }

  /// The same for a command that the genuine tool refuses without a passphrase, although nothing here needs
  /// the data.
  func needed(_ request: OpenRequest, for storage: any Storage) throws(ImageError) -> Secret? {
    let secret = try get(request, for: storage)
    guard Tool.isStandIn, secret == nil, SecretOptions.isEncrypted(storage) else { return secret }
    throw ImageError(.encrypted, "Parameter 'encrypt.key-secret' is required for cipher")
  }

  /// The secret of that name, or else the one of `--secret`.
  func get(named name: String?, for storage: any Storage, _ file: String) throws(ImageError) -> Secret? {
    var found: SecretRequest?
    for text in object {
      do throws(CreateRequest.Refusal) {
        let request = try SecretRequest(object: text)
        if request.id == name { found = request }
      } catch { throw ImageError(.encrypted, error.description) }
    }
    guard let name else { return try secrets.get(for: storage, file) }
    guard let found else { throw ImageError(.encrypted, "No secret with id '\(Escaping.human(name))'") }
    return try SecretOptions.load(found, for: storage, file)
  }
}
