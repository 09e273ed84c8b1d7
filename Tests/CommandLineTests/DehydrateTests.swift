// `qatlas dehydrate` and `rehydrate`: the copy has the tables and not a byte of the guest, and both together are the
// image again.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DehydrateTests {
  private static let kinds = [
    "cluster_size=64k", "extended_l2=on", "cluster_size=4k,refcount_bits=1", "compat=0.10",
  ]

  private func prepare(_ folder: TemporaryDirectory, _ options: String) throws {
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, folder.path("a"), "32M"])
    try succeed(
      "qemu-io",
      [
        "-f", "qcow2", "-c", "write -P 0x53 0 3M", "-c", "write -z 1M 128k", "-c",
        "write -c -P 0x53 8M \(options.contains("=4k") ? "4k" : "64k")",
        "-c", "write -P 0x53 20M 100k", folder.path("a"),
      ])
    guard !options.contains("compat"), !options.contains("=1") else { return }
    try succeed("qemu-img", ["snapshot", "-c", "before the upgrade", folder.path("a")])
    try succeed("qemu-img", ["bitmap", "--add", folder.path("a"), "nightly"])
    try succeed("qemu-io", ["-f", "qcow2", "-c", "write -P 0x53 2M 1M", folder.path("a")])
  }

  private func bytes(_ folder: TemporaryDirectory, _ name: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: folder.path(name)))
  }

  @Test("there and back", arguments: kinds)
  func thereAndBack(_ options: String) throws {
    let folder = try TemporaryDirectory()
    try prepare(folder, options)
    let image = try bytes(folder, "a")
    let qatlas = try builtProduct("qatlas")
    try succeed(qatlas, ["dehydrate", folder.path("a"), folder.path("copy")])
    let copy = try bytes(folder, "copy")
    #expect(copy.count == image.count)
    // The guest wrote one byte again and again; eight of them in a row are no part of any table.
    #expect(image.range(of: Data(repeating: 0x53, count: 8)) != nil)
    #expect(copy.range(of: Data(repeating: 0x53, count: 8)) == nil)
    let check = try run("qemu-img", ["check", folder.path("copy")])
    #expect(check.status == 0, "\(check.stdout)\(check.stderr)")
    for name in ["a", "copy"] {
      #expect(try run("qemu-img", ["map", "--output=json", folder.path(name)]).status == 0)
    }
    try succeed(qatlas, ["rehydrate", folder.path("copy"), folder.path("a"), folder.path("back")])
    #expect(try bytes(folder, "a").elementsEqual(image))
    try succeed("qemu-img", ["compare", "-s", folder.path("a"), folder.path("back")])
    #expect(try run("qemu-img", ["check", folder.path("back")]).status == 0)
    // Nothing is overwritten.
    let again = try run(qatlas, ["dehydrate", folder.path("a"), folder.path("back")])
    #expect(again.status == 1 && again.stderr.contains("exists already"), "\(again.stderr)")
    #expect(try run("qemu-img", ["check", folder.path("back")]).status == 0)
  }

  @Test func blankNames() throws {
    let folder = try TemporaryDirectory()
    try prepare(folder, "cluster_size=64k")
    try succeed("qemu-img", ["bitmap", "--add", folder.path("a"), "hourly!"])
    try succeed(
      "qemu-img", ["rebase", "-u", "-b", "secret-base.qcow2", "-F", "qcow2", folder.path("a")])
    let qatlas = try builtProduct("qatlas")
    try succeed(qatlas, ["dehydrate", "--blank-names", folder.path("a"), folder.path("copy")])
    let copy = try bytes(folder, "copy")
    for name in ["secret-base", "before the upgrade", "nightly", "hourly!"] {
      #expect(copy.range(of: Data(name.utf8)) == nil, "\(name)")
    }
    let info = try run(qatlas, ["info", "--output=json", folder.path("copy")])
    #expect(info.stdout.contains("xxxxxxxxxxxxxxxxx"), "\(info.stdout)\(info.stderr)")
    #expect(info.stdout.contains("\"xxxxxx0\"") && info.stdout.contains("\"xxxxxx1\""), "\(info.stdout)")
    #expect(try run(qatlas, ["check", folder.path("copy")]).status == 0)
  }

  @Test func blankKeys() throws {
    let folder = try TemporaryDirectory()
    let secret = ["--object", "secret,id=s,data=open sesame"]
    try succeed(
      "qemu-img",
      ["create", "-q"] + secret + [
        "-f", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        folder.path("a"), "4M",
      ])
    let qatlas = try builtProduct("qatlas")
    for (name, flags) in [("kept", []), ("blank", ["--blank-keys"])] {
      try succeed(qatlas, ["dehydrate"] + flags + [folder.path("a"), folder.path(name)])
      let opened = try run(
        "qemu-io",
        secret + [
          "--image-opts", "-c", "read 0 4k",
          "driver=qcow2,file.filename=\(folder.path(name)),encrypt.format=luks,encrypt.key-secret=s",
        ])
      #expect((opened.status == 0) == (name == "kept"), "\(name): \(opened.stdout)\(opened.stderr)")
    }
    #expect(try run(qatlas, ["check", folder.path("blank")]).status == 0)
  }
}
