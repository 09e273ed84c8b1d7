// Damaged headers: every check of the open with its own words, read-only and read-write, on the
// engine and, where this machine's version says the same, on the genuine tool.

import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite("Open vectors", .tags(.genuine))
struct OpenVectorTests {
  static let names: [String] = ((try? Json.vector("OPEN"))?["cases"].items ?? []).compactMap {
    try? $0["name"].string("name")
  }

  /// Cases that the engine decides differently, with the reason; they open read-only and say so.
  static let readOnlyInstead: [String: (ro: String, reason: String)] = [
    "AES without secret": (
      "ok", "the image is encrypted; give its passphrase with --secret prompt, file=PATH or env=NAME"
    ),
    "data file bit without name": (
      "ok", "the image has an external data file, which is not open"
    ),
  ]

  @Test("the table has all its cases")
  func complete() { #expect(Self.names.count == 41) }

  @Test("a damaged header is refused in the words users know", arguments: names)
  func damaged(_ name: String) throws {
    let row = try Json.vector("OPEN")["cases"].items.first { $0["name"] == .string(name) } ?? .null
    let options = try VectorCreateOptions(size: 1 << 20, commandLine: row["options"].string("options"))
    let storage = MemoryStorage(name: "e.qcow2")
    try Image.create(on: storage, options.options)
    for patch in row["patch"].items {
      try storage.write(Self.bytes(patch[1].string("bytes")), at: patch[0].number("offset"))
    }
    for writable in [false, true] {
      let expected = try row[writable ? "rw" : "ro"].string("message")
      var open = Image.Options()
      open.writable = writable
      let before = try storage.bytes(at: 0, count: Int(storage.length))
      do {
        let image = try Image(storage, options: open)
        if let exception = Self.readOnlyInstead[name] {
          #expect(image.readOnlyReason == (writable ? exception.reason : nil), "\(name)")
          #expect(!image.isWritable)
        } else {
          #expect(expected == "ok", "\(name) opened, writable \(writable)")
        }
        if !image.isWritable {
          try image.close()
          #expect(try storage.bytes(at: 0, count: Int(storage.length)) == before, "\(name) was written to")
        }
      } catch let error as ImageError {
        #expect(error.description == expected, "\(name), writable \(writable)")
      }
    }
  }

  static func bytes(_ hex: String) -> [UInt8] {
    let digits = Array(hex)
    return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
  }
}
