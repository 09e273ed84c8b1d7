// What does a check say of an image with changed bytes?

import QcowFormat

enum CheckSays: QuizMaker {
  static let hint =
    "Errors: a count that is too small, COPIED that does not fit the count, entries that cannot be right. Leaks: a count that is too large. Exit code 2 with errors, 3 with leaks alone, 0 with neither."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.add(scene.deed(&random, [.write]))
    scene.work(&random, level: level)
    let whole = try QuizPlay(scene)
    guard let image = ImageBytes(try whole.end.bench.file("disk")),
      let damage = QuizDamage.draw(&random, image, scene.clusters, isSmall: false)
    else { return nil }
    let tables = QuizTables(image)
    scene.pokes = [damage.poke]
    let play = try QuizPlay(scene)
    guard try play.value("check") != "cannot be checked" else { return nil }
    let parts = [
      try play.part("errors", "errors", .number), try play.part("leaks", "leaks", .number),
      try play.part("exit code", "check.exit", .number),
    ]
    // More lines than three teach counting, not reading.
    let lines = Size.bytes(try play.value("lines")) ?? 0
    guard lines <= 4 else { return nil }
    var reason: [String] = []
    for index in 0..<lines {
      reason += QuizText.wrapped(try play.value("line[\(index + 1)]"), indent: "  ")
    }
    return QuizQuestion(
      scene, shown: [scene.title] + tables.lines,
      text: "Then bytes are changed: \(damage.words). What does a check say?", parts: parts,
      reason: reason.isEmpty ? ["The check finds nothing."] : ["The check says:"] + reason)
  }
}
