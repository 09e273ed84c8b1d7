// Questions: a seed is one question for ever, every kind makes them, and answers are judged by what is run.

import TestSupport
import Testing

@testable import Course

@Suite("Quiz: questions and their answers", .tags(.fast))
struct QuizTests {
  @Test("a hundred questions of a kind", arguments: QuizKind.allCases)
  func hundred(_ kind: QuizKind) throws {
    for number in 0..<100 {
      let seed = QuizSeed(kind, UInt64(number), level: 1 + number % 3)
      let question = try QuizQuestion(seed)
      let lines = question.lines
      #expect(lines.count <= 22 && lines.allSatisfy { $0.count <= 80 }, "\(seed)")
      #expect(!question.parts.isEmpty && question.parts.allSatisfy { !$0.answer.isEmpty }, "\(seed)")
      let given = question.parts.map(\.answer).joined(separator: " ")
      #expect(question.judge(given).isRight, "\(seed): \(given)")
      #expect(!question.judge(Self.wrong(question)).isRight, "\(seed): \(Self.wrong(question))")
      #expect(!question.judge("").isRight && !question.judge("nonsense").isRight, "\(seed)")
      #expect(Set(question.choices.map(\.text)).count == question.choices.count, "\(seed)")
      #expect(question.hints.count == 3 && Set(question.hints).count == 3, "\(seed)")
      #expect(question.hints.allSatisfy { (1...480).contains($0.count) }, "\(seed): \(question.hints)")
    }
  }

  /// An answer next to the right one.
  private static func wrong(_ question: QuizQuestion) -> String {
    let part = question.parts[0]
    switch part.form {
    case .names: return part.answer + ", data[63] of nobody"
    case .poke: return "0x0 51"
    case .operation: return question.choices.first { $0.text != part.answer }?.letter ?? "z"
    case .entry:
      let entry = UInt64(part.answer, radix: 16) ?? 0
      let rest = question.parts.dropFirst().map(\.answer)
      return ([String(entry ^ 1 << 63, radix: 16)] + rest).joined(separator: " ")
    case .list, .number:
      var words = question.parts.flatMap { $0.answer.split(separator: " ").map(String.init) }
      words[0] = "\((UInt64(words[0]) ?? 0) + 1)"
      return words.joined(separator: " ")
    case .byte, .word:
      return (["something"] + question.parts.dropFirst().map(\.answer)).joined(separator: " ")
    }
  }

  @Test("a seed makes the same question again", arguments: QuizKind.allCases)
  func again(_ kind: QuizKind) throws {
    for level in QuizSeed.levels {
      let seed = QuizSeed(kind, 4_711, level: level)
      #expect(try QuizQuestion(seed).json == QuizQuestion(seed).json)
      #expect(QuizSeed(seed.description) == seed)
    }
  }

  /// Answers that the genuine tools gave as well.
  @Test(
    "a seed means the same question for ever",
    arguments: [
      ("v1:predict-entry:5", ["write -c -P 0x33 4k 4k"], ["400000000000a000"]),
      ("v1:predict-counts:5", ["write -P 0x33 4k 12k"], ["1 0 1 1 0 0"]),
      ("v1:name-operation:5", ["snapshot -c s"], ["snapshot -c s"]),
      ("v1:discard-works:9", ["discard 3k 1k", "discard 10k 2k"], ["0", "3072"]),
      ("v1:which-layer:9", [], ["base", "0x11"]),
      ("v1:check-says:9", [], ["1", "0", "2"]),
      ("v1:cheapest-fix:9", [], ["0x40038 80"]),
    ])
  func forEver(_ text: String, _ operations: [String], _ answers: [String]) throws {
    let question = try QuizQuestion(try #require(QuizSeed(text)))
    #expect(question.operations == operations)
    #expect(question.parts.map(\.answer) == answers)
  }

  @Test("the first two hints do not say it", arguments: [QuizKind.predictEntry, .predictCounts])
  func ladder(_ kind: QuizKind) throws {
    for number in 0..<60 {
      let question = try QuizQuestion(QuizSeed(kind, UInt64(number), level: 1 + number % 3))
      for part in question.parts where part.answer.count > 6 {
        #expect(!question.hints.contains { $0.contains(part.answer) }, "\(question.hints): \(part.answer)")
      }
    }
  }

  @Test("slips that are known are named, and are wrong", arguments: QuizKind.allCases)
  func slips(_ kind: QuizKind) throws {
    var named = 0
    for number in 0..<40 {
      let seed = QuizSeed(kind, UInt64(number), level: 1 + number % 3)
      let question = try QuizQuestion(seed)
      for slip in question.slips {
        var answers = question.parts.map(\.answer)
        answers[slip.part] = slip.value
        let judgement = question.judge(answers.joined(separator: " "))
        #expect(!judgement.isRight && judgement.remark.hasPrefix(slip.text), "\(seed): \(slip), \(judgement)")
        named += 1
      }
    }
    // Operations and bytes are run, and it is said what they do.
    #expect(named > 0 || kind == .nameOperation || kind == .cheapestFix)
  }

  @Test("each field of an entry and of its bitmap is judged by itself")
  func fields() throws {
    var question = try QuizQuestion(QuizSeed(.predictEntry, 1))
    question.slips = []
    question.parts = [
      QuizQuestion.Part(label: "", query: "l2[0]", form: .entry, answer: "8000000000050001"),
      QuizQuestion.Part(label: "", query: "bitmap[0]", form: .entry, answer: "00000c0000000060"),
    ]
    for (given, wrong) in [
      ("0000000000050001 00000c0000000060", "bit 63 (COPIED)"),
      ("8000000000060001 00000c0000000060", "the offset"),
      ("8000000000050000 00000c0000000060", "bit 0 (zero flag)"),
      ("8000000000050003 00000c0000000060", "the other bits"),
      ("4000000000050001 00000c0000000060", "bit 62 (compressed)"),
      ("8000000000050001 00000c0000000061", "the data bits (last 8 digits)"),
      ("8000000000050001 00000e0000000060", "the zero bits (first 8 digits)"),
      (
        "0000000000060001 0000006000000c00",
        "bit 63 (COPIED), the offset, the zero bits (first 8 digits), the data bits (last 8 digits)"
      ),
    ] {
      let judgement = question.judge(given)
      #expect(!judgement.isRight && judgement.remark.hasSuffix("wrong: \(wrong)."), "\(judgement)")
    }
    #expect(question.judge("8000000000050001 00000c0000000060").isRight)
    #expect(question.judge("8000000000050001").remark == "2 values are asked for, 1 given.")
  }

  /// The answers of genuine tools: where data goes on into clusters that have their place, and where zeroing has two
  /// ends, nothing is written in one go.
  @Test("writes that are not one")
  func writes() throws {
    let question = try QuizQuestion(try #require(QuizSeed("v1:predict-length:5")))
    #expect(
      try QuizPlay(question.setting, question.operations).value("step.order")
        == "data[4], refcount block 0 F, L2[0] F")
    let zeroing = try QuizPlay(
      [
        "img create -q -f raw base 768k", "io -f raw base: write -P 0xbb 0 768k",
        "img create -q -f qcow2 -o cluster_size=64k -b base -F raw disk 768k",
        "io disk: write -P 0x11 312k 40k", "img snapshot -c s disk",
      ], ["write -z 432k 128k"])
    #expect(
      try zeroing.value("step.order")
        == "refcount block 0 F, L2[0] F, L1[0] F, data[6], data[8], refcount block 0 F, L2[0] F")
    let play = try QuizPlay(
      [
        "img create -q -f qcow2 -o cluster_size=64k disk 1536k", "io disk: write -z -u 64k 64k",
        "io disk: write -P 0x11 224k 64k",
      ], ["write -P 0x22 312k 64k"])
    #expect(try play.value("step.order") == "data[4], data[5], refcount block 0 F, L2[0] F")
    #expect(try play.value("step.sizes") == "65536 8192 65536 65536")
  }

  @Test("only seeds are seeds")
  func seeds() {
    #expect(QuizSeed("v1:find-owner:7") == QuizSeed(.findOwner, 7, level: 2))
    #expect(QuizSeed("v1:find-owner:7:3") == QuizSeed(.findOwner, 7, level: 3))
    for text in [
      "", "7", "v2:find-owner:7", "v1:find-owner:-1", "v1:nobody:7", "v1:find-owner:7:4",
      "v1:find-owner:7:1:1",
    ] {
      #expect(QuizSeed(text) == nil, "\(text)")
    }
  }

  @Test("numbers come from SplitMix64")
  func numbers() {
    var random = QuizRandom(1_234_567)
    #expect(
      [random.next(), random.next(), random.next()] == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
      ])
  }

  @Test("answers are taken in any form")
  func forms() throws {
    var question = try QuizQuestion(QuizSeed(.predictCounts, 1))
    question.parts = [QuizQuestion.Part(label: "", query: "", form: .number, answer: "65536")]
    for given in ["65536", "0x10000", "64k", "64K", " 64K "] {
      #expect(question.judge(given).isRight, "\(given)")
    }
    for given in ["65537", "64", "64k 1", "k"] { #expect(!question.judge(given).isRight, "\(given)") }
    question.parts[0] = QuizQuestion.Part(label: "", query: "", form: .names, answer: "L2[0], data[3] of s")
    #expect(question.judge("data[3] OF s,  l2[0]").isRight)
    #expect(question.judge("l2[0]; data[3] of s").isRight)
    #expect(!question.judge("L2[0]").isRight)
    question.parts[0] = QuizQuestion.Part(label: "", query: "", form: .names, answer: "data[5], data[6]")
    #expect(question.judge("data[6] data[5]").isRight && question.judge("data[5];data[6]").isRight)
    #expect(!question.judge("data[5] data[7]").isRight)
    question.parts[0] = QuizQuestion.Part(label: "", query: "", form: .list, answer: "1 0 2")
    for given in ["1 0 2", "1, 0, 2", "1; 0; 2", "1;0;2"] {
      #expect(question.judge(given).isRight, "\(given)")
    }
    question.parts[0] = QuizQuestion.Part(label: "", query: "", form: .entry, answer: "8000000000050000")
    #expect(question.judge("0x8000000000050000").isRight)
    #expect(question.judge("0000000000050000").remark.contains("wrong: bit 63 (COPIED)"))
  }

  @Test("what is typed is run: the operation in other words, another poke, harm")
  func isRun() throws {
    let question = try QuizQuestion(QuizSeed(.nameOperation, 3))
    let operation = question.parts[0].answer
    #expect(question.judge(operation).isRight)
    let letter = question.choices.first { $0.text == operation }?.letter ?? ""
    #expect(question.judge(letter).isRight)
    for given in [
      "poke 0 00", "write", "write 0 1T", "commit", "snapshot -d nobody", "rebase -b x", "open other",
    ] {
      #expect(!question.judge(given).isRight, "\(given)")
    }
    let fix = try QuizQuestion(QuizSeed(.cheapestFix, 3))
    for given in [
      "0x0 00", "0xffffffffff 01", "0 ; 0", "cut 0", "1T 00", String(repeating: "0x10 00;", count: 99),
    ] {
      #expect(!fix.judge(given).isRight, "\(given)")
    }
  }

  @Test("a kind that was missed comes again after two others and after five more")
  func again() throws {
    var run = QuizRun(seed: 5, level: 2)
    var next = run.next()
    let first = try #require(next)
    run.note(first.kind, isRight: false)
    var kinds: [QuizKind] = []
    var seeds: [QuizSeed] = []
    for _ in 0..<9 {
      next = run.next()
      let seed = try #require(next)
      kinds.append(seed.kind)
      seeds.append(seed)
      run.note(seed.kind, isRight: true)
    }
    #expect(kinds[2] == first.kind && kinds[8] == first.kind)
    #expect(!kinds[0..<2].contains(first.kind) && !kinds[3..<8].contains(first.kind))
    #expect(Set(seeds + [first]).count == 10)
    #expect(run.text == "9 of 10 right. To be practised: \(first.kind.rawValue) 2 of 3.")
  }

  @Test("an exam has one of each kind, and a page at its end") func exam() throws {
    #expect(QuizExam(seed: 1).seeds.map(\.kind) == QuizKind.allCases)
    #expect(QuizExam(seed: 1, level: 3).seeds.allSatisfy { $0.level == 3 })
    var run = QuizRun(exam: QuizExam(seed: 4, level: 1))
    var right = 0
    while let seed = run.next(), let exam = run.exam {
      let question = try QuizQuestion(seed)
      #expect(exam.place == "question \(exam.answers.count + 1) of 10")
      // Right, wrong and no answer in turn.
      let given = [question.typedAnswer, Self.wrong(question), QuizExam.passed][exam.answers.count % 3]
      if exam.answers.count % 3 == 0 { right += 1 }
      run.note(seed.kind, isRight: question.judge(given).isRight)
      run.note(question, given: given)
    }
    let exam = try #require(run.exam)
    #expect(exam.answers.count == 10 && exam.next == nil)
    let page = exam.page()
    #expect(page.first == "Exam: \(right) of 10 right." && run.text.hasPrefix("\(right) of 10 right."))
    #expect(page.allSatisfy { $0.count <= 80 }, "\(page)")
    for (index, answer) in exam.answers.enumerated() {
      let kind = answer.question.seed?.kind.rawValue ?? ""
      let worth = ["right", "wrong", "no answer"][index % 3]
      let head = try #require(page.firstIndex { $0.hasPrefix("\(index + 1).  \(kind): \(worth) ") })
      let block = page[head...].prefix { !$0.isEmpty }.joined(separator: "\n")
      for word in ["    asked  ", "    given  ", "    right  ", "    why    "] {
        #expect(block.contains(word), "\(block)")
      }
      if index % 3 == 2 { #expect(block.contains("    given  -")) }
    }
  }

  /// Behind the last write nothing is to be found out, and of one or two writes there is nothing to be said.
  @Test("stops are drawn by what they lead to, and seldom behind the last write") func stops() throws {
    var outcomes: [String: Int] = [:]
    var last = 0
    for number in 0..<120 {
      let question = try QuizQuestion(QuizSeed(.crashStop, UInt64(number), level: 1 + number % 3))
      let words = question.parts[0].query.split(separator: " ")
      let stop = try #require(Int(words[1]))
      let writes = try #require(Int(try QuizPlay(question.setting, question.operations).value("step.writes")))
      #expect(writes > 2)
      if stop == writes { last += 1 }
      outcomes[question.parts.map(\.answer).joined(separator: " "), default: 0] += 1
    }
    #expect(last <= 12, "\(last)")
    #expect(outcomes.count >= 5 && outcomes.values.allSatisfy { $0 <= 66 }, "\(outcomes)")
    #expect(outcomes.keys.contains { $0.hasPrefix("errors") }, "\(outcomes)")
  }

  /// Behind the first level the bytes are shown, and what the header names is not asked for.
  @Test("owners that are asked for have to be looked for") func owners() throws {
    var sorts: Set<String> = []
    for number in 0..<120 {
      let question = try QuizQuestion(QuizSeed(.findOwner, UInt64(number), level: 2 + number % 2))
      let answer = question.parts[0].answer
      #expect(!["header", "refcount table", "L1", "snapshot table", "L2[0]"].contains(answer))
      #expect(!question.shown.joined().contains("L2:"), "\(question.shown)")
      #expect(question.shown.contains { $0.hasPrefix("0x") }, "\(question.shown)")
      sorts.insert(
        answer.contains(",")
          ? answer.contains(" of ") ? "shared" : "packed" : String(answer.filter { !$0.isNumber }))
    }
    for sort in ["shared", "packed", "leaked", "data[]", "L[] of s", "bitmap table of b"] {
      #expect(sorts.contains(sort), "\(sort): \(sorts)")
    }
  }

  @Test("a sheet has every question, and every answer behind them")
  func sheet() throws {
    let questions = try QuizKind.allCases.map { try QuizQuestion(QuizSeed($0, 11)) }
    let pages = QuizSheet(questions).pages
    #expect(pages.count >= 2)
    for page in pages {
      let rows = page.split(separator: "\n", omittingEmptySubsequences: false)
      #expect(rows.count <= QuizSheet.rows + 1 && rows.allSatisfy { $0.count <= 80 })
    }
    for question in questions {
      #expect(pages.dropLast().contains { $0.contains(question.seed?.kind.rawValue ?? "?") })
      #expect(pages.last?.contains(question.seed?.description ?? "?") == true || pages.count > 2)
    }
  }
}
