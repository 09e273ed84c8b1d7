// What do discards free, and what do they leave?

import QcowFormat

enum DiscardWorks: QuizMaker {
  static let hint =
    "Only whole clusters are discarded: the beginning is rounded up, the end down. What is left of a range keeps its bytes."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level, mayPreallocate: false)
    // Bytes are never 0 before, so that those that stay can be told.
    let count = 1 + random.below(UInt64(level) * 2)
    for _ in 0..<count {
      scene.add(scene.deed(&random, level == 1 ? [.write] : [.write, .write, .compress]))
    }
    var operations: [String] = []
    var ranges: [(start: UInt64, count: UInt64)] = []
    for _ in 0..<(level == 1 ? 1 : level) {
      let range = scene.range(&random)
      // No byte is asked for twice.
      guard ranges.allSatisfy({ $0.start + $0.count <= range.start || range.start + range.count <= $0.start })
      else { continue }
      ranges.append(range)
      operations.append("discard \(scene.words(range))")
    }
    let play = try QuizPlay(scene, operations)
    let before = try play.tables(play.start)
    let ranged = ranges.map(scene.words).joined(separator: " ")
    let parts = [
      try play.part("clusters freed", "freed", .number),
      try play.part("bytes kept", "kept \(ranged)", .number),
    ]
    // One of both at least must be there.
    guard parts[0].answer != "0" || parts[1].answer != "0" else { return nil }
    return QuizQuestion(
      scene, operations: operations, shown: [scene.title] + before.lines + sources(scene),
      text:
        "Then, one after the other: \(operations.joined(separator: "; ")). How many host clusters are freed, and how many bytes of these ranges do not read as zeroes afterwards?",
      parts: parts, reason: ["Everything that changed:"] + before.changes(to: try play.tables(play.end)))
  }

  /// How the bytes came there.
  private static func sources(_ scene: QuizScene) -> [String] {
    QuizText.wrapped(
      "written: "
        + scene.sessions.map { String($0.dropFirst(QuizScene.requests.count)) }.joined(separator: "; "))
  }
}
