// Where the user keeps what belongs to the program: the configuration and what it remembers, in the
// folders of the XDG base directory specification.

import Glibc
import Qcow
import Storage

enum UserFolders {
  /// Of the configuration; nil without a home.
  static var configuration: String? { folder("XDG_CONFIG_HOME", ".config") }
  /// Of what is remembered from one run to the next; nil without a home.
  static var state: String? { folder("XDG_STATE_HOME", ".local/state") }

  /// Of what the user adds to the program; nil without a home.
  static var data: String? { folder("XDG_DATA_HOME", ".local/share") }

  /// Makes a folder with a name of its own that nobody else can read; nil, with `errno`, if the host does not.
  static func newFolder(in parent: String) -> String? {
    var template = ByteText.bytes(parent + "/qatlas-XXXXXX") + [0]
    return unsafe template.withUnsafeMutableBytes { bytes in
      guard let name = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
        let made = unsafe mkdtemp(name)
      else { return nil }
      return unsafe ByteText.text(cString: made)
    }
  }

  static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe ByteText.text(cString: value)
    return text.isEmpty ? nil : text
  }

  /// `variable/qatlas`, or the default below the home directory.
  private static func folder(_ variable: String, _ fallback: String) -> String? {
    // The specification says that relative paths do not count.
    if let base = environment(variable), base.hasPrefix("/") { return base + "/qatlas" }
    return environment("HOME").map { $0 + "/" + fallback + "/qatlas" }
  }

  /// The lines of a file but for empty ones, of its last MiB if it is longer; none if it cannot be read.
  static func lines(of path: String) -> [String] { ByteText.lines(bytes(of: path)) }

  /// The bytes of a file, its last MiB if it is longer; none if it cannot be read.
  static func bytes(of path: String) -> [UInt8] {
    guard let file = try? FileOpener().open(path, for: .text), file.length > 0,
      let bytes = try? file.bytes(
        at: file.length > 1 << 20 ? file.length - 1 << 20 : 0, count: Int(min(file.length, 1 << 20)))
    else { return [] }
    return bytes
  }

  /// Adds a line to a file in a folder that is made if need be; nobody else may read it. A failure is
  /// silent: what is not remembered costs a question.
  static func append(_ line: String, to name: String, in folder: String) {
    makeFolders(folder)
    let descriptor = unsafe ByteText.withCString(folder + "/" + name) {
      unsafe open($0, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    }
    guard descriptor >= 0 else { return }
    _ = Output.write(ByteText.bytes(line + "\n"), to: descriptor)
    close(descriptor)
  }

  private static func makeFolders(_ path: String) {
    var made = ""
    for part in path.utf8.split(separator: UInt8(ascii: "/")) {
      made += "/" + (String(part) ?? "")
      _ = unsafe ByteText.withCString(made) { unsafe mkdir($0, 0o700) }
    }
  }
}
