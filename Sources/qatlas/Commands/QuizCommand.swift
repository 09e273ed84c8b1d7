// `qatlas quiz`: questions without an end, asked line by line, as a dump for programs, or as a sheet on paper.

import ArgumentParser
import Cartography
import CellScreen
import Course
import Explorer
import Glibc

struct QuizCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quiz", abstract: "Ask questions about images and judge the answers.",
    discussion: """
      Every question is drawn from a seed, and its answer is what the engine does. Answer with numbers in any form \
      (65536, 0x10000, 64k), lists with blanks between; h gives a hint, the first of three, ? the answer, q ends. A kind that was \
      missed comes again. In an exam there are no hints, and what is right is told at its end. Kinds: \(QuizKind.allCases.map(\.rawValue).joined(separator: ", ")).
      """)

  @Option(help: "Questions of this kind only.", completion: .list(QuizKind.allCases.map(\.rawValue)))
  var kind: String?
  @Option(help: "A number that the row of questions follows from, or the seed of one question.") var seed:
    String?
  @Option(help: "So many questions; without it they do not end.") var count: Int?
  @Option(help: "1 to 3: how much was done to the images before, and with how many features.")
  var level = QuizSeed.usualLevel
  @Option(
    help: "An exam, one question of each kind without hints, told about at its end: 'path'.")
  var exam: String?
  @Flag(help: "Print the questions with their answers, one JSON object a line.") var dump = false
  @Flag(help: "Print a sheet of exercises with the answers at its end.") var sheet = false

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let kinds = try kinds(streams)
    guard QuizSeed.levels.contains(level) else { throw streams.failure("--level is 1, 2 or 3") }
    if let count, !(1...1_000_000).contains(count) { throw streams.failure("--count is 1 to 1000000") }
    if let exam, exam != "path" { throw streams.failure("--exam knows 'path' only") }
    let single = seed.flatMap(QuizSeed.init)
    var number = UInt64.random(in: 0..<1_000_000_000)
    if let seed, single == nil {
      guard let given = UInt64(seed) else {
        throw streams.failure("--seed is a number, or a seed as v1:predict-entry:812")
      }
      number = given
    }
    let whole = single == nil && exam != nil ? QuizExam(seed: number, level: level) : nil
    if dump || sheet {
      try print(single.map { [$0] } ?? whole?.seeds ?? row(kinds, number, count ?? 10), streams)
    } else if let whole {
      try ask(QuizRun(exam: whole), nil, whole.seeds.count, streams)
    } else {
      try ask(QuizRun(kinds, seed: number, level: level), single, single == nil ? count ?? .max : 1, streams)
    }
  }

  private func kinds(_ streams: Streams) throws -> [QuizKind] {
    guard let kind else { return QuizKind.allCases }
    guard let known = QuizKind(rawValue: kind) else {
      throw streams.failure(
        "no kind of questions is called '\(Escaping.human(kind))'; there are:",
        hint: QuizKind.allCases.map { "  \($0.rawValue)\n" }.joined())
    }
    return [known]
  }

  /// Seeds without repetitions, as nobody answers.
  private func row(_ kinds: [QuizKind], _ number: UInt64, _ count: Int) -> [QuizSeed] {
    var run = QuizRun(kinds, seed: number, level: level)
    return (0..<count).compactMap { _ in run.next() }
  }

  private func question(_ seed: QuizSeed, _ streams: Streams) throws -> QuizQuestion {
    do throws(LessonProblem) { return try QuizQuestion(seed) } catch { throw streams.failure(error.reason) }
  }

  private func print(_ seeds: [QuizSeed], _ streams: Streams) throws {
    if dump {
      for seed in seeds { streams.output(try question(seed, streams).json + "\n") }
    } else {
      var questions: [QuizQuestion] = []
      for seed in seeds { questions.append(try question(seed, streams)) }
      let pages = QuizSheet(questions).pages
      // A form feed between pages, which text for people may not have.
      for page in pages.dropLast() { streams.progress(page, end: "\u{c}", onOutput: true) }
      streams.output(pages.last ?? "")
    }
  }

  // MARK: Asking

  /// Asks at most so many questions of a row, or the one of a seed.
  private func ask(_ questions: QuizRun, _ single: QuizSeed?, _ most: Int, _ streams: Streams) throws {
    var run = questions
    var lines = InputLines()
    var asked = 0
    if run.exam != nil {
      tell(
        [
          "An exam of \(most) questions. What is right is told at its end; \(QuizExam.passed) leaves a question out, q ends.",
          "",
        ], streams)
    }
    while asked < most, let seed = single ?? run.next() {
      let question = try question(seed, streams)
      asked += 1
      let head =
        "Question \(asked)\(run.exam == nil ? "" : " of \(most)"): \(seed.kind.rawValue)   (\(seed))"
      tell((asked > 1 ? [""] : []) + [head] + question.lines, streams)
      guard let answer = answered(question, isExam: run.exam != nil, &lines, streams) else { break }
      run.note(seed.kind, isRight: answer.isRight)
      run.note(question, given: answer.given)
    }
    let page = run.exam.map { $0.answers.isEmpty ? [] : $0.page() + [""] } ?? []
    tell([""] + page + [run.text], streams)
  }

  /// Rows of at most 80 columns, broken at blanks where the terminal has fewer.
  private func tell(_ rows: [String], _ streams: Streams) {
    let width = Self.terminalColumns.map { min($0, QuizQuestion.columns) }
    for row in rows {
      let lines = row.isEmpty ? [""] : width.map { TextWrap.wrap(row, width: $0) } ?? [row]
      streams.output(lines.joined(separator: "\n") + "\n")
    }
  }

  /// Nil where the output is no terminal.
  private static var terminalColumns: Int? {
    var size = winsize()
    guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  /// The hint that is asked for, the first as 1.
  private func hint(_ number: Int, _ question: QuizQuestion) -> String {
    guard number <= question.hints.count else { return "There is no other hint; ? gives the answer." }
    return "Hint \(number) of \(question.hints.count): " + question.hints[number - 1]
  }

  /// Reads and judges an answer; nil if there is none. In an exam nothing is said about it.
  private func answered(
    _ question: QuizQuestion, isExam: Bool, _ lines: inout InputLines, _ streams: Streams
  ) -> (given: String, isRight: Bool)? {
    let isTerminal = isatty(STDIN_FILENO) == 1
    let begin = time(nil)
    var hints = 0
    while true {
      if isTerminal { streams.output("> ") }
      streams.flush()
      guard case .text(let line)? = lines.next() else { return nil }
      if !isTerminal { streams.output("> \(line)\n") }
      let given = line.filter { $0 != "\t" }
      switch given.lowercased() {
      case "": continue
      case "q", "quit": return nil
      case "h" where isExam:
        tell(["There are no hints in an exam; \(QuizExam.passed) leaves the question out."], streams)
        continue
      case "h":
        hints += 1
        tell(QuizText.wrapped(hint(hints, question)), streams)
        continue
      default: break
      }
      let isPassed = given == QuizExam.passed
      let judgement = question.judge(isPassed ? "" : given)
      let answer = judgement.isRight ? [] : ["The answer: \(question.answer)"]
      let verdict =
        (judgement.isRight ? "Right." : isPassed ? "" : "Wrong.")
        + (judgement.remark.isEmpty ? "" : " " + judgement.remark)
      if !isExam {
        tell(QuizText.wrapped(verdict) + answer + question.explanation, streams)
      }
      let seconds = time(nil) - begin
      QuizProgress.note(
        question, given: isPassed ? "" : given, isRight: judgement.isRight, hints: hints, seconds: seconds)
      return (given, judgement.isRight)
    }
  }
}
