// `qatlas lesson --verify`: plays lessons with the engine and proves what they state.

import ArgumentParser
import Cartography
import Course
import Storage

/// Proves lessons, and tells what does not hold.
struct LessonVerification {
  let streams: Streams
  /// The genuine tools that make the same files; nil for the engine alone.
  let tools: GenuineTools?
  private var lessons = 0
  private var statements = 0
  private var wrong = 0
  private var files = 0

  init(_ streams: Streams, tools: GenuineTools?) {
    self.streams = streams
    self.tools = tools
  }

  /// Proves the lessons of a folder, one of them, or those of the program: `what` is a folder or the name of a lesson,
  /// nil for all.
  ///
  /// - Throws: The exit code 1 if a statement does not hold, or there is no such lesson.
  mutating func run(_ what: String?, in folder: String?) throws {
    if let path = folder ?? what.flatMap({ $0.utf8.contains(UInt8(ascii: "/")) || $0 == "." ? $0 : nil }) {
      guard let folder = LessonFolder(path) else {
        throw streams.failure("there is no folder '\(Escaping.human(path))'")
      }
      let names = folder.names.filter { what == nil || what == path || what == $0 }
      guard !names.isEmpty else { throw streams.failure("'\(Escaping.human(path))' has no such lesson") }
      for name in names {
        do throws(StorageError) { prove(name, try folder.text(name)) } catch {
          tell(name, "\(error.description)")
        }
      }
    } else {
      let names = LessonLibrary.names.filter { what == nil || what == $0 }
      guard !names.isEmpty else {
        throw streams.failure("no lesson is called '\(Escaping.human(what ?? ""))'")
      }
      for name in names { prove(name, LessonLibrary.text(name) ?? []) }
    }
    let compared = tools == nil ? "" : ", \(counted(files, "file")) made by the genuine tools as well"
    streams.output(
      "\(counted(lessons, "lesson")), \(counted(statements, "statement"))\(compared), \(wrong) wrong\n")
    if wrong > 0 { throw ExitCode(1) }
  }

  private mutating func tell(_ place: String, _ text: String) {
    wrong += 1
    streams.output("\(Escaping.human(place)): \(Escaping.human(text))\n")
  }

  private mutating func prove(_ name: String, _ text: [UInt8]) {
    lessons += 1
    let lesson: Lesson
    do throws(LessonProblem) { lesson = try LessonParser.read(text, name: name) } catch {
      return tell(error.line.map { "\(name):\($0)" } ?? name, error.reason)
    }
    let proof = LessonProof(lesson)
    statements += proof.statements
    for found in proof.wrong { tell("\(name):\(found.line)", "\(found.step): \(found.text)") }
    guard let tools else { return }
    var comparison = ToolComparison(tools)
    comparison.compare(lesson)
    files += comparison.files
    for found in comparison.different { tell("\(name):\(found.line)", found.text) }
  }

  private func counted(_ count: Int, _ word: String) -> String { "\(count) \(word)\(count == 1 ? "" : "s")" }
}
