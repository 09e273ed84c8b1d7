// Does what a question asks about and answers its queries: those of lessons, and a few that only questions ask.

import Qcow
import QcowFormat
import Storage

/// The files of a question before and behind its operations.
final class QuizPlay {
  /// Before the operations.
  let start: LessonMoment
  /// Behind them.
  let end: LessonMoment

  /// - Throws: ``LessonProblem`` if a line or an operation is refused.
  init(_ lines: [String], _ operations: [String] = []) throws(LessonProblem) {
    var lesson = Lesson(name: "quiz")
    lesson.image = lines.enumerated().map { Lesson.Line(text: $0.element, number: $0.offset + 1) }
    let stage = try LessonStage(lesson)
    start = LessonMoment(stage.bench.copy(), current: "disk")
    for operation in operations {
      try stage.perform(operation)
      guard stage.outcome == "ok" else { throw LessonProblem(stage.outcome) }
    }
    end = stage.moment
  }

  convenience init(_ scene: QuizScene, _ operations: [String] = []) throws(LessonProblem) {
    try self.init(
      scene.image + scene.sessions + scene.pokes.map { Self.line($0, "disk") }, operations)
  }

  /// An operation on bytes as a line of an image block.
  static func line(_ poke: String, _ file: String) -> String {
    let words = poke.split(separator: " ", maxSplits: 1)
    return words.count == 2 ? "\(words[0]) \(file): \(words[1])" : poke
  }

  func tables(_ moment: LessonMoment) throws(LessonProblem) -> QuizTables {
    guard let image = ImageBytes(try moment.bench.file("disk")) else { throw LessonProblem("no image") }
    return QuizTables(image)
  }

  /// The value behind the operations.
  ///
  /// `freed`: host clusters whose count is 0 now and was not; `kept OFF LEN ...`: bytes of these ranges that do not
  /// read as zero; `errors`, `leaks`: of a check; `stopped.check K`: `clean`, `leaks` or `errors` if the machine
  /// stops behind write K; `stopped.read K OFF LEN BYTE`: whether the disk then holds there what it held, or that
  /// byte: `old`, `new`, `mixed`.
  func value(_ query: String) throws(LessonProblem) -> String {
    let words = query.split(separator: " ").map(String.init)
    let numbers = words.dropFirst().compactMap(Size.bytes)
    switch words.first {
    case "freed":
      let (before, after) = (try tables(start).counts, try tables(end).counts)
      let freed = before.enumerated().filter { index, count in
        count > 0 && (index >= after.count || after[index] == 0)
      }
      return "\(freed.count)"
    case "kept":
      let guest = try end.bench.guest("disk")
      var count = 0
      for index in stride(from: 0, to: numbers.count - 1, by: 2) {
        let range = Int(numbers[index])..<Int(numbers[index] + numbers[index + 1])
        guard range.upperBound <= guest.count else { throw LessonProblem("behind the disk") }
        count += guest[range].reduce(0) { $1 == 0 ? $0 : $0 + 1 }
      }
      return "\(count)"
    case "errors": return "\(Self.count("errors", in: try ask("check")))"
    case "leaks": return "\(Self.count("leaks", in: try ask("check")))"
    case "stopped.check": return try stop(checks(), numbers.first)
    case "stopped.read":
      guard numbers.count == 4 else { throw LessonProblem("'\(query)' is no query") }
      return try stop(reads(numbers[1], numbers[2], numbers[3]), numbers[0])
    default: return try ask(query)
    }
  }

  /// What a check says if the machine stops behind each write: `clean`, `leaks` or `errors`.
  func checks() throws(LessonProblem) -> [String] {
    try list("step.check").map { $0.contains("errors") ? "errors" : $0.contains("leaks") ? "leaks" : $0 }
  }

  /// What the disk holds in a range if the machine stops behind each write: `old`, `new` (that byte), `mixed`, or why it
  /// cannot be read.
  func reads(_ offset: UInt64, _ count: UInt64, _ new: UInt64) throws(LessonProblem) -> [String] {
    let old = try start.value(try Query("read \(offset) \(count)")).number
    return try list("step.read[\(offset) \(count)]").map { read in
      guard let byte = UInt64(read, radix: 16), read.count == 2 else { return read }
      return byte == new ? "new" : byte == old ? "old" : "mixed"
    }
  }

  private func ask(_ query: String) throws(LessonProblem) -> String {
    let value = try end.value(try Query(query))
    if query.split(separator: " ").first == "read", let byte = value.number { return QuizText.byte(byte) }
    return value.text
  }

  /// A value with commas between.
  private func list(_ query: String) throws(LessonProblem) -> [String] {
    try ask(query).split(separator: ",").map { String($0).trimmedBlanks }
  }

  private func stop(_ list: [String], _ number: UInt64?) throws(LessonProblem) -> String {
    guard let number, number >= 1, number <= UInt64(list.count) else { throw LessonProblem("no such write") }
    return list[Int(number) - 1]
  }

  private static func count(_ word: Substring, in check: String) -> UInt64 {
    let words = check.split(separator: " ")
    guard let index = words.firstIndex(of: word), words.indices.contains(index + 1) else { return 0 }
    return UInt64(words[index + 1]) ?? 0
  }

  /// A part of a question with the answer that the engine gives.
  func part(_ label: String, _ query: String, _ form: QuizQuestion.Form) throws(LessonProblem)
    -> QuizQuestion.Part
  {
    QuizQuestion.Part(label: label, query: query, form: form, answer: try value(query))
  }
}

extension Workbench {
  /// All bytes of a disk, opened for looking only.
  ///
  /// - Throws: ``LessonProblem`` if one of them cannot be read, or there are more than 16 MiB of them.
  func guest(_ name: String) throws(LessonProblem) -> [UInt8] {
    let image = try copy().open(name, SessionOptions(), isReadOnly: true)
    let size = image.geometry.virtualSize
    guard size <= 16 << 20 else { throw LessonProblem("the disk is too large") }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(size), alignment: 16)
    defer { unsafe buffer.deallocate() }
    do throws(ImageError) { unsafe try image.read(at: GuestOffset(0), into: buffer) } catch {
      throw LessonProblem(Self.reason(error))
    }
    return unsafe Array(buffer)
  }
}
