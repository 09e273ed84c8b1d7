// Finding out what the terminal is: its device, size, locale, keys and the way back.
// All of it happens before or while the terminal is opened; nothing here runs per frame.

internal import CellScreen
internal import CNcurses
internal import CSys
internal import Glibc

extension Terminal {
  static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
  }

  /// Takes over the character type of the environment's locale and says whether it is UTF-8.
  ///
  /// Only LC_CTYPE: numbers must look the same everywhere. A UTF-8 locale that is not installed is
  /// replaced by `C.UTF-8`, because its terminal still speaks UTF-8.
  static func adoptLocale(forceUnicode: Bool) -> Bool {
    let adopted = unsafe setlocale(LC_CTYPE, "") != nil
    if !adopted {
      let named = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment($0) }
        .first { !$0.isEmpty }
      let lower = (named ?? "").lowercased()
      if lower.hasSuffix("utf-8") || lower.hasSuffix("utf8") {
        _ = unsafe setlocale(LC_CTYPE, "C.UTF-8")
      }
    }
    if codesetIsUTF8() { return true }
    guard forceUnicode else { return false }
    return unsafe setlocale(LC_CTYPE, "C.UTF-8") != nil && codesetIsUTF8()
  }

  private static func codesetIsUTF8() -> Bool {
    guard let name = unsafe nl_langinfo(nl_item(CODESET)) else { return false }
    return unsafe String(cString: name) == "UTF-8"
  }

  /// A descriptor for the terminal: `/dev/tty`, or standard output without a controlling terminal.
  static func openDevice() throws(TerminalError) -> Int32 {
    let opened = unsafe open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
    if opened >= 0 { return opened }
    let copied = fcntl(1, F_DUPFD_CLOEXEC, 3)
    if copied >= 0 { return copied }
    throw TerminalError(
      code: .system(errno: errno), message: "the terminal cannot be opened; " + TerminalError.textCommands)
  }

  /// The size in cells: what the kernel says, else what the terminal's description says.
  static func currentSize(_ descriptor: Int32) -> (width: Int, height: Int) {
    var columns: Int32 = 0
    var rows: Int32 = 0
    let known = unsafe csys_terminal_size(descriptor, &columns, &rows) == 0 && columns > 0 && rows > 0
    if !known {
      columns = unsafe tigetnum("cols")
      rows = unsafe tigetnum("lines")
    }
    return (
      max(1, min(Canvas.maximumSide, columns > 0 ? Int(columns) : 80)),
      max(1, min(Canvas.maximumSide, rows > 0 ? Int(rows) : 24))
    )
  }

  /// The bytes of a string capability without its padding; nil if the terminal lacks it.
  static func capability(_ name: String) -> [UInt8]? {
    guard let value = unsafe tui_capability(name) else { return nil }
    var bytes: [UInt8] = []
    var inPadding = false
    for byte in unsafe String(cString: value).utf8 {
      if byte == 0x3c && bytes.last == 0x24 {
        bytes.removeLast()
        inPadding = true
      } else if inPadding {
        inPadding = byte != 0x3e
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }

  /// Takes the switching between character sets out of the attribute strings and returns the reset
  /// string as it was, without padding.
  ///
  /// Lines are drawn with Unicode or ASCII, never with the alternate set, so naming the ordinary set at
  /// every change of style says nothing: three bytes each, a tenth of what a cursor move costs.
  static func dropCharacterSetSwitching() -> String {
    guard let setter = unsafe tui_capability("sgr"), let resetter = unsafe tui_capability("sgr0") else {
      return ""
    }
    let unpadded = String(decoding: capability("sgr0") ?? [], as: UTF8.self)
    let (set, reset) = unsafe (String(cString: setter), String(cString: resetter))
    if let (shorter, plain) = Capabilities.withoutCharacterSets(set: set, reset: reset) {
      unsafe tui_shorten_capability("sgr", shorter)
      unsafe tui_shorten_capability("sgr0", plain)
    }
    return unpadded
  }

  /// What the crash guard writes: it leaves every mode the program may have entered.
  static func restoreSequence(hasMouse: Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    if hasMouse { bytes += Array("\u{1b}[?1006l\u{1b}[?1000l\u{1b}[?2004l".utf8) }
    for name in ["sgr0", "rmkx", "cnorm", "rmcup"] { bytes += capability(name) ?? [] }
    // A terminal without an alternate screen keeps the cursor amid the picture.
    bytes += capability("rmcup") == nil ? Array("\r\n".utf8) : Array("\r".utf8)
    return bytes
  }

  /// The key sequences of the terminal's description.
  static func describedKeys() -> [[UInt8]: Key] {
    var names: [(String, Key)] = [
      ("kcuu1", .up), ("kcud1", .down), ("kcub1", .left), ("kcuf1", .right), ("khome", .home),
      ("kend", .end), ("kpp", .pageUp), ("knp", .pageDown), ("kdch1", Key(.delete)),
      ("kich1", Key(.insert)), ("kcbt", .backTab), ("kent", .enter),
      ("kLFT", Key(.left, .shift)), ("kRIT", Key(.right, .shift)),
    ]
    names += (1...24).map { ("kf\($0)", Key(.function($0))) }
    var keys: [[UInt8]: Key] = [:]
    for (name, key) in names {
      if let bytes = capability(name), bytes.count > 1 { keys[bytes] = key }
    }
    return keys
  }
}
