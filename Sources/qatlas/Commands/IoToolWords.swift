// The command line of the genuine `qemu-io`, whose options may stand anywhere and be shortened, in the
// words of `io`.

import ArgumentParser
import Cartography
import Explorer
import Glibc

enum IoToolWords {
  /// Long names, the letter that means the same, and whether a value follows.
  private static let options: [(name: String, letter: Character?, hasValue: Bool)] = [
    ("help", "h", false), ("version", "V", false), ("cmd", "c", true), ("format", "f", true),
    ("read-only", "r", false), ("snapshot", "s", false), ("nocache", "n", false),
    ("copy-on-read", "C", false), ("misalign", "m", false), ("native-aio", "k", false), ("aio", "i", true),
    ("cache", "t", true), ("discard", "d", true), ("trace", "T", true), ("force-share", "U", false),
    ("object", nil, true), ("image-opts", nil, false),
  ]

  private struct Refusal: Error {
    /// Without the program's name; nil where only the usage is shown.
    var text: String?
  }

  /// Runs `io` with the words of the genuine tool, and ends the program.
  static func run(_ words: [String]) throws {
    let translated: [String]
    do throws(Refusal) { translated = try translate(words) } catch {
      if let text = error.text { Output.error("\(Tool.name): \(text)\n") }
      let usage = "Usage: \(Tool.name) [OPTIONS]... [-c STRING]... [file]\nTry '\(Tool.name) --help'.\n"
      _ = Output.write(Escaping.lines(usage), to: STDOUT_FILENO)
      throw ExitCode(1)
    }
    var command = try IoSubcommand.parseAsRoot(translated)
    try command.run()
    throw ExitCode.success
  }

  private static func translate(_ words: [String]) throws(Refusal) -> [String] {
    var result: [String] = []
    var files: [String] = []
    var at = 0
    func value(_ joined: String?, _ complaint: String) throws(Refusal) -> String {
      if let joined { return joined }
      guard at < words.count else { throw Refusal(text: "option \(complaint)") }
      at += 1
      return words[at - 1]
    }
    while at < words.count {
      let word = words[at]
      at += 1
      if word == "--" {
        files += words[at...]
        break
      }
      if word.hasPrefix("--") {
        let equals = word.firstIndex(of: "=")
        let name = word[word.index(word.startIndex, offsetBy: 2)..<(equals ?? word.endIndex)]
        let option = try long(String(name), as: String(word[..<(equals ?? word.endIndex)]))
        let joined = equals.map { String(word[word.index(after: $0)...]) }
        if option.hasValue {
          try add(option.letter, try value(joined, "'--\(option.name)' requires an argument"), to: &result)
        } else if joined != nil {
          throw Refusal(text: "option '--\(option.name)' doesn't allow an argument")
        } else {
          try add(option.letter, nil, to: &result)
        }
      } else if word.hasPrefix("-"), word != "-" {
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
          guard let option = options.first(where: { $0.letter == letter }) else {
            throw Refusal(text: "invalid option -- '\(Escaping.human(String(letter)))'")
          }
          guard option.hasValue else {
            try add(letter, nil, to: &result)
            continue
          }
          let joined = letters.isEmpty ? nil : String(letters)
          letters = ""
          try add(letter, try value(joined, "requires an argument -- '\(letter)'"), to: &result)
        }
      } else {
        files.append(word)
      }
    }
    guard files.count <= 1 else { throw Refusal(text: nil) }
    return result + (files.isEmpty ? [] : ["--"] + files)
  }

  private static func long(
    _ name: String, as word: String
  ) throws(Refusal) -> (name: String, letter: Character?, hasValue: Bool) {
    if let exact = options.first(where: { $0.name == name }) { return exact }
    let found = options.filter { $0.name.hasPrefix(name) }
    guard let first = found.first else {
      throw Refusal(text: "unrecognized option '\(Escaping.human(word))'")
    }
    guard found.count == 1 else {
      let names = found.map { " '--\($0.name)'" }.joined()
      throw Refusal(text: "option '\(Escaping.human(word))' is ambiguous; possibilities:\(names)")
    }
    return first
  }

  private static func add(_ letter: Character?, _ value: String?, to result: inout [String]) throws(Refusal) {
    switch letter {
    case "h": result.append("--help")
    case "V":
      _ = Output.write(Escaping.lines("\(Tool.name) version 11.1 (qatlas)\n"), to: STDOUT_FILENO)
      Glibc.exit(0)
    case "T":
      // There are no events here to follow.
      let pattern = (value ?? "").split(separator: ",").first.map(String.init) ?? ""
      let name = pattern.hasPrefix("enable=") ? String(pattern.dropFirst(7)) : pattern
      if !name.isEmpty, !name.contains("="), !name.contains("*") {
        Output.error("\(Tool.name): warning: trace event '\(Escaping.human(name))' does not exist\n")
      }
    case "c": result += ["-c", value ?? ""]
    case .some(let letter): result.append("-\(letter)\(value ?? "")")
    case nil: result += value.map { ["--object", $0] } ?? ["--image-opts"]
    }
  }
}
