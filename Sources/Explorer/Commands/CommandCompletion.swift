// Tab in the command line: candidates for the word before the cursor, from the command table.
// Words that only the host knows come in through one closure.

package import CellScreen

/// What may stand at the cursor of the prompt.
package enum CommandCompletion {
  /// Completes the word before `cursor` of a line.
  ///
  /// `files` lists the names that begin with a prefix; it is asked only for file arguments.
  package static func complete(
    _ line: String, cursor: Int, files: @escaping (String) -> [String]
  ) -> Completion? {
    let before = line.prefix(cursor)
    let parts = before.split(separator: " ", omittingEmptySubsequences: false)
    guard let current = parts.last else { return nil }
    let prefix = String(current)
    let words = parts.dropLast().filter { !$0.isEmpty }.map(String.init)
    let candidates: [String]
    if let name = words.first {
      guard let spec = try? CommandTable.named(name.hasSuffix("!") ? String(name.dropLast()) : name) else {
        return nil
      }
      candidates = argumentCandidates(
        spec, Array(words.dropFirst()), Completing(prefix: prefix, files: files))
    } else {
      candidates = CommandTable.all.flatMap { [$0.name] + $0.aliases }.filter { $0.count > 1 || $0 == prefix }
    }
    let matching = Set(candidates.filter { $0.hasPrefix(prefix) }).sorted()
    return matching.isEmpty ? nil : Completion(replaces: prefix.count, candidates: matching)
  }

  private static func argumentCandidates(
    _ spec: CommandSpec, _ words: [String], _ completing: Completing
  ) -> [String] {
    if completing.prefix.hasPrefix("-") { return spec.options.map(\.flag) }
    if let last = words.last, let option = spec.options.first(where: { $0.flag == last && $0.value != nil }) {
      return option.candidates(completing)
    }
    // Options and their values do not take the place of an argument.
    var position = 0
    var index = 0
    while index < words.count {
      if let option = spec.options.first(where: { $0.flag == words[index] }) {
        index += option.value == nil ? 0 : 1
      } else {
        position += 1
      }
      index += 1
    }
    guard position < spec.arguments.count else { return [] }
    return spec.arguments[position].candidates(completing)
  }
}
