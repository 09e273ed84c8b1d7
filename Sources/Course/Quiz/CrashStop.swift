// The machine stops in the middle: what does a check say, and what does the guest read?

import QcowFormat

enum CrashStop: QuizMaker {
  static let rule =
    "Counts before entries: what is counted and has no owner yet is a leak, and the guest reads the old bytes until the entry that makes the new ones visible is written. What is given up goes the other way: bytes, entry, count. With lazy_refcounts entries come first, behind a mark in the header. A count of a cluster behind the end of the file is not looked at."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level, mayBeLazy: level > 1)
    scene.work(&random, level: level)
    let more: [QuizScene.Deed] = level == 1 ? [] : [.write, .write, .zero, .unmap, .discard]
    let operation = scene.deed(&random, [.write] + more)
    let play = try QuizPlay(scene, [operation])
    let writes = Size.bytes(try play.value("step.writes")) ?? 0
    // Of one or two there is little to be said; three are what most have.
    guard writes > 2, level == 1 || writes > 3 || random.isOne(of: 3) else { return nil }
    let words = operation.split(separator: " ").map(String.init)
    let isZeroing = words.contains("-z") || words.first == "discard"
    guard words.count > 3 || isZeroing, let start = Size.bytes(words[words.count - 2]),
      let count = Size.bytes(words[words.count - 1])
    else { return nil }
    let byte = isZeroing ? 0 : Size.bytes(words[2]) ?? 0
    let old = try play.start.value(try Query("read \(start) \(count)"))
    // Old and new can be told from each other.
    guard let before = old.number, before != byte else { return nil }
    let (stops, reads) = (try play.checks(), try play.reads(start, count, byte))
    guard stops.count == Int(writes), reads.count == stops.count else { return nil }
    // What a stop leads to is drawn first, so that it is no guess; behind the last write nothing is to be found out.
    let isWhole = random.isOne(of: 8)
    var outcomes: [String: [UInt64]] = [:]
    for (index, (check, read)) in zip(stops, reads).enumerated() where isWhole || index + 1 < stops.count {
      outcomes["\(check) \(read)", default: []].append(UInt64(index) + 1)
    }
    guard let drawn = random.pick(outcomes.keys.sorted()), let number = random.pick(outcomes[drawn] ?? [])
    else { return nil }
    let parts = [
      try play.part("clean, leaks or errors", "stopped.check \(number)", .word),
      try play.part("old, new or mixed", "stopped.read \(number) \(start) \(count) \(byte)", .word),
    ]
    // What cannot be read is none of the three.
    guard ["old", "new", "mixed"].contains(parts[1].answer) else { return nil }
    let order = try play.value("step.order").split(separator: ",").map { String($0).trimmedBlanks }
    // Data for several places is in flight at once, and which of it comes first is not said anywhere.
    guard isZeroing || order.count(where: { $0.hasPrefix("data[") }) < 2 else { return nil }
    let checks = try play.value("step.check").split(separator: ",").map { String($0).trimmedBlanks }
    var question = QuizQuestion(
      scene, operations: [operation], tables: (try play.tables(play.start)).lines,
      text:
        "Then: \(operation). It takes \(writes) \(writes == 1 ? "write" : "writes") to the file, and the machine stops behind number \(number). What does a check say, and what does the guest read in that range?",
      parts: parts,
      reason: ["The writes, F where a flush follows, and what a check says behind each:"]
        + zip(order, checks).enumerated().map { "  \($0.offset + 1)  \($0.element.0): \($0.element.1)" })
    let names = order.map { $0.hasSuffix(" F") ? String($0.dropLast(2)) : $0 }
    let last = names.lastIndex { $0.hasPrefix("L2[") || $0.hasPrefix("data[") }.map { $0 + 1 } ?? names.count
    if scene.isLazy {
      for word in ["clean", "leaks"] where parts[0].answer == "errors" {
        question.slip(0, word, "An entry points to what is not counted yet: lazy counts are written last.")
      }
    } else if number < writes {
      question.slip(
        0, "errors",
        "Errors need an entry that points to what is not counted; counts are written before entries.")
    }
    question.slip(
      1, parts[1].answer == "old" ? "new" : nil,
      "The new bytes may be in the file, but the entry that leads to them is not written yet.")
    question.help(
      "Which guest clusters does \(operation) touch, and have they a place of their own that they share with nobody? Is there an L2 table? Then say in which order data, counts and entries are written, and which of them is number \(number).",
      .crashStop,
      "The writes go to: \(names.joined(separator: ", ")). Number \(number) is \(names.indices.contains(Int(number) - 1) ? names[Int(number) - 1] : "the last"); the last write to an entry or to data is number \(last)."
    )
    return question
  }
}
