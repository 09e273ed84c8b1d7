// The configuration file: options of the command line, one a line, that hold for every run.

import Storage

struct Configuration {
  /// Why a line cannot be followed.
  struct Refusal: Error {
    var text: String
  }

  /// The lines, without comments.
  private(set) var lines: [String] = []

  /// What the user's file says; nothing if there is none.
  static var ofUser: Configuration {
    guard let folder = UserFolders.configuration else { return Configuration() }
    let lines = UserFolders.lines(of: folder + "/config").map { line in
      var text = line[...]
      while text.first == " " { text.removeFirst() }
      while text.last == " " { text.removeLast() }
      return String(text)
    }
    return Configuration(lines: lines.filter { !$0.isEmpty && !$0.hasPrefix("#") })
  }

  private static let known = ["--ascii", "--no-mouse", "--color=auto", "--color=always", "--color=never"]
  private static let trust = "--trust="

  func contains(_ line: String) -> Bool { lines.contains(line) }

  /// The value of the last line that gives an option one.
  func value(of option: String) -> String? {
    lines.last { $0.hasPrefix(option + "=") }.map { String($0.dropFirst(option.count + 1)) }
  }

  /// Folders whose files images may name, wherever the images lie.
  var trustedFolders: [String] {
    lines.compactMap { ByteText.starts($0, with: Self.trust) ? Self.folder(of: $0) : nil }
  }

  /// An absolute path, or one below the home directory with "~/" in front; nil for any other.
  private static func folder(of line: String) -> String? {
    let path = String(line.utf8.dropFirst(trust.utf8.count)) ?? ""
    if path.hasPrefix("/") { return path }
    guard path.hasPrefix("~/") else { return nil }
    return UserFolders.environment("HOME").map { $0 + (String(path.utf8.dropFirst(1)) ?? "") }
  }

  /// Refuses lines that mean nothing.
  func check() throws(Refusal) {
    for line in lines where !Self.known.contains(line) {
      guard ByteText.starts(line, with: Self.trust) else {
        throw Refusal(
          text: "configuration: '\(line)' is not known; the lines are "
            + Self.known.joined(separator: ", ") + ", \(Self.trust)FOLDER")
      }
      guard Self.folder(of: line) != nil else {
        throw Refusal(text: "configuration: '\(line)' needs a path from / or ~/ on")
      }
    }
  }
}
