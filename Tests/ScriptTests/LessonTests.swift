// Every lesson is played to its end by keys and lines alone: nothing is done before its question is answered, what it
// speaks of is on the screen, no word is cut, and the image of the explorer is that of the course.

import CellScreen
import Course
import Explorer
import ExplorerSupport
import Qcow
import Storage
import TestSupport
import Testing

/// A lesson, and the screen that it is played on.
struct LessonPlayed: Sendable, CustomTestStringConvertible {
  var name: String
  var width = 80
  var height = 24
  var glyphs = GlyphSet.ascii
  var testDescription: String { "\(name) \(width)x\(height) \(glyphs)" }

  /// Every lesson on the smallest screen with panes, and every third on a larger one.
  static let all = LessonLibrary.names.enumerated().flatMap { index, name in
    let small = LessonPlayed(name: name)
    return index % 3 == 1
      ? [small, LessonPlayed(name: name, width: 120, height: 40, glyphs: .unicode)] : [small]
  }
}

@Suite(.tags(.fast)) struct LessonTests {
  private func explorer(
    _ name: String, _ files: MemoryFiles = MemoryFiles(), width: Int = 80, height: Int = 24,
    glyphs: GlyphSet = .ascii
  ) throws -> Explorer {
    let explorer = Explorer(
      try Demo.session(files: files), files: files, width: width, height: height, glyphs: glyphs)
    try explorer.begin(lesson: name)
    settle(explorer)
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

  /// What must be so of every picture of a lesson.
  private func look(_ explorer: Explorer, _ place: String) throws {
    let state = try #require(explorer.lessonState)
    let canvas = explorer.canvas()
    #expect(canvas.fault == nil, "\(place)")
    // A longer message would lie on the words.
    #expect(TextWidth.width(explorer.message ?? "") < canvas.width, "\(place): \(explorer.message ?? "")")
    #expect(!state.isCut, "\(place): the words are cut\n\(canvas.text())")
    // The same at every size.
    if canvas.width == 80 {
      #expect(explorer.lessonIsMirrored, "\(place): the screen has another image than the lesson")
    }
    #expect(!canvas.text().contains("?}") && !canvas.text().contains("{"), "\(place)\n\(canvas.text())")
  }

  @Test(arguments: LessonPlayed.all) func play(_ played: LessonPlayed) throws {
    let name = played.name
    let lesson = try LessonLibrary.lesson(name)
    let files = MemoryFiles()
    let explorer = try explorer(
      name, files, width: played.width, height: played.height, glyphs: played.glyphs)
    for (index, step) in lesson.steps.enumerated() {
      let place = "\(name), step \(index + 1)"
      #expect(explorer.lessonState?.place == index, "\(place)")
      #expect(explorer.canvas().text().contains("step \(index + 1) of \(lesson.steps.count)"))
      try look(explorer, place)
      let before = explorer.session.revision
      if step.question != nil {
        #expect(explorer.lessonState?.isAsking == true, "\(place)")
        press(".", explorer)
        #expect(explorer.messageIsError && explorer.message?.contains("answer first (") == true)
        #expect(explorer.session.revision == before, "\(place) was done before it was answered")
        let answer = try #require(explorer.lessonAnswer)
        if step.question?.choices.isEmpty == false {
          press(Character(answer), explorer)
        } else {
          line("answer \(answer)", explorer)
        }
        #expect(
          explorer.canvas().text().contains("right."), "\(place): '\(answer)'\n\(explorer.canvas().text())")
      }
      for _ in 0..<12 where explorer.lessonState?.isDone == false {
        try look(explorer, place)
        press(".", explorer)
        #expect(!explorer.messageIsError, "\(place): \(explorer.message ?? "")")
      }
      #expect(explorer.lessonState?.isDone == true, "\(place)")
      try look(explorer, place)
      // What is marked is on the screen, at the latest when everything is done.
      #expect(
        explorer.lessonHighlight != false, "\(place): what is marked is not seen\n\(explorer.canvas().text())"
      )
      press(".", explorer)
    }
    if lesson.exercise != nil {
      let place = "\(name), exercise"
      #expect(explorer.canvas().text().contains("exercise"))
      try look(explorer, place)
      for solution in explorer.lessonSolution {
        line("do \(solution)", explorer)
        try look(explorer, place)
      }
      if let answer = explorer.lessonAnswer { line("answer \(answer)", explorer) }
      #expect(explorer.lessonState?.isDone == true, "\(place)\n\(explorer.canvas().text())")
      try look(explorer, place)
      press(".", explorer)
    }
    #expect(explorer.canvas().text().contains("What most get wrong"))
    try look(explorer, "\(name), the end")
    // What was kept says that it is done, and the engine agrees.
    let records = files.learnedLines.compactMap { LearnRecord($0) }
    #expect(records.count == files.learnedLines.count)
    #expect(LearnState.all(records)[name] == .doneWithoutHints, "\(files.learnedLines)")
    var grade = LearnGrade()
    for row in grade.rows(records) {
      #expect(row.untrue == 0 && row.remarks.isEmpty, "\(row)")
      #expect(row.firstTry == row.questions && row.right == row.questions, "\(row)")
    }
  }

  @Test func hintsAndTheAnswer() throws {
    let files = MemoryFiles()
    let explorer = try explorer("cow", files)
    press(".", explorer)
    #expect(explorer.lessonState?.place == 1 && explorer.lessonState?.isAsking == true)
    line("answer 2048", explorer)
    #expect(explorer.canvas().text().contains("cannot map 2K alone"))
    line("answer 7", explorer)
    // A wrong answer takes no hint away, and what was said before it stays.
    #expect(explorer.canvas().text().contains("7: no. I gives hint 1 of 3."))
    #expect(explorer.lessonWords.contains("cannot map 2K") == false)
    press("I", explorer)
    #expect(explorer.canvas().text().contains("Hint 1 of 3: Which structures"))
    press("I", explorer)
    #expect(explorer.canvas().text().contains("Hint 2 of 3"))
    press("I", explorer)
    #expect(explorer.canvas().text().contains("It is 196616 long now"))
    let length = explorer.session.overlay.length
    press("I", explorer)
    #expect(explorer.canvas().text().contains("The answer: 196600"))
    #expect(explorer.session.overlay.length == 393216 && length == 196616)
    let records = files.learnedLines.compactMap { LearnRecord($0) }
    #expect(records.map(\.given) == ["2048", "7", ""] && records.allSatisfy { !$0.isRight })
    #expect(records.map(\.hints) == [0, 0, 4])
    // Back at the question, which is answered already.
    press(",", explorer)
    #expect(explorer.session.overlay.length == 196616 && explorer.lessonIsMirrored)
    press(".", explorer)
    #expect(explorer.session.overlay.length == 393216 && explorer.lessonIsMirrored)
    // What an answer comes from.
    press(".", explorer)
    for _ in 0..<4 { press("I", explorer) }
    #expect(explorer.canvas().text().contains("0x50c00, as host[3k] says"), "\(explorer.canvas().text())")
  }

  @Test func wordsOfTheStepStayBehindAWrongAnswer() throws {
    let lesson = try LessonLibrary.lesson("cow")
    let explorer = try explorer("cow")
    press(".", explorer)
    let say = String(try #require(lesson.steps[1].say).prefix { $0 != "{" })
    for _ in 0..<3 { press("I", explorer) }
    line("answer 7", explorer)
    #expect(explorer.lessonWords.contains(say))
    // What does not fit is read on, and what was said to the answer is seen first.
    #expect(explorer.canvas().text().contains("7: no. I shows the answer."))
    if explorer.lessonState?.isCut == true {
      press(";", explorer)
      #expect(explorer.canvas().text().contains(String(say.prefix(20))))
    }
  }

  /// Done without hints is what was done without asking for one; how often somebody was wrong does not count.
  @Test func wrongAnswersAreFree() {
    let steps = (try? LessonLibrary.lesson("cow"))?.steps ?? []
    let asked = steps.indices.filter { steps[$0].question != nil }.map { $0 + 1 }
    let answers = asked.flatMap {
      [record("cow", $0, false, hints: 0), record("cow", $0, true, hints: 0)]
    }
    let end = record("cow", steps.count + 1, true, hints: 0, query: LearnRecord.reached)
    func state(_ lines: [String]) -> LearnState? {
      LearnState.all(lines.compactMap { LearnRecord($0) })["cow"]
    }
    #expect(!asked.isEmpty && state(answers + [end]) == .doneWithoutHints)
    #expect(state(asked.map { record("cow", $0, true, hints: 1) } + [end]) == .done)
    #expect(state(answers) == .begun)
  }

  @Test func goalsAreListed() throws {
    let explorer = try explorer("cow")
    for _ in 0..<60 where explorer.lessonState?.place != 6 {
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else {
        press(".", explorer)
      }
    }
    var text = explorer.canvas().text()
    #expect(text.contains("exercise, nothing is done yet"), "\(text)")
    #expect(text.contains("- disk:type[3] = normal, now"), "\(text)")
    // What is refused is not done.
    line("do write -P 1 900M 4k", explorer)
    text = explorer.canvas().text()
    #expect(!text.contains("done: ") && text.contains("refused: write -P 1 900M 4k"), "\(text)")
    for solution in explorer.lessonSolution { line("do \(solution)", explorer) }
    text = explorer.canvas().text()
    #expect(text.contains("x disk:type[3] = normal") && text.contains("3 of 3 goals hold"), "\(text)")
  }

  @Test func theEndLeadsOn() throws {
    let explorer = try explorer("cow")
    let names = LessonLibrary.names
    let next = names[try #require(names.firstIndex(of: "cow")) + 1]
    for _ in 0..<90 where explorer.lessonState?.place != 7 {
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else if explorer.lessonState?.place == 6, explorer.lessonState?.isDone == false {
        for solution in explorer.lessonSolution { line("do \(solution)", explorer) }
      } else {
        press(".", explorer)
      }
    }
    let end = explorer.canvas().text()
    #expect(end.contains(". begins the next lesson, '\(next)'"), "\(end)")
    press(".", explorer)
    #expect(explorer.canvas().text().contains("Lesson \(next), step 1 of"), "\(explorer.canvas().text())")
    press("?", explorer)
    let help = explorer.canvas().text()
    #expect(help.contains("The lesson: its keys and commands"), "\(help)")
    #expect(help.contains("the next hint of a lesson"), "\(help)")
    press("q", explorer)
    line("leave", explorer)
    press("?", explorer)
    #expect(!explorer.canvas().text().contains("The lesson: its keys"))
  }

  /// There is something to be seen before the first operation: what is to be done.
  @Test(arguments: ["step", "three"]) func viewsOfNothing(_ view: String) throws {
    for (width, height) in [(40, 12), (80, 24)] {
      let explorer = try self.explorer("cluster", width: width, height: height)
      try #require(explorer.session.generations == 0)
      line(view, explorer)
      #expect(!explorer.messageIsError, "\(explorer.message ?? "")")
      let canvas = explorer.canvas()
      let text = canvas.text().split { $0 == "\n" || $0 == " " }.joined(separator: " ")
      #expect(text.contains("No operation was done yet") && canvas.fault == nil, "\(canvas.text())")
      #expect(text.contains(":write"), "\(canvas.text())")
    }
  }

  @Test func theKeyTakesTheAnswer() throws {
    let explorer = try explorer("cluster")
    for _ in 0..<4 where explorer.lessonState?.isAsking == false { press(".", explorer) }
    let answer = try #require(explorer.lessonAnswer)
    press("T", explorer)
    #expect(explorer.promptText == "answer ")
    try ScriptRunner.run("type \(answer)\nEnter", on: explorer)
    #expect(explorer.canvas().text().contains("right."))
    #expect(explorer.lessonState?.isAsking == false)
  }

  /// An operation of the learner's own is welcome: the lesson says so, and goes on or back.
  @Test(arguments: [":write -P 1 512k 64k", ":discard 0 64k", ":do poke 0x50000 77", ":u"])
  func offTheTrack(_ own: String) throws {
    let explorer = try explorer("cluster")
    for _ in 0..<6 where explorer.session.done.isEmpty {
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else {
        press(".", explorer)
      }
    }
    let (place, revision) = (explorer.lessonState?.place, explorer.session.done.count)
    line(own == ":u" ? "undo" : String(own.dropFirst()), explorer)
    #expect(explorer.lessonState?.isOff == true && explorer.lessonIsMirrored)
    #expect(explorer.canvas().text().contains("off the lesson since step"), "\(explorer.canvas().text())")
    press(",", explorer)
    #expect(explorer.lessonState?.isOff == false && explorer.lessonState?.place == place)
    #expect(explorer.lessonIsMirrored && explorer.session.done.count <= revision)
    #expect(!explorer.canvas().text().contains("off the lesson"))
    // Taken back by oneself is the track again.
    line("write -P 9 600k 4k", explorer)
    #expect(explorer.lessonState?.isOff == true)
    line("undo", explorer)
    #expect(explorer.lessonState?.isOff == false)
    // Moves, zoom, lens and reads never count as leaving.
    for harmless in ["goto 128k", "lens refcount", "zoom fit", "read 0 4k", "hex", "explorer"] {
      line(harmless, explorer)
    }
    #expect(explorer.lessonState?.isOff == false)
  }

  @Test func goingOnFromOnesOwn() throws {
    let explorer = try explorer("cluster")
    for _ in 0..<6 where explorer.session.done.isEmpty {
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else {
        press(".", explorer)
      }
    }
    let place = try #require(explorer.lessonState?.place)
    // What the step shows is destroyed: it cannot go on from here.
    line("discard 0 64k", explorer)
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("cannot go on from here") == true)
    press(",", explorer)
    // Over what is there nothing changes that the step speaks of.
    line("write -P 0x41 1k 512", explorer)
    #expect(explorer.lessonState?.isOff == true)
    press(".", explorer)
    #expect(
      explorer.lessonState?.isOff == false && explorer.lessonState?.place == place + 1,
      "\(explorer.message ?? "")")
    // Whose image it is now is said, until one is back.
    let words = explorer.lessonWords
    #expect(
      words.contains("your own image since step \(place + 1): write -P 0x41 0x400 512; , leads"), "\(words)")
    for _ in 0..<4 where explorer.lessonWords.contains("your own image") { press(",", explorer) }
    #expect(explorer.lessonState?.place ?? 99 <= place && explorer.lessonIsMirrored)
  }

  @Test func whatComesLaterHasToBeTrueAsWell() throws {
    let explorer = try explorer("entry")
    let place = explorer.lessonState?.place
    // The place that the lesson takes next: its addresses would all be others.
    line("write -P 0x99 64k 64k", explorer)
    #expect(explorer.lessonState?.isOff == true)
    press(".", explorer)
    #expect(
      explorer.messageIsError && explorer.message?.contains("cannot go on from here: ") == true,
      "\(explorer.message ?? "")")
    #expect(explorer.lessonState?.place == place && explorer.lessonState?.isOff == true)
    press(",", explorer)
    #expect(explorer.lessonState?.isOff == false && explorer.lessonIsMirrored)
  }

  @Test func solutionOnRequest() throws {
    let explorer = try explorer("cow")
    for _ in 0..<60 where explorer.lessonState?.place != 6 {
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else {
        press(".", explorer)
      }
    }
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message?.contains("not done yet") == true)
    for _ in 0..<3 { press("I", explorer) }
    #expect(explorer.canvas().text().contains("Hint 3 of 3"))
    press("I", explorer)
    #expect(explorer.canvas().text().contains("A solution: open disk; write -P 0x13 192k 64k"))
    press(".", explorer)
    #expect(explorer.lessonState?.isDone == true && explorer.lessonIsMirrored)
  }

  @Test func faultsAreInTheTitle() throws {
    let explorer = try explorer("zero-shows-base")
    var seen = false
    for _ in 0..<40 where explorer.lessonState?.place ?? 9 < 6 {
      if explorer.canvas().text().split(separator: "\n").first?.contains("FAULT") == true { seen = true }
      if let answer = explorer.lessonAnswer {
        line("answer \(answer)", explorer)
      } else {
        press(".", explorer)
      }
    }
    #expect(seen)
  }

  @Test func names() throws {
    #expect(LessonNames.today("reorder") == "fragmentation")
    for name in [
      "reorder", "subclusters", "mapped", "zeroes", "zero-clusters", "punching", "contiguous", "pin",
    ] {
      #expect(LessonNames.all.contains(LessonNames.today(name)), "\(name)")
    }
    let explorer = try demoExplorer()
    press(".", explorer)
    #expect(explorer.messageIsError && explorer.message == "no lesson is under way; L lists them")
    try ScriptRunner.run(":lesson pin", on: explorer)
    #expect(explorer.canvas().text().contains("Lesson pin, step 1"))
  }

  @Test func texts() throws {
    for name in LessonLibrary.names {
      let lesson = try LessonLibrary.lesson(name)
      let text = try LessonText.run(lesson)
      #expect(text.split(separator: "\n").allSatisfy { TextWidth.width(String($0)) <= 80 }, "\(name)")
      #expect(!text.contains("{") && text.contains(lesson.title), "\(name)")
      let told = try LessonText.run(lesson, answers: true)
      #expect(told.count > text.count, "\(name)")
    }
    #expect(LessonText.list().contains("first-write") && LessonText.list().contains("needs"))
  }

  // MARK: The list

  @Test func list() throws {
    let files = MemoryFiles()
    files.learnedLines = [
      record("cluster", 6, true, hints: 0, query: LearnRecord.reached),
      record("lookup", 2, false, hints: 1), "not a line",
    ]
    let explorer = try demoExplorer(width: 80, height: 24, files: files)
    try ScriptRunner.run("L", on: explorer)
    #expect(explorer.screen == .lessons)
    var text = explorer.canvas().text()
    #expect(text.contains("Where things are") && text.contains("x cluster") && text.contains("o lookup"))
    #expect(text.contains("- entry") && text.contains("lessons: 1 of 36 done"), "\(text)")
    try ScriptRunner.run("/\ntype bitmaps\nEnter", on: explorer)
    text = explorer.canvas().text()
    #expect(text.contains("> - bitmaps") || text.contains(">  - bitmaps") || text.contains("> "), "\(text)")
    try ScriptRunner.run("Enter", on: explorer)
    settle(explorer)
    #expect(explorer.canvas().text().contains("Lesson bitmaps, step 1"))
    try ScriptRunner.run("L", on: explorer)
    #expect(!explorer.canvas().text().contains("Lesson bitmaps"))
    try ScriptRunner.run("L", on: explorer)
    #expect(explorer.screen != .lessons && explorer.canvas().text().contains("Lesson bitmaps"))
  }

  @Test func namesInASmallListAreCutInPlainSight() throws {
    let files = MemoryFiles()
    let short = "a-name-that-is-much-too-long-for-it"
    let name = "class/" + short
    let own = try LessonParser.read(Array(LessonDraft.text(short).utf8), name: name)
    files.shelves = [LessonShelf(title: "class", lessons: [.lesson(own, digest: "d")])]
    let explorer = try demoExplorer(width: 40, height: 12, files: files)
    try ScriptRunner.run("L\nG", on: explorer)
    let row = try #require(explorer.canvas().text().split(separator: "\n").first { $0.contains("class/a-") })
    #expect(row.contains("... ") && row.contains(" min"), "\(row)")
    let large = try demoExplorer(width: 80, height: 24, files: files)
    try ScriptRunner.run("L\nG", on: large)
    #expect(large.canvas().text().contains("class/a-name-that-is-much-too-long-... A title"))
    try ScriptRunner.run("g", on: large)
    #expect(large.canvas().text().contains("* done, no hints; wrong answers are free"))
  }

  @Test("the folders of the user stand below the path, and what is no lesson says why")
  func ownFolders() throws {
    let files = MemoryFiles()
    let own = try LessonParser.read(Array(LessonDraft.text("mine").utf8), name: "class/mine")
    files.shelves = [
      LessonShelf(
        title: "class",
        lessons: [
          .lesson(own, digest: "d"),
          .unreadable("class/broken", LessonProblem("'tarp' is no keyword", line: 7)),
        ]), LessonShelf(title: "empty", lessons: []),
    ]
    let explorer = try demoExplorer(width: 80, height: 24, files: files)
    try ScriptRunner.run("L\nG", on: explorer)
    var text = explorer.canvas().text()
    #expect(text.contains("class (your own)") && text.contains("class/mine"), "\(text)")
    #expect(text.contains("class/broken  line 7: 'tarp' is no keyword") && !text.contains("empty"), "\(text)")
    #expect(text.contains("This file is no lesson. line 7"), "\(text)")
    #expect(throws: ScriptError.self) { try ScriptRunner.run("Enter", on: explorer) }
    #expect(explorer.screen == .lessons)
    try ScriptRunner.run("k\nEnter", on: explorer)
    settle(explorer)
    text = explorer.canvas().text()
    #expect(text.contains("Lesson class/mine, step 1 of 2"), "\(text)")
    try ScriptRunner.run(".\n:answer 393216\n.", on: explorer)
    let records = files.learnedLines.compactMap { LearnRecord($0) }
    #expect(
      records.contains { record in
        if case .lesson("class/mine", digest: "d", place: 2) = record.subject {
          record.isRight
        } else {
          false
        }
      }, "\(files.learnedLines)")
    // By its name as well, and back in the list.
    let other = try demoExplorer(width: 80, height: 24, files: files)
    try ScriptRunner.run(":lesson class/mine", on: other)
    #expect(other.canvas().text().contains("Lesson class/mine, step 1"))
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":lesson class/broken", on: other) }
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":lesson class/none", on: other) }
  }

  private func record(
    _ lesson: String, _ place: Int, _ isRight: Bool, hints: Int, query: String = "q", given: String = "1"
  ) -> String {
    LearnRecord(
      time: 1, subject: .lesson(lesson, digest: LessonNames.digest(of: lesson) ?? "", place: place),
      query: query,
      given: given, isRight: isRight, hints: hints, seconds: 30, operations: 0
    ).line
  }

  // MARK: Grades

  @Test func recordsAreReadAsTheyAreWritten() throws {
    for subject in [
      LearnRecord.Subject.lesson("cow", digest: "ab", place: 3), .question("owner", seed: .max, level: 2),
    ] {
      let record = LearnRecord(
        time: 7, subject: subject, query: "a \"b\" {c}", given: "0x10\\", isRight: true, hints: 2, seconds: 9,
        operations: 1)
      #expect(LearnRecord(record.line) == record)
    }
    for line in ["", "{", "[]", "{\"time\": 1}", "{\"time\": -1, \"lesson\": \"x\"}", "{\"seed\": 1e99}"] {
      #expect(LearnRecord(line) == nil, "\(line)")
    }
  }

  /// What a line says of itself does not count.
  @Test func gradesDoNotTrust() throws {
    let lesson = try LessonLibrary.lesson("cow")
    let place = try #require(lesson.steps.firstIndex { $0.question?.kind == .number }) + 1
    var grade = LearnGrade()
    let lines = [
      record("cow", place, true, hints: 0, given: "2048"),
      record("cow", place, false, hints: 0, given: "196600"),
      record("cow", 7, true, hints: 0, query: LearnRecord.reached, given: "write -P 1 0 4k"),
      record("nothing", 1, true, hints: 0),
    ]
    let rows = grade.rows(lines.compactMap { LearnRecord($0) })
    let cow = try #require(rows.first)
    #expect(cow.questions == 2 && cow.firstTry == 0 && cow.right == 1 && cow.untrue == 3, "\(cow)")
    #expect(rows.last?.remarks == ["there is no lesson 'nothing'"])
  }
}
