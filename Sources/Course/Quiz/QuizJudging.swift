// How an answer to a question is judged: in any form, field by field, and with a word on slips that are known.

import QcowFormat
import ToolText

/// A wrong answer that is known.
struct QuizSlip: Equatable, Sendable {
  /// Of the values that are asked for, from 0.
  var part: Int
  /// What is answered then.
  var value: String
  /// What it is instead of the answer, in a sentence.
  var text: String
}

extension QuizQuestion {
  /// What an answer is worth.
  package struct Judgement: Equatable, Sendable {
    /// All of it is right.
    package var isRight: Bool
    /// What is right or wrong about it, in sentences; empty if there is nothing to say.
    package var remark = ""
  }

  /// Judges what was typed. Operations and pokes are run on the image of the question.
  package func judge(_ given: String) -> Judgement {
    let plain = given.trimmedBlanks
    guard !plain.isEmpty, let first = parts.first else { return Judgement(isRight: false) }
    switch first.form {
    case .names: return judge(names: plain, first)
    case .operation: return judge(operation: plain)
    case .poke: return CheapestFix.judge(plain, of: self)
    default: return judge(words: plain)
    }
  }

  /// A slip that somebody may make with a part; nothing if that is the answer.
  mutating func slip(_ part: Int, _ value: String?, _ text: String) {
    guard let value, parts.indices.contains(part), value != parts[part].answer,
      !slips.contains(where: { $0.part == part && $0.value == value })
    else { return }
    slips.append(QuizSlip(part: part, value: value, text: text))
  }

  /// Names stand between commas or semicolons; those with a number in brackets may have blanks between them as well.
  private static func names(_ text: String) -> Set<String> {
    let names = text.lowercased().split { $0 == "," || $0 == ";" }.map { String($0).trimmedBlanks }
    if names.count == 1 {
      let words = names[0].split(separator: " ").map(String.init)
      if words.allSatisfy({ $0.hasSuffix("]") }) { return Set(words) }
    }
    return Set(names)
  }

  private func judge(names given: String, _ part: Part) -> Judgement {
    let (mine, right) = (Self.names(given), Self.names(part.answer))
    guard mine != right else { return Judgement(isRight: true) }
    if let slip = slips.first(where: { Self.names($0.value) == mine }) {
      return Judgement(isRight: false, remark: slip.text)
    }
    let hits = mine.intersection(right).count
    let wrong = mine.subtracting(right).sorted()
    guard hits > 0 else { return Judgement(isRight: false) }
    // How many are missing says nothing of which.
    return Judgement(
      isRight: false,
      remark: "\(hits) of \(right.count) owners are right"
        + (wrong.isEmpty ? "; one is missing at least." : "; none: \(wrong.joined(separator: ", ")).")
    )
  }

  private func judge(operation given: String) -> Judgement {
    let operation = choice(given)?.text ?? given
    do throws(LessonProblem) {
      guard let difference = try NameOperation.difference(operation, from: self) else {
        return Judgement(isRight: true)
      }
      return Judgement(isRight: false, remark: difference)
    } catch { return Judgement(isRight: false, remark: "That cannot be done here: \(error.reason).") }
  }

  func choice(_ letter: String) -> Choice? {
    choices.first { $0.letter == letter.lowercased() }
  }

  private func judge(words given: String) -> Judgement {
    let words = given.split(whereSeparator: \.separatesValues).map(String.init)
    let counts = parts.map { $0.answer.split(separator: " ").count }
    let count = counts.reduce(0, +)
    guard words.count == count else {
      let asked = count == 1 ? "One value is" : "\(count) values are"
      return Judgement(isRight: false, remark: "\(asked) asked for, \(words.count) given.")
    }
    var right: [String] = []
    var wrong: [String] = []
    var slip: String?
    var at = 0
    for (index, part) in parts.enumerated() {
      let mine = Array(words[at..<at + counts[index]])
      at += counts[index]
      let fields = fields(mine, part)
      right += fields.filter(\.isRight).map(\.name)
      wrong += fields.filter { !$0.isRight }.map(\.name)
      if fields.contains(where: { !$0.isRight }), slip == nil {
        slip = slips.first { $0.part == index && isSame(mine, $0.value, part.form) }?.text
      }
    }
    guard !wrong.isEmpty else { return Judgement(isRight: true) }
    var remarks = slip.map { [$0] } ?? []
    if !right.isEmpty {
      remarks.append("Right: \(right.joined(separator: ", ")); wrong: \(wrong.joined(separator: ", ")).")
    }
    return Judgement(isRight: false, remark: remarks.joined(separator: " "))
  }

  private typealias Field = (name: String, isRight: Bool)

  /// What can be right or wrong by itself in an answer.
  private func fields(_ words: [String], _ part: Part) -> [Field] {
    switch part.form {
    case .entry:
      guard let mine = Self.entry(words[0]), let right = Self.entry(part.answer) else {
        return [(part.short, false)]
      }
      return part.query.hasPrefix("bitmap")
        ? QuizText.bitmapFields(mine, right) : QuizText.entryFields(mine, right)
    case .list:
      let answers = part.answer.split(separator: " ").map(String.init)
      let first = part.first
      return zip(words, answers).enumerated().map { index, pair in
        ("\(first + UInt64(index))", agrees(pair.0, .number, pair.1))
      }
    default: return [(part.short, agrees(words.joined(separator: " "), part.form, part.answer))]
    }
  }

  private func isSame(_ words: [String], _ value: String, _ form: Form) -> Bool {
    let values = value.split(separator: " ").map(String.init)
    return values.count == words.count
      && zip(words, values).allSatisfy { agrees($0, form == .list ? .number : form, $1) }
  }

  private func agrees(_ given: String, _ form: Form, _ answer: String) -> Bool {
    switch form {
    case .entry, .byte: Self.entry(given) != nil && Self.entry(given) == Self.entry(answer)
    case .word: (choice(given)?.text ?? given).lowercased() == answer.lowercased()
    default: Size.bytes(given) != nil && Size.bytes(given) == Size.bytes(answer)
    }
  }

  private static func entry(_ text: String) -> UInt64? {
    let plain = text.lowercased().filter { $0 != "_" }
    return UInt64(plain.hasPrefix("0x") ? String(plain.dropFirst(2)) : plain, radix: 16)
  }
}

extension QuizQuestion.Part {
  /// Its name in a list of what is right and wrong.
  fileprivate var short: String {
    switch form {
    case .word:
      query.hasPrefix("stopped.check") ? "the check" : query.hasPrefix("layer") ? "the file" : "the read"
    case .byte: "the byte"
    case .entry: query.hasPrefix("bitmap") ? "the bitmap" : "the entry"
    default: label
    }
  }

  /// The cluster of the first count of a list.
  fileprivate var first: UInt64 {
    guard let open = query.firstIndex(of: "[") else { return 0 }
    return UInt64(query[query.index(after: open)...].prefix { $0.isNumber }) ?? 0
  }
}
