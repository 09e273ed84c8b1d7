// Encrypted images made by the genuine tools, and their words for the passphrase.

import Foundation
import Synchronization

package enum GenuineEncryption {
  package static let passphrase = "open sesame"

  /// Options of `qemu-img` and `qemu-io` that define the passphrase, and `qatlas io` takes as well.
  package static let object = ["--object", "secret,id=s0,data=\(passphrase)"]

  /// The option string for an image.
  package static func options(_ path: String) -> String {
    "driver=qcow2,encrypt.key-secret=s0,file.filename=\(path)"
  }

  private static let made = Mutex<[String: [UInt8]]>([:])

  /// Makes an image as ``create(_:_:size:)`` does, or copies the one that was made before: making one
  /// costs two seconds of hashing.
  package static func copy(_ path: String, _ options: String, size: String) throws {
    let bytes = try made.withLock { made in
      if let known = made["\(options) \(size)"] { return known }
      try create(path, options, size: size)
      let bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
      made["\(options) \(size)"] = bytes
      return bytes
    }
    try Data(bytes).write(to: URL(fileURLWithPath: path))
  }

  /// Makes an image; `options` are those of `-o`, with "encrypt.format=…" among them.
  ///
  /// The genuine tool measures how fast it can hash, and fails on a busy machine when the clock of the
  /// process has not moved in between; then it is tried again.
  package static func create(_ path: String, _ options: String, size: String) throws {
    let fast = options.contains("format=luks") ? ",encrypt.iter-time=10" : ""
    try make(path, object, "encrypt.key-secret=s0,\(options)\(fast)", size: size)
  }

  /// The same with a secret of any name.
  package static func make(
    _ path: String, _ secret: [String], _ options: String, size: String = "4M"
  ) throws {
    var last = ""
    for _ in 0..<20 {
      let result = try run(
        "qemu-img", ["create", "-q", "-f", "qcow2"] + secret + ["-o", options, path, size], timeout: 120)
      if result.status == 0 { return }
      last = result.stderr
      guard last.contains("CPU usage") else { break }
    }
    throw TestFailure("qemu-img cannot make an image with \(options): \(last)")
  }
}
