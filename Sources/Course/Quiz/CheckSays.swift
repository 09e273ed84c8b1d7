// What does a check say of an image with changed bytes?

import QcowFormat

enum CheckSays: QuizMaker {
  static let rule =
    "An error: a count that is too small, COPIED that does not fit the count, an entry that cannot be right. A leak: a count that is too large. One wrong count can be two lines, for itself and for COPIED. Exit code 2 with errors, 3 with leaks alone, 0 with neither."

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
    var question = QuizQuestion(
      scene, tables: tables.lines,
      text: "Then bytes are changed: \(damage.words). What does a check say?", parts: parts,
      reason: reason.isEmpty ? ["The check finds nothing."] : ["The check says:"] + reason)
    question.asksOfPokes = true
    question.slip(
      0, "\(lines)", "That is the number of all lines of the check: leaks are counted by themselves.")
    question.slip(2, "1", "1 is for a check that could not be done; 2 is for errors, 3 for leaks alone.")
    let first = lines == 0 ? "" : try play.value("line[1]")
    question.help(
      damage.inverse == nil
        ? "Look at the entries: which of them point behind the new end of the file, and what has the last cluster now?"
        : "Look at \(damage.words.prefix { $0 != "(" }.trimmedEnd): which cluster is concerned, how many entries point to it, what is its count, and which of these entries have COPIED (8 as the first digit)?",
      .checkSays,
      lines == 0
        ? "No count is too small or too large for its entries, and COPIED is where the count is 1."
        : "The check says \(QuizText.count(Int(lines), "line")) about clusters and entries; the first: \(first)"
    )
    return question
  }
}
