// The recorded random sessions: what QEMU 10 left in the file after every step of 120 scripts, as
// far as the engine has the features they use. A script runs up to its first step that needs more.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import TestSupport
import Testing

@Suite("Recorded sessions", .tags(.genuine))
struct RecordedSessionTests {
  /// Makes the raw backing file of a script: a pattern again and again.
  private static func makeBacking(_ backing: Json, in folder: TemporaryDirectory) throws {
    let digits = Array(try backing["pattern"].string("pattern"))
    let pattern = try stride(from: 0, to: digits.count, by: 2).map { at in
      guard let byte = UInt8(String(digits[at...at + 1]), radix: 16) else { throw TestFailure("pattern") }
      return byte
    }
    let size = try Int(backing["length"].number("length"))
    let bytes = (0..<size).map { pattern[$0 % pattern.count] }
    try Data(bytes).write(to: URL(fileURLWithPath: folder.path(backing["name"].string("name"))))
  }

  /// A step that is a command of its own; nil for sessions.
  private static func command(_ step: Json) throws -> Command? {
    switch try step["do"].string("do") {
    case "snapshot create": return .createSnapshot(try step["name"].string("name"))
    case "snapshot apply": return .applySnapshot(try step["id"].string("id"))
    case "snapshot delete": return .deleteSnapshot(try step["name"].string("name"))
    case "resize":
      let word = try step["preallocation"].string("preallocation")
      guard let mode = Image.CreateOptions.Preallocation(rawValue: word) else {
        throw TestFailure("preallocation \(word)")
      }
      return .resize(try step["size"].number("size"), mode)
    case "session", "create": return nil
    default: throw TestFailure("step \(step["do"]) is not known")
    }
  }

  @Test("the recorded sessions, file length and hash after every step")
  func sessions() throws {
    var complete = 0
    var steps = 0
    var all = 0
    let vectors = try Json.vector("FUZZ")["vectors"].items
    for vector in vectors {
      let seed = try vector["seed"].number("seed")
      all += vector["steps"].items.count
      var done = 0
      do { try run(vector, &done) } catch { Issue.record("recorded session \(seed), step \(done): \(error)") }
      steps += done
      if done == vector["steps"].items.count { complete += 1 }
    }
    print("recorded sessions: \(complete) of \(vectors.count) to their end, \(steps) of \(all) steps")
    #expect(complete == vectors.count)
  }

  /// Where a recorded session lost the data of a snapshot: with discard-no-unref QEMU gives the bytes of
  /// a discarded cluster back to the host although a snapshot shares it. Here those bytes stay; all
  /// others are the same. By seed, the guest offset of the cluster.
  private static let sharedDiscards: [UInt64: UInt64] = [9103: 73728]

  /// Does to the file what QEMU did, after a look that the cluster is shared and still holds its data.
  private func punchShared(_ path: String, _ guest: UInt64) throws {
    let (host, size) = try withImage(path, Image.Options()) { image in
      let entry = try image.l2Entry(at: GuestOffset(guest))
      #expect(try image.refcount(of: HostCluster(entry.offsetBits / image.geometry.clusterSize)) == 2)
      return (entry.offsetBits, Int(image.geometry.clusterSize))
    }
    #expect(try bytes(ofFile: path, at: host, count: size).contains { $0 != 0 })
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try handle.seek(toOffset: host)
    try handle.write(contentsOf: Data(count: size))
    try handle.close()
  }

  /// Runs the steps and counts those that left the recorded file.
  private func run(_ vector: Json, _ done: inout Int) throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("i.qcow2")
    let backing = vector["create"]["backing"]
    if backing != .null { try Self.makeBacking(backing, in: folder) }
    let backingHash = backing == .null ? nil : try sha256(ofFile: folder.path("b.raw"))
    for step in vector["steps"].items {
      if let command = try Self.command(step) {
        try command.run(path)
      } else if step["do"] == .string("create") {
        try createImage(path, Self.createOptions(vector["create"], in: folder))
      } else {
        try withImage(path, sessionOptions(step["open"].fields)) { image in
          for list in step["ops"].items {
            guard let request = try GuestRequest(list) else { throw TestFailure("\(list) is no request") }
            try image.carryOut(request)
          }
        }
      }
      guard try length(ofFile: path) == step["length"].number("length") else { throw TestFailure("length") }
      let expected = try step["sha256"].string("sha256")
      if try imageHash(path) != expected {
        guard let guest = Self.sharedDiscards[try vector["seed"].number("seed")] else {
          throw TestFailure("hash")
        }
        try punchShared(path, guest)
        guard try imageHash(path) == expected else {
          throw TestFailure("hash, even without the shared bytes")
        }
      }
      done += 1
    }
    if let backingHash { #expect(try sha256(ofFile: folder.path("b.raw")) == backingHash) }
  }

  private static func createOptions(_ create: Json, in folder: TemporaryDirectory) throws
    -> Image.CreateOptions
  {
    let size = try create["size"].number("size")
    var options = try VectorCreateOptions(size: size, create["options"].fields, in: folder.path).options
    if create["backing"] != .null {
      options.backingFile = try create["backing"]["name"].string("name")
      options.backingFormat = try create["backing"]["format"].string("format")
    }
    return options
  }
}
