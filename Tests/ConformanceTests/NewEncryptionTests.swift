// Encrypted images made by qatlas: the genuine tools must open them with the passphrase, and every byte
// that is not random or measured must be theirs.

import Foundation
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("New encrypted images", .tags(.genuine))
struct NewEncryptionTests {
  static let choices = [
    "", "cluster_size=4k", "preallocation=metadata", "compat=0.10", "extended_l2=on,cluster_size=16k",
    "encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.hash-alg=sha1",
    "encrypt.cipher-alg=serpent-192,encrypt.hash-alg=sha512,encrypt.ivgen-alg=plain",
    "encrypt.cipher-alg=twofish-256,encrypt.ivgen-hash-alg=md5,encrypt.hash-alg=ripemd160",
    "encrypt.cipher-alg=cast5-128,encrypt.cipher-mode=cbc", "encrypt.cipher-mode=ecb",
    "encrypt.cipher-mode=ctr", "encrypt.ivgen-alg=essiv",
  ]

  private static func create(_ path: String, _ options: String) throws {
    let result = try run(
      try builtProduct("qatlas"),
      ["create", "-q"] + GenuineEncryption.object
        + [
          "-o",
          "encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10"
            + (options.isEmpty ? "" : ",\(options)"), path, "3M",
        ])
    guard result.status == 0 else { throw TestFailure("qatlas create \(options): \(result.stderr)") }
  }

  @Test("the genuine tool opens it, and all that is not random is the same", arguments: choices)
  func luks(options: String) throws {
    let folder = try TemporaryDirectory()
    let ours = folder.path("ours.qcow2")
    let theirs = folder.path("theirs.qcow2")
    try Self.create(ours, options)
    try GenuineEncryption.create(
      theirs, "encrypt.format=luks" + (options.isEmpty ? "" : ",\(options)"), size: "3M")
    #expect(try Self.known(ours) == Self.known(theirs))

    // Clusters that are only reserved decrypt to noise.
    let fresh = options.contains("preallocation") ? [] : ["-c", "read -P 0 0 3M"]
    let open = GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(ours)]
    let written = try run(
      "qemu-io",
      open + fresh + ["-c", "write -P 5 1000 200000", "-c", "read -P 5 1000 200000"])
    #expect(
      written.status == 0 && !written.stdout.contains("ailed"), "\(written.stdout)\(written.stderr)")
    let check = try run("qemu-img", ["check", "-q"] + open)
    #expect(check.status == 0, "\(check.stdout)\(check.stderr)")
    let read = try run(
      try builtProduct("qatlas"),
      ["io", "-r"] + open + ["-c", "read -P 5 1000 200000"]
        + (fresh.isEmpty ? [] : ["-c", "read -P 0 1M 2M"]))
    #expect(read.status == 0 && !read.stdout.contains("ailed"), "\(read.stdout)\(read.stderr)")
    let wrong = try run(
      "qemu-io",
      ["--object", "secret,id=s0,data=other", "--image-opts", GenuineEncryption.options(ours), "-c", "quit"])
    #expect(wrong.status == 1 && wrong.stderr.contains("Invalid password"))
  }

  /// The file without what is random or measured in it: salts, digest, identity, iterations, the key.
  private static func known(_ path: String) throws -> Data {
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    var header = [UInt8](bytes.prefix(1 << 16))
    let image = try Header(parsing: Array(header.prefix(112)))
    var at = Int(image.extensionsStart)
    while true {
      let type = BigEndian.u32(header, at)
      let length = Int(BigEndian.u32(header, at + 4))
      if type == 0x0537_be77 { break }
      guard type != 0 else { throw TestFailure("\(path) has no encryption header") }
      at += 8 + (length + 7) / 8 * 8
    }
    let area = Int(BigEndian.u64(header, at + 8))
    header = [UInt8](bytes[area..<area + 592])
    let key = Int(BigEndian.u32(header, 108)) * 4000
    #expect(bytes[area + 4096..<area + 4096 + key].contains { $0 != 0 })
    for range in [112..<168, 168..<208, 212..<248, 4096..<4096 + key] {
      bytes.replaceSubrange(
        area + range.lowerBound..<area + range.upperBound, with: Data(count: range.count))
    }
    return bytes
  }

  @Test("two images have no random byte in common, and the shortest time still means 1000 iterations")
  func random() throws {
    let folder = try TemporaryDirectory()
    let headers = try ["a", "b"].map { name in
      try Self.create(folder.path(name), "encrypt.iter-time=0")
      return try LUKSHeader(parsing: bytes(ofFile: folder.path(name), at: 0x40000, count: LUKSHeader.size))
    }
    #expect(headers[0].uuid != headers[1].uuid && headers[0].digestSalt != headers[1].digestSalt)
    #expect(headers[0].slots[0].salt != headers[1].slots[0].salt && headers[0].digest != headers[1].digest)
    for header in headers {
      #expect(header.slots[0].iterations == 1000 && header.digestIterations == 1000)
      #expect(header.uuid.utf8.count == 36 && header.uuid == header.uuid.lowercased())
    }
  }

  @Test("the legacy encryption: the same file, and it is written with the passphrase")
  func legacy() throws {
    let folder = try TemporaryDirectory()
    let paths = ["ours", "theirs"].map { folder.path($0) }
    let options = ["-o", "encrypt.format=aes,encrypt.key-secret=s0"]
    for (program, path) in zip([try builtProduct("qatlas"), "qemu-img"], paths) {
      let result = try run(
        program, ["create", "-q", "-f", "qcow2"] + GenuineEncryption.object + options + [path, "2M"])
      #expect(result.status == 0, "\(result.stderr)")
    }
    #expect(try firstDifference(paths[0], paths[1]) == nil)
    for (program, path) in zip([[try builtProduct("qatlas"), "io"], ["qemu-io"]], paths) {
      let result = try run(
        program[0],
        program.dropFirst() + GenuineEncryption.object + [
          "--image-opts", GenuineEncryption.options(path), "-c", "write -P 9 700 90000", "-c",
          "discard 0 64k",
          "-c", "write -P 8 3 5", "-c", "read -P 9 64k 20000",
        ])
      #expect(result.status == 0 && !result.stdout.contains("ailed"), "\(result.stdout)\(result.stderr)")
    }
    #expect(try firstDifference(paths[0], paths[1]) == nil)
  }

  @Test("resize unlocks an image with either way to give its passphrase")
  func resize() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("a.qcow2")
    try Self.create(path, "encrypt.iter-time=0")
    let qatlas = try builtProduct("qatlas")
    let locked = try run(qatlas, ["resize", path, "4M"])
    #expect(locked.status == 1 && locked.stderr.contains("--secret"))
    let variable = testEnvironment(["PASS": GenuineEncryption.passphrase])
    let first = try run(qatlas, ["resize", "--secret", "env=PASS", path, "4M"], environment: variable)
    #expect(first.status == 0 && first.stdout == "Image resized.\n", "\(first.stderr)")
    let second = try run(
      qatlas,
      ["resize"] + GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(path), "+1M"])
    #expect(second.status == 0, "\(second.stderr)")
    let info = try run("qemu-img", ["info", path])
    #expect(info.stdout.contains("5 MiB (5242880 bytes)"))
  }
}
