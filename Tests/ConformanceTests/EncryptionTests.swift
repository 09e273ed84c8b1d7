// Encrypted images: the genuine tools and qatlas do the same random requests on two copies of one
// image. The key is the same, so the files must be as well, byte for byte.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import Synchronization
import TestSupport
import Testing

@Suite("Encrypted images", .tags(.genuine))
struct EncryptionTests {
  /// Layout and cipher of the images.
  static let images: [(cluster: UInt64, extended: Bool, options: String)] = [
    (65536, false, ""),
    (512, false, "encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256"),
    (16384, true, "encrypt.cipher-alg=aes-128,encrypt.hash-alg=sha512"),
    (4096, false, "encrypt.cipher-alg=serpent-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain"),
    (1 << 20, false, "encrypt.cipher-alg=cast5-128,encrypt.cipher-mode=cbc,encrypt.hash-alg=sha1"),
    (4096, false, "encrypt.format=aes"), (65536, true, "encrypt.format=aes"),
  ]

  private static func secret() -> Secret {
    Array(GenuineEncryption.passphrase.utf8).withUnsafeBytes { Secret(copying: $0) }
  }

  private static func unlocked(writable: Bool = false) -> Image.Options {
    var options = Image.Options()
    options.secret = secret()
    options.writable = writable
    return options
  }

  private static func genuine(_ path: String, _ commands: [String]) throws {
    let result = try run(
      "qemu-io", GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(path)] + commands,
      timeout: 120)
    guard result.status == 0, !result.stdout.contains("failed") else {
      throw TestFailure("qemu-io \(commands.prefix(8)): \(result.stdout)\(result.stderr)")
    }
  }

  /// Makes one of the images; what it is made of.
  private static func make(_ number: Int, _ path: String) throws -> Image.CreateOptions {
    let recipe = images[number]
    var create = Image.CreateOptions(size: max(2 << 20, 6 * recipe.cluster) + 512 * 3)
    create.clusterSize = recipe.cluster
    create.extendedL2 = recipe.extended
    let layout = "cluster_size=\(recipe.cluster),extended_l2=\(recipe.extended ? "on" : "off")"
    let format = recipe.options.contains("encrypt.format") ? "" : "encrypt.format=luks,"
    try GenuineEncryption.copy(
      path, "\(format)\(layout)\(recipe.options.isEmpty ? "" : ",")\(recipe.options)",
      size: String(create.size))
    return create
  }

  @Test("random scripts leave the bytes that the genuine tools leave", arguments: images.indices)
  func scripts(number: Int) throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let folder = try TemporaryDirectory()
    let made = folder.path("made.qcow2")
    let create = try Self.make(number, made)
    for script in 0..<4 {
      let seed = UInt64(number * 100 + script)
      do {
        try Self.compare(made, create, seed: seed, folder)
      } catch {
        Issue.record("seed \(seed), \(Self.images[number]): \(error)")
      }
    }
  }

  private static func compare(
    _ made: String, _ create: Image.CreateOptions, seed: UInt64, _ folder: TemporaryDirectory
  ) throws {
    let theirs = folder.path("\(seed)-genuine.qcow2")
    let ours = folder.path("\(seed)-qatlas.qcow2")
    for path in [theirs, ours] { try FileManager.default.copyItem(atPath: made, toPath: path) }
    defer { for path in [theirs, ours] { try? FileManager.default.removeItem(atPath: path) } }
    var random = SplitMix64(seed: seed)
    var disk = SegmentModel(size: create.size)
    var budget: UInt64 = 6 << 20
    for session in 0..<3 {
      let requests = (0..<(4 + random.below(16))).map { _ in RandomScript.request(&random, create, &budget) }
      for request in requests { disk.apply(request, create) }
      try genuine(theirs, RandomScript.ioArguments(requests))
      try withImage(ours, unlocked(writable: true)) { image in
        for request in requests { try image.carryOut(request) }
      }
      if let offset = try firstDifference(theirs, ours) {
        throw TestFailure(
          "session \(session): the files differ first at byte \(offset); "
            + (try ImageStructure.difference(file: theirs, ours))
            + "\n" + requests.map(\.quietIoCommand).joined(separator: "\n"))
      }
    }
    let check = try run(
      "qemu-img",
      ["check", "-q"] + GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(ours)])
    guard check.status == 0 else { throw TestFailure("qemu-img check: \(check.stdout)\(check.stderr)") }
    try readBack(ours, disk)
  }

  /// Whole segments, and ranges that begin and end inside sectors.
  private static func readBack(_ path: String, _ disk: SegmentModel) throws {
    try genuine(
      path,
      ["-r"]
        + disk.segments.prefix(100).flatMap {
          ["-c", "read -q -P \($0.byte) \($0.start) \($0.end - $0.start)"]
        })
    try withImage(path, unlocked()) { image in
      for segment in disk.segments {
        for (start, end) in [
          (segment.start, segment.end), (segment.start + 1, segment.end), (segment.start, segment.end - 1),
          (segment.start + 300, min(segment.end, segment.start + 900)),
        ] where start < end {
          let bytes = try image.bytes(at: start, count: Int(end - start))
          guard isFilled(bytes, with: segment.byte) else {
            throw TestFailure("qatlas reads other bytes than \(segment) in \(start)..<\(end)")
          }
        }
      }
    }
  }

  @Test("a zero-write that makes data of a detected pattern, and long requests, as the genuine tool has them")
  func special() throws {
    let folder = try TemporaryDirectory()
    let made = folder.path("made.qcow2")
    _ = try Self.make(1, made)
    let requests: [GuestRequest] = [
      .write(offset: 3, count: 300_000, byte: 7), .write(offset: 100, count: 200_000, byte: 0),
      .write(offset: 600_001, count: 500, byte: 0), .zero(offset: 1, count: 1, mayUnmap: true),
      .zero(offset: 500, count: 24, mayUnmap: false), .zero(offset: 100, count: 924, mayUnmap: true),
      .zero(offset: 4, count: 900_000, mayUnmap: false), .write(offset: 10_000, count: 900_000, byte: 9),
    ]
    for detect in ["off", "on", "unmap"] {
      let paths = ["genuine", "qatlas"].map { folder.path("\(detect)-\($0).qcow2") }
      for path in paths { try FileManager.default.copyItem(atPath: made, toPath: path) }
      for (path, program) in zip(paths, ["qemu-io", try builtProduct("qatlas")]) {
        let io = program == "qemu-io" ? [] : ["io"]
        let result = try run(
          program,
          io + GenuineEncryption.object + [
            "--image-opts", GenuineEncryption.options(path) + ",discard=unmap,detect-zeroes=\(detect)",
          ] + RandomScript.ioArguments(requests), timeout: 120)
        #expect(result.status == 0, "\(program): \(result.stderr)")
      }
      #expect(try firstDifference(paths[0], paths[1]) == nil, "detect-zeroes=\(detect)")
    }
  }

  @Test("an image without its passphrase shows its structure and guards its data")
  func locked() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("a.qcow2")
    try GenuineEncryption.copy(path, "encrypt.format=luks", size: "4M")
    try Self.genuine(path, ["-c", "write -P 5 64k 64k", "-c", "write -z 256k 64k"])
    let before = try sha256(ofFile: path)
    var options = Image.Options()
    options.writable = true
    try withImage(path, options) { (image: Image) throws -> Void in
      #expect(try image.wholeMap().map(\.state) == [.unallocated, .data, .unallocated, .zero, .unallocated])
      #expect(try image.bytes(at: 0, count: 65536).allSatisfy { $0 == 0 })
      #expect(try image.bytes(at: 256 << 10, count: 65536).allSatisfy { $0 == 0 })
      let error = #expect(throws: ImageError.self) { try image.bytes(at: 65536, count: 1) }
      #expect(error?.code == .encrypted && error?.description.contains("--secret") == true)
      #expect(!image.isWritable && image.readOnlyReason?.contains("--secret") == true)
      #expect(throws: TestFailure.self) { try image.carryOut(.write(offset: 0, count: 512, byte: 1)) }
    }
    #expect(try sha256(ofFile: path) == before)
    try Self.hostileHeaders(path, folder)
  }

  /// Each change makes unlocking fail with a reason, at once, and leaves the structure open to look at.
  private static func hostileHeaders(_ path: String, _ folder: TemporaryDirectory) throws {
    let area: UInt64 = 0x40000
    let changes: [(name: String, at: UInt64, bytes: [UInt8], says: String)] = [
      ("damaged stripe", area + 4096 + 100_000, [1, 2, 3, 4], "Invalid password"),
      ("damaged salt", area + 216, [9, 9, 9, 9], "Invalid password"),
      ("damaged digest", area + 112, [9, 9, 9, 9], "Invalid password"),
      ("no slot", area + 208, [0, 0, 0xde, 0xad], "no active key slot"),
      ("endless slot", area + 212, [0xff, 0xff, 0xff, 0xff], "rounds of hashing"),
      ("endless digest", area + 164, [0xff, 0xff, 0xff, 0xff], "rounds of hashing"),
      ("no iterations", area + 212, [0, 0, 0, 0], "no iterations"),
      ("stripes", area + 252, [0xff, 0xff, 0xff, 0xff], "stripes"),
      ("key place", area + 248, [0xff, 0xff, 0xff, 0xff], "outside"),
      ("key size", area + 108, [0, 0, 0, 63], "key of 63 bytes"),
      ("huge key", area + 108, [0x7f, 0xff, 0xff, 0xff], "key of 2147483647 bytes"),
      ("cipher", area + 8, Array("rot13".utf8), "rot13"),
      ("mode", area + 40, Array("gcm".utf8), "mode"),
      ("vectors", area + 44, Array("random\0".utf8), "vectors"),
      ("hash", area + 72, Array("crc32\0".utf8), "crc32"),
      ("version", area + 7, [2], "version 2"),
      ("magic", area, [0], "no LUKS header"),
    ]
    for change in changes {
      let storage = OverlayStorage(base: try FileStorage(path: path, mode: .readOnly))
      try storage.write(change.bytes, at: change.at)
      let start = ContinuousClock().now
      let error = #expect(throws: ImageError.self, "\(change.name)") {
        try Image(storage, options: unlocked())
      }
      #expect(error?.description.contains(change.says) == true, "\(change.name): \(error?.description ?? "")")
      #expect(start.duration(to: ContinuousClock().now) < .seconds(10), "\(change.name)")
      #expect(try Image(storage).wholeMap().count == 5, "\(change.name)")
    }
    var random = SplitMix64(seed: 3)
    for round in 0..<200 {
      let storage = OverlayStorage(base: try FileStorage(path: path, mode: .readOnly))
      // Names, sizes and slots, never the counts of iterations: the limit allows what takes a minute.
      for _ in 0..<(1 + random.below(8)) {
        let at = [8 + random.below(104), 168 + random.below(44), 216 + random.below(376)][
          Int(random.below(3))]
        try storage.write([UInt8(truncatingIfNeeded: random.next())], at: area + at)
      }
      _ = try? Image(storage, options: unlocked())
      #expect(try Image(storage).wholeMap().count == 5, "round \(round)")
    }
  }
}
