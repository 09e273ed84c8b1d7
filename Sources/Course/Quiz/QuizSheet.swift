// Questions on paper: pages of plain text, and the answers on pages of their own at the end.

/// A sheet of exercises with its key.
package struct QuizSheet {
  /// Rows of a page.
  package static let rows = 60
  /// Pages of at most ``rows`` lines; the answers begin on one of their own.
  package let pages: [String]

  /// The questions in their order, then their answers.
  package init(_ questions: [QuizQuestion]) {
    var pages: [[String]] = []
    var page = [
      "Questions on qcow2 images" + String(repeating: " ", count: 19) + "Name: ____________________", "",
    ]
    for (index, question) in questions.enumerated() {
      let block = Self.block(question, index + 1)
      if page.count + block.count > Self.rows {
        pages.append(page)
        page = []
      }
      page += block
    }
    pages.append(page)
    page = ["Answers", ""]
    for (index, question) in questions.enumerated() {
      let seed = question.seed?.description ?? ""
      var block = QuizText.wrapped("\(Self.padded(index + 1))  \(question.answer)")
      block += QuizText.wrapped("qatlas quiz --seed \(seed)", indent: "    ")
      block += question.reason.prefix(6).flatMap { QuizText.wrapped($0, indent: "    ") }.prefix(6)
      if page.count + block.count > Self.rows {
        pages.append(page)
        page = []
      }
      page += block
    }
    pages.append(page)
    self.pages = pages.map { $0.joined(separator: "\n") + "\n" }
  }

  private static func padded(_ number: Int) -> String { "\(number)." }

  private static func block(_ question: QuizQuestion, _ number: Int) -> [String] {
    let head = "\(number).  \(question.seed?.kind.rawValue ?? "")"
    return [head] + question.lines + ["", "   " + String(repeating: "_", count: 60), ""]
  }
}
