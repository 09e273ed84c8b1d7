// Which operation leads from the first state to the second?

import QcowFormat

enum NameOperation: QuizMaker {
  static let rule =
    "A new place comes from a write, or from zeroing a part of a cluster; a place that goes, from a discard or zeroing with -u; a flag alone, from zeroing a whole cluster; an entry that begins with 4, from write -c; COPIED that goes everywhere, from a snapshot."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let pool = QuizScene.pool(level)
    var twin = scene
    let operation = scene.deed(&random, pool)
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    guard before != after else { return nil }
    var wrong: [String] = []
    for candidate in near(operation, scene) {
      if wrong.count < 2, !wrong.contains(candidate) { wrong.append(candidate) }
    }
    while wrong.count < 5 {
      let other = twin.deed(&random, pool)
      if other != operation, !wrong.contains(other) { wrong.append(other) }
    }
    var choices: [String] = []
    for candidate in wrong where choices.count < 3 {
      guard let other = try? QuizPlay(scene, [candidate]), let end = try? other.tables(other.end),
        end != after
      else { continue }
      choices.append(candidate)
    }
    guard choices.count == 3 else { return nil }
    let list = random.shuffled(choices + [operation])
    var question = QuizQuestion(
      scene, operations: [operation],
      tables: before.lines, more: ["and then this is new:"] + before.changes(to: after),
      text: "Which operation was done?",
      parts: [
        QuizQuestion.Part(label: "the operation", query: "tables", form: .operation, answer: operation)
      ],
      choices: zip(["a", "b", "c", "d"], list).map { QuizQuestion.Choice(letter: $0, text: $1) },
      reason: ["\(operation) leads there; each of the others was run and leads elsewhere."])
    let known = Set(
      (0..<scene.clusters).filter { before.entry($0) != after.entry($0) })
    let others = question.choices.filter { $0.text != operation }.map(\.letter)
    question.help(
      known.isEmpty
        ? "No entry of the disk has changed: look at counts, snapshots and the length of the file."
        : "Look at \(known.count == 1 ? "guest cluster" : "guest clusters") \(QuizText.ranges(known.sorted())): a cluster has \(QuizText.size(scene.clusterSize)), so which bytes of the disk are that, and did the entries get a place, lose one, or a flag?",
      .nameOperation,
      "It is neither \(others.prefix(2).joined(separator: " nor ")): they lead to other tables.")
    question.facts = [
      try play.part("", "length", .number), try play.part("", "rc[0..\(after.counts.count - 1)]", .list),
    ]
    for cluster in 0..<scene.clusters where before.entry(cluster) != after.entry(cluster) {
      question.facts.append(try play.part("", "l2[\(cluster)]", .entry))
      if scene.isExtended { question.facts.append(try play.part("", "bitmap[\(cluster)]", .entry)) }
    }
    return question
  }

  /// Operations that look alike.
  private static func near(_ operation: String, _ scene: QuizScene) -> [String] {
    let words = operation.split(separator: " ").map(String.init)
    guard words.count >= 3, words[0] != "snapshot" else { return [] }
    let range = words.suffix(2).joined(separator: " ")
    let others = ["discard \(range)", "write -z \(range)", "write -P 0xee \(range)"]
    return others.filter { $0.prefix(8) != operation.prefix(8) }
  }

  /// What is not the same if another operation is done in the state of a question; nil if it leads to the same.
  ///
  /// - Throws: ``LessonProblem`` for what is none of the operations here, or is refused.
  static func difference(_ operation: String, from question: QuizQuestion) throws(LessonProblem) -> String? {
    let verb = operation.prefix { $0 != " " }
    guard ["write", "discard", "snapshot"].contains(verb) else {
      throw LessonProblem("write, discard and snapshot are the operations here")
    }
    let right = try QuizPlay(question.setting, question.operations)
    let mine = try QuizPlay(question.setting, [operation])
    let (wanted, found) = (try right.tables(right.end), try mine.tables(mine.end))
    return wanted == found ? nil : "That leads elsewhere: " + wanted.difference(from: found) + "."
  }
}
