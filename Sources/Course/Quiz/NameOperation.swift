// Which operation leads from the first state to the second?

import QcowFormat

enum NameOperation: QuizMaker {
  static let hint =
    "Which guest clusters changed, and did they get a place, lose one, or a flag? Try the choices one after the other on paper."

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
      shown: [scene.title] + before.lines + ["and then this is new:"] + before.changes(to: after),
      text: "Which operation was done?",
      parts: [
        QuizQuestion.Part(label: "the operation", query: "tables", form: .operation, answer: operation)
      ],
      choices: zip(["a", "b", "c", "d"], list).map { QuizQuestion.Choice(letter: $0, text: $1) },
      reason: ["\(operation) leads there; each of the others was run and leads elsewhere."])
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

  /// Whether an operation leads from the state of a question to the one behind its own.
  ///
  /// - Throws: ``LessonProblem`` for what is none of the operations here, or is refused.
  static func leads(_ operation: String, to question: QuizQuestion) throws(LessonProblem) -> Bool {
    let verb = operation.prefix { $0 != " " }
    guard ["write", "discard", "snapshot"].contains(verb) else {
      throw LessonProblem("write, discard and snapshot are the operations here")
    }
    let right = try QuizPlay(question.lesson, question.operations)
    let mine = try QuizPlay(question.lesson, [operation])
    return try mine.tables(mine.end) == right.tables(right.end)
  }
}
