// Every statement of every lesson, proved on the engine.

import Foundation
import TestSupport
import Testing

@testable import Course

@Suite("Lessons: what is stated holds", .tags(.fast))
struct LessonProofTests {
  @Test("every fact, answer and goal of a lesson", arguments: LessonLibrary.names)
  func holds(_ name: String) throws {
    let proof = LessonProof(try LessonLibrary.lesson(name))
    #expect(proof.statements > 3)
    let wrong = proof.wrong.map { "\(name):\($0.line): \($0.text)" }
    #expect(wrong.isEmpty, "\(wrong.joined(separator: "\n"))")
  }

  @Test("a statement that is changed is caught", arguments: LessonLibrary.names)
  func isCaught(_ name: String) throws {
    let lesson = try LessonLibrary.lesson(name)
    let proof = LessonProof(lesson) { $0.denied }
    #expect(proof.held.isEmpty, "\(name): held although denied: lines \(proof.held)")
    #expect(proof.statements == LessonProof(lesson).statements)
  }

  @Test("the program has every file of the folder, and the path leads to each")
  func library() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources/Course/Lessons")
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(files == (LessonLibrary.names.map { $0 + ".lesson" } + ["path"]).sorted())
    for name in LessonLibrary.names {
      let data = try Data(contentsOf: folder.appendingPathComponent(name + ".lesson"))
      #expect(LessonLibrary.text(name) == [UInt8](data), "\(name)")
    }
  }
}
