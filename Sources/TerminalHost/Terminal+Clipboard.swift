// Copying to the clipboard of the terminal a person sits at, also through ssh and tmux (OSC 52).
// The terminal decides whether to obey and never says; callers show the text as well.

extension Terminal {
  /// The most bytes that are sent; terminals drop longer ones.
  package static let maximumCopy = 64 * 1024

  /// Asks the terminal to take a text into its clipboard; false if it is not asked.
  ///
  /// Only terminals that report a mouse are asked: others would print the sequence.
  @discardableResult
  package func copyToClipboard(_ text: String) -> Bool {
    guard hasMouse, !hasHungUp, text.utf8.count <= Terminal.maximumCopy else { return false }
    write("\u{1b}]52;c;" + Terminal.base64(Array(text.utf8)) + "\u{7}")
    return true
  }

  /// Base64 with padding.
  package static func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var result: [UInt8] = []
    result.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits = group.reduce(0) { $0 << 8 | Int($1) }
      bits <<= (3 - group.count) * 8
      for place in 0..<4 {
        result.append(place <= group.count ? alphabet[bits >> (18 - 6 * place) & 63] : 0x3d)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}
