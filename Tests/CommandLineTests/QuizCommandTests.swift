// `qatlas quiz` in a pipe: it asks, judges, tells the score at the end of its input, and keeps what was answered
// where nobody else can read it.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct QuizCommandTests {
  private func quiz(_ judge: Judge, _ script: String) throws -> ProcessResult {
    try judge.shell("export XDG_STATE_HOME=\"$PWD/state\"; " + script)
  }

  @Test("a question is asked, judged, and ends with the score") func judged() throws {
    let judge = try Judge()
    // What the dump says is right is right.
    let dump = try quiz(judge, "$Q quiz --kind predict-counts --seed v1:predict-counts:77 --dump")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(dump.stdout.utf8)) as? [String: Any])
    let answer = try #require((object["answer"] as? [String])?.first)
    let right = try quiz(judge, "printf 'h\\nh\\nh\\nh\\n\(answer)\\n' | $Q quiz --seed v1:predict-counts:77")
    #expect(right.status == 0)
    #expect(right.stdout.contains("Hint 1 of 3: ") && right.stdout.contains("\nRight.\n"))
    #expect(right.stdout.hasSuffix("\n1 of 1 right.\n"))
    #expect(right.stdout.contains("Hint 3 of 3: ") && right.stdout.contains("no other hint; ? gives"))
    let wrong = try quiz(judge, "printf '9 9\\n' | $Q quiz --seed v1:predict-counts:77")
    #expect(wrong.stdout.contains("The answer: \(answer)\n"))
    #expect(wrong.stdout.hasSuffix("\n0 of 1 right. To be practised: predict-counts 0 of 1.\n"))
    let lines = try String(contentsOfFile: judge.path("state/qatlas/learn.jsonl"), encoding: .utf8)
      .split(separator: "\n")
    try #require(lines.count == 2)
    #expect(lines[0].contains("\"right\": true") && lines[0].contains("\"hints\": 4"))
    #expect(lines[1].contains("\"given\": \"9 9\"") && lines[1].contains("\"right\": false"))
    #expect(try judge.shell("stat -c %a state/qatlas/learn.jsonl").stdout == "600\n")
  }

  @Test("nothing is kept if nothing is wanted, and no input is no answer") func nothingKept() throws {
    let judge = try Judge()
    let none = try quiz(judge, "QATLAS_NO_HISTORY=1 $Q quiz --seed 3 --count 2 </dev/null; ls state")
    #expect(none.stdout.contains("No question was answered."))
    _ = try quiz(judge, "printf 'x\\nx\\n' | QATLAS_NO_HISTORY=1 $Q quiz --seed 3 --count 2")
    #expect(!FileManager.default.fileExists(atPath: judge.path("state")))
  }

  @Test("an exam has one question of each kind and no hints, and tells what is right at its end") func exam()
    throws
  {
    let judge = try Judge()
    let exam = try quiz(
      judge, "(echo h; yes x | head -n 9; echo '?') | QATLAS_NO_HISTORY=1 $Q quiz --exam path --seed 4")
    #expect(exam.stdout.contains("Question 10 of 10: crash-stop"))
    #expect(exam.stdout.contains("There are no hints in an exam") && !exam.stdout.contains("Hint "))
    let parts = exam.stdout.components(separatedBy: "\nExam: 0 of 10 right.\n")
    try #require(parts.count == 2)
    for word in ["Wrong", "Right", "The answer", "right  "] { #expect(!parts[0].contains(word), "\(word)") }
    #expect(parts[1].contains("1.  predict-entry: wrong") && parts[1].contains("10.  crash-stop: no answer"))
    #expect(parts[1].components(separatedBy: "    right  ").count == 11)
    #expect(parts[1].contains("\n0 of 10 right. To be practised: predict-entry 0 of 1"))
    // Whoever ends it before is told about what was answered.
    let early = try quiz(judge, "printf 'x\nq\n' | QATLAS_NO_HISTORY=1 $Q quiz --exam path --seed 4")
    #expect(early.stdout.contains("\n9 questions not asked.\n"))
  }

  @Test("a sheet has its answers on a later page") func sheet() throws {
    let judge = try Judge()
    let sheet = try quiz(judge, "$Q quiz --exam path --seed 4 --sheet")
    let pages = sheet.stdout.split(separator: "\u{c}")
    #expect(pages.count >= 2 && pages[0].contains("1.  predict-entry") && !pages[0].contains("--seed"))
    #expect(pages.contains { $0.hasPrefix("Answers\n") })
    #expect(try quiz(judge, "$Q quiz --exam path --seed 4 --sheet").stdout == sheet.stdout)
  }

  @Test(
    "what it does not know it says",
    arguments: ["--kind nobody", "--seed v2:x:1", "--level 4", "--count 0", "--exam all"])
  func refusals(_ words: String) throws {
    let judge = try Judge()
    let result = try quiz(judge, "$Q quiz \(words) </dev/null")
    #expect(result.status == 1 && result.stderr.hasPrefix("qatlas: ") && result.stdout.isEmpty)
  }
}
