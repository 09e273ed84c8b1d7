// The recorded random sessions: what QEMU 10 left in the file after every step of 120 scripts, as
// far as the engine has the features they use. A script runs up to its first step that needs more.

import Foundation
import Qcow
import TestSupport
import Testing

@Suite("Recorded sessions")
struct RecordedSessionTests {
  /// What keeps a script from being started at all.
  private static func missing(_ vector: Json) throws -> Set<MissingFeature> {
    let create = vector["create"]
    var missing = try VectorCreateOptions(size: 0, create["options"].fields).missing
    if create["backing"] != .null { missing.insert(.backing) }
    return missing
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
    var waiting: [MissingFeature: Int] = [:]
    var complete = 0
    var steps = 0
    var all = 0
    let vectors = try Json.vector("FUZZ")["vectors"].items
    for vector in vectors {
      let seed = try vector["seed"].number("seed")
      all += vector["steps"].items.count
      let missing = try Self.missing(vector)
      for feature in missing { waiting[feature, default: 0] += 1 }
      guard missing.isEmpty else { continue }
      let folder = try TemporaryDirectory()
      let path = folder.path("i.qcow2")
      for (index, step) in vector["steps"].items.enumerated() {
        if let command = try Self.command(step) {
          try command.run(path)
        } else if step["do"] == .string("create") {
          let size = try vector["create"]["size"].number("size")
          try createImage(
            path, VectorCreateOptions(size: size, vector["create"]["options"].fields, in: folder.path).options
          )
        } else {
          try withImage(path, sessionOptions(step["open"].fields)) { image in
            for list in step["ops"].items {
              guard let request = try Request(list) else { throw TestFailure("\(list) is no request") }
              try image.perform(request)
            }
          }
        }
        let sameLength = try length(ofFile: path) == step["length"].number("length")
        let sameBytes = try imageHash(path) == step["sha256"].string("sha256")
        #expect(sameLength && sameBytes, "recorded session \(seed), step \(index): \(step["do"])")
        guard sameBytes else { break }
        steps += 1
      }
      complete += 1
    }
    print("recorded sessions: \(complete) of \(vectors.count) to their end, \(steps) of \(all) steps")
    for (feature, count) in waiting.sorted(by: { $0.key < $1.key }) {
      print("  not yet, for \(feature.rawValue): \(count)")
    }
    #expect(complete > 0)
  }
}
