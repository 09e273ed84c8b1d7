// Remembers which file outside of an image's folder the user has named for that image by hand, so that
// what `create -b` just made is not refused by the next command.
//
// An image is known by its inode and the nanosecond it was made, never by its name: another file that
// takes the name is a stranger. And the line holds for the files in it alone: bytes of a stranger written
// into the known file can name nothing that the user has not named for it.

import Qcow
import Storage

enum NamedFiles {
  private static let name = "named-files"
  /// More lines than this are cut when one is added, the oldest first.
  private static let limit = 1000

  /// Whether the user has named `file` for `image`.
  static func contains(_ file: LayerPlace, for image: LayerPlace) -> Bool {
    guard let key = key(of: image) else { return false }
    return words(for: key).contains(word(for: file))
  }

  /// From now on `files`, and no others, are what the user has named for `image`.
  static func replace(_ files: [LayerPlace], for image: LayerPlace) {
    guard let folder = UserFolders.state, let key = key(of: image) else { return }
    let words = files.map(word)
    // Nearly every image names nothing elsewhere, and then there is nothing to write.
    guard words != self.words(for: key) else { return }
    shorten(folder)
    UserFolders.append(([key] + words).joined(separator: " "), to: name, in: folder)
  }

  /// The user has named one more.
  static func add(_ file: LayerPlace, for image: LayerPlace) {
    guard let folder = UserFolders.state, let key = key(of: image) else { return }
    let words = words(for: key) + [word(for: file)]
    shorten(folder)
    UserFolders.append(([key] + words).joined(separator: " "), to: name, in: folder)
  }

  // MARK: Lines

  /// "INODE:BIRTH"; nil where the file system cannot tell a file from its successor, and for an address, behind which
  /// anything can be the next time.
  private static func key(of image: LayerPlace) -> String? {
    guard case .file(let image) = image else { return nil }
    return image.origin.map { "\($0.inode):\($0.birth)" }
  }

  /// A path or an address without blanks and ends of lines; what is not plain comes as % and two digits.
  private static func word(for file: LayerPlace) -> String {
    var text = ""
    for byte in file.path {
      if byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: "%") {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return text
  }

  /// The files of the newest line for an image.
  private static func words(for key: String) -> [String] {
    guard let folder = UserFolders.state else { return [] }
    let line = UserFolders.lines(of: folder + "/" + name).last {
      ByteText.starts($0, with: key + " ") || $0 == key
    }
    return line.map { $0.split(separator: " ").dropFirst().map(String.init) } ?? []
  }

  private static func shorten(_ folder: String) {
    let path = folder + "/" + name
    let lines = UserFolders.lines(of: path)
    guard lines.count > limit, let file = try? FileOpener().open(path, for: .newText) else { return }
    try? file.write(ByteText.bytes(lines.suffix(limit / 2).joined(separator: "\n") + "\n"), at: 0)
  }
}
