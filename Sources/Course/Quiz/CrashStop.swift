// The machine stops in the middle: what does a check say, and what does the guest read?

import QcowFormat

enum CrashStop: QuizMaker {
  static let hint =
    "Counts before entries: what is counted and has no owner yet is a leak, and the guest reads the old bytes until the entry that makes the new ones visible is written."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, level == 1 ? [.write] : [.write, .write, .zero])
    let play = try QuizPlay(scene, [operation])
    let writes = Size.bytes(try play.value("step.writes")) ?? 0
    guard writes > 0 else { return nil }
    let number = 1 + random.below(writes)
    let words = operation.split(separator: " ").map(String.init)
    guard words.count > 3 || words.contains("-z"), let start = Size.bytes(words[words.count - 2]),
      let count = Size.bytes(words[words.count - 1])
    else { return nil }
    let byte = words.contains("-z") ? 0 : Size.bytes(words[2]) ?? 0
    let old = try play.start.value(try Query("read \(start) \(count)"))
    // Old and new can be told from each other.
    guard let before = old.number, before != byte else { return nil }
    let parts = [
      try play.part("clean, leaks or errors", "stopped.check \(number)", .word),
      try play.part("old, new or mixed", "stopped.read \(number) \(start) \(count) \(byte)", .word),
    ]
    let order = try play.value("step.order").split(separator: ",").map { String($0).trimmedBlanks }
    let checks = try play.value("step.check").split(separator: ",").map { String($0).trimmedBlanks }
    return QuizQuestion(
      scene, operations: [operation], shown: [scene.title] + (try play.tables(play.start)).lines,
      text:
        "Then: \(operation). It takes \(writes) \(writes == 1 ? "write" : "writes") to the file, and the machine stops behind number \(number). What does a check say, and what does the guest read in that range?",
      parts: parts,
      reason: ["The writes, F where a flush follows, and what a check says behind each:"]
        + zip(order, checks).enumerated().map { "  \($0.offset + 1)  \($0.element.0): \($0.element.1)" })
  }
}
