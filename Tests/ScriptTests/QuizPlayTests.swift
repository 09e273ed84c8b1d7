// A drawn question is asked in the explorer as a lesson is played: on its own image, with the same keys, and what is
// asked about is done behind the answer.

import CellScreen
import Course
import Explorer
import ExplorerSupport
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct QuizPlayTests {
  private func explorer(
    _ words: String, _ files: MemoryFiles = MemoryFiles(), width: Int = 80, height: Int = 24
  ) throws -> Explorer {
    let explorer = try demoExplorer(width: width, height: height, files: files)
    line("quiz \(words)", explorer)
    return explorer
  }

  private func press(_ key: Character, _ explorer: Explorer) {
    for scalar in key.unicodeScalars { _ = explorer.handle(.key(.character(scalar))) }
    settle(explorer)
  }

  private func line(_ text: String, _ explorer: Explorer) {
    _ = explorer.performLine(text)
    settle(explorer)
  }

  private func records(_ files: MemoryFiles) -> [LearnRecord] {
    files.learnedLines.compactMap { LearnRecord($0) }
  }

  @Test(arguments: QuizKind.allCases) func asked(_ kind: QuizKind) throws {
    let files = MemoryFiles()
    for number in 1...6 {
      let seed = QuizSeed(kind, UInt64(number), level: 1 + number % 3)
      let explorer = try explorer("\(seed)", files)
      let place = "\(seed)\n\(explorer.canvas().text())"
      #expect(!explorer.messageIsError, "\(explorer.message ?? ""): \(place)")
      let question = try #require(explorer.quizQuestion)
      #expect(question.seed == seed && question.hints.count == 3)
      #expect(explorer.lessonState?.isAsking == true && explorer.lessonState?.isCut == false, "\(place)")
      #expect(explorer.lessonIsMirrored, "\(place)")
      #expect(explorer.lessonHighlight != false, "\(place)")
      #expect(explorer.canvas().text().contains("Quiz: \(kind.rawValue), level \(seed.level)"), "\(place)")
      // Nothing is done before the answer.
      let revision = explorer.session.revision
      press(".", explorer)
      #expect(explorer.messageIsError && explorer.session.revision == revision, "\(place)")
      for hint in 1...3 {
        press("I", explorer)
        #expect(explorer.canvas().text().contains("Hint \(hint) of 3"), "\(place)")
        #expect(explorer.lessonState?.isCut == false, "\(seed), hint \(hint)\n\(explorer.canvas().text())")
      }
      let answer = try #require(explorer.lessonAnswer)
      line("answer \(answer)", explorer)
      #expect(explorer.canvas().text().contains("right."), "\(answer): \(place)")
      for _ in 0..<8 where explorer.lessonState?.isDone == false { press(".", explorer) }
      let done = "\(seed)\n\(explorer.canvas().text())"
      #expect(explorer.lessonState?.isDone == true && explorer.lessonIsMirrored, "\(done)")
      #expect(explorer.lessonState?.isCut == false, "\(done)")
      let record = try #require(records(files).last)
      #expect(record.subject == .question(kind.rawValue, seed: seed.number, level: seed.level))
      #expect(record.isRight && record.hints == 3)
    }
    var grade = LearnGrade()
    for row in grade.rows(records(files)) {
      #expect(row.untrue == 0 && row.right == row.questions && row.withHints == row.questions, "\(row)")
    }
  }

  @Test func wrongAnswersSayWhatIsRight() throws {
    let files = MemoryFiles()
    let explorer = try explorer("v1:predict-entry:5:1", files)
    let question = try #require(explorer.quizQuestion)
    let entry = try #require(UInt64(question.parts[0].answer, radix: 16))
    line("answer \(String(entry ^ 1 << 63, radix: 16))", explorer)
    var text = explorer.canvas().text()
    #expect(text.contains("no. That is the address with bit 63 cleared"), "\(text)")
    #expect(explorer.lessonState?.isAsking == true)
    line("answer \(question.parts[0].answer)", explorer)
    text = explorer.canvas().text()
    #expect(text.contains("right.") && text.contains("level 1, 0 of 1 right (v1:"), "\(text)")
    #expect(records(files).map(\.isRight) == [false, true])
  }

  @Test func behindTheHintsComesTheAnswer() throws {
    let files = MemoryFiles()
    let explorer = try explorer("v1:predict-counts:5", files)
    let question = try #require(explorer.quizQuestion)
    for _ in 0..<4 { press("I", explorer) }
    #expect(explorer.canvas().text().contains("The answer: \(question.answer)"))
    #expect(explorer.lessonState?.isDone == true && records(files).map(\.given) == [""])
    // Back at the question, whose image is as it was, and once more to what it becomes.
    let length = explorer.session.overlay.length
    press(",", explorer)
    #expect(explorer.session.overlay.length < length && explorer.lessonIsMirrored)
    press(".", explorer)
    #expect(explorer.session.overlay.length == length && explorer.lessonState?.isDone == true)
    // The next question is another one of its kind.
    press(".", explorer)
    let next = try #require(explorer.quizQuestion?.seed)
    #expect(next.kind == .predictCounts && next != question.seed && explorer.lessonState?.isAsking == true)
    #expect(explorer.canvas().text().contains("0 of 1 right"))
  }

  @Test func theImageCanBeLookedAtAndTried() throws {
    let explorer = try explorer("v1:cheapest-fix:9")
    for screen in ["hex", "table", "check", "refcounts", "explorer"] { line(screen, explorer) }
    #expect(explorer.lessonState?.isOff == false)
    line("do poke 0x40038 12", explorer)
    #expect(explorer.lessonState?.isOff == true)
    #expect(explorer.canvas().text().contains("off the question since: poke 0x40038 12; , goes back to it"))
    // It asks about the image as it was, whatever became of it.
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("as it was") == true)
    press(",", explorer)
    #expect(explorer.lessonState?.isOff == false && explorer.lessonIsMirrored)
    // The key that answers leads back as well, and says so.
    line("do poke 0x40038 12", explorer)
    #expect(explorer.canvas().text().contains("T back, answer"), "\(explorer.canvas().text())")
    press("T", explorer)
    #expect(explorer.promptText == "answer " && explorer.lessonState?.isOff == false)
    #expect(explorer.lessonIsMirrored)
    try ScriptRunner.run("Escape", on: explorer)
    // Bytes are judged by what they do.
    line("answer 0x10 00", explorer)
    #expect(explorer.lessonState?.isAsking == true)
    line("answer 0x40038 80", explorer)
    #expect(explorer.canvas().text().contains("right."))
  }

  @Test func choicesAreKeysAndOperationsAreRun() throws {
    let explorer = try explorer("v1:name-operation:5")
    let question = try #require(explorer.quizQuestion)
    let wrong = try #require(question.choices.first { $0.text != question.parts[0].answer })
    press(Character(wrong.letter), explorer)
    #expect(explorer.canvas().text().contains("That leads elsewhere"), "\(explorer.canvas().text())")
    line("answer \(question.parts[0].answer)", explorer)
    #expect(explorer.canvas().text().contains("right."))
  }

  @Test func whatCanBeAskedFor() throws {
    for words in ["", "which-layer", "which-layer 3", "v1:find-owner:7:3"] {
      let explorer = try explorer(words)
      #expect(explorer.quizQuestion != nil && !explorer.messageIsError, "\(words): \(explorer.message ?? "")")
    }
    let explorer = try explorer("which-layer 3")
    #expect(explorer.quizQuestion?.seed?.kind == .whichLayer && explorer.quizQuestion?.seed?.level == 3)
    for words in [
      "nobody", "v2:find-owner:7", "which-layer 0", "which-layer 4", "which-layer x", "which-layer 1 2",
    ] {
      let explorer = try self.explorer(words)
      #expect(explorer.messageIsError && explorer.quizQuestion == nil, "\(words)")
    }
  }

  @Test func anExamTellsAtItsEnd() throws {
    let files = MemoryFiles()
    let explorer = try explorer("exam 1", files)
    var text = explorer.canvas().text()
    #expect(text.contains("Exam, question 1 of 10: predict-entry"), "\(text)")
    press("I", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("no hints in an exam") == true)
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("leaves the question out") == true)
    for number in 1...10 {
      let question = try #require(explorer.quizQuestion)
      #expect(explorer.lessonState?.isAsking == true && question.seed?.level == 1)
      text = explorer.canvas().text()
      #expect(text.contains("question \(number) of 10"), "\(text)")
      for word in ["right", "The answer", ": no."] { #expect(!text.contains("\(word)"), "\(text)") }
      // Nothing that is asked about is done.
      #expect(explorer.session.done.isEmpty && explorer.lessonIsMirrored)
      line("answer \(number % 2 == 0 ? question.typedAnswer : "?")", explorer)
    }
    text = explorer.canvas().text()
    #expect(text.contains("Exam: 5 of 10 right.") && text.contains("predict-entry: no answer"), "\(text)")
    try ScriptRunner.run("Escape", on: explorer)
    text = explorer.canvas().text()
    #expect(text.contains("Exam: the end") && text.contains(":leave goes back to"), "\(text)")
    #expect(records(files).count == 10 && records(files).count(where: \.isRight) == 5)
    press(".", explorer)
    #expect(explorer.canvas().text().contains("Exam: 5 of 10 right."))
    try ScriptRunner.run("Escape\n:leave", on: explorer)
    #expect(explorer.quizQuestion == nil && explorer.lessonState == nil)
  }

  @Test func theImageBeforeComesBack() throws {
    let explorer = try demoExplorer(width: 80, height: 24)
    line("write -P 7 0 4k", explorer)
    let (before, count) = (explorer.session, explorer.session.done.count)
    line("leave", explorer)
    #expect(explorer.messageIsError && explorer.session === before)
    line("quiz v1:predict-counts:5", explorer)
    #expect(explorer.session !== before && explorer.quizQuestion != nil)
    line("quiz v1:predict-entry:5", explorer)
    line("lesson cluster", explorer)
    line("leave", explorer)
    #expect(explorer.session === before && explorer.lessonState == nil)
    #expect(explorer.session.done.count == count)
    #expect(explorer.message?.hasPrefix("back at ") == true && explorer.canvas().fault == nil)
    line("undo", explorer)
    #expect(!explorer.messageIsError && explorer.session.done.count == count - 1)
  }

  @Test func smallAndLargeScreens() throws {
    for (width, height) in [(40, 12), (60, 15), (120, 40), (200, 60)] {
      for kind in QuizKind.allCases {
        let explorer = try explorer("\(QuizSeed(kind, 3))", width: width, height: height)
        let canvas = explorer.canvas()
        #expect(canvas.fault == nil && canvas.text().contains("Quiz: "), "\(kind) \(width)x\(height)")
      }
    }
  }
}
