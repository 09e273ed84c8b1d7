// Which images a fleet consists of: names that were given, names from a list, and the files of folders with all that is
// below them. The order is that of the bytes of the names, whatever the host lists first.

import Glibc
import Qcow
import Storage

/// The names of a fleet.
struct FleetNames {
  /// A name, and how it came here.
  struct Name: Sendable {
    var path: String
    /// Somebody gave it; others were found in a folder, and may be no image.
    var isGiven: Bool
    /// Why a folder or a list could not be read.
    var problem: String?
  }

  /// Names that are taken at most.
  private static let most = 1 << 20
  /// Folders below a folder that is given.
  private static let deepest = 64
  /// Bytes of a list of names.
  private static let longestList: UInt64 = 1 << 28

  /// All of them, in the order of their bytes, each once.
  private(set) var names: [Name] = []
  /// What was given, as it was given.
  private(set) var given: [String] = []
  /// Folders that were given.
  private(set) var folders: [String] = []
  /// There were more.
  private(set) var isCut = false

  /// Takes a file, or a folder with all that is below it. Symbolic links in folders are left alone.
  mutating func add(_ path: String) {
    given.append(path)
    guard LayerName.scheme(of: path)?.hasPrefix("nbd") != true, let found = try? HostFile.find(path),
      found.kind == .folder
    else { return take(Name(path: path, isGiven: true)) }
    folders.append(path.utf8.last == UInt8(ascii: "/") ? path : path + "/")
    walk(path, depth: 0)
  }

  /// Takes names that end with zero bytes or, if there is none, with line ends.
  mutating func add(list bytes: [UInt8]) {
    let end: UInt8 = bytes.contains(0) ? 0 : UInt8(ascii: "\n")
    for name in bytes.split(separator: end) { add(ByteText.text(name)) }
  }

  /// Takes the names of a file.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be read or is no list.
  mutating func add(listFile path: String) throws(StorageError) {
    let file = try FileOpener().open(path, for: .text)
    guard file.length <= Self.longestList else {
      throw StorageError(.read, name: path, detail: "it is longer than 256 MiB")
    }
    add(list: try file.bytes(at: 0, count: Int(file.length)))
  }

  /// Takes the names on standard input; false if they cannot be read or are too many.
  mutating func addInput() -> Bool {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count <= Self.longestList {
      let got = unsafe piece.withUnsafeMutableBytes { unsafe read(STDIN_FILENO, $0.baseAddress, $0.count) }
      if got < 0, errno == EINTR { continue }
      guard got >= 0 else { return false }
      guard got > 0 else {
        add(list: bytes)
        return true
      }
      bytes += piece.prefix(got)
    }
    return false
  }

  private mutating func take(_ name: Name) {
    guard names.count < Self.most else {
      isCut = true
      return
    }
    names.append(name)
  }

  private mutating func walk(_ folder: String, depth: Int) {
    guard depth < Self.deepest, !isCut else {
      return take(Name(path: folder, isGiven: true, problem: "the folders are nested too deeply"))
    }
    guard let directory = unsafe ByteText.withCString(folder, { unsafe opendir($0) }) else {
      return take(Name(path: folder, isGiven: true, problem: FileStorage.reason(errno)))
    }
    var below: [String] = []
    let start = folder.utf8.last == UInt8(ascii: "/") ? folder : folder + "/"
    while !isCut, let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      if name == "." || name == ".." { continue }
      let path = start + name
      var kind = unsafe Int32(entry.pointee.d_type)
      if kind == Int32(DT_UNKNOWN) { kind = Self.kind(of: path) }
      if kind == Int32(DT_DIR) { below.append(path) }
      if kind == Int32(DT_REG) { take(Name(path: path, isGiven: false)) }
    }
    unsafe closedir(directory)
    for folder in below { walk(folder, depth: depth + 1) }
  }

  /// Of a file system that does not list what its entries are.
  private static func kind(of path: String) -> Int32 {
    var status = Glibc.stat()
    guard unsafe ByteText.withCString(path, { unsafe lstat($0, &status) }) == 0 else {
      return Int32(DT_UNKNOWN)
    }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: return Int32(DT_DIR)
    case S_IFREG: return Int32(DT_REG)
    default: return Int32(DT_UNKNOWN)
    }
  }

  // MARK: Order and shares

  /// Brings them into order and leaves the share `index` of `count`, from 1; a name is always in the same one.
  mutating func settle(share: (index: UInt64, count: UInt64)?) {
    var keyed = names.map { (key: ByteText.bytes($0.path), name: $0) }
    if let share {
      keyed.removeAll { Self.share(of: $0.key, count: share.count) != share.index }
    }
    // One that was given counts before the same one found.
    keyed.sort { one, other in
      one.key == other.key
        ? one.name.isGiven && !other.name.isGiven : one.key.lexicographicallyPrecedes(other.key)
    }
    var last: [UInt8]?
    names = keyed.compactMap { entry in
      defer { last = entry.key }
      return entry.key == last ? nil : entry.name
    }
  }

  /// The share that a name is in, from 1.
  static func share(of name: [UInt8], count: UInt64) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    hash ^= hash >> 33
    hash = hash &* 0xff51_afd7_ed55_8ccd
    hash ^= hash >> 33
    return hash % max(1, count) + 1
  }

  /// Some of them are on other machines, and waiting for them is most of the work.
  var hasRemote: Bool { names.contains { Self.isRemote($0.path) } }

  static func isRemote(_ path: String) -> Bool { LayerName.scheme(of: path)?.hasPrefix("nbd") == true }
}
