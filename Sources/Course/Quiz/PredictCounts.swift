// Which counts are there behind the operation?

import QcowFormat

enum PredictCounts: QuizMaker {
  static let rule =
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
    var question = QuizQuestion(
      scene, operations: [operation], tables: before.lines,
      text: "Then: \(operation). Which counts have clusters \(first) to \(last) afterwards?",
      parts: [try play.part("\(last - first + 1) numbers", "rc[\(first)..\(last)]", .list)],
      reason: ["The count of cluster \(first) lies at \(place)."], changes: before.changes(to: after))
    func count(_ index: Int, _ tables: QuizTables) -> UInt64 {
      tables.counts.indices.contains(index) ? tables.counts[index] : 0
    }
    question.slip(
      0, (first...last).map { "\(count($0, before))" }.joined(separator: " "),
      "Those are the counts before it.")
    let changed = (first...last).filter(changes).map { UInt64($0) }
    question.place = "screen=refcounts"
    question.help(
      "Which clusters does \(operation) need, which does it give up, and which get one owner more? The lowest cluster with the count 0 is \(before.lowestFree).",
      .predictCounts,
      "Of clusters \(first) to \(last) these change: \(QuizText.ranges(changed)). The counts of all of them add up to \((first...last).reduce(0) { $0 + count($1, after) })."
    )
    return question
  }
}
