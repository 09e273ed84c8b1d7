// Runs requests through the engine on a real file, as one process with one open image would.
// A failure says which request it was.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport

/// Makes an image file with the engine.
func createImage(_ path: String, _ options: Image.CreateOptions) throws {
  try audited(FileStorage(path: path, mode: .create)) { try Image.create(on: $0, options) }
}

/// Runs a session on a storage that compares the bytes of the tables with the notes on them. `QATLAS_AUDIT=off`
/// leaves that out.
func audited<T>(_ storage: any Storage, _ body: (any Storage) throws -> T) throws -> T {
  guard ProcessInfo.processInfo.environment["QATLAS_AUDIT"] != "off" else { return try body(storage) }
  let audit = AuditingStorage(storage)
  let result = try body(audit)
  audit.finish()
  guard audit.violations.isEmpty else {
    throw TestFailure("bytes and notes disagree: \(audit.violations.joined(separator: "; "))")
  }
  return result
}

/// One session of the engine on a file. An external data file is always called `d.raw`.
func withImage<T>(_ path: String, _ options: Image.Options, _ body: (Image) throws -> T) throws -> T {
  let storage = try FileStorage(path: path, mode: options.writable ? .readWrite : .readOnly)
  var options = options
  let features = try storage.bytes(at: 0, count: 112)
  if BigEndian.u32(features, 4) == 3, BigEndian.u64(features, 72) & 4 != 0 {
    options.dataFile = try FileStorage(
      path: dataFile(of: path), mode: options.writable ? .readWrite : .readOnly)
  }
  func session(_ storage: any Storage) throws -> T {
    let image = try ChainOpener(path).openImage(on: storage, options)
    let result = try body(image)
    try image.close()
    return result
  }
  return options.writable ? try audited(storage, session) : try session(storage)
}

/// The external data file beside an image.
func dataFile(of path: String) -> String {
  String(path[..<(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)]) + "d.raw"
}

/// What `qemu-img` does to an image in a session of its own.
enum Command: Equatable {
  case resize(UInt64, Image.CreateOptions.Preallocation)
  case createSnapshot(String)
  case applySnapshot(String)
  case deleteSnapshot(String)

  func run(_ path: String) throws {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.discard = .ignore
    try withImage(path, options) { image in
      switch self {
      case .resize(let size, let preallocation):
        try image.resize(to: ByteCount(size), preallocation: preallocation)
      case .createSnapshot(let name):
        try image.createSnapshot(name: name, seconds: 1_700_000_000, nanoseconds: 0, leavesHalf: true)
      case .applySnapshot(let name): try image.applySnapshot(name)
      case .deleteSnapshot(let name): try image.deleteSnapshot(name: name)
      }
    }
  }
}

extension Image {
  /// Does one request; a failure says which.
  func carryOut(_ request: GuestRequest) throws {
    do {
      try perform(request)
    } catch {
      if case .compress = request, Self.isRefusal(error) { return }
      if case .compressMixed = request, Self.isRefusal(error) { return }
      throw TestFailure("\(request) failed: \(error)")
    }
  }

  /// A compressed write may be refused as the genuine tool refuses it, which the recorded scripts contain.
  private static func isRefusal(_ error: any Error) -> Bool {
    (error as? ImageError).map { [.invalidRequest, .misaligned].contains($0.code) } ?? false
  }

  /// Guest bytes as an array.
  func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
    var result = [UInt8](repeating: 0xee, count: count)
    try result.withUnsafeMutableBytes { try read(at: GuestOffset(offset), into: $0) }
    return result
  }

  /// The whole disk as runs, each checked to be nonempty and on the disk.
  func wholeMap(limit: Int = .max) throws -> [Mapping] {
    var runs: [Mapping] = []
    var position = GuestOffset(0)
    while position.value < geometry.virtualSize, runs.count < limit {
      let left = ByteCount(geometry.virtualSize - position.value)
      let run = try mapping(at: position, limit: left)
      guard run.length > 0, run.guest == position, run.length <= left else {
        throw TestFailure("the mapping at \(position.value) is \(run)")
      }
      runs.append(run)
      position = position + run.length
    }
    return runs
  }
}

/// The hash of an image file with the dates of its snapshots zeroed.
func imageHash(_ path: String) throws -> String {
  let storage = try FileStorage(path: path, mode: .readOnly)
  let header = try Header(parsing: storage.bytes(at: 0, count: 112))
  var dates: [UInt64] = []
  var offset = header.snapshotsOffset
  for _ in 0..<header.snapshotCount {
    let fixed = try storage.bytes(at: offset, count: SnapshotEntry.fixedSize)
    dates.append(offset + 16)
    offset += UInt64(SnapshotEntry.size(fixed: fixed))
  }
  guard !dates.isEmpty else { return try sha256(ofFile: path) }
  let copy = path + ".dates"
  defer { try? FileManager.default.removeItem(atPath: copy) }
  try FileManager.default.copyItem(atPath: path, toPath: copy)
  let target = try FileStorage(path: copy, mode: .readWrite)
  for date in dates { try target.write([UInt8](repeating: 0, count: 8), at: date) }
  return try sha256(ofFile: copy)
}
