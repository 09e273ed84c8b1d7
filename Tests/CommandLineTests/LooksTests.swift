// `qatlas looks-like`: a sound image has nothing to be said of, an overwritten table is named with what it looks
// like now, and text, JSON and exit code say the same.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct LooksTests {
  typealias Record = [String: Any]

  private func json(_ text: String) throws -> Record {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? Record)
  }

  /// An image of a few clusters; its L2 table lies at 0x40000.
  private func make(_ judge: Judge) throws {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "64M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -P 7 0 256k", "-c", "write -P 8 1M 64k", "a"])
  }

  private func overwrite(_ judge: Judge, at offset: Int, with bytes: [UInt8]) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: judge.path("a")))
    defer { try? file.close() }
    try file.seek(toOffset: UInt64(offset))
    try file.write(contentsOf: Data(bytes))
  }

  @Test func soundImage() throws {
    let judge = try Judge()
    try make(judge)
    let text = try judge.ours(["looks-like", "a"])
    #expect(text.status == 0, "\(text)")
    #expect(text.output == "every cluster looks like what it is said to be\n")
    let all = try judge.ours(["looks-like", "--all", "a"])
    #expect(all.status == 0, "\(all)")
    #expect(
      all.output == """
        host 0x0  length 65536  state header  looks like header
        host 0x10000  length 65536  state refc. table  looks like refcount table
        host 0x20000  length 65536  state refc. block  looks like refcount block
        host 0x30000  length 65536  state L1 table  looks like L1 table
        host 0x40000  length 65536  state L2 table  looks like L2 table
        host 0x50000  length 327680  state data  looks like a pattern
        every cluster looks like what it is said to be

        """)
    let listed = try json(try judge.ours(["looks-like", "--json", "a"]).output)
    #expect(listed["broken"] as? Int == 0 && (listed["clusters"] as? [Record])?.isEmpty == true)
  }

  @Test func overwrittenTable() throws {
    let judge = try Judge()
    try make(judge)
    let line = Array("a log line that does not belong here\n".utf8)
    try overwrite(
      judge, at: 0x40000, with: Array(repeating: line, count: 1800).flatMap { $0 }.prefix(65536).map { $0 })
    let text = try judge.ours(["looks-like", "a"])
    #expect(text.status == 2, "\(text)")
    #expect(
      text.output == """
        host 0x40000  length 65536  state L2 table  looks like text  broken yes  L1[0], as its L2 table
        1 cluster does not look like what the tables say

        """)
    let printed = try judge.ours(["looks-like", "--json", "a"])
    #expect(printed.status == 2)
    let record = try json(printed.output)
    let first = try #require((record["clusters"] as? [Record])?.first)
    #expect(record["broken"] as? Int == 1)
    #expect(first["host"] as? Int == 0x40000 && first["length"] as? Int == 65536)
    #expect(first["looks like"] as? String == "text" && first["broken"] as? Bool == true)
  }

  @Test func tableInTheGuestsPlace() throws {
    let judge = try Judge()
    try make(judge)
    let whole = try #require(FileManager.default.contents(atPath: judge.path("a")))
    try overwrite(judge, at: 0x60000, with: Array(whole[0x40000..<0x50000]))
    let text = try judge.ours(["looks-like", "a"])
    #expect(text.status == 2)
    #expect(
      text.output.hasPrefix(
        "host 0x60000  length 65536  state data  looks like L2 table  broken yes  guest 0x10000"))
  }
}
