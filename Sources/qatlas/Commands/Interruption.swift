// What Ctrl-C or a kill leaves behind is said in one sentence, in the moment in which it happens; the exit code is that
// of the signal, as with the genuine tool, which says nothing.

import CSys
import Cartography
import Glibc
import Storage

enum Interruption {
  /// While `work` is done an interruption says `sentence`, and removes the file at a path.
  static func during<T>(
    _ sentence: String, removing path: String? = nil, _ work: () throws -> T
  ) rethrows -> T {
    // The terminal shows ^C behind the line of progress.
    let start = isatty(STDERR_FILENO) == 1 ? "\n" : ""
    let text = Tool.isStandIn ? "" : "\(start)\(Tool.name): interrupted: \(Escaping.human(sentence))\n"
    unsafe ByteText.withCString(path ?? "") { path in
      unsafe ByteText.withCString(text) { text in _ = unsafe csys_when_interrupted(text, path) }
    }
    defer { _ = csys_when_interrupted(nil, nil) }
    return try work()
  }
}
