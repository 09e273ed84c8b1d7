// The terminal: opened once, in a fixed order, and left as it was found however the program ends.
// This folder is the only place that knows curses; everything else deals in canvases and events.

package import CellScreen
internal import CNcurses
internal import CSys
internal import Glibc

/// The terminal the program runs in. Use it from one thread; only ``wake()`` may be called from others.
///
/// A frame is ``present(_:)``; input is ``nextEvent(timeoutMilliseconds:)``. Callers take all events
/// that are ready (timeout 0) before they present again: on a slow line frames are dropped, input is not.
@safe
package final class Terminal {
  /// Styles of the current colour mode.
  package private(set) var theme: Theme
  /// What the colours are chosen for; the next frame shows it.
  package var themeName: ThemeName {
    get { theme.name }
    set {
      guard newValue != theme.name else { return }
      theme = Theme(mode: colorMode, name: newValue)
      forgetScreen()
    }
  }
  /// How many colours the terminal is sent, if the theme has any.
  private let colorMode: ColorMode
  /// Whether the codeset of the locale can carry Unicode glyphs at all.
  package let canUseUnicode: Bool
  /// The glyph set in use; ASCII also restricts all text to ASCII. Setting Unicode needs a UTF-8 codeset.
  package var glyphs: GlyphSet {
    didSet {
      if glyphs == .unicode && !canUseUnicode { glyphs = .ascii }
      if glyphs != oldValue { shown = nil }
    }
  }
  /// The size in cells, as of the last event that was returned.
  package internal(set) var size: (width: Int, height: Int)
  /// Whether mouse reporting is on.
  package private(set) var mouseIsOn = false

  let descriptor: Int32
  private let signals: Int32
  private let capturedError: Int32
  private let realError: Int32
  private let screen: OpaquePointer
  let hasMouse: Bool
  private let isDirectColor: Bool
  private var isOpen = true
  private var canHideCursor = true

  /// Rung by another program; ``nextEvent(timeoutMilliseconds:)`` then returns nil, once for all that rang since.
  /// Nil listens to none.
  package var bell: FileBell?
  /// The bell has rung since this was asked last.
  package var hasRung: Bool {
    defer { bellHasRung = false }
    return bellHasRung
  }
  var bellHasRung = false

  var decoder: InputDecoder
  var hasHungUp = false
  /// Whether the last frame may have been cut short by input that was waiting.
  var frameMayBePartial = false
  /// What the window holds; nil makes the next frame write every row.
  var shown: Canvas?
  var pairs: [UInt64: Int32] = [:]

  /// Opens the terminal of the process and takes it over.
  ///
  /// Standard input may be a pipe: keys are read from `/dev/tty`. Throws before the first escape
  /// sequence if standard output is no terminal or its type is of no use.
  ///
  /// - Throws: ``TerminalError`` if there is no terminal, or one that cannot be used.
  package init(options: TerminalOptions = TerminalOptions()) throws(TerminalError) {
    guard isatty(1) == 1 else {
      throw TerminalError(
        code: .notATerminal,
        message: "standard output is not a terminal; " + TerminalError.textCommands)
    }
    let type = Terminal.environment("TERM") ?? ""
    if let refusal = Capabilities.refusal(terminalType: type) { throw refusal }

    canUseUnicode = Terminal.adoptLocale(forceUnicode: options.glyphs == .unicode)
    glyphs = Capabilities.glyphSet(
      option: options.glyphs, codesetIsUTF8: canUseUnicode, terminalType: type)
    descriptor = try Terminal.openDevice()
    guard csys_terminal_save(descriptor) == 0 else {
      _ = Glibc.close(descriptor)
      throw TerminalError(
        code: .system(errno: EIO), message: "the settings of the terminal cannot be read")
    }

    // Before curses starts: it leaves signals alone that already have a handler.
    signals = csys_signals_open()
    var output: UnsafeMutablePointer<FILE>?
    var input: UnsafeMutablePointer<FILE>?
    let mayColor = options.color == .always || (Terminal.environment("NO_COLOR") ?? "").isEmpty
    let direct =
      mayColor && options.color != .never
      ? Capabilities.directType(terminalType: type, colorTerm: Terminal.environment("COLORTERM")) : nil
    var start: OpaquePointer?
    if signals >= 0 {
      for type in [direct, type].compactMap(\.self) where unsafe start == nil {
        unsafe start = unsafe tui_open(type, descriptor, &output, &input)
      }
    }
    guard let opened = unsafe start else {
      csys_signals_close()
      csys_terminal_restore(descriptor)
      _ = Glibc.close(descriptor)
      throw TerminalError(
        code: .unusableType,
        message: "nothing is known about terminals of type `\(TextWidth.sanitized(type))`, "
          + "install its description or set TERM to what the terminal is; "
          + TerminalError.textCommands)
    }
    unsafe screen = opened
    let reset = Terminal.dropCharacterSetSwitching()
    hasMouse = Terminal.capability("kmous") != nil
    isDirectColor = unsafe tigetflag("RGB") > 0
    decoder = InputDecoder(
      sequences: Terminal.describedKeys(), controlHIsBackspace: Terminal.capability("kbs") == [8])
    size = Terminal.currentSize(descriptor)

    // Colours: without any, curses is not even told to start them, so no colour code can appear.
    let mode = Capabilities.colorMode(
      option: options.color, noColor: Terminal.environment("NO_COLOR"),
      colors: Int(unsafe tigetnum("colors")), isDirect: isDirectColor)
    colorMode = mode
    theme = Theme(mode: mode, name: options.theme)
    if mode != .none {
      start_color()
      if use_default_colors() != OK { assume_default_colors(7, 0) }
    }

    // What a library prints must not land on the screen; a redirected stderr is not on it.
    if isatty(2) == 1 {
      capturedError = csys_memory_file()
      realError = capturedError >= 0 ? fcntl(2, F_DUPFD_CLOEXEC, 3) : -1
      if realError >= 0 { dup2(capturedError, 2) }
    } else {
      capturedError = -1
      realError = -1
    }
    let restore = Terminal.restoreSequence(hasMouse: hasMouse)
    _ = unsafe restore.withUnsafeBytes {
      unsafe csys_guard_arm(descriptor, $0.baseAddress, $0.count, capturedError, realError)
    }

    guard Terminal.capability("cup") != nil else {
      leave()
      throw TerminalError(
        code: .unusableType,
        message: "a terminal of type `\(TextWidth.sanitized(type))` cannot place its cursor; "
          + TerminalError.textCommands)
    }
    // Once, in case the terminal was left in its line drawing set.
    write(reset)
    enterModes()
    if options.mouse { setMouse(true) }
  }

  deinit { close() }

  /// Gives the terminal back, then prints what was written to standard error meanwhile. Idempotent.
  package func close() {
    leave()
  }

  /// Ends the process with the default action of a signal, so that the shell sees 128 + its number.
  /// Call ``close()`` before.
  package static func die(of signal: Int32) -> Never { csys_die_of(signal) }

  /// Makes a waiting ``nextEvent(timeoutMilliseconds:)`` return nil soon. May be called from any thread.
  package static func wake() { csys_wake() }

  /// Turns mouse reporting on or off; off lets the terminal select text again.
  package func setMouse(_ on: Bool) {
    guard hasMouse, on != mouseIsOn, isOpen else { return }
    mouseIsOn = on
    write(on ? Terminal.mouseOn : Terminal.mouseOff)
  }

  // MARK: Modes

  /// Button presses, in the encoding without a size limit.
  private static let mouseOn = "\u{1b}[?1000h\u{1b}[?1006h"
  private static let mouseOff = "\u{1b}[?1006l\u{1b}[?1000l"
  private static let pasteOn = "\u{1b}[?2004h"
  private static let pasteOff = "\u{1b}[?2004l"

  /// Terminals that report a mouse also know these private modes; others are not asked.
  private func enterModes() {
    raw()
    noecho()
    nonl()
    let window = unsafe tui_screen()
    unsafe keypad(window, true)
    unsafe leaveok(window, false)
    // Lists that fill the width scroll by moving lines, which costs tens of bytes instead of thousands.
    unsafe idlok(window, true)
    if hasMouse { write(Terminal.pasteOn) }
  }

  private func leaveModes() {
    if hasMouse { write((mouseIsOn ? Terminal.mouseOff : "") + Terminal.pasteOff) }
    curs_set(1)
    endwin()
    csys_terminal_restore(descriptor)
  }

  private func leave() {
    guard isOpen else { return }
    isOpen = false
    leaveModes()
    csys_guard_disarm()
    csys_signals_close()
    unsafe delscreen(screen)
    if realError >= 0 {
      dup2(realError, 2)
      printCapturedError()
      _ = Glibc.close(realError)
    }
    if capturedError >= 0 { _ = Glibc.close(capturedError) }
    _ = Glibc.close(descriptor)
  }

  /// The end of what was captured: the last lines tell most, and a screen can take so many.
  private func printCapturedError() {
    let most = 64 * 1024
    let end = Int(lseek(capturedError, 0, SEEK_END))
    guard end > 0 else { return }
    var buffer = [UInt8](repeating: 0, count: min(end, most))
    let got = unsafe buffer.withUnsafeMutableBytes {
      unsafe pread(capturedError, $0.baseAddress, $0.count, off_t(max(0, end - most)))
    }
    guard got > 0 else { return }
    unsafe buffer.withUnsafeBytes { _ = unsafe Glibc.write(2, $0.baseAddress, got) }
  }

  /// Stops the program as the shell expects of `^Z`; returns when it continues, ready to draw.
  ///
  /// The next ``present(_:)`` draws everything; the size is up to date. Present a frame of the new
  /// ``size`` after it.
  package func suspend() {
    guard isOpen, !hasHungUp else { return }
    leaveModes()
    csys_stop_group()
    reenter()
  }

  /// Takes the terminal over again after a stop.
  func reenter() {
    lastReentry = Terminal.now()
    reset_prog_mode()
    size = Terminal.currentSize(descriptor)
    resize_term(Int32(size.height), Int32(size.width))
    forgetScreen()
    cursorIsVisible = nil
    doupdate()
    enterModes()
    if mouseIsOn { write(Terminal.mouseOn) }
  }

  /// When the terminal was last taken over again; the SIGCONT of that stop may come a little later.
  var lastReentry = Int.min / 2
  /// A SIGWINCH that was read but not yet reported.
  var resizeIsPending = false
  var cursorIsVisible: Bool?

  /// The next frame draws everything: what is on the terminal may be something else by now.
  package func forgetScreen() {
    shown = nil
    tui_repaint_all()
  }

  /// Writes bytes past curses; it must not change what is on the screen.
  func write(_ text: String) {
    var bytes = ArraySlice(text.utf8)
    while !bytes.isEmpty {
      let count = bytes.count
      let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, count) }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else { return }
      bytes = bytes.dropFirst(written)
    }
  }

  /// The pair for two palette colours; pairs are made when first needed.
  func pair(_ foreground: Int32, _ background: Int32) -> Int32 {
    if foreground < 0 && background < 0 { return 0 }
    let key = UInt64(UInt32(bitPattern: foreground)) << 32 | UInt64(UInt32(bitPattern: background))
    if let known = pairs[key] { return known }
    let next = Int32(pairs.count + 1)
    guard next < tui_color_pairs() else { return 0 }
    let result = init_extended_pair(next, color(foreground), color(background))
    guard result == OK else { return 0 }
    pairs[key] = next
    return next
  }

  private func color(_ palette: Int32) -> Int32 {
    isDirectColor && palette >= 0 ? Capabilities.directColor(palette) : palette
  }

  var signalDescriptor: Int32 { signals }
}
