// A lesson as its file has it: words, an image, and steps in which something is shown, asked, done and proved.

/// A lesson. Every number in it that says something about the image is a query, so that none can be out of date.
package struct Lesson: Sendable {
  /// A line of the file that is done, and where it stands.
  package struct Line: Equatable, Sendable {
    package var text: String
    /// From 1 on.
    package var number: Int
  }

  /// What must hold: a query, and what its value is, or is less or more than.
  package struct Fact: Equatable, Sendable {
    /// How the value stands to the written one.
    package enum Relation: String, Sendable {
      case equal = "="
      case less = "<"
      case more = ">"
    }

    package var query: Query
    package var relation = Relation.equal
    package var value: String
    /// Values that hold from a version of the genuine tools on; the last that applies counts.
    package var later: [(version: Int, value: String)] = []
    package var line: Int

    /// What must be seen with that version; nil for the engine, which does as the newest.
    package func value(for version: Int?) -> String {
      later.last { version == nil || $0.version <= version ?? 0 }?.value ?? value
    }

    package static func == (a: Fact, b: Fact) -> Bool {
      a.query == b.query && a.relation == b.relation && a.value == b.value && a.line == b.line
        && a.later.elementsEqual(b.later) { $0.version == $1.version && $0.value == $1.value }
    }
  }

  /// Something to say before it is seen.
  package struct Question: Equatable, Sendable {
    /// What an answer looks like.
    package enum Kind: String, Sendable, CaseIterable {
      case number, address, entry, list, choice, order
    }

    /// How an answer is judged.
    package enum Answer: Equatable, Sendable {
      /// The letter of a choice.
      case choice(String, when: Fact? = nil)
      /// By what the query says behind the step.
      case fact(Fact)
      /// By a drawn question itself, which runs what was typed on files of its own.
      case drawn(QuizQuestion)
    }

    package var kind: Kind
    package var text: String
    /// Letter and words.
    package var choices: [(letter: String, text: String)] = []
    /// From what to look at to nearly the answer.
    package var hints: [String] = []
    /// What is said to an answer that comes from a known slip.
    package var slips: [(value: String, text: String)] = []
    package var answer: Answer
    /// The answer is one of a list of values (any), or as bad as the worst of them (worst).
    package var accepts: String?
    package var line: Int

    /// The drawn question that it is; nil in a lesson.
    package var drawn: QuizQuestion? { if case .drawn(let drawn) = answer { drawn } else { nil } }

    package static func == (a: Question, b: Question) -> Bool {
      a.kind == b.kind && a.text == b.text && a.answer == b.answer && a.line == b.line && a.hints == b.hints
    }
  }

  /// What is to be on the screen.
  package struct Show: Equatable, Sendable {
    /// screen, focus, zoom, at, lens, highlight.
    package var words: [String: String] = [:]
    package var line: Int
  }

  /// One step: show, say, ask, do, prove, explain.
  package struct Step: Sendable {
    package var title: String
    package var line: Int
    package var show: Show?
    package var say: String?
    package var question: Question?
    /// What is done and what must hold then, in order.
    package var items: [Item] = []
    /// Why it is so, said when it was done.
    package var reason: String?
    /// A wrong order that the engine takes in this step.
    package var fault: String?
    /// Only this engine can do what the step does; the genuine tools are not asked.
    package var isOurs = false

    /// One line of what is done or must hold.
    package enum Item: Equatable, Sendable {
      case deed(Line)
      /// How the genuine tools come to the same file where the engine has a fault switched on.
      case replay(Line)
      case fact(Fact)

      /// The operation, if it is one.
      package var operation: Line? { if case .deed(let line) = self { line } else { nil } }
      fileprivate var isLeading: Bool {
        operation.map { LessonStage.leading.contains(String($0.text.prefix { $0 != " " })) } ?? false
      }
    }

    /// What is done on entering the step, before it shows or asks anything.
    package var leading: [Line] { Array(items.prefix { $0.isLeading }.compactMap(\.operation)) }
    /// What is done and must hold behind that, in order.
    package var acts: [Item] { Array(items.drop { $0.isLeading }) }
    package var deeds: [Line] {
      items.compactMap { if case .deed(let line) = $0 { line } else { nil } }
    }
    package var facts: [Fact] {
      items.compactMap { if case .fact(let fact) = $0 { fact } else { nil } }
    }
  }

  /// Free work towards a goal.
  package struct Exercise: Sendable {
    package var text: String
    package var line: Int
    package var hints: [String] = []
    package var show: Show?
    package var question: Question?
    package var goals: [Fact] = []
    package var solution: [Line] = []
  }

  /// As it is called; with the folder and a "/" in front if it is none of the program's.
  package var name: String
  package var title = ""
  package var goal = ""
  /// Names of lessons that come before.
  package var needs: [String] = []
  package var minutes = 0
  /// What most get wrong.
  package var trap = ""
  package var image: [Line] = []
  package var session = SessionOptions()
  /// The part of the path that it is a side road of; nil for the path itself.
  package var branch: String?
  /// A wrong order that the engine takes for this lesson; nil for the right ones.
  package var fault: String?
  /// Only this engine can play it.
  package var isOurs = false
  package var steps: [Step] = []
  package var exercise: Exercise?

  package init(name: String) { self.name = name }
}
