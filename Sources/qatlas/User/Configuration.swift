// The configuration file: options of the command line and keys, one a line, that hold for every run.

import CellScreen
import Explorer
import Storage

struct Configuration {
  /// Why a line cannot be followed.
  struct Refusal: Error {
    var text: String
  }

  /// A line and where it stands, from 1 on.
  private struct Line {
    var number: Int
    var text: String
    /// Without blanks.
    var bare: String { text.filter { $0 != " " } }
  }

  /// The file.
  private var path = ""
  /// The lines, without comments.
  private var lines: [Line] = []

  /// What the user's file says; nothing if there is none.
  static var ofUser: Configuration {
    guard let folder = UserFolders.configuration else { return Configuration() }
    let path = folder + "/config"
    // Empty lines count here, because messages name lines by their number.
    let all = UserFolders.bytes(of: path).split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let lines = all.enumerated().map { index, line in
      var text = ByteText.text(line)[...]
      while text.first == " " { text.removeFirst() }
      while text.last == " " { text.removeLast() }
      return Line(number: index + 1, text: String(text))
    }
    return Configuration(path: path, lines: lines.filter { !$0.text.isEmpty && !$0.text.hasPrefix("#") })
  }

  private static let known = ["--ascii", "--no-mouse", "--color=auto", "--color=always", "--color=never"]
  /// The lines that choose a theme; blanks around the sign of equality do not count.
  private static let themes = ThemeName.allCases.map { "theme=" + $0.rawValue }
  private static let trust = "--trust="

  /// How lines are written, and what they do.
  static let forms = [
    ("--ascii", "Draw with plain ASCII characters."),
    ("--no-mouse", "Leave the mouse to the terminal."),
    ("--color=WHEN", "When to use colour: auto, always or never."),
    (
      "theme = \(ThemeName.allCases.map(\.rawValue).joined(separator: "|"))",
      "What the colours are chosen for, as --theme."
    ),
    ("--trust=FOLDER", "Files that images name are opened if they lie in this folder or below it."),
    ("key = KEY COMMAND", "Binds a key where the command has keys, and everywhere if it has none."),
    (
      "key.CONTEXT = KEY COMMAND",
      "Binds it in one context or area: " + Contexts.names.joined(separator: ", ") + "."
    ),
  ]

  func contains(_ line: String) -> Bool { lines.contains { $0.text == line } }

  /// The value of the last line that gives an option one.
  func value(of option: String) -> String? {
    lines.last { $0.text.hasPrefix(option + "=") }.map { String($0.text.dropFirst(option.count + 1)) }
  }

  /// What the last line about it says; nil without one.
  var theme: ThemeName? {
    lines.last { Self.themes.contains($0.bare) }.flatMap { ThemeName(rawValue: String($0.bare.dropFirst(6))) }
  }

  /// Folders whose files images may name, wherever the images lie.
  var trustedFolders: [String] {
    lines.compactMap { ByteText.starts($0.text, with: Self.trust) ? Self.folder(of: $0.text) : nil }
  }

  /// An absolute path, or one below the home directory with "~/" in front; nil for any other.
  private static func folder(of line: String) -> String? {
    let path = String(line.utf8.dropFirst(trust.utf8.count)) ?? ""
    if path.hasPrefix("/") { return path }
    guard path.hasPrefix("~/") else { return nil }
    return UserFolders.environment("HOME").map { $0 + (String(path.utf8.dropFirst(1)) ?? "") }
  }

  /// The keys of the program with those that the user binds.
  ///
  /// - Throws: the first line that cannot be followed, with its file and number.
  func keys() throws(Refusal) -> KeyMap {
    do throws(KeyBindingError) {
      var bindings: [KeyBinding] = []
      for line in lines where KeyBinding.isLine(line.text) {
        bindings.append(try KeyBinding(line.text, at: place(line)))
      }
      return bindings.isEmpty ? .standard : try KeyMap(bindings)
    } catch { throw Refusal(text: "\(error.place) \(error.text)") }
  }

  private func place(_ line: Line) -> String { "\(path), line \(line.number): '\(line.text)'" }

  /// Refuses lines that mean nothing: file, line and reason of the first.
  func check() throws(Refusal) {
    _ = try keys()
    for line in lines
    where !Self.known.contains(line.text) && !Self.themes.contains(line.bare) && !KeyBinding.isLine(line.text)
    {
      let place = place(line) + " "
      guard ByteText.starts(line.text, with: Self.trust) else {
        throw Refusal(
          text: place + "is not known; the lines are " + Self.known.joined(separator: ", ")
            + ", \(Self.trust)FOLDER, theme = \(ThemeName.allCases.map(\.rawValue).joined(separator: "|")), "
            + KeyBinding.form)
      }
      guard Self.folder(of: line.text) != nil else {
        throw Refusal(text: place + "needs a path from / or ~/ on")
      }
    }
  }
}
