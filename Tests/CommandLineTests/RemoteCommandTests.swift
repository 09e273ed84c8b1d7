// Images behind genuine servers: every report is that of the same file here, an image names a server only with consent,
// and a server that goes leaves an error that names it.

import Foundation
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite("Behind genuine servers", .tags(.genuine)) struct RemoteCommandTests {
  /// Makes `image` and puts it behind a server at the socket `s`.
  private func serve(_ judge: Judge, _ lines: [String], delay: String? = nil) throws -> () -> Void {
    for line in lines { try judge.must("sh", ["-c", line]) }
    let server =
      delay.map { "nbdkit -r -t 64 -U s -P pid --filter=delay file image rdelay=\($0)" }
      ?? "qemu-nbd --fork -r -t -e 8 -f raw -k \"$PWD/s\" --pid-file=\"$PWD/pid\" image"
    try judge.must("sh", ["-c", server + " </dev/null >log 2>&1"])
    return {
      guard let text = judge.bytes("pid"),
        let pid = pid_t(String(decoding: text, as: UTF8.self).split(separator: "\n").first ?? "")
      else { return }
      kill(pid, SIGTERM)
    }
  }

  private static let uri = "nbd+unix:///?socket=s"

  @Test("every report is that of the file", arguments: ServeTests.kinds.indices)
  func reports(kind: Int) throws {
    let kind = ServeTests.kinds[kind]
    // Beside an address lies no backing file.
    guard !kind.lines.contains(where: { $0.contains(" -b ") || $0.contains("data_file") }) else { return }
    // What is put aside and was never written is a hole to clients, so that the reports tell more zeroes.
    guard !["falloc", "2M", "odd size"].contains(kind.name) else { return }
    let judge = try Judge(inMemory: true)
    let stop = try serve(judge, kind.lines)
    defer { stop() }
    // The genuine server counts in sectors.
    guard let file = judge.bytes("image"), file.count % 512 == 0 else { return }
    let commands: [[String]] = [
      ["info"], ["info", "--output=json"], ["map"], ["map", "--output=json"], ["check", "--details"],
      ["frag"],
      ["layout"], ["layout", "--summary"], ["du"], ["where", "IMAGE", "1M"],
    ]
    for command in commands {
      let words = command.contains("IMAGE") ? command : command + ["IMAGE"]
      func printed(_ image: String) throws -> Printed {
        var printed = try judge.ours(words.map { $0 == "IMAGE" ? image : $0 })
        func plain(_ text: String) -> String {
          text.replacing(Self.uri, with: "image").replacing("'image'", with: "image").split(
            separator: "\n", omittingEmptySubsequences: false
          )
          // What a file system has put aside for a file nobody tells a client.
          .filter { line in !["disk size", "actual-size", "host blocks"].contains { line.contains($0) } }
          .joined(separator: "\n")
        }
        printed.output = plain(printed.output)
        printed.errors = plain(printed.errors)
        return printed
      }
      #expect(try printed(Self.uri) == printed("image"), "\(kind.name): \(command)")
    }
    #expect(try judge.ours(["compare", "image", Self.uri]).status == 0)
    #expect(try judge.ours(["convert", "-O", "raw", Self.uri, "copy"]).status == 0)
    #expect(try judge.ours(["compare", "-f", "raw", "copy", Self.uri]).status == 0 || kind.name == "raw")
    #expect(try judge.ours(["convert", "-O", "raw", "image", "twin"]).status == 0)
    #expect(judge.bytes("copy") == judge.bytes("twin"))
  }

  @Test("an image names a server, which is asked with consent alone")
  func asBacking() throws {
    let judge = try Judge(inMemory: true)
    let stop = try serve(
      judge, ["qemu-img create -f qcow2 image 8M", "qemu-io -c 'write -P 7 1M 1M' image"])
    defer { stop() }
    let socket = judge.path("s")
    for name in [
      "nbd+unix:///?socket=\(socket)", "nbd:unix:\(socket)",
      #"json:{"driver":"qcow2","file":{"driver":"nbd","server":{"type":"unix","path":"\#(socket)"}}}"#,
    ] {
      try? FileManager.default.removeItem(atPath: judge.path("top"))
      try judge.must("qemu-img", ["create", "-u", "-f", "qcow2", "-F", "qcow2", "-b", name, "top", "8M"])
      let read = ["io", "-r", "-c", "read -P 7 1M 1M", "top"]
      let refused = try judge.ours(read)
      #expect(refused.status == 1 && refused.errors.contains("it is an address"), "\(refused)")
      #expect(try judge.ours(["io", "--allow-outside"] + read.dropFirst()).status == 0)
    }
    // What is named by hand is what was asked for, and remembered for that image.
    let state = ["XDG_STATE_HOME": judge.path("state")]
    #expect(
      try judge.ours(
        ["create", "-f", "qcow2", "-F", "qcow2", "-b", "nbd+unix:///?socket=\(socket)", "mine"], state
      ).status == 0)
    let mine = try judge.ours(["map", "mine"], state)
    #expect(mine.status == 0 && mine.output.contains("0x100000"), "\(mine)")
    // Nothing is written through a server.
    let rebased = try judge.ours(["resize", Self.uri, "16M"])
    #expect(rebased.status == 1 && rebased.errors.contains("only looked at"), "\(rebased)")
    // No server, no export.
    for (uri, reason) in [
      ("nbd+unix:///?socket=nowhere", "No such file"),
      ("nbd+unix:///other?socket=s", "it has no export 'other'"),
      ("nbds://localhost/", "TLS"),
    ] {
      let failed = try judge.ours(["info", uri])
      #expect(failed.status == 1 && failed.errors.contains(reason), "\(failed)")
    }
  }
}
