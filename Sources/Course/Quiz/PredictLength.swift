// How long is the file then, how many writes did it take, and how much was copied?

import QcowFormat

enum PredictLength: QuizMaker {
  static let rule =
    "A new cluster takes the lowest place with the count 0. Data, counts and entries are a write each, a new L2 table three more; what a new cluster (or subcluster) has besides is copied from below, or zeroes. In a cluster of one's own only the data is written."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, level == 1 ? [.write] : [.write, .write, .write, .zero])
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    var parts = [
      try play.part("length", "length", .number), try play.part("writes to the file", "step.writes", .number),
    ]
    let writes = parts[1].answer
    guard before != after || random.isOne(of: 8) else { return nil }
    var asked = "How long is the file afterwards, and how many writes were made to it"
    if !operation.split(separator: " ").contains("-z") {
      parts.append(try play.part("bytes beside them", "copied", .number))
      asked =
        "How long is the file afterwards, how many writes were made to it, and how many bytes beside those of the guest did they put into data clusters"
    }
    var question = QuizQuestion(
      scene, operations: [operation], tables: before.lines,
      text: "Then: \(operation), and the file is closed. \(asked)?", parts: parts,
      reason: QuizText.wrapped(
        writes == "0"
          ? "Nothing is written."
          : "The writes, F where a flush follows: \(try play.value("step.order")). Bytes: \(try play.value("step.sizes"))."
      ), changes: before.changes(to: after))
    let words = operation.split(separator: " ").map(String.init)
    let guest = words.last.flatMap { Size.bytes($0) } ?? 0
    question.slip(0, "\(before.length)", "That is the length before it.")
    question.slip(
      0, "\(before.length + guest)", "Clusters are whole: the file does not grow by the bytes of the guest.")
    if parts.count > 2, let copied = Size.bytes(parts[2].answer) {
      question.slip(2, "\(copied + guest)", "That counts the bytes of the guest as well.")
    }
    let order = try play.value("step.order")
    let grown = after.length >= before.length ? after.length - before.length : 0
    question.place = "screen=explorer focus=host zoom=cluster at=host:0"
    question.help(
      "Has the disk an L2 table of its own? Which guest clusters of \(QuizText.size(scene.clusterSize)) does \(operation) touch, and have they a place that nobody shares? The lowest cluster with the count 0 is \(before.lowestFree), the file has \(before.counts.count).",
      .predictLength,
      "The writes go to: \(order.split(separator: ",").map { $0.hasSuffix(" F") ? String($0.dropLast(2)) : String($0) }.joined(separator: ",")). The file \(grown == 0 ? "does not become longer" : "becomes \(grown) bytes longer")"
        + (parts.count > 2
          ? "; bytes into data clusters, those of the guest with them: \((Size.bytes(parts[2].answer) ?? 0) + guest)."
          : "."))
    return question
  }
}
