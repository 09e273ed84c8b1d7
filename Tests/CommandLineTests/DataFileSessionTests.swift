// The explorer on images whose data is in a file of its own: an operation changes both files or none, goes
// back and forth as a whole, and is saved so that a crash between the two files harms nobody.

import Cartography
import Explorer
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// Two real files of which one fails after some changes, and both behind it.
private final class FailingFiles: SessionFiles {
  let path: String
  /// Changes that go through, together.
  var changesLeft = Int.max

  init(_ path: String) { self.path = path }

  func identity() -> FileIdentity? { FileStorage.identity(path: path) }
  func identity(of file: any Storage) -> FileIdentity? { FileStorage.identity(path: file.name) }
  func openForSaving() throws(StorageError) -> any Storage {
    CountedStorage(try FileStorage(path: path, mode: .readWrite), self)
  }
  func openForSaving(
    _ file: any Storage, _ kind: FileOpener.Saved
  ) throws(StorageError) -> any Storage {
    CountedStorage(try FileStorage(path: file.name, mode: .readWrite), self)
  }
  func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage {
    try FileStorage(path: path, mode: .create)
  }
  func writeText(_ text: String, to path: String) throws(StorageError) {}
  func names(beginningWith prefix: String) -> [String] { [] }
  func shouldCancel(_ progress: Double) -> Bool { false }
  func remember(_ line: String) {}
}

/// One of the two files.
private final class CountedStorage: Storage {
  let base: FileStorage
  let files: FailingFiles
  init(_ base: FileStorage, _ files: FailingFiles) { (self.base, self.files) = (base, files) }

  private func admit() throws(StorageError) {
    guard files.changesLeft > 0 else { throw StorageError(.write, name: name, detail: "the power is gone") }
    files.changesLeft -= 1
  }

  var name: String { base.name }
  var length: UInt64 { base.length }
  var isWritable: Bool { true }
  var allocatedBytes: UInt64 { base.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try base.read(at: offset, into: buffer)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try admit()
    try base.write(bytes, at: offset, tag: tag)
  }
  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try admit()
    try base.writeZeroes(at: offset, count: count, tag: tag)
  }
  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try admit()
    try base.punch(at: offset, count: count, tag: tag)
  }
  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try admit()
    try base.truncate(to: length, tag: tag)
  }
  func flush() throws(StorageError) { try base.flush() }
}

@Suite(.tags(.genuine)) struct DataFileSessionTests {
  static let commands = [
    "write -P 1 0 100k", "write -P 2 1M 64k", "write -z 32k 64k", "write -P 3 2M 300k", "discard 1M 64k",
    "write -z -u 2112k 64k", "write -P 4 3000k 1000",
  ]

  @Test(
    "both files have the bytes of the genuine tool after write, zero, discard, undo, redo and saving",
    arguments: ["data_file_raw=off", "data_file_raw=on", "data_file_raw=off,extended_l2=on"],
    [[], ["--rw"]])
  func exact(_ options: String, _ mode: [String]) throws {
    let judge = try Judge()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw," + options, "a.qcow2", "4M"])
    let empty = (image: judge.bytes("a.qcow2"), data: judge.bytes("d.raw"))
    try judge.must("qemu-io", ["-f", "qcow2"] + Self.commands.flatMap { ["-c", $0] } + ["a.qcow2"])
    let genuine = (image: judge.bytes("a.qcow2"), data: judge.bytes("d.raw"))
    try empty.image?.write(to: URL(fileURLWithPath: judge.path("a.qcow2")))
    try empty.data?.write(to: URL(fileURLWithPath: judge.path("d.raw")))
    var lines = Self.commands.map { ":" + $0 }
    // Something that is saved and then goes away, something that comes back.
    lines.insert(contentsOf: [":write -P 9 512k 128k", ":w", ":undo"], at: 3)
    lines += [":undo", ":undo", ":redo", ":redo", ":w", ":q", ""]
    try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: judge.path("keys")))
    let result = try judge.ours(["explore"] + mode + ["--script", "keys", "a.qcow2"])
    #expect(result.status == 0, "\(result)")
    #expect(judge.bytes("d.raw") == genuine.data)
    #expect(judge.bytes("a.qcow2") == genuine.image)
    // Nothing is in either file before it is saved.
    if mode.isEmpty {
      try Data(":write -P 6 0 64k\n:discard 3000k 64k\n:q!\n".utf8).write(
        to: URL(fileURLWithPath: judge.path("keys")))
      #expect(try judge.ours(["explore", "--script", "keys", "a.qcow2"]).status == 0)
      #expect(judge.bytes("d.raw") == genuine.data && judge.bytes("a.qcow2") == genuine.image)
    }
  }

  @Test("a save that ends between any two changes of the two files leaves old bytes or new ones, and goes on")
  func crashes() throws {
    let folder = try TemporaryDirectory()
    let (path, dataPath) = (folder.path("a.qcow2"), folder.path("d.raw"))
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=\(dataPath)", path, "1M"])
    // What the data file holds where the guest has nothing is never seen.
    let stray = try FileStorage(path: dataPath, mode: .readWrite)
    try stray.write([UInt8](repeating: 0xee, count: 1 << 20), at: 0)
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 128k", path])
    let original = (
      try Data(contentsOf: URL(fileURLWithPath: path)), try Data(contentsOf: URL(fileURLWithPath: dataPath))
    )
    func disk() throws -> [UInt8] {
      let raw = folder.path("raw")
      try succeed("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", path, raw])
      return try [UInt8](Data(contentsOf: URL(fileURLWithPath: raw)))
    }
    var crashed = 0
    for limit in 0..<200 {
      try original.0.write(to: URL(fileURLWithPath: path))
      try original.1.write(to: URL(fileURLWithPath: dataPath))
      let files = FailingFiles(path)
      let opener = ChainOpener(path, ChainPolicy())
      opener.keepsFiles = true
      let session = try Session(
        FileStorage(path: path, mode: .readOnly), title: "a", mode: .scratch, files: files, layers: opener)
      try #require(session.refusal == nil)
      // Saved, and then taken back from both files while other changes come.
      _ = try session.run(Request(.write(pattern: 2), at: 256 << 10, length: 64 << 10))
      try session.save()
      let first = try disk()
      _ = try session.undo()
      _ = try session.run(Request(.discard, at: 0, length: 64 << 10))
      _ = try session.run(Request(.write(pattern: 3), at: 512 << 10, length: 100_000))
      _ = try session.run(Request(.zero(mayUnmap: false), at: 64 << 10, length: 64 << 10))
      let shown = try session.image.contents()
      files.changesLeft = limit
      var isOver = false
      do { try session.save() } catch { isOver = true }
      let check = try run("qemu-img", ["check", "-f", "qcow2", path])
      #expect(check.status == 0 || check.status == 3, "after \(limit): \(check.stdout)")
      let found = try disk()
      let wrong = found.indices.first { found[$0] != first[$0] && found[$0] != shown[$0] }
      #expect(wrong == nil, "after \(limit) changes, guest offset \(wrong ?? 0)")
      guard isOver else { break }
      crashed += 1
      #expect(session.hasUnsavedChanges)
      files.changesLeft = .max
      try session.save()
      #expect(try disk() == shown, "saved after \(limit) changes and a stop")
    }
    #expect(crashed > 5 && crashed < 200)
  }
}

extension Image {
  /// The whole disk.
  fileprivate func contents() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(geometry.virtualSize))
    try bytes.withUnsafeMutableBytes { try read(at: GuestOffset(0), into: $0) }
    return bytes
  }
}
