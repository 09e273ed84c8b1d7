// An answer together with the bytes that it comes from.

import Cartography
import Course

/// Says what the right answer is, and where it stands in the file.
struct LessonEvidence {
  private let moment: LessonMoment

  init(_ moment: LessonMoment) { self.moment = moment }

  func words(_ question: Course.Lesson.Question) -> String {
    let answer = (try? moment.rightAnswer(question)) ?? "?"
    switch question.answer {
    case .choice(let letter, _):
      let text = question.choices.first { $0.letter == letter }?.text ?? ""
      return "\(letter), \(text)."
    case .drawn(let drawn): return drawn.answer
    case .fact(let fact):
      return "\(answer)\(place(of: fact.query.text).map { ", \($0)" } ?? ", as \(fact.query.text) says")."
    }
  }

  private func value(_ text: String) -> String? {
    (try? Query(text)).flatMap { try? moment.value($0).text }
  }

  /// The bytes that a query reads, for those that read one entry.
  private func place(of query: String) -> String? {
    guard let open = query.firstIndex(of: "["), let close = query.firstIndex(of: "]") else {
      return query.hasPrefix("u64@") ? "the 8 bytes at \(query.dropFirst(4))" : nil
    }
    let index = query[query.index(after: open)..<close]
    guard let number = UInt64(index), !query.contains("+"), !query.contains(" - ") else { return nil }
    let address: String?
    switch query[..<open] {
    case "l2", "bitmap":
      guard let bits = value("header.cluster_bits").flatMap({ UInt64($0) }), bits < 32, number < 1 << 31
      else {
        return nil
      }
      address = value("l2.at[\(number << bits)]").flatMap { place in
        (try? Quantity.bytes(place)).map { "0x" + Notation.hex($0 + (query.hasPrefix("bitmap") ? 8 : 0)) }
      }
    case "l1":
      guard let table = value("header.l1_offset").flatMap({ try? Quantity.bytes($0) }) else { return nil }
      address = "0x" + Notation.hex(table + 8 * number)
    case "rc":
      guard let place = value("rc.at[\(number)]") else { return nil }
      return "the count at \(place)"
    default: return nil
    }
    guard let address, let digits = value("bytes@\(address),8") else { return nil }
    return "from the bytes \(digits) at \(address)"
  }
}
