// What do discards free, and what do they leave?

import QcowFormat

enum DiscardWorks: QuizMaker {
  static let rule =
    "Only whole clusters are discarded: the beginning is rounded up, the end down. What is left of a range keeps its bytes. A cluster is freed when its count becomes 0."

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
    var question = QuizQuestion(
      scene, operations: operations, tables: before.lines, more: sources(scene),
      text:
        "Then\(operations.count == 1 ? "" : ", one after the other"): \(operations.joined(separator: "; ")). How many host clusters are freed, and how many bytes of \(operations.count == 1 ? "the range" : "these ranges") do not read as zeroes afterwards?",
      parts: parts,
      reason: [
        "Whole clusters in \(ranges.count == 1 ? "the range" : "the ranges"): \(QuizText.ranges(whole(ranges, scene)))."
      ],
      changes: before.changes(to: try play.tables(play.end)))
    help(&question, ranges, scene, before)
    return question
  }

  /// Guest clusters that lie in one of the ranges from their first byte to their last.
  private static func whole(_ ranges: [(start: UInt64, count: UInt64)], _ scene: QuizScene) -> [UInt64] {
    let size = scene.clusterSize
    return ranges.flatMap { range -> [UInt64] in
      let (first, end) = ((range.start + size - 1) / size, (range.start + range.count) / size)
      return first < end ? Array(first..<end) : []
    }.sorted()
  }

  private static func help(
    _ question: inout QuizQuestion, _ ranges: [(start: UInt64, count: UInt64)], _ scene: QuizScene,
    _ before: QuizTables
  ) {
    let (size, all) = (scene.clusterSize, whole(ranges, scene))
    let touched = Set(
      ranges.flatMap { Array($0.start / size...($0.start + $0.count - 1) / size) }
    ).filter { before.hasPlace($0) }
    let count = ranges.reduce(0) { $0 + $1.count }
    let rest = count - UInt64(all.count) * size
    question.slip(
      0, "\(touched.count)",
      "So many clusters with a place are touched; one that lies only partly in a range is not discarded.")
    question.slip(0, "\(all.count)", "So many whole clusters there are; one without a place frees nothing.")
    question.slip(1, "\(rest)", "So many bytes lie beside the whole clusters; are all of them other than 0?")
    question.slip(1, "\(count)", "That is all of it: what was discarded reads as zeroes.")
    let placed = all.filter { before.hasPlace($0) }
    question.help(
      "A cluster has \(QuizText.size(size)): which clusters lie wholly in \(ranges.map(scene.words).joined(separator: ", "))?",
      .discardWorks,
      "Whole clusters: \(QuizText.ranges(all)); with a place of their own: \(QuizText.ranges(placed)). \(rest) bytes lie beside them: what do they read as\(scene.backing == nil ? "" : ", from here or from base")?"
    )
  }

  /// How the bytes came there.
  private static func sources(_ scene: QuizScene) -> [String] {
    QuizText.wrapped(
      "written: "
        + scene.sessions.map { String($0.dropFirst(QuizScene.requests.count)) }.joined(separator: "; "))
  }
}
