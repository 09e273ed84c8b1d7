// A report that is printed while it is made, for lists that are longer than memory: the values are those of the
// tree, and here stands only what comes between them.

import Cartography

/// Prints values one after the other, as lines for people or as one JSON text.
package struct ReportStream {
  /// JSON is printed, not lines for people.
  package let isJSON: Bool
  private let output: (String) -> Void
  /// What stands between two members of each open bracket, and whether one has been printed.
  private var levels: [(separator: String, isEmpty: Bool)] = []

  package init(json: Bool, output: @escaping (String) -> Void) {
    isJSON = json
    self.output = output
  }

  /// Opens an object or a list of JSON, as a member if it has a name. People see nothing of it.
  package mutating func open(_ bracket: String, _ name: String? = nil, between separator: String = ",\n") {
    append(name, bracket)
    levels.append((separator, true))
  }

  /// Closes what was opened last.
  package mutating func close(_ bracket: String) {
    guard isJSON else { return }
    levels.removeLast()
    output(bracket)
  }

  /// A member or, without a name, an item of JSON: in one line, or in lines of their own from `indent` spaces
  /// on. People see nothing of it.
  package mutating func add(_ name: String? = nil, _ value: ReportValue, indent: Int? = nil) {
    guard isJSON else { return }
    append(name, indent.map { value.json(indent: $0) } ?? value.jsonLine)
  }

  /// One record: an item of JSON, or a line for people.
  package mutating func record(_ fields: [Field]) {
    let record = ReportValue.object(fields)
    if isJSON { append(nil, record.jsonLine) } else { output(record.humanLine + "\n") }
  }

  /// A line that only people see.
  package func line(_ text: String) {
    if !isJSON { output(text + "\n") }
  }

  private mutating func append(_ name: String?, _ text: String) {
    guard isJSON else { return }
    if let last = levels.indices.last {
      if !levels[last].isEmpty { output(levels[last].separator) }
      levels[last].isEmpty = false
    }
    output(name.map { Escaping.json($0) + ": " + text } ?? text)
  }
}
