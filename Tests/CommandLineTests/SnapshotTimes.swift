// The times at which snapshots were taken, the only bytes of an image that two runs of one command do not share.

import Foundation
import QcowFormat
import Storage

enum SnapshotTimes {
  /// Where they stand in an image: eight bytes for each snapshot.
  private static func places(_ bytes: [UInt8]) -> [Int] {
    guard bytes.count > 72, BigEndian.u32(bytes, 0) == 0x5146_49fb else { return [] }
    var at = Int(BigEndian.u64(bytes, 64))
    return (0..<BigEndian.u32(bytes, 60)).map { _ in
      let place = at + 16
      at += SnapshotEntry.size(fixed: Array(bytes[at..<(at + SnapshotEntry.fixedSize)]))
      return place
    }
  }

  /// The bytes of an image with zeroes in their place.
  static func cleared(_ path: String) throws -> [UInt8] {
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    for place in places(bytes) { for index in place..<(place + 8) { bytes[index] = 0 } }
    return bytes
  }

  /// Puts zeroes in their place in the file, whose holes stay holes.
  static func clear(_ path: String) throws {
    let places = places([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    guard !places.isEmpty else { return }
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    defer { try? file.close() }
    for place in places {
      try file.seek(toOffset: UInt64(place))
      try file.write(contentsOf: Data(repeating: 0, count: 8))
    }
  }
}
