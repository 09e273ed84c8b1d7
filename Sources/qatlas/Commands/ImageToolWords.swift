// The command line of the genuine image tool, turned into that of this program: options anywhere
// between the operands, letters in one word, long names cut short, and its sentences for wrong use.

import ArgumentParser
import Cartography
import Explorer
import ToolText

/// One verb of the genuine tool and its options, in the order in which it names them.
struct ImageToolVerb {
  struct Option {
    let name: String
    let letter: Character?
    let takesValue: Bool
    /// The genuine tool knows it by its letter alone.
    let hasNoName: Bool
  }

  let name: String
  let options: [Option]
  /// How many words without a dash there may be.
  let operands: ClosedRange<Int>
  let missing: String

  /// `table` lists "name,letter" with a colon behind what takes a value, and a dot in front of what has only a
  /// letter.
  private init(_ name: String, _ table: String, _ operands: ClosedRange<Int> = 1...1, missing: String? = nil)
  {
    self.name = name
    options = table.split(separator: " ").map { item in
      let parts = item.filter { $0 != ":" && $0 != "." }.split(separator: ",")
      return Option(
        name: String(parts[0]), letter: parts.count > 1 ? parts[1].first : nil, takesValue: item.last == ":",
        hasNoName: item.first == ".")
    }
    self.operands = operands
    self.missing = missing ?? "Expecting one image file name"
  }

  static let all = [
    ImageToolVerb(
      "create", "help,h format,f: options,o: backing,b: backing-format,B: backing-unsafe,u quiet,q object:",
      1...2, missing: "Expecting image file name"),
    ImageToolVerb(
      "info", "help,h format,f: image-opts backing-chain cache,t: force-share,U limits output: object:"),
    ImageToolVerb(
      "map", "help,h format,f: image-opts start-offset,s: max-length,l: output: force-share,U object:"),
    ImageToolVerb(
      "check",
      "help,h format,f: image-opts cache,T: repair,r: force-share,U output: quiet,q object:"),
    ImageToolVerb(
      "resize", "help,h format,f: image-opts shrink preallocation: quiet,q object:", 2...2,
      missing: "Expecting image file name and size"),
    ImageToolVerb(
      "snapshot",
      "help,h format,f: image-opts list,l create,c: apply,a: delete,d: force-share,U quiet,q object:"),
    ImageToolVerb(
      "bitmap",
      "help,h format,f: image-opts add remove remove-all clear enable disable merge: source-file,b: "
        + "source-format,F: granularity,g: object:", 0...Int.max),
    ImageToolVerb(
      "amend", "help,h options,o: format,f: image-opts cache,t: force progress,p quiet,q object:", 0...Int.max
    ),
    ImageToolVerb(
      "convert",
      "help,h source-format,f: image-opts source-cache,T: snapshot,l: bitmaps skip-broken-bitmaps salvage "
        + "target-format,O: target-image-opts target-format-options,o: target-cache,t: backing,b: "
        + "backing-format,F: sparse-size,S: no-create,n target-is-zero force-share,U rate-limit,r: parallel,m: "
        + "oob-writes,W copy-range-offloading,C progress,p quiet,q object: .compress,c",
      0...Int.max),
    ImageToolVerb(
      "compare",
      "help,h a-format,f: b-format,F: image-opts strict,s cache,T: force-share,U progress,p quiet,q object:",
      2...2, missing: "Expecting two image file names"),
    ImageToolVerb(
      "dd", "help,h format,f: image-opts output-format,O: force-share,U object:", 0...Int.max),
    ImageToolVerb(
      "measure",
      "help,h source-format,f: format,f: image-opts source-image-opts snapshot,l: target-format,O: "
        + "target-format-options,o: options,o: force-share,U output: object: size,s:", 0...Int.max),
    ImageToolVerb(
      "bench",
      "help,h format,f: image-opts cache,t: count,c: depth,d: offset,o: buffer-size,s: step-size,S: write,w "
        + "pattern: flush-interval: no-drain aio,i: native,n force-share,U quiet,q object:"),
    ImageToolVerb(
      "rebase",
      "help,h format,f: image-opts cache,t: backing,b: backing-format,B: backing-cache,T: backing-unsafe,u "
        + "compress,c force-share,U progress,p quiet,q object:"),
    ImageToolVerb(
      "commit",
      "help,h format,f: image-opts cache,t: drop,d base,b: rate-limit,r: progress,p quiet,q object:"),
  ]

  /// Letters of version 10.0, by verb, and those that stand for the same now.
  private static let oldLetters: [String: [Character: Character]] = [
    "create": ["F": "B"], "convert": ["B": "b"], "rebase": ["F": "B"],
  ]

  /// Words with what comes behind them, or the lines that say what is wrong.
  struct Refusal: Error { let lines: String }

  /// The words for the parser: the verb, `--name=value` for every option, and the operands.
  static func translate(_ words: [String]) throws(Refusal) -> [String] {
    guard let first = words.first else { throw general("Not enough arguments") }
    if first.hasPrefix("-") { return words }
    guard let verb = all.first(where: { $0.name == first }) else {
      throw general("Command not found: \(Escaping.human(first))")
    }
    return try verb.parse(Array(words.dropFirst()))
  }

  /// An option with its value. The parser would take the next word for one that is empty.
  private static func words(_ option: Option, _ value: String) -> [String] {
    value.isEmpty ? ["--\(option.name)", ""] : ["--\(option.name)=\(value)"]
  }

  /// Sentences with the program's name in front of every line.
  private static func lines(_ text: String) -> String {
    text.split(separator: "\n").map { "\(Tool.name): \($0)\n" }.joined()
  }

  private static func general(_ text: String) -> Refusal {
    Refusal(lines: "\(Tool.name): \(text)\nTry '\(Tool.name) --help' for more information\n")
  }

  /// Wrong use, as the tool says it itself.
  private func refuse(_ text: String) -> Refusal {
    Refusal(lines: "\(Tool.name): \(text)\n\(hint)")
  }

  /// Wrong use, as the system's reading of options says it.
  private func refuseOption(_ text: String) -> Refusal {
    Refusal(lines: "\(Tool.name) \(name): \(text)\n\(hint)")
  }

  private var hint: String { "Try '\(Tool.name) \(name) --help' for more information\n" }

  private func parse(_ words: [String]) throws(Refusal) -> [String] {
    var found = [name]
    var operands: [String] = []
    var at = 0
    func value(_ option: Option, _ own: String?, _ problem: String) throws(Refusal) -> String {
      if let own { return own }
      guard at < words.count else { throw refuseOption(problem) }
      at += 1
      return words[at - 1]
    }
    while at < words.count {
      let word = words[at]
      at += 1
      if word == "--" {
        operands += words[at...]
        break
      }
      if word.hasPrefix("--") {
        let equals = word.firstIndex(of: "=")
        let own = equals.map { String(word[word.index(after: $0)...]) }
        let option = try option(named: word[..<(equals ?? word.endIndex)].dropFirst(2), word)
        if option.name == "help" { return [name, "--help"] }
        if option.takesValue {
          let text = try value(option, own, "option '--\(option.name)' requires an argument")
          try check(option, text)
          found += Self.words(option, text)
        } else {
          guard own == nil else { throw refuseOption("option '--\(option.name)' doesn't allow an argument") }
          found.append("--\(option.name)")
        }
      } else if word.hasPrefix("-"), word != "-", !isSize(word) {
        var letters = word.dropFirst()
        while let letter = letters.popFirst() {
          let wanted = Self.oldLetters[name]?[letter] ?? letter
          guard let option = options.first(where: { $0.letter == wanted }) else {
            throw refuseOption("invalid option -- '\(Escaping.human(String(letter)))'")
          }
          if option.name == "help" { return [name, "--help"] }
          guard option.takesValue else {
            found.append("--\(option.name)")
            continue
          }
          let own = letters.isEmpty ? nil : String(letters)
          letters = ""
          let text = try value(option, own, "option requires an argument -- '\(letter)'")
          try check(option, text)
          found += Self.words(option, text)
        }
      } else {
        operands.append(word)
      }
    }
    try check(operands, found)
    return found + ["--"] + operands
  }

  /// A change of size with a minus in front is no option.
  private func isSize(_ word: String) -> Bool { name == "resize" && Self.isNegativeNumber(word) }

  static func isNegativeNumber(_ word: String) -> Bool {
    word.hasPrefix("-") && word.utf8.dropFirst().first.map { (48...57).contains($0) } ?? false
  }

  private func option(named text: Substring, _ word: String) throws(Refusal) -> Option {
    let options = options.filter { !$0.hasNoName }
    if let exact = options.first(where: { $0.name == text }) { return exact }
    let candidates = options.filter { $0.name.hasPrefix(text) }
    guard let first = candidates.first else {
      throw refuseOption("unrecognized option '\(Escaping.human(word))'")
    }
    // Two names of one option are no choice.
    guard candidates.count == 1 || first.letter != nil && candidates.allSatisfy({ $0.letter == first.letter })
    else {
      let names = candidates.map { " '--\($0.name)'" }.joined()
      throw refuseOption("option '\(Escaping.human(word))' is ambiguous; possibilities:\(names)")
    }
    return first
  }

  /// The values that the genuine tool looks at while it reads the options.
  private func check(_ option: Option, _ value: String) throws(Refusal) {
    let text = Escaping.human(value)
    if option.name == "output", value != "human", value != "json" {
      throw refuse("--output expects 'human' or 'json', not '\(text)'")
    }
    if ["convert", "measure", "commit"].contains(name) {
      do throws(CreateRequest.Refusal) { try ConvertRequest.check(option.name, value) } catch {
        throw Refusal(lines: Self.lines(error.description) + (error.hint ?? ""))
      }
    }
    if option.name == "granularity" {
      do throws(BitmapRequest.Refusal) { _ = try BitmapRequest.granularity(value) } catch {
        throw Refusal(lines: Self.lines(error.description))
      }
    }
    if option.name == "repair", value != "leaks", value != "all" {
      throw refuse("--repair (-r) expects 'leaks' or 'all', not '\(text)'")
    }
  }

  private func check(_ words: [String], _ found: [String]) throws(Refusal) {
    // Asked for the names of options, a file is not needed.
    if name == "create", found.contains(where: Self.asksForHelp) { return }
    if words.count < operands.lowerBound { throw refuse(missing) }
    guard words.count > operands.upperBound else { return }
    switch name {
    case "create": throw refuse("Unexpected argument: \(Escaping.human(words[operands.upperBound]))")
    case "resize": throw refuse("Extra argument(s) in command line")
    default: throw refuse(missing)
    }
  }

  private static func asksForHelp(_ word: String) -> Bool {
    word.hasPrefix("--options=") && CreateHelp.isAsked([String(word.dropFirst("--options=".count))])
  }
}
