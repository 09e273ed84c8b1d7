// The file that lines of a fleet are added to, each as a whole by one write: a run that was killed is gone on with, and
// what has not changed is not looked at again.

import Glibc
import Qcow
import Storage
import ToolText

/// Lines of a fleet in a file, which nobody else may write meanwhile.
final class FleetFile {
  private let path: String
  private let file: FileStorage
  /// The newest line of each image, by the bytes of its name.
  private var lines: [[UInt8]: Range<UInt64>] = [:]
  /// Where the last line in order ends, and its name; nil once the lines are in no order.
  private var last: [UInt8]? = []
  /// Lines that a newer one has taken the place of.
  private var hasOld = false

  /// A line longer than this is none of a fleet.
  private static let longest = 16 << 20

  /// Opens a file that is there, or makes it; `isNew` refuses one with bytes in it.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened, that another program writes, or that holds something else
  ///   than lines of a fleet.
  init(_ name: String, isNew: Bool) throws(StorageError) {
    if FileStorage.identity(path: name) == nil { _ = try FileOpener().open(name, for: .new) }
    // A link leads to the file, and stays one.
    path = ByteText.text(try HostFile.find(name).path)
    file = try FileOpener().open(path, for: .image(writable: true))
    guard file.hostIdentity == (try HostFile.find(path).identity), file.hostIdentity?.kind == .regular else {
      throw StorageError(.open, name: name, detail: "it is no regular file, or another one by now")
    }
    try file.measureAgain()
    guard !isNew || file.length == 0 else {
      throw StorageError(.open, name: name, detail: "it is there already; --resume goes on with it")
    }
    try readLines()
  }

  /// Notes where every line is; what is behind the last end of a line is left of a kill, and is dropped.
  private func readLines() throws(StorageError) {
    var line: [UInt8] = []
    var at: UInt64 = 0
    var start: UInt64 = 0
    var number = 0
    while at < file.length {
      let piece = try file.bytes(at: at, count: Int(min(1 << 20, file.length - at)))
      var rest = piece[...]
      while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
        line += rest[..<end]
        rest = rest[(end + 1)...]
        number += 1
        let behind = at + UInt64(end) + 1
        guard let known = FleetLine(ByteText.text(line)) else {
          throw StorageError(
            .read, name: file.name, detail: "line \(number) is none of a fleet; the file stays as it is")
        }
        note(ByteText.bytes(known.path), start..<behind)
        start = behind
        line = []
      }
      line += rest
      guard line.count <= Self.longest else {
        throw StorageError(
          .read, name: file.name, detail: "a line is too long for a fleet; the file stays as it is")
      }
      at += UInt64(piece.count)
    }
    // A file of something else must not be cut.
    guard start < file.length else { return }
    guard line.starts(with: "{\"path\"".utf8.prefix(line.count)) else {
      throw StorageError(.read, name: file.name, detail: "it holds no lines of a fleet, and stays as it is")
    }
    try file.truncate(to: start, tag: WriteTag(.file, .resize))
  }

  private func note(_ name: [UInt8], _ range: Range<UInt64>) {
    hasOld = hasOld || lines[name] != nil
    lines[name] = range
    guard let before = last else { return }
    last = before.lexicographicallyPrecedes(name) ? name : nil
  }

  /// The newest line of an image; nil if there is none.
  ///
  /// - Throws: ``StorageError`` if the host cannot read it.
  func line(of path: String) throws(StorageError) -> FleetLine? {
    guard let range = lines[ByteText.bytes(path)] else { return nil }
    return FleetLine(ByteText.text(try file.bytes(at: range.lowerBound, count: Int(range.count) - 1)))
  }

  /// Images that have a line.
  var names: [String] { lines.keys.map { ByteText.text($0) } }

  /// Adds the line of an image.
  ///
  /// - Throws: ``StorageError`` if the host cannot keep it; what is there of it is dropped by the next run.
  func append(_ line: String, of path: String) throws(StorageError) {
    let start = file.length
    try file.write(Array(line.utf8) + [UInt8(ascii: "\n")], at: start, tag: WriteTag(.file, .resize))
    note(ByteText.bytes(path), start..<file.length)
  }

  /// Drops the line of an image.
  func drop(_ path: String) { if lines.removeValue(forKey: ByteText.bytes(path)) != nil { hasOld = true } }

  /// Brings the lines into the order of the names, each image once. Until the new file takes the name of the old one,
  /// that one stays as it is.
  ///
  /// - Throws: ``StorageError`` if the host cannot keep the new file.
  func finish() throws(StorageError) {
    guard hasOld || last == nil else { return try file.flush() }
    let name = path + ".new"
    let new = try FileOpener().open(name, for: .newText)
    var at: UInt64 = 0
    var pending: [UInt8] = []
    for entry in lines.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      pending += try file.bytes(at: entry.value.lowerBound, count: Int(entry.value.count))
      guard pending.count >= 1 << 20 else { continue }
      try new.write(pending, at: at, tag: WriteTag(.file, .resize))
      at += UInt64(pending.count)
      pending = []
    }
    if !pending.isEmpty { try new.write(pending, at: at, tag: WriteTag(.file, .resize)) }
    try new.flush()
    let result = unsafe ByteText.withCString(name) { new in
      unsafe ByteText.withCString(path) { old in unsafe rename(new, old) }
    }
    guard result == 0 else {
      throw StorageError(.write, name: path, errno: errno, detail: FileStorage.reason(errno))
    }
  }
}
