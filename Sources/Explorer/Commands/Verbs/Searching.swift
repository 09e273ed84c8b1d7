// `/` and its repetitions: every screen says what can be found in it.

import Cartography
import CellScreen

extension CommandID {
  static let search = CommandID("search")
  static let searchNext = CommandID("search-next")
  static let searchPrevious = CommandID("search-previous")
}

enum Searching {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .search, .looking, arguments: [CommandArgument("WHAT", .text)],
      keys: [KeyRule("/", in: .searched)], hint: "find",
      help: """
        find: an address, a state (data, zero, leaked, ...) or its letter, words of an owner (snapshot base), a label, \
        bytes (x 514649fb) or "text; in lists and help, text
        """,
      run: { explorer, command throws(CommandError) in
        if command.arguments.isEmpty {
          explorer.overlay = Prompt(search: explorer.desk)
        } else {
          try find(command.arguments.joined(separator: " "), forward: true, explorer.desk)
        }
      }),
    CommandSpec(
      .searchNext, .looking, keys: [KeyRule("n", in: .searched)], counts: true, hint: "next match",
      help: "the next match",
      run: { explorer, command throws(CommandError) in
        try again(forward: true, command.times, explorer.desk)
      }),
    CommandSpec(
      .searchPrevious, .looking, keys: [KeyRule("N", in: .searched)], counts: true, hint: "previous match",
      help: "the match before",
      run: { explorer, command throws(CommandError) in
        try again(forward: false, command.times, explorer.desk)
      }),
  ]

  private static func again(forward: Bool, _ count: Int, _ desk: Desk) throws(CommandError) {
    guard !desk.lastSearch.isEmpty else {
      throw CommandError("nothing was searched for yet; \(desk.key(.search)) does")
    }
    let times = max(1, min(count, 1000))
    for number in 0..<times {
      try find(desk.lastSearch, forward: forward, desk)
      if number + 1 < times, desk.files.shouldCancel(Double(number) / Double(times)) {
        throw CommandError("given up after \(number + 1) of \(times) steps")
      }
    }
  }

  /// Finds the next place; keeps the place if there is none.
  private static func find(_ text: String, forward: Bool, _ desk: Desk) throws(CommandError) {
    desk.lastSearch = text
    if let pattern = try BytePattern(text) {
      return try BytesFinding.find(pattern, text, forward: forward, desk)
    }
    guard try desk.current.find(text, forward: forward) else {
      throw CommandError(notFound(text, desk.current.searchScope))
    }
  }

  /// That nothing was found, and where.
  static func notFound(_ text: String, _ scope: String) -> String {
    "'\(TextWidth.sanitized(text))' was not found\(scope.isEmpty ? "" : " " + scope); the cursor stays"
  }

  /// The next line of `count` with a text in it, round the end.
  static func row(
    with text: String, in count: Int, from: Int, forward: Bool, _ line: (Int) -> String
  ) -> Int? {
    guard count > 0 else { return nil }
    let wanted = text.lowercased()
    for step in 1...count {
      let index = ((from + (forward ? step : -step)) % count + count) % count
      if contains(line(index).lowercased(), wanted) { return index }
    }
    return nil
  }

  static func contains(_ text: String, _ wanted: String) -> Bool {
    let text = Array(text.utf8)
    let wanted = Array(wanted.utf8)
    guard !wanted.isEmpty, wanted.count <= text.count else { return false }
    return (0...text.count - wanted.count).contains { text[$0..<$0 + wanted.count].elementsEqual(wanted) }
  }
}
