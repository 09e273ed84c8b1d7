// Where clients find a served disk, and the program that is run beside it.

import CSys
import Glibc
import Live
import Storage

/// A socket that listens, and what it is called.
struct ServingPlace {
  let descriptor: Int32
  /// What clients are given.
  let uri: String
  /// The file of the socket; nil for a port.
  let path: String?
  /// A folder that was made for it.
  private let folder: String?
  /// Which file it is, so that no other is removed.
  private let inode: UInt64

  /// Listens on a socket at `path`, which must not be there yet; without one in a new folder with mode 700.
  init(path: String?, name: String) throws(ServerError) {
    var folder: String?
    if path == nil {
      folder = try Self.newFolder()
    }
    let file = path ?? "\(folder ?? "")/nbd"
    descriptor = unsafe ByteText.withCString(file) { unsafe csys_listen_unix($0) }
    guard descriptor >= 0 else {
      if let folder { unsafe rmdir(folder) }
      throw ServerError(-descriptor, "cannot listen on '\(file)'")
    }
    self.path = file
    self.folder = folder
    inode = Self.inode(file)
    let export = name.isEmpty ? "" : Self.encoded(name, keepsSlash: true)
    uri = "nbd+unix:///\(export)?socket=\(Self.encoded(file, keepsSlash: true))"
  }

  /// Listens on a port of 127.0.0.1; 0 takes any.
  init(port: Int, name: String) throws(ServerError) {
    var bound: Int32 = 0
    descriptor = unsafe csys_listen_loopback(Int32(clamping: port), &bound)
    guard descriptor >= 0 else {
      throw ServerError(-descriptor, "cannot listen on port \(port) of 127.0.0.1")
    }
    (path, folder, inode) = (nil, nil, 0)
    uri = "nbd://127.0.0.1:\(bound)/\(Self.encoded(name, keepsSlash: true))"
  }

  /// Removes what was made; a file that somebody put in its place stays.
  func remove() {
    guard let path else { return }
    if Self.inode(path) == inode { _ = unsafe ByteText.withCString(path) { unsafe unlink($0) } }
    if let folder { _ = unsafe ByteText.withCString(folder) { unsafe rmdir($0) } }
  }

  private static func newFolder() throws(ServerError) -> String {
    let parent = UserFolders.environment("XDG_RUNTIME_DIR") ?? "/tmp"
    guard let made = UserFolders.newFolder(in: parent) else {
      throw ServerError(errno, "cannot make a folder in '\(parent)'")
    }
    return made
  }

  private static func inode(_ path: String) -> UInt64 {
    var facts = stat()
    return unsafe ByteText.withCString(path) { unsafe lstat($0, &facts) } == 0 ? UInt64(facts.st_ino) : 0
  }

  /// Bytes that have a meaning in a URI, as % and two digits.
  private static func encoded(_ text: String, keepsSlash: Bool) -> String {
    var result = ""
    for byte in ByteText.bytes(text) {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        result.unicodeScalars.append(Unicode.Scalar(byte))
      case UInt8(ascii: "/") where keepsSlash: result += "/"
      default:
        let digits = String(byte, radix: 16)
        result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
      }
    }
    return result
  }
}

/// The command of `--run`.
final class ServedCommand {
  private let process: pid_t
  private var code: Int32?

  /// Starts a shell with the command; nil if there is none.
  init?(_ command: String, _ place: ServingPlace) {
    _ = unsafe setenv("uri", place.uri, 1)
    if let path = place.path { _ = unsafe ByteText.withCString(path) { unsafe setenv("unixsocket", $0, 1) } }
    var process: pid_t = 0
    let result = unsafe ByteText.withCString(command) { command in
      var words: [UnsafeMutablePointer<CChar>?] = unsafe [strdup("sh"), strdup("-c"), strdup(command), nil]
      defer { while let word = unsafe words.popLast() { unsafe free(word) } }
      // It finds signals as this program did: what is ignored here would be ignored there too.
      var attributes = posix_spawnattr_t()
      unsafe posix_spawnattr_init(&attributes)
      defer { unsafe posix_spawnattr_destroy(&attributes) }
      var signals = sigset_t()
      unsafe sigemptyset(&signals)
      unsafe sigaddset(&signals, SIGPIPE)
      unsafe sigaddset(&signals, SIGXFSZ)
      unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
      unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
      return unsafe posix_spawn(&process, "/bin/sh", nil, &attributes, &words, environ)
    }
    guard result == 0 else { return nil }
    self.process = process
  }

  /// How it ended; nil while it runs.
  func exitCode() -> Int32? {
    if let code { return code }
    var status: Int32 = 0
    guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
    code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
    return code
  }

  /// Ends it, and waits for that.
  func end() -> Int32 {
    if let code { return code }
    kill(process, SIGTERM)
    var status: Int32 = 0
    _ = unsafe waitpid(process, &status, 0)
    return 128 + SIGTERM
  }
}

/// What clients did, told by the threads of the server and read by the program.
final class ClientLog: @unchecked Sendable {
  private let monitor = Monitor()
  private let endsWithLast: Bool
  private var events: [NbdServer.Event] = []
  private var present = 0
  private var hasCome = false

  init(endsWithLast: Bool) { self.endsWithLast = endsWithLast }

  /// The last client has left, and that is the end.
  var isOver: Bool { monitor.locked { endsWithLast && hasCome && present == 0 } }

  /// Clients that are connected.
  var clients: Int { monitor.locked { present } }

  func take(_ event: NbdServer.Event) {
    monitor.locked {
      if events.count < 4096 { events.append(event) }
      switch event {
      case .came: (present, hasCome) = (present + 1, true)
      case .went: present -= 1
      }
    }
    csys_wake()
  }

  func takeEvents() -> [NbdServer.Event] {
    monitor.locked {
      defer { events = [] }
      return events
    }
  }
}
