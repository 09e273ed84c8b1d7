// The built-in image, made in memory by the engine: small enough to read whole, with one of each kind
// of place a map shows. Its operations are the first lines of the log.

package import Cartography
package import Qcow
package import Storage

/// The image that is shown without a name.
package enum Demo {
  /// 64 MiB in 64 KiB clusters with extended L2 entries.
  ///
  /// - Throws: ``ImageError`` if the engine fails, which a test would notice.
  package static func storage() throws(ImageError) -> MemoryStorage {
    let storage = MemoryStorage(name: "demo")
    var options = Image.CreateOptions(size: 64 << 20)
    options.extendedL2 = true
    try Image.create(on: storage, options)
    return storage
  }

  /// What is done to the empty image.
  package static let requests: [Request] = [
    Request(.write(pattern: 1), at: 0, length: 4 << 10),
    Request(.write(pattern: 2), at: 1 << 20, length: 200 << 10),
    Request(.zero(mayUnmap: false), at: 2 << 20, length: 8 << 10),
    Request(.write(pattern: 3), at: 5 << 20, length: 64 << 10),
    Request(.discard, at: 5 << 20, length: 64 << 10),
    Request(.write(pattern: 4), at: 40 << 20, length: 130 << 10),
  ]

  /// A session on the demo image with its operations done.
  ///
  /// - Throws: ``ImageError`` if the engine fails, which a test would notice.
  package static func session(files: any SessionFiles) throws(ImageError) -> Session {
    let session = try Session(try storage(), title: "demo", mode: .scratch, files: files, hasFile: false)
    for request in requests { try session.run(request) }
    return session
  }
}
