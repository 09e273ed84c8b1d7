// An image in memory behind a server on a socket.

import CSys
import Live
import Qcow
import QcowFormat
import Storage
import TestSupport

/// A served disk; stop it before it is looked at by others.
final class ServedImage {
  let folder: TemporaryDirectory
  let storage: MemoryStorage
  let image: Image
  let shared: SharedDisk
  let server: NbdServer
  let path: String

  init(_ create: Image.CreateOptions, name: String = "", writable: Bool = true) throws {
    folder = try TemporaryDirectory(inMemory: true)
    storage = MemoryStorage()
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = writable
    options.cache = .writeback
    image = try Image(storage, options: options)
    shared = SharedDisk(image)
    shared.keepRequests()
    path = folder.path("s")
    let listening = path.withCString { csys_listen_unix($0) }
    guard listening >= 0 else { throw TestFailure("cannot listen: \(-listening)") }
    server = try NbdServer(listening, NbdExport(shared, name: name, description: "a disk"))
  }

  deinit { server.stop() }

  func client() throws -> PlainClient { try PlainClient(path) }

  static func options(
    size: UInt64 = 1 << 20, clusterSize: UInt64 = 4096, extended: Bool = false
  ) -> Image.CreateOptions {
    var options = Image.CreateOptions(size: size)
    options.clusterSize = clusterSize
    options.extendedL2 = extended
    return options
  }
}
