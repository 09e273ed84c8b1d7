// The whole way once, as a person goes it: an image of the genuine tools, a write, undo, redo, save,
// quit, and the genuine tools on the result.

import Foundation
import TestSupport
import Testing

@Suite("qatlas from opening to saving", .serialized, .tags(.terminal), .waits)
struct SavingTests {
  @Test("a write is seen in both maps and the log, undone, redone, saved, and qemu agrees")
  func wholeWay() throws {
    let folder = try TemporaryDirectory()
    let image = folder.path("disk.qcow2")
    func tool(_ name: String, _ arguments: [String]) throws -> ProcessResult {
      try run(try requireTool(name), arguments)
    }
    #expect(try tool("qemu-img", ["create", "-q", "-f", "qcow2", image, "64M"]).status == 0)
    #expect(
      try tool("qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 64k", "-c", "write -P 2 1M 200k", image]).status
        == 0)
    let before = try sha256(ofFile: image)

    let tmux = try Program.shell(["IMAGE": image])
    try tmux.type("\"$QATLAS\" --ascii \"$IMAGE\"")
    try tmux.press("Enter")
    try tmux.waitFor("1 Guest map")
    try tmux.waitUntil("the whole picture") { try tmux.capture().contains("|| 000000  HTB12#####") }
    /// The map rows: the first of the host map, and the guest row of 4 MiB, which has cluster 80.
    func rows() throws -> (guest: String, host: String) {
      let lines = try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false)
      guard let guest = lines.first(where: { $0.hasPrefix("| 0400000  ") }),
        let host = lines.first(where: { $0.contains("|| 000000  ") })
      else { throw TestFailure("no maps:\n\(try tmux.capture())") }
      return (
        String(guest.dropFirst(11).prefix(67)),
        String(host.components(separatedBy: "|| 000000  ")[1].prefix(16))
      )
    }
    let old = try rows()
    #expect(old.guest.allSatisfy { $0 == "." || $0 == " " })
    let oldClusters = old.host.filter { $0 == "#" }.count
    #expect(oldClusters == 5)

    try tmux.type(":write -P 0x5a 5M 64k")
    try tmux.press("Enter")
    try tmux.waitFor("generation 1 of 1")
    var now = try rows()
    #expect(now.guest.filter { $0 == "#" }.count == 1)
    #expect(now.host.filter { $0 == "#" }.count == oldClusters + 1)
    var text = try tmux.capture()
    #expect(text.contains("|>1   write -P 0x5a 0x500000 64k"), "the log has it")
    #expect(text.contains("unsaved"))
    #expect(try sha256(ofFile: image) == before, "nothing is in the file before :w")

    try tmux.press("u")
    try tmux.waitUntil("undo") { try rows() == old }
    try tmux.press("C-r")
    try tmux.waitUntil("redo") { try rows() == now }
    now = try rows()
    try tmux.type(":w")
    try tmux.press("Enter")
    try tmux.waitUntil("saved") { try !tmux.capture().contains("unsaved") }
    text = try tmux.capture()
    try tmux.type(":q")
    try tmux.press("Enter")
    try tmux.waitFor("[0]>")
    #expect(try tmux.display(Program.flags) == "0 1 0")

    #expect(try sha256(ofFile: image) != before)
    let check = try tool("qemu-img", ["check", image])
    #expect(
      check.status == 0 && check.stdout.contains("No errors were found"), "\(check.stdout)\(check.stderr)")
    for command in ["read -P 0x5a 5M 64k", "read -P 1 0 64k", "read -P 2 1M 200k", "read -P 0 6M 1M"] {
      let read = try tool("qemu-io", ["-r", "-f", "qcow2", "-c", command, image])
      #expect(read.status == 0 && !read.stdout.contains("verification failed"), "\(command): \(read.stdout)")
    }
  }
}
