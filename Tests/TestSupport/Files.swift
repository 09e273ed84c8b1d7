// What tests want to know of whole files: are two the same, where do they differ, what is their hash.
// Files are read in pieces, because some images are far larger than their contents.

import Foundation

/// The SHA-256 of a file in hexadecimal digits, computed by the coreutils.
package func sha256(ofFile path: String) throws -> String {
  let result = try run("sha256sum", ["-b", path], timeout: 120)
  guard result.status == 0, result.stdout.count > 64 else {
    throw TestFailure("sha256sum failed on \(path): \(result.stderr)")
  }
  return String(result.stdout.drop { $0 == "\\" }.prefix(64))
}

/// The length of a file in bytes.
package func length(ofFile path: String) throws -> UInt64 {
  let attributes = try FileManager.default.attributesOfItem(atPath: path)
  guard let size = attributes[.size] as? NSNumber else { throw TestFailure("\(path) has no size") }
  return size.uint64Value
}

/// The bytes of a range of a file; shorter at its end.
package func bytes(ofFile path: String, at offset: UInt64, count: Int) throws -> [UInt8] {
  let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
  defer { try? handle.close() }
  try handle.seek(toOffset: offset)
  return try Array(handle.read(upToCount: count) ?? Data())
}

/// Where two files first differ; nil if they hold the same bytes.
package func firstDifference(_ a: String, _ b: String) throws -> UInt64? {
  let first = try FileHandle(forReadingFrom: URL(fileURLWithPath: a))
  let second = try FileHandle(forReadingFrom: URL(fileURLWithPath: b))
  defer {
    try? first.close()
    try? second.close()
  }
  var offset: UInt64 = 0
  while true {
    let x = try first.read(upToCount: 1 << 20) ?? Data()
    let y = try second.read(upToCount: 1 << 20) ?? Data()
    if x != y {
      let common = min(x.count, y.count)
      for i in 0..<common where x[x.startIndex + i] != y[y.startIndex + i] { return offset + UInt64(i) }
      return offset + UInt64(common)
    }
    if x.isEmpty { return nil }
    offset += UInt64(x.count)
  }
}

/// A number from the environment, for counts and seeds that a person wants to change.
package func environmentNumber(_ name: String, default value: UInt64) throws -> UInt64 {
  guard let text = ProcessInfo.processInfo.environment[name] else { return value }
  guard let number = UInt64(text) else { throw TestFailure("\(name) must be a number, not `\(text)`") }
  return number
}
