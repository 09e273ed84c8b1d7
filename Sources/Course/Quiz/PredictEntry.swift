// What does the entry say behind the operation?

import QcowFormat

enum PredictEntry: QuizMaker {
  static let hint =
    "Bit 63 (COPIED) says that the count is exactly 1, bit 62 compressed, bit 0 reads as zeroes; the rest is the place."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, QuizScene.pool(level))
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    let changed = (0..<scene.clusters).filter { before.entry($0) != after.entry($0) }
    // Now and then one that stays as it is.
    let used = (0..<scene.clusters).filter { before.entry($0).descriptor != 0 && !changed.contains($0) }
    guard let cluster = random.pick(random.isOne(of: 6) ? used : changed) else { return nil }
    var parts = [try play.part("the entry in 16 hex digits", "l2[\(cluster)]", .entry)]
    if scene.isExtended {
      parts.append(try play.part("its bitmap in 16 hex digits", "bitmap[\(cluster)]", .entry))
    }
    let place = try play.value("l2.at[\(cluster * scene.clusterSize)]")
    return QuizQuestion(
      scene, operations: [operation], shown: [scene.title] + before.lines,
      text:
        "Then: \(operation). What is L2[\(cluster)]\(scene.isExtended ? " and its bitmap" : "") afterwards?",
      parts: parts,
      reason: [
        "L2[\(cluster)] lies at \(place): \(QuizText.spelled(after.entry(cluster).descriptor)).",
        "Everything that changed:",
      ] + before.changes(to: after))
  }
}
