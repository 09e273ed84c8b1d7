// The way around the parser: most starts name an image, its format, and whether they want JSON. To find out by
// reflection what a command's options are takes longer than all that such a command does.

import ArgumentParser

/// Options that can be had without the parser.
protocol PlainOptions: ParsableArguments {
  /// What the parser makes of no words at all. Every property has to be given its value.
  static var plain: Self { get }
}

/// A command that needs no parser for an image and a few options.
protocol PlainCommand: PlainOptions, ParsableCommand {
  /// The command goes without an image.
  static var mayLackImage: Bool { get }

  /// Names the image.
  mutating func take(image: String)
  /// Does what the flag says; false if the word is none of the few.
  mutating func take(flag: String) -> Bool
  /// The same for an option with a value.
  mutating func take(option: String, value: String) -> Bool
}

extension PlainCommand {
  /// The command for these words; nil if the parser has to see them, be it for what it says against them.
  static func command(_ words: ArraySlice<String>) -> (any ParsableCommand)? {
    var command = plain
    var hasImage = false
    var options: [String] = []
    var words = words
    while let word = words.popFirst() {
      guard let first = word.utf8.first else { return nil }
      if first != UInt8(ascii: "-") {
        guard !hasImage else { return nil }
        command.take(image: word)
        hasImage = true
      } else if options.contains(word) {
        return nil
      } else if !command.take(flag: word) {
        guard let value = words.popFirst(), let first = value.utf8.first, first != UInt8(ascii: "-"),
          command.take(option: word, value: value)
        else { return nil }
      }
      options.append(word)
    }
    guard hasImage || mayLackImage, (try? command.validate()) != nil else { return nil }
    return command
  }
}

/// The words of a command line for which the parser is not needed.
enum PlainWords {
  /// The command that the words mean; nil if the parser has to tell.
  static func command(_ words: [String]) -> (any ParsableCommand)? {
    switch words.first {
    case InfoCommand.configuration.commandName: return InfoCommand.command(words.dropFirst())
    case MapCommand.configuration.commandName: return MapCommand.command(words.dropFirst())
    case CheckCommand.configuration.commandName: return CheckCommand.command(words.dropFirst())
    default:
      // `help` is the parser's own.
      if let first = words.first, first == "help" || Qatlas.subcommandNames.contains(first) { return nil }
      return Explore.command(words[...])
    }
  }
}
