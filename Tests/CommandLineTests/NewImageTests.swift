// `:new` and `:open` of the real program: what the dialog makes is what create makes, byte for byte, and nothing that
// is there is lost without an answer.

import Foundation
import TestSupport
import Testing

@Suite("New images from the explorer", .tags(.genuine)) struct NewImageTests {
  private func play(_ script: String, _ folder: String, _ arguments: [String] = []) throws -> ProcessResult {
    try script.write(toFile: folder + "/keys", atomically: true, encoding: .utf8)
    return try TestSupport.run(
      try builtProduct("qatlas"), ["explore", "--script", "keys"] + arguments, directory: folder)
  }

  @Test("the dialog makes the image that create makes, and opens it")
  func sameAsCreate() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path
    let result = try play(
      """
      :new a.qcow2
      C-u
      type 300M
      Tab Right Tab Right Tab Tab Right
      Enter
      :write -P 7 1M 64k
      :w
      """, path)
    #expect(result.status == 0, "\(result.stderr)")
    let made = try TestSupport.run(
      try builtProduct("qatlas"),
      ["create", "-q", "-o", "cluster_size=128k,extended_l2=on,preallocation=metadata", "b.qcow2", "300M"],
      directory: path)
    #expect(made.status == 0)
    let written = try TestSupport.run(
      try builtProduct("qatlas"), ["io", "-c", "write -q -P 7 1M 64k", "b.qcow2"], directory: path)
    #expect(written.status == 0)
    let (a, b) = (
      try Data(contentsOf: URL(fileURLWithPath: path + "/a.qcow2")),
      try Data(contentsOf: URL(fileURLWithPath: path + "/b.qcow2"))
    )
    #expect(a == b)
    let check = try TestSupport.run("qemu-img", ["check", "-q", "a.qcow2"], directory: path)
    #expect(check.status == 0)
  }

  @Test("a file that is there stays without an answer, and is another image with one")
  func overwriting() throws {
    let folder = try TemporaryDirectory()
    let file = URL(fileURLWithPath: folder.path + "/there.qcow2")
    try Data("precious".utf8).write(to: file)
    #expect(try play(":new there.qcow2\nEnter Enter Esc", folder.path).status == 0)
    #expect(try Data(contentsOf: file) == Data("precious".utf8))
    #expect(try play(":new there.qcow2\nEnter y", folder.path).status == 0)
    #expect(try Data(contentsOf: file).starts(with: [0x51, 0x46, 0x49, 0xfb]))
  }

  @Test("another image takes the place of the one before, and saves go to it")
  func opening() throws {
    let folder = try TemporaryDirectory()
    for name in ["one.qcow2", "two.qcow2"] {
      #expect(
        try TestSupport.run(
          try builtProduct("qatlas"), ["create", "-q", name, "4M"], directory: folder.path
        ).status == 0)
    }
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/one.qcow2"))
    let result = try play(
      ":open two.qcow2\n:write -P 9 0 64k\n:w\n:save-screen screen.txt", folder.path, ["one.qcow2"])
    #expect(result.status == 0, "\(result.stderr)")
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/one.qcow2")) == before)
    let read = try TestSupport.run("qemu-io", ["-c", "read -P 9 0 64k", "two.qcow2"], directory: folder.path)
    #expect(read.stdout.contains("read 65536/65536") && !read.stdout.contains("verification failed"))
    let screen = try String(contentsOfFile: folder.path + "/screen.txt", encoding: .utf8)
    #expect(screen.contains("two.qcow2"))
    // One that does not open leaves all as it was.
    let refused = try play(":open none.qcow2", folder.path, ["one.qcow2"])
    #expect(refused.status == 1 && refused.stderr.contains("none.qcow2"))
    // A folder by keys: what is typed picks out the file.
    let chosen = try play("C-o\ntype two\nEnter\n:save-screen again.txt", folder.path, ["one.qcow2"])
    #expect(chosen.status == 0, "\(chosen.stderr)")
    #expect(try String(contentsOfFile: folder.path + "/again.txt", encoding: .utf8).contains("two.qcow2"))
  }
}
