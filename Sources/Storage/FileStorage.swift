// A file or block device of the host. Only system calls live here; short reads and writes are
// finished, interruptions are retried, and what lies behind the end reads as zeroes.

import CSys
import Glibc

/// A file of the host as storage, open for reading or for both.
package final class FileStorage: Storage {
  /// How a file is opened.
  package enum Mode: Sendable {
    case readOnly
    case readWrite
    /// Makes the file, or empties it if it is there.
    case create
    /// Makes the file if it is not there; neither emptied nor locked.
    case openOrMake
  }

  /// The path it was opened by.
  package let name: String
  /// Writing was asked for when it was opened.
  package let isWritable: Bool
  package internal(set) var length: UInt64
  /// ``flush()`` waits for the disk; without it the host keeps the bytes in its memory for as long as it likes. For
  /// files that are made anew from others which are still there.
  package var waitsForDisk = true
  /// Something was written that may not have reached the disk.
  private var needsFlush = false
  /// What was written in a row of late and the disk has not been asked for.
  private var behind = WriteBehind()
  let descriptor: Int32
  /// The locks it holds; see ``lock(_:)``.
  var heldUse = FileUse(uses: [], refuses: [])

  /// Opens a regular file or a block device; refuses everything else, so that a pipe cannot block.
  ///
  /// A file that is made anew is locked for writing before it is emptied.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened, is no regular file or device, or has no
  ///   length.
  package init(path: String, mode: Mode) throws(StorageError) {
    var flags = O_CLOEXEC | O_NONBLOCK
    switch mode {
    case .readOnly: flags |= O_RDONLY
    case .readWrite: flags |= O_RDWR
    case .create, .openOrMake: flags |= O_RDWR | O_CREAT
    }
    let opened = unsafe ByteText.withCString(path) { unsafe Glibc.open($0, flags, 0o644) }
    guard opened >= 0 else { throw StorageError(.open, name: path, errno: errno, detail: Self.reason(errno)) }
    do throws(StorageError) {
      length = try Self.measure(opened, path)
    } catch {
      close(opened)
      throw error
    }
    descriptor = opened
    name = path
    isWritable = mode != .readOnly
    guard mode == .create else { return }
    try lock(.creating)
    try empty()
    try lock(.writing)
  }

  /// Opens the file that ``HostFile/find(_:)`` found, and nothing that has taken its place since.
  /// It must be a regular file. `name` is what messages call it.
  ///
  /// - Throws: ``StorageError`` for a file that is another one by now or cannot be opened.
  package init(_ found: HostFile, name: String, writable: Bool) throws(StorageError) {
    let flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | (writable ? O_RDWR : O_RDONLY)
    let opened = unsafe found.withCPath { unsafe Glibc.open($0, flags) }
    guard opened >= 0 else { throw StorageError(.open, name: name, errno: errno, detail: Self.reason(errno)) }
    guard let now = HostFile.inspect(opened), now.kind == .regular, now == found.identity else {
      close(opened)
      throw StorageError(.open, name: name, detail: "the file was exchanged while it was opened")
    }
    do throws(StorageError) {
      length = try Self.measure(opened, name)
    } catch {
      close(opened)
      throw error
    }
    descriptor = opened
    self.name = name
    isWritable = writable
  }

  package var hasFixedLength: Bool { HostFile.inspect(descriptor)?.kind == .block }

  /// Drops all bytes of a regular file; a device keeps its own.
  ///
  /// - Throws: ``StorageError`` if the host refuses to cut the file.
  package func empty() throws(StorageError) {
    guard length > 0, HostFile.inspect(descriptor)?.kind == .regular else { return }
    try truncate(to: 0, tag: .untagged)
  }

  /// Another program may have made the file longer or shorter: ``length`` is what it is now.
  ///
  /// - Throws: ``StorageError`` if the host cannot tell.
  package func measureAgain() throws(StorageError) { length = try Self.measure(descriptor, name) }

  deinit { close(descriptor) }

  static func measure(_ descriptor: Int32, _ path: String) throws(StorageError) -> UInt64 {
    var status = Glibc.stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw StorageError(.inspect, name: path, errno: errno, detail: reason(errno))
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      return UInt64(max(0, status.st_size))
    case S_IFBLK:
      let end = lseek(descriptor, 0, SEEK_END)
      guard end >= 0 else { throw StorageError(.inspect, name: path, errno: errno, detail: reason(errno)) }
      return UInt64(end)
    case S_IFDIR:
      throw StorageError(.open, name: path, errno: EISDIR, detail: reason(EISDIR))
    default:
      throw StorageError(.open, name: path, detail: "not a regular file or a block device")
    }
  }

  /// The host's words for an error number.
  package static func reason(_ number: Int32) -> String {
    guard let text = unsafe strerror(number) else { return "error \(number)" }
    return unsafe String(cString: text)
  }

  private func failure(_ operation: StorageError.Operation, _ offset: UInt64?, _ number: Int32)
    -> StorageError
  {
    StorageError(operation, name: name, offset: offset, errno: number, detail: Self.reason(number))
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    guard let base = buffer.baseAddress else { return }
    var done = 0
    let inside = offset < length ? Int(min(UInt64(buffer.count), length - offset)) : 0
    while done < inside {
      let got = unsafe pread(descriptor, base + done, inside - done, off_t(offset) + off_t(done))
      if got > 0 {
        done += got
      } else if got == 0 {
        break
      } else if errno != EINTR {
        throw failure(.read, offset + UInt64(done), errno)
      }
    }
    unsafe memset(base + done, 0, buffer.count - done)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    let end = try endOfRange(offset, UInt64(bytes.count), .write)
    var done = 0
    while done < bytes.count {
      let put = unsafe pwrite(descriptor, base + done, bytes.count - done, off_t(offset) + off_t(done))
      if put > 0 {
        done += put
      } else if put == 0 || errno != EINTR {
        throw failure(.write, offset + UInt64(done), put == 0 ? ENOSPC : errno)
      }
    }
    length = max(length, end)
    guard waitsForDisk, let range = behind.add(offset..<end) else { return }
    csys_start_writing(
      descriptor, Int64(range.lowerBound), Int64(range.upperBound - range.lowerBound))
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]
  ) throws(StorageError) {
    unsafe try write(bytes, at: offset, tag: .untagged)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard count > 0 else { return }
    let end = try endOfRange(offset, count, .zero)
    let result = csys_zero_range(descriptor, Int64(offset), Int64(count))
    if result < 0 {
      guard -result == EOPNOTSUPP || -result == ENOSYS || -result == EINVAL else {
        throw failure(.zero, offset, -result)
      }
      if try !reserveZeroes(at: offset, count: count) {
        try writeZeroBytes(at: offset, count: count, tag: tag)
      }
    }
    length = max(length, end)
  }

  /// Host systems without a call for zeroes mostly have two that come to the same: a hole, then blocks for it. Nobody
  /// takes these for data, unlike zeroes that were written. False if the host has not both. Throws what the host says.
  private func reserveZeroes(at offset: UInt64, count: UInt64) throws(StorageError) -> Bool {
    needsFlush = true
    func isDone(_ result: Int32) throws(StorageError) -> Bool {
      guard result < 0 else { return true }
      guard -result == EOPNOTSUPP || -result == ENOSYS else { throw failure(.zero, offset, -result) }
      return false
    }
    guard try isDone(csys_punch_hole(descriptor, Int64(offset), Int64(count))) else { return false }
    return try isDone(csys_allocate(descriptor, Int64(offset), Int64(count)))
  }

  private func writeZeroBytes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let piece = [UInt8](repeating: 0, count: Int(min(count, 1 << 20)))
    var done: UInt64 = 0
    while done < count {
      let step = min(UInt64(piece.count), count - done)
      if step == UInt64(piece.count) {
        try write(piece, at: offset + done, tag: tag)
      } else {
        try write(Array(piece.prefix(Int(step))), at: offset + done, tag: tag)
      }
      done += step
    }
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard count > 0, offset < length else { return }
    // Behind the end there is nothing to give back, and the length must not change.
    let inside = min(count, length - offset)
    needsFlush = true
    let result = csys_punch_hole(descriptor, Int64(offset), Int64(inside))
    guard result < 0 else { return }
    guard -result == EOPNOTSUPP || -result == ENOSYS else { throw failure(.punch, offset, -result) }
    try writeZeroBytes(at: offset, count: inside, tag: tag)
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    _ = try endOfRange(length, 0, .truncate)
    while ftruncate(descriptor, off_t(length)) != 0 {
      guard errno == EINTR else { throw failure(.truncate, length, errno) }
    }
    self.length = length
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard count > 0 else { return }
    let end = try endOfRange(offset, count, .write)
    let result = csys_allocate(descriptor, Int64(offset), Int64(count))
    if result < 0 {
      guard -result == EOPNOTSUPP || -result == ENOSYS else { throw failure(.write, offset, -result) }
      // A host that cannot keep blocks in advance still gives them for zeroes.
      if end > length { try writeZeroBytes(at: length, count: end - length, tag: tag) }
    }
    length = max(length, end)
  }

  /// Waits for the disk, unless nothing has been written through this storage since the last time.
  ///
  /// - Throws: ``StorageError`` if the host could not keep the bytes; what was written since the last flush
  ///   may be lost.
  package func flush() throws(StorageError) {
    guard needsFlush, waitsForDisk else { return }
    while fdatasync(descriptor) != 0 {
      if errno == EINTR { continue }
      if errno == EINVAL || errno == EROFS { break }
      throw failure(.flush, nil, errno)
    }
    needsFlush = false
    behind = WriteBehind()
  }

  /// The end of a range, if the host can address it.
  private func endOfRange(
    _ offset: UInt64, _ count: UInt64, _ operation: StorageError.Operation
  ) throws(StorageError) -> UInt64 {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(Int64.max) else { throw failure(operation, offset, EFBIG) }
    needsFlush = true
    return end
  }

  package var allocatedBytes: UInt64 {
    var status = Glibc.stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return 0 }
    return UInt64(max(0, status.st_blocks)) * 512
  }

  package func extent(at offset: UInt64) -> HostExtent {
    guard offset < length, offset <= UInt64(Int64.max) else { return HostExtent(isHole: true, end: .max) }
    let data = csys_seek_data(descriptor, Int64(offset))
    if data == -Int64(ENXIO) { return HostExtent(isHole: true, end: length) }
    if data < 0 { return HostExtent(isHole: false, end: length, isKnown: false) }
    if data > Int64(offset) { return HostExtent(isHole: true, end: UInt64(data)) }
    let hole = csys_seek_hole(descriptor, Int64(offset))
    return HostExtent(isHole: false, end: hole > 0 ? UInt64(hole) : length)
  }
}

/// What tells one state of a file from another without reading it.
package struct FileIdentity: Equatable, Sendable {
  /// The number of the file system.
  package var device: UInt64
  /// The number of the file in it.
  package var inode: UInt64
  /// Bytes.
  package var size: Int64
  /// When its bytes were last changed, in seconds since 1970.
  package var modifiedSeconds: Int
  /// Nanoseconds behind ``modifiedSeconds``.
  package var modifiedNanoseconds: Int
  /// When the file or what is known of it was last changed, in seconds since 1970.
  package var changedSeconds: Int
  /// Nanoseconds behind ``changedSeconds``.
  package var changedNanoseconds: Int

  package init(
    device: UInt64, inode: UInt64, size: Int64, modifiedSeconds: Int, modifiedNanoseconds: Int,
    changedSeconds: Int, changedNanoseconds: Int
  ) {
    self.device = device
    self.inode = inode
    self.size = size
    self.modifiedSeconds = modifiedSeconds
    self.modifiedNanoseconds = modifiedNanoseconds
    self.changedSeconds = changedSeconds
    self.changedNanoseconds = changedNanoseconds
  }
}

extension FileStorage {
  /// The state of the open file.
  package var identity: FileIdentity? {
    var status = Glibc.stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    return Self.identity(of: status)
  }

  /// The state of whatever file the path names now.
  package static func identity(path: String) -> FileIdentity? {
    var status = Glibc.stat()
    guard unsafe ByteText.withCString(path, { unsafe fstatat(AT_FDCWD, $0, &status, 0) }) == 0 else {
      return nil
    }
    return identity(of: status)
  }

  private static func identity(of status: Glibc.stat) -> FileIdentity {
    FileIdentity(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size),
      modifiedSeconds: status.st_mtim.tv_sec, modifiedNanoseconds: status.st_mtim.tv_nsec,
      changedSeconds: status.st_ctim.tv_sec, changedNanoseconds: status.st_ctim.tv_nsec)
  }
}
