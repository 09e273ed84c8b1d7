// Runs requests through the engine on a real file, as one process with one open image would.
// A failure says which request it was.

import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport

/// Makes an image file with the engine.
func createImage(_ path: String, _ options: Image.CreateOptions) throws {
  let storage = try FileStorage(path: path, mode: .create)
  try Image.create(on: storage, options)
}

/// One session of the engine on a file.
func withImage<T>(_ path: String, _ options: Image.Options, _ body: (Image) throws -> T) throws -> T {
  let storage = try FileStorage(path: path, mode: options.writable ? .readWrite : .readOnly)
  let image = try Image(storage, options: options)
  let result = try body(image)
  try image.close()
  return result
}

extension Image {
  /// Does one request; compressed writes are for callers that know them to be missing.
  func perform(_ request: Request) throws {
    do {
      switch request {
      case .write(let offset, let count, let byte):
        let data = [UInt8](repeating: byte, count: Int(count))
        try data.withUnsafeBytes { try write($0, at: GuestOffset(offset)) }
      case .zero(let offset, let count, let mayUnmap):
        try writeZeroes(at: GuestOffset(offset), count: count, mayUnmap: mayUnmap)
      case .discard(let offset, let count): try discard(at: GuestOffset(offset), count: count)
      case .flush: try flush()
      case .compress: throw TestFailure("compressed writes are not there yet")
      }
    } catch {
      throw TestFailure("\(request) failed: \(error)")
    }
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
    var position: UInt64 = 0
    while position < geometry.virtualSize, runs.count < limit {
      let run = try mapping(at: GuestOffset(position), limit: geometry.virtualSize - position)
      guard run.length > 0, run.guest.value == position, run.length <= geometry.virtualSize - position else {
        throw TestFailure("the mapping at \(position) is \(run)")
      }
      runs.append(run)
      position += run.length
    }
    return runs
  }
}
