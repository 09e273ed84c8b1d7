// `qatlas du` as people and scripts see it.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DuCommandTests {
  @Test func textAndJSON() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("a b.qcow2")
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", path, "64M"])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 0 1M 512k", "-c", "write -P 7 2M 1M", path])
    try succeed("qemu-img", ["snapshot", "-c", "it's", path])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 9 2M 512k", "-c", "write -P 0 4M 128k", path])
    let qatlas = try builtProduct("qatlas")
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    let text = try run(qatlas, ["du", "a b.qcow2"], directory: folder.path)
    #expect(text.status == 0 && text.stderr.isEmpty, "\(text.stderr)")
    #expect(text.stdout.contains("zeroes as data  128K, all stored  "), "\(text.stdout)")
    #expect(text.stdout.contains("snapshot it's  "), "\(text.stdout)")
    #expect(text.stdout.contains(": qatlas snapshot -d 'it'\\''s' 'a b.qcow2'\n"), "\(text.stdout)")
    let json = try run(qatlas, ["du", "--json", "a b.qcow2"], directory: folder.path)
    let report = try #require(
      try JSONSerialization.jsonObject(with: Data(json.stdout.utf8)) as? [String: Any])
    let parts = try #require(report["parts"] as? [[String: Any]])
    #expect(parts.map { $0["kind"] as? String } == ["zeroes as data", "snapshot", "compressible"])
    #expect(parts[0]["bytes"] as? Int == 131_072 && parts[1]["name"] as? String == "it's")
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    let blind = try run(qatlas, ["du", "--json", "--no-data", "a b.qcow2"], directory: folder.path)
    #expect(!blind.stdout.contains("zeroes as data") && blind.stdout.contains("\"snapshot\""))
    let missing = try run(qatlas, ["du", "none"], directory: folder.path)
    #expect(missing.status == 1 && missing.stderr.contains("none"))
  }
}
