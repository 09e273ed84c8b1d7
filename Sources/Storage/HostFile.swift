// A file of the host that has been found and not yet opened: where its name leads after all
// symbolic links, and what it is. Opening a device can have effects, looking at it has none.

internal import CSys
internal import Glibc

/// A file by its real path.
package struct HostFile: Sendable {
  /// What a path leads to.
  package enum Kind: String, Sendable {
    case regular = "a regular file"
    case folder = "a folder"
    case block = "a block device"
    case character = "a character device"
    case pipe = "a pipe"
    case socket = "a socket"
    case other = "no file that holds bytes"
  }

  /// What stays the same while a file is renamed and rewritten.
  package struct Identity: Hashable, Sendable {
    /// The number of the file system.
    package var device: UInt64
    /// The number in that file system.
    package var inode: UInt64
    /// What it is.
    package var kind: Kind
  }

  /// The absolute path without symbolic links, as bytes, which need not be UTF-8.
  package let path: [UInt8]
  /// What makes it this file and no other.
  package let identity: Identity
  /// What it is.
  package var kind: Kind { identity.kind }

  /// Tells a file from every other, also from one that takes its name or its inode later.
  package struct Origin: Hashable, Sendable {
    /// The number in its file system.
    package var inode: UInt64
    /// When the file was made, in nanoseconds since 1970.
    package var birth: UInt64

    package init(inode: UInt64, birth: UInt64) {
      self.inode = inode
      self.birth = birth
    }
  }

  /// Nil where the file system does not keep when a file was made.
  package var origin: Origin? {
    var inode: UInt64 = 0
    var birth: UInt64 = 0
    guard unsafe withCPath({ unsafe csys_birth($0, &inode, &birth) }) == 0, inode == identity.inode else {
      return nil
    }
    return Origin(inode: inode, birth: birth)
  }

  /// Follows a path to the end without opening what is there.
  ///
  /// - Throws: ``StorageError`` if nothing is there or the way to it is closed.
  package static func find(_ path: String) throws(StorageError) -> HostFile {
    guard let real = unsafe ByteText.withCString(path, { unsafe realpath($0, nil) }) else {
      throw StorageError(.open, name: path, errno: errno, detail: FileStorage.reason(errno))
    }
    defer { unsafe free(real) }
    var status = Glibc.stat()
    guard unsafe lstat(real, &status) == 0 else {
      throw StorageError(.open, name: path, errno: errno, detail: FileStorage.reason(errno))
    }
    let bytes = unsafe UnsafeRawBufferPointer(start: real, count: strlen(real))
    return HostFile(path: unsafe Array(bytes), identity: identity(of: status))
  }

  /// What an open descriptor is.
  static func inspect(_ descriptor: Int32) -> Identity? {
    var status = Glibc.stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    return identity(of: status)
  }

  private static func identity(of status: Glibc.stat) -> Identity {
    let kind: Kind
    switch status.st_mode & S_IFMT {
    case S_IFREG: kind = .regular
    case S_IFDIR: kind = .folder
    case S_IFBLK: kind = .block
    case S_IFCHR: kind = .character
    case S_IFIFO: kind = .pipe
    case S_IFSOCK: kind = .socket
    default: kind = .other
    }
    return Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino), kind: kind)
  }

  /// The folder it lies in.
  package var folder: ArraySlice<UInt8> {
    guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { return [] }
    return path[..<slash]
  }

  /// Whether it lies in a folder or below it; both without symbolic links and without a last slash.
  package func lies(beneath folder: ArraySlice<UInt8>) -> Bool {
    path.starts(with: folder) && path.dropFirst(folder.count).first == UInt8(ascii: "/")
  }

  func withCPath<T>(_ body: (UnsafePointer<CChar>) -> T) -> T {
    unsafe ByteText.withCString(path, body)
  }
}

extension FileStorage {
  /// What the open file is.
  package var hostIdentity: HostFile.Identity? { HostFile.inspect(descriptor) }
}
