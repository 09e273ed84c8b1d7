// Which counts are there behind the operation?

import QcowFormat

enum PredictCounts: QuizMaker {
  static let hint =
    "Count the owners: every table, every entry that points there, snapshots as well. New clusters take the lowest place with the count 0."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, QuizScene.pool(level))
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    func changes(_ index: Int) -> Bool {
      (before.counts.indices.contains(index) ? before.counts[index] : 0)
        != (after.counts.indices.contains(index) ? after.counts[index] : 0)
    }
    let clusters = max(before.counts.count, after.counts.count)
    guard let pivot = random.pick((0..<clusters).filter(changes)) else { return nil }
    let first = max(0, pivot - Int(random.below(4)))
    let last = first + 3 + Int(random.below(4))
    // A range that has both.
    guard (first...last).contains(where: changes), (first...last).contains(where: { !changes($0) }) else {
      return nil
    }
    let place = try play.value("rc.at[\(first)]")
    return QuizQuestion(
      scene, operations: [operation], shown: [scene.title] + before.lines,
      text: "Then: \(operation). Which counts have clusters \(first) to \(last) afterwards?",
      parts: [try play.part("\(last - first + 1) numbers", "rc[\(first)..\(last)]", .list)],
      reason: ["The count of cluster \(first) lies at \(place). Everything that changed:"]
        + before.changes(to: after))
  }
}
