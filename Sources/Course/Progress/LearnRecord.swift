// One answer of a learner, as a line of JSON. No name, no host, no path is in it.

import Cartography
import Qcow
import ToolText

/// An answer that was given, and what it was worth then.
package struct LearnRecord: Equatable, Sendable {
  /// What was asked.
  package enum Subject: Equatable, Sendable {
    /// A lesson, the version of its file, and the place in it, from 1; the exercise comes behind the steps.
    case lesson(String, digest: String, place: Int)
    /// A drawn question: its kind, the seed it was drawn with, and how hard it was.
    case question(String, seed: UInt64, level: Int)
  }

  /// The ``query`` of an exercise whose goals were reached; the answer is what was done for that.
  package static let reached = "reach"
  /// Of the program.
  package static let version = "0.1.0"

  /// Seconds since 1970.
  package var time: UInt64
  package var subject: Subject
  /// The question in words, with the queries of its text as they are written.
  package var query: String
  /// Empty where the answer was shown instead.
  package var given: String
  package var isRight: Bool
  /// Hints that were seen before.
  package var hints: Int
  /// From the question to the answer.
  package var seconds: UInt64
  /// Operations beside the way of the lesson.
  package var operations: Int

  package init(
    time: UInt64, subject: Subject, query: String, given: String, isRight: Bool, hints: Int, seconds: UInt64,
    operations: Int
  ) {
    self.time = time
    self.subject = subject
    self.query = query
    self.given = given
    self.isRight = isRight
    self.hints = hints
    self.seconds = seconds
    self.operations = operations
  }

  /// As it is kept, without a newline.
  package var line: String {
    var members = [Field("time", .number(time))]
    switch subject {
    case .lesson(let name, let digest, let place):
      members += [
        Field("lesson", .string(name)), Field("digest", .string(digest)),
        Field("step", .number(UInt64(max(0, place)))),
      ]
    case .question(let kind, let seed, let level):
      members += [
        Field("kind", .string(kind)), Field("seed", .number(seed)),
        Field("level", .number(UInt64(max(0, level)))),
      ]
    }
    members += [
      Field("query", .string(query)), Field("given", .string(given)), Field("right", .bool(isRight)),
      Field("hints", .number(UInt64(max(0, hints)))), Field("seconds", .number(seconds)),
      Field("off-track", .number(UInt64(max(0, operations)))), Field("version", .string(Self.version)),
    ]
    return ReportValue.object(members).jsonLine
  }

  /// Reads a line; nil for one that is none of these.
  package init?(_ line: String) {
    guard line.utf8.count <= 1 << 16, let members = try? JsonName(line).members else { return nil }
    func number(_ name: String) -> Int? { members[name].flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil } }
    guard let time = number("time"), let query = members["query"], let given = members["given"],
      let right = members["right"]
    else { return nil }
    if let name = members["lesson"], let place = number("step") {
      subject = .lesson(name, digest: members["digest"] ?? "", place: place)
    } else if let kind = members["kind"], let seed = members["seed"].flatMap({ UInt64($0) }) {
      subject = .question(kind, seed: seed, level: number("level") ?? 0)
    } else {
      return nil
    }
    self.time = UInt64(time)
    self.query = query
    self.given = given
    isRight = right == "true"
    hints = number("hints") ?? 0
    seconds = UInt64(number("seconds") ?? 0)
    operations = number("off-track") ?? 0
  }

  /// Tells versions of a lesson's file from each other: 16 digits.
  package static func digest(of bytes: [UInt8]) -> String {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x0100_0000_01b3 }
    return Notation.hex(value, width: 16)
  }
}
