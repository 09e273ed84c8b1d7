// What the user has said about files that images name outside of their folders: folders on the command
// line and in the configuration, files named by hand before, and the answer to a question.

import Cartography
import Explorer
import Qcow
import Storage
import Synchronization
import TerminalHost

struct UserTrust: Trust {
  /// Folders of `--trust`.
  var folders: [String] = []
  /// The configuration counts as well.
  var readsConfiguration = true
  /// A line of the configuration that cannot be followed is said on the error stream. The explorer does not
  /// start with such a line, and while its picture is there nothing may be written over it.
  var saysWrongLines = true
  /// Asks on the terminal about a file that nothing else lets in.
  var asks = false

  func admits(_ file: LayerPlace, namedBy image: LayerPlace) -> Bool {
    let configuration = readsConfiguration ? Configuration.ofUser : Configuration()
    if saysWrongLines { Self.check(configuration) }
    for folder in folders + configuration.trustedFolders {
      guard let found = try? HostFile.find(folder), found.kind == .folder else { continue }
      if case .file(let file) = file,
        file.lies(beneath: found.path == [UInt8(ascii: "/")] ? [] : found.path[...])
      {
        return true
      }
    }
    return NamedFiles.contains(file, for: image) || asks && Self.ask(file, image)
  }

  private static let isChecked = Mutex(false)

  /// Says what is wrong with the configuration, once in a run: without a word the folder that it means
  /// would only seem not to be trusted.
  private static func check(_ configuration: Configuration) {
    let isFirst = isChecked.withLock { done in
      defer { done = true }
      return !done
    }
    guard isFirst else { return }
    do throws(Configuration.Refusal) { try configuration.check() } catch {
      Output.error("qatlas: \(Escaping.human(error.text))\n")
    }
  }

  /// Nobody to ask is as good as no.
  private static func ask(_ file: LayerPlace, _ image: LayerPlace) -> Bool {
    let isAddress = if case .address = file { true } else { false }
    let reason =
      isAddress
      ? "which is the address of a disk. Connect to it?" : "which lies outside of its folder. Open that file?"
    let question = """
      \(Escaping.human(ByteText.text(image.path)))
      names \(Escaping.human(ByteText.text(file.path))),
      \(reason)
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
