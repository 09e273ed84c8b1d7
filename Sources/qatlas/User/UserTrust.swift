// What the user has said about files that images name outside of their folders: folders on the command
// line and in the configuration, files named by hand before, and the answer to a question.

import Explorer
import Qcow
import Storage
import TerminalHost

struct UserTrust: Trust {
  /// Folders of `--trust`.
  var folders: [String] = []
  /// The configuration counts as well.
  var readsConfiguration = true
  /// Asks on the terminal about a file that nothing else lets in.
  var asks = false

  func admits(_ file: HostFile, namedBy image: HostFile) -> Bool {
    let all = folders + (readsConfiguration ? Configuration.ofUser.trustedFolders : [])
    for folder in all {
      guard let found = try? HostFile.find(folder), found.kind == .folder else { continue }
      if file.lies(beneath: found.path == [UInt8(ascii: "/")] ? [] : found.path[...]) { return true }
    }
    return NamedFiles.contains(file, for: image) || asks && Self.ask(file, image)
  }

  /// Nobody to ask is as good as no.
  private static func ask(_ file: HostFile, _ image: HostFile) -> Bool {
    let question = """
      \(Escaping.human(ByteText.text(image.path)))
      names \(Escaping.human(ByteText.text(file.path))),
      which lies outside of its folder. Open that file?
      y: this time; a: always for this image; n: no, go on without it [n] 
      """
    while true {
      var buffer = [UInt8](repeating: 0, count: 64)
      let count = try? unsafe buffer.withUnsafeMutableBytes { (room) throws(TerminalError) in
        unsafe try PassphrasePrompt.ask(question, into: room, isShown: true)
      }
      guard let count else { return false }
      switch String(decoding: buffer.prefix(count), as: UTF8.self).lowercased() {
      case "y", "yes": return true
      case "a", "always":
        NamedFiles.add(file, for: image)
        return true
      case "", "n", "no": return false
      default: continue
      }
    }
  }
}
