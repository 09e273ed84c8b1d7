// The lessons on faults, judged by the genuine tools: what the wrong order leaves is damaged as the lesson tells, and what
// the right order leaves is not. The table is printed, so that it can be looked at.

import Foundation
import Storage
import TestSupport
import Testing

@testable import Course
@testable import Qcow

/// A place in a lesson at which its fault shows, and what the genuine tools say of the file there.
private struct Damage: Sendable {
  /// Guest bytes, or the first ones of a snapshot.
  enum Look: Sendable {
    case read(String, String)
    case snapshot(String)

    var text: String {
      switch self {
      case .read(let offset, let count): "read \(offset) \(count)"
      case .snapshot(let name): "snapshot \(name)"
      }
    }
  }

  var lesson: String
  /// Steps that are played, the last one with its operations.
  var steps: Int
  /// What a check says: exit code, errors, leaks.
  var check: (exit: Int32, errors: Int, leaks: Int)
  /// What is looked at: what it gives with the wrong order, and with the right one.
  var looks: [(look: Look, wrong: String, right: String)] = []

  static let all: [Damage] = [
    Damage(lesson: "stale-punch", steps: 4, check: (3, 0, 1), looks: [(.read("512M", "64k"), "00", "22")]),
    Damage(lesson: "zero-shows-base", steps: 3, check: (0, 0, 0), looks: [(.read("0", "64k"), "bb", "00")]),
    Damage(lesson: "zero-shows-base", steps: 5, check: (0, 0, 0), looks: [(.read("4k", "60k"), "bb", "00")]),
    Damage(
      lesson: "published-first", steps: 2, check: (2, 2, 0), looks: [(.read("512M", "64k"), "22", "22")]),
    Damage(
      lesson: "published-first", steps: 3, check: (2, 24577, 1),
      looks: [(.read("512M", "64k"), "Input/output error", "22")]),
    Damage(lesson: "zero-beside-write", steps: 4, check: (2, 2, 0)),
    Damage(lesson: "zero-beside-write", steps: 5, check: (2, 1, 0), looks: [(.read("0", "64k"), "77", "00")]),
    Damage(lesson: "short-copy", steps: 2, check: (2, 2, 6), looks: [(.snapshot("one"), "none", "11")]),
    Damage(
      lesson: "packed-neighbour", steps: 3, check: (2, 1, 0), looks: [(.read("64k", "64k"), "mixed", "22")]),
    Damage(lesson: "wrong-copied", steps: 2, check: (2, 1, 0), looks: [(.snapshot("before"), "11", "11")]),
    Damage(lesson: "wrong-copied", steps: 3, check: (2, 1, 0), looks: [(.snapshot("before"), "22", "11")]),
    Damage(lesson: "wrong-copied", steps: 4, check: (0, 0, 0), looks: [(.read("0", "64k"), "22", "11")]),
  ]
}

@Suite("Lessons on faults: the genuine tools see the damage", .tags(.genuine), .serialized)
struct LessonDamageTests {
  /// What the tools say of a file.
  private struct Found: Equatable {
    var exit: Int32
    var errors: Int
    var leaks: Int
    var looks: [String]

    var check: String {
      let parts = [errors > 0 ? "errors \(errors)" : "", leaks > 0 ? "leaks \(leaks)" : ""]
      let text = parts.filter { !$0.isEmpty }.joined(separator: " ")
      return text.isEmpty ? "clean" : text
    }
  }

  @Test("the wrong order does the damage, the right one does none")
  func damage() throws {
    try requireTool("qemu-img")
    try requireTool("qemu-io")
    var table = "  lesson, steps             wrong order: exit, check, looks    right order\n"
    for damage in Damage.all {
      let lesson = try LessonLibrary.lesson(damage.lesson)
      let wrong = try Self.judge(lesson, damage)
      let right = try Self.judge(Self.withoutFault(lesson), damage)
      let place = "\(damage.lesson), \(damage.steps)"
      #expect(
        wrong
          == Found(
            exit: damage.check.exit, errors: damage.check.errors, leaks: damage.check.leaks,
            looks: damage.looks.map(\.wrong)), "\(place): wrong order")
      #expect(
        right == Found(exit: 0, errors: 0, leaks: 0, looks: damage.looks.map(\.right)),
        "\(place): right order")
      // The lesson says so too.
      for (query, value) in Self.stated(lesson.steps[damage.steps - 1]) {
        if query == "check" { #expect(value == wrong.check, "\(place)") }
        if query == "check.exit" { #expect(value == "\(wrong.exit)", "\(place)") }
        for (index, item) in damage.looks.enumerated() where item.look.text == query {
          #expect(value == wrong.looks[index], "\(place): \(query)")
        }
      }
      func row(_ found: Found) -> String {
        let looks = zip(damage.looks, found.looks).map { "; \($0.look.text): \($1)" }.joined()
        return "\(found.exit) \(found.check)\(looks)"
      }
      table += "  \(place.padding(toLength: 24, withPad: " ", startingAt: 0))"
      table += "  \(row(wrong).padding(toLength: 48, withPad: " ", startingAt: 0))  \(row(right))\n"
    }
    print(table)
    #expect(Set(Damage.all.map(\.lesson)).count == 7)
  }

  @Test("every lesson that has a fault is in the table")
  func isWhole() throws {
    let known = Set(Damage.all.map(\.lesson))
    for name in LessonLibrary.names {
      let lesson = try LessonLibrary.lesson(name)
      guard lesson.fault != nil || lesson.steps.contains(where: { $0.fault != nil }) else { continue }
      #expect(known.contains(name), "\(name)")
    }
  }

  /// The same lesson with a writer that does all in order, and a copy that is whole.
  private static func withoutFault(_ lesson: Lesson) -> Lesson {
    var lesson = lesson
    lesson.fault = nil
    for index in lesson.steps.indices {
      lesson.steps[index].fault = nil
      lesson.steps[index].items.removeAll { $0.operation?.text.hasPrefix("cut ") == true }
    }
    return lesson
  }

  /// Facts behind the last operation of a step.
  private static func stated(_ step: Lesson.Step) -> [(query: String, value: String)] {
    var facts: [(String, String)] = []
    for item in step.items {
      switch item {
      case .deed: facts = []
      case .replay: continue
      case .fact(let fact):
        let value = fact.value(for: nil)
        facts.append((fact.query.text, value.hasPrefix("0x") ? String(value.dropFirst(2)) : value))
      }
    }
    return facts
  }

  private static func judge(_ lesson: Lesson, _ damage: Damage) throws -> Found {
    let stage = try LessonStage(lesson)
    for step in lesson.steps.prefix(damage.steps) {
      try stage.enter(step)
      for item in step.acts {
        guard case .deed(let line) = item else { continue }
        try stage.perform(line.text)
        stage.endOperation()
      }
    }
    let folder = try TemporaryDirectory()
    for (name, file) in stage.bench.files {
      let bytes = try file.bytes(at: 0, count: Int(file.length))
      try Data(bytes).write(to: URL(fileURLWithPath: folder.path(name)))
    }
    let name = stage.current
    let check = try run(
      "qemu-img", ["check", "--output=json", "-f", "qcow2", name], directory: folder.path, timeout: 60)
    func number(_ key: String) -> Int {
      check.stdout.split(separator: "\n").first { $0.contains("\"\(key)\":") }
        .flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }
    return Found(
      exit: check.status, errors: number("corruptions"), leaks: number("leaks"),
      looks: try damage.looks.map { try look($0.look, at: name, in: folder) })
  }

  /// The byte if all are equal, "mixed", "none" for a snapshot that there is not, or the error.
  private static func look(_ look: Damage.Look, at name: String, in folder: TemporaryDirectory) throws
    -> String
  {
    switch look {
    case .read(let offset, let count):
      let result = try run(
        "qemu-io", ["-r", "-f", "qcow2", "-c", "read -v \(offset) \(count)", name], directory: folder.path,
        timeout: 60)
      let text = result.stdout + result.stderr
      if let failure = text.split(separator: "\n").first(where: { $0.hasPrefix("read failed: ") }) {
        return String(failure.dropFirst("read failed: ".count))
      }
      var seen: Set<Substring> = []
      for line in text.split(separator: "\n") where line.count > 20 && line.prefix(8).allSatisfy(\.isHexDigit)
      {
        seen.formUnion(line.split(separator: " ").dropFirst().prefix(16).filter { $0.count == 2 }.prefix(16))
        if seen.count > 1 { break }
      }
      return seen.count == 1 ? String(seen.first ?? "") : seen.isEmpty ? text : "mixed"
    case .snapshot(let snapshot):
      let result = try run(
        "qemu-img", ["convert", "-f", "qcow2", "-O", "raw", "-l", "snapshot.name=\(snapshot)", name, "out"],
        directory: folder.path, timeout: 60)
      guard result.status == 0, let byte = FileManager.default.contents(atPath: folder.path("out"))?.first
      else {
        return "none"
      }
      return (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
  }
}
