// Questions on paper: pages of plain text, and the answers on pages of their own at the end.

/// A sheet of exercises with its key.
package struct QuizSheet {
  /// Rows of a page, its number among them.
  package static let rows = 60
  /// Pages of at most ``rows`` lines; the answers begin on one of their own.
  package let pages: [String]

  /// How the tables are to be read, for whoever has nothing but the paper.
  private static let legend = [
    "L1[0] leads to the L2 table; L2[N] is the entry of guest cluster N, 16 hex digits: 8 in front",
    "is COPIED (exactly one owner), 4 compressed, 1 at the end reads as zeroes, between them the",
    "place in the file. What is not printed is 0: not there. Counts are the owners of each cluster",
    "of the file, from cluster 0. k is 1024.",
  ]

  /// The questions in their order, then their answers.
  package init(_ questions: [QuizQuestion]) {
    let head =
      ["Questions on qcow2 images" + String(repeating: " ", count: 19) + "Name: ____________________", ""]
      + QuizText.wrapped(Self.legend.joined(separator: " ")) + [""]
    let asked = Self.paged(
      questions.enumerated().map { Self.block($0.element, $0.offset + 1) }, first: head, later: [])
    let answers = Self.paged(
      questions.enumerated().map { Self.answer($0.element, $0.offset + 1) }, first: ["Answers", ""],
      later: ["Answers", ""])
    let all = asked + answers
    pages = all.enumerated().map { index, page in
      let blank = [String](repeating: "", count: max(0, Self.rows - 1 - page.count))
      let number = "\(index + 1) of \(all.count)"
      return
        (page + blank + [String(repeating: " ", count: (QuizQuestion.columns - number.count) / 2) + number])
        .joined(separator: "\n") + "\n"
    }
  }

  /// Blocks of rows on pages, none of them on two.
  private static func paged(_ blocks: [[String]], first: [String], later: [String]) -> [[String]] {
    var pages: [[String]] = []
    var page = first
    for block in blocks {
      if page.count + block.count > rows - 1, page.count > later.count {
        pages.append(page)
        page = later
      }
      page += block
    }
    return pages + [page]
  }

  /// A question with room for its answer: a line for each value that is asked for.
  private static func block(_ question: QuizQuestion, _ number: Int) -> [String] {
    // A line for each value says itself what belongs there.
    let isOne = question.parts.count == 1
    var rows =
      ["\(number).  \(question.seed?.kind.rawValue ?? "")"] + (isOne ? question.lines : question.asked) + [""]
    if isOne {
      rows.append("   " + String(repeating: "_", count: 60))
    } else {
      rows += question.parts.map { part in
        "   " + part.label + ": " + String(repeating: "_", count: max(10, 58 - part.label.count))
      }
    }
    return rows + [""]
  }

  private static func answer(_ question: QuizQuestion, _ number: Int) -> [String] {
    let answer =
      question.parts.count == 1
      ? question.answer : question.parts.map { "\($0.label): \($0.answer)" }.joined(separator: "; ")
    let explanation = question.explanation
    let shown = explanation.prefix(6).flatMap { QuizText.wrapped($0, indent: "    ") }
    return QuizText.wrapped("\(number).  \(answer)")
      + QuizText.wrapped("(\(question.seed?.description ?? ""))", indent: "    ") + shown.prefix(7) + [""]
  }
}
