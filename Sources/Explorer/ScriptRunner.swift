// Scripts: lines of keys or commands, played on an explorer without a terminal. What a script does is
// what a person at the keys does; the first error stops it and names its line.

import Cartography
import CellScreen

/// An error in a script.
package struct ScriptError: Error, Equatable, CustomStringConvertible, Sendable {
  /// Its number, from 1.
  package var line: Int
  /// What is wrong with it.
  package var message: String
  package var description: String { "line \(line): \(message)" }
}

/// Runs files of commands and keys.
package enum ScriptRunner {
  /// Plays a script.
  ///
  /// A line that begins with `:` is a command; `size 80x24` sets the size; `# …` and empty lines are
  /// skipped; `type TEXT` types text into a prompt or dialog; every other line holds keys in notation,
  /// separated by blanks, pressed without a pause between them. Stops at `:q`. While the lab runs, every
  /// command and every key is followed by as many operations as there are between two pictures.
  ///
  /// - Throws: ``ScriptError`` at the first line that cannot be done.
  package static func run(_ script: String, on explorer: Explorer) throws(ScriptError) {
    while !explorer.scan(budgetNanoseconds: 50_000_000) {}
    for (index, raw) in script.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      .enumerated()
    {
      let line = raw.drop { $0 == " " || $0 == "\t" }
      if line.isEmpty || line.hasPrefix("#") && line != "#" { continue }
      do throws(CommandError) {
        if try play(String(line), on: explorer) { return }
      } catch { throw ScriptError(line: index + 1, message: error.description) }
    }
  }

  /// Plays one line; true if it left the program.
  private static func play(_ line: String, on explorer: Explorer) throws(CommandError) -> Bool {
    if line.hasPrefix(":") && line != ":" && !line.hasPrefix(": ") {
      return try settled(explorer.performLine(line), explorer)
    }
    let words = line.split(separator: " ")
    if words.first == "size" {
      let parts = words.dropFirst().first?.split(separator: "x").compactMap { Int($0) } ?? []
      guard words.count == 2, parts.count == 2, parts.allSatisfy({ (1...Canvas.maximumSide).contains($0) })
      else {
        throw CommandError("a size is written as 80x24")
      }
      return try settled(explorer.handle(.resize(width: parts[0], height: parts[1])), explorer)
    }
    if words.first == "type" {
      for scalar in line.dropFirst(5).unicodeScalars { _ = explorer.handle(.key(.character(scalar))) }
      return false
    }
    // The keys of one line come without a pause.
    explorer.forgetCount()
    for word in words {
      guard let key = Key(String(word)) else {
        throw CommandError("'\(word)' is not a key; text goes behind 'type'")
      }
      if try settled(explorer.handle(.key(key)), explorer) { return true }
    }
    return false
  }

  /// Scans to the end, so that pictures do not depend on time, and turns messages of errors into errors.
  private static func settled(_ effects: [Effect], _ explorer: Explorer) throws(CommandError) -> Bool {
    if explorer.messageIsError, let text = explorer.message { throw CommandError(text) }
    explorer.beginFrame()
    while !explorer.scan(budgetNanoseconds: 50_000_000) {}
    if explorer.messageIsError, let text = explorer.message { throw CommandError(text) }
    return effects.contains(.quit)
  }
}
