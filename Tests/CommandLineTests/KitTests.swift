// The library for other programs, seen from one of them: what the example lists is what `qemu-img map` lists, and
// what it cannot open it says.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct KitTests {
  private func listed(_ judge: Judge, _ image: String) throws -> (status: Int32, lines: [String]) {
    let result = try run(try builtProduct("extents"), [image], directory: judge.folder.path, timeout: 60)
    return (result.status, result.stdout.split(separator: "\n").map(String.init))
  }

  @Test("a program from outside lists the extents that qemu-img map lists", arguments: WhereTests.Source.all)
  func extents(source: WhereTests.Source) throws {
    let judge = try Judge()
    try source.make(judge)
    let listing = try judge.must("qemu-img", ["map", "--output=json", "-f", "qcow2", "a"])
    let extents = try #require(
      try JSONSerialization.jsonObject(with: Data(listing.utf8)) as? [[String: Any]])
    let (status, lines) = try listed(judge, "a")
    #expect(status == 0 && lines.count > 4)
    // Judges before 8.2 do not say what is compressed, so one extent of theirs may be two of ours.
    func words(_ start: UInt64, _ length: UInt64, _ depth: Int, _ isData: Bool, _ offset: UInt64?) -> String {
      "\(start) \(length) \(isData ? "\(depth) data" : "zero") \(offset.map { "at \($0)" } ?? "")"
    }
    let expected = try extents.map { extent in
      let isData = extent["data"] as? Bool == true
      return words(
        try #require(extent["start"] as? UInt64), try #require(extent["length"] as? UInt64),
        try #require(extent["depth"] as? Int), isData, isData ? extent["offset"] as? UInt64 : nil)
    }
    let found = try lines.dropFirst().dropLast().map { line in
      let parts = line.split(separator: " ").map(String.init)
      let isData = parts[3] == "data" || parts[3] == "compressed"
      return words(
        try #require(UInt64(parts[0])), try #require(UInt64(parts[1])), try #require(Int(parts[2])), isData,
        isData && parts.count > 5 ? UInt64(parts[5]) : nil)
    }
    #expect(found == expected)
    let bytes = extents.filter { $0["data"] as? Bool == true }.compactMap { $0["length"] as? UInt64 }.reduce(
      0, +)
    #expect(lines.last?.hasPrefix("data \(bytes), first bytes [") == true)
  }

  @Test("what cannot be opened is an error with a sentence, never an end of the program")
  func errors() throws {
    let judge = try Judge()
    try Data([UInt8](repeating: 0xff, count: 4096)).write(to: URL(fileURLWithPath: judge.path("raw")))
    #expect(try listed(judge, "raw").lines.first == "raw, 4096 bytes, 0 snapshots")
    try Data("QFI\u{fb}".utf8).write(to: URL(fileURLWithPath: judge.path("short")))
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "gone", "-F", "qcow2", "top", "1M"])
    for name in ["absent", "top"] {
      let (status, lines) = try listed(judge, name)
      #expect(status == 2 && lines.count == 1 && lines[0].hasPrefix("error: "), "\(name): \(lines)")
    }
  }
}
