// What people ask of an image, and the keys that answer it: at most five, on the real program. What must stand
// on the screen is computed by others (`QuestionImages`). README shows the same keys.

import Foundation
import TestSupport
import Testing

/// A question, and the way to its answer.
struct Question: Sendable {
  let number: Int
  /// As README has it.
  let words: String
  let image: QuestionImage
  var arguments: [String] = []
  /// The keys in the notation of the help; `:` and `/` begin a line, which Enter ends.
  let keys: [String]
  var isSmall = false
  /// What the screen says at the start and behind each key: words in their order, where `*` is any one word.
  let shows: @Sendable (QuestionImages) throws -> [Int: [String]]

  private static func isLine(_ key: String) -> Bool {
    key.count > 1 && (key.first == ":" || key.first == "/")
  }

  /// A typed line and Enter count as two, other words by their letters.
  var cost: Int {
    keys.reduce(0) { sum, key in
      if Self.isLine(key) { return sum + 2 }
      return sum + (bytes(of: key) == key ? key.count : 1)
    }
  }

  /// What a terminal sends for a key.
  static func input(_ key: String) -> String { isLine(key) ? key + "\r" : bytes(of: key) }

  /// The keys as README shows them.
  var shown: String {
    let options = arguments.map { "`\($0)`" }
    return (options + keys.map { Self.isLine($0) ? "`\($0)` Enter" : "`\($0)`" }).joined(separator: " ")
  }
}

@Suite("Questions", .serialized, .tags(.terminal), .waits)
struct QuestionTests {
  /// The words of a screen without its frames.
  private func words(_ screen: VirtualTerminal) -> String {
    screen.text.replacingOccurrences(of: "|", with: " ").split(whereSeparator: \.isWhitespace)
      .joined(separator: " ")
  }

  private func isThere(_ pattern: String, on screen: VirtualTerminal) -> Bool {
    let expression = NSRegularExpression.escapedPattern(for: pattern)
      .replacingOccurrences(of: "\\*", with: "\\S*")
    return words(screen).range(of: "(^| )" + expression + "($|[ ,;:.])", options: .regularExpression) != nil
  }

  private func ask(_ question: Question, of images: QuestionImages) throws {
    let shows = try question.shows(images)
    #expect(shows.keys.allSatisfy { (0...question.keys.count).contains($0) })
    #expect(shows[question.keys.count]?.isEmpty == false, "the last key answers")
    let session = try Program.start(
      ["--ascii"] + question.arguments + [images.path(question.image)],
      columns: question.isSmall ? 80 : 120, rows: question.isSmall ? 24 : 40, patience: 60)
    for stage in 0...question.keys.count {
      if stage > 0 {
        let key = question.keys[stage - 1]
        session.send(Question.input(key))
        // A byte right behind Esc would be Alt with it.
        if key == "Esc" { session.pump(seconds: 0.3) }
      }
      for pattern in shows[stage] ?? [] {
        try session.waitUntil("`\(pattern)` after \(question.keys.prefix(stage))", timeout: 30) {
          isThere(pattern, on: $0)
        }
      }
      session.settle()
    }
  }

  /// Questions of one subject share their images.
  @Test("the keys lead to the right answer", arguments: QuestionTable.subjects.keys.sorted())
  func answers(_ subject: String) throws {
    let images = try QuestionImages()
    for question in QuestionTable.subjects[subject] ?? [] {
      do {
        try ask(question, of: images)
      } catch {
        Issue.record("question \(question.number), \(question.shown): \(error)")
      }
    }
  }

  @Test("all 26 are there, with at most five keys each")
  func complete() {
    #expect(QuestionTable.all.map(\.number) == Array(1...26))
    for question in QuestionTable.all {
      #expect((1...5).contains(question.cost), "question \(question.number): \(question.keys)")
    }
  }

  @Test("README shows the same questions and keys")
  func readme() throws {
    let rows = QuestionTable.all.map { "| \($0.words) | \($0.shown) |\n" }
    try checkReadme("questions", "| Question | Keys |\n|---|---|\n" + rows.joined())
  }

  /// Compares, or with `QATLAS_RECORD=1` writes, the part of README between two marks.
  private func checkReadme(_ mark: String, _ table: String, file: String = #filePath) throws {
    let url = URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("README.md")
    let line = "<!-- \(mark) -->\n"
    let parts = try String(contentsOf: url, encoding: .utf8).components(separatedBy: line)
    guard parts.count == 3 else { throw TestFailure("README.md has no part between two lines \(line)") }
    guard parts[1] != table else { return }
    guard ProcessInfo.processInfo.environment["QATLAS_RECORD"] == "1" else {
      throw TestFailure("README.md has other \(mark); see QATLAS_RECORD")
    }
    try (parts[0] + line + table + line + parts[2]).write(to: url, atomically: true, encoding: .utf8)
    throw TestFailure("recorded README.md; run again without QATLAS_RECORD")
  }
}
