// A program that only shows what its terminal does: it echoes events and dies on request.
// The terminal tests drive it; the same checks run on `qatlas` itself once that has screens.

import CellScreen
import Glibc
import TerminalHost

@main
struct Probe {
  static func main() {
    var options = TerminalOptions()
    for argument in CommandLine.arguments.dropFirst() {
      switch argument {
      case "--ascii": options.glyphs = .ascii
      case "--unicode": options.glyphs = .unicode
      case "--no-mouse": options.mouse = false
      case "--color=never": options.color = .never
      case "--color=always": options.color = .always
      default: break
      }
    }
    let terminal: Terminal
    do throws(TerminalError) {
      terminal = try Terminal(options: options)
    } catch {
      let line = "terminal-probe: \(error.message)\n"
      _ = unsafe line.withCString { unsafe write(2, $0, strlen($0)) }
      exit(2)
    }
    var probe = State()
    terminal.present(probe.draw(terminal))
    while true {
      guard let event = terminal.nextEvent(timeoutMilliseconds: -1) else {
        if probe.gone { break }
        continue
      }
      switch event {
      case .signal(let number):
        terminal.close()
        Terminal.die(of: number)
      case .hangup:
        // Asking on after the end must neither spin nor report it again.
        probe.gone = true
        _ = terminal.nextEvent(timeoutMilliseconds: 300)
        terminal.close()
        exit(3)
      case .suspendRequested:
        terminal.suspend()
        probe.note("resumed here")
      case .key(.character("q")):
        terminal.close()
        exit(0)
      default:
        if let action = probe.take(event) { act(action, terminal) }
      }
      terminal.present(probe.draw(terminal))
    }
  }

  static func act(_ action: State.Action, _ terminal: Terminal) {
    switch action {
    case .trap:
      let empty: [Int] = []
      print(empty[CommandLine.arguments.count])
    case .abort: abort()
    case .segv: raise(SIGSEGV)
    case .warn:
      let line = "a library complains\n"
      _ = unsafe line.withCString { unsafe write(2, $0, strlen($0)) }
    case .copy: terminal.copyToClipboard("0x500000")
    case .mouse: terminal.setMouse(!terminal.mouseIsOn)
    case .glyphs: terminal.glyphs = terminal.glyphs == .ascii ? .unicode : .ascii
    case .overflow: print(recurse(Int(time(nil))))
    }
  }

  /// Uses up the stack.
  @inline(never)
  static func recurse(_ depth: Int) -> Int {
    depth == 0 ? 1 : recurse(depth &+ 1) &+ recurse(depth &+ 2)
  }
}

/// What the probe shows.
struct State {
  enum Action { case trap, abort, segv, warn, mouse, glyphs, overflow, copy }

  var x = 3
  var y = 3
  var lines: [String] = []
  var gone = false

  mutating func note(_ line: String) {
    lines.append(line)
    if lines.count > 3 { lines.removeFirst() }
  }

  mutating func take(_ event: InputEvent) -> Action? {
    switch event {
    case .key(let key):
      switch key {
      case .character("t"): return .trap
      case .character("a"): return .abort
      case .character("s"): return .segv
      case .character("e"): return .warn
      case .character("m"): return .mouse
      case .character("A"): return .glyphs
      case .character("O"): return .overflow
      case .character("y"): return .copy
      case .left: x = max(0, x - 1)
      case .right: x += 1
      case .up: y = max(0, y - 1)
      case .down: y += 1
      default: note("key \(key.notation)")
      }
    case .mouse(let mouse): note("mouse \(mouse.kind) \(mouse.button) \(mouse.x),\(mouse.y)")
    case .paste(let text): note("paste \(text.utf8.count) [\(text)]")
    case .resize(let width, let height): note("resize \(width)x\(height)")
    case .resumed: note("resumed by others")
    default: note("\(event)")
    }
    return nil
  }

  func draw(_ terminal: Terminal) -> Canvas {
    var canvas = Canvas(width: terminal.size.width, height: terminal.size.height)
    let area = canvas.bounds
    canvas.frame(
      Rect(x: 0, y: 0, width: area.width, height: max(0, area.height - 6)),
      title: "1 Probe \(area.width)x\(area.height)", footer: "end", focused: true, glyphs: terminal.glyphs)
    canvas.put("|wide \u{4f60}\u{597d}|e\u{301}|\u{1b}[31mred|", at: 2, 1)
    let states = GuestGlyph.allCases
    for (index, state) in states.enumerated() {
      let row = Glyphs.guest(state)
      canvas.set(2 + index, 2, row.scalar(terminal.glyphs), role: row.role)
    }
    for (index, state) in HostGlyph.allCases.enumerated() {
      let row = Glyphs.host(state)
      canvas.set(20 + index, 2, row.scalar(terminal.glyphs), role: row.role)
    }
    let cursor = Point(x: min(x, area.width - 1), y: min(y, area.height - 1))
    canvas.restyle(Rect(x: cursor.x, y: cursor.y, width: 1, height: 1), adding: .selected)
    canvas.cursor = cursor
    for (index, line) in lines.enumerated() {
      canvas.put(line, at: 1, area.height - 5 + index, role: .message)
    }
    canvas.put("cursor \(cursor.x),\(cursor.y) ready", at: 1, area.height - 1, role: .prompt)
    return canvas
  }
}
