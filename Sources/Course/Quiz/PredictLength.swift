// How long is the file then, how many writes did it take, and how much was copied?

import QcowFormat

enum PredictLength: QuizMaker {
  static let hint =
    "A new cluster takes the lowest place with the count 0. Data, counts and entry are a write each, a new table three more; what a new cluster (or subcluster) has besides is copied from below, or zeroes."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, level == 1 ? [.write] : [.write, .write, .write, .zero])
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    var parts = [
      try play.part("length", "length", .number), try play.part("writes to the file", "step.writes", .number),
    ]
    guard before != after || random.isOne(of: 8) else { return nil }
    var asked = "How long is the file afterwards, and how many writes were made to it"
    if !operation.split(separator: " ").contains("-z") {
      parts.append(try play.part("bytes around it", "copied", .number))
      asked =
        "How long is the file afterwards, how many writes were made to it, and how many bytes around those of the request did they put into data clusters"
    }
    return QuizQuestion(
      scene, operations: [operation], shown: [scene.title] + before.lines,
      text: "Then: \(operation), and the file is closed. \(asked)?", parts: parts,
      reason: QuizText.wrapped(
        "The writes, F where a flush follows: \(try play.value("step.order")). Bytes: \(try play.value("step.sizes"))."
      ) + ["Everything that changed:"] + before.changes(to: after))
  }
}
