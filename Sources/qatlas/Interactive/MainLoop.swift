// The loop between the terminal and the explorer: all input that is there first, then one frame, then
// a slice of the scan or of the lab. Without input and work it sleeps.

import CellScreen
import Explorer
import Glibc
import Storage
import TerminalHost

final class MainLoop {
  private let terminal: Terminal
  private let explorer: Explorer
  private let files: HostFiles
  /// Rings when the file that is followed is written; nil if none is.
  private let bell: FileBell?
  /// Events that came while long work ran.
  private var waiting: [InputEvent] = []
  private var shown: Canvas
  private var isDone = false
  private var workStarted: UInt64?
  /// When the share of it was drawn last.
  private var progressShown: UInt64 = 0
  private var lastInput: UInt64 = 0

  init(_ terminal: Terminal, _ explorer: Explorer, _ files: HostFiles) {
    self.terminal = terminal
    self.explorer = explorer
    self.files = files
    bell = explorer.followedName.flatMap(FileBell.init(path:))
    shown = Canvas(width: 0, height: 0)
  }

  /// Nanoseconds of a slice of the scan: short enough that no key waits.
  private static let slice: UInt64 = 10_000_000
  /// Nanoseconds after which a digit no longer belongs to the one before it.
  private static let pause: UInt64 = 600_000_000
  /// Nanoseconds between two frames while only the scan changes them.
  private static let frameInterval: UInt64 = 100_000_000

  func run() {
    files.cancelQuestion = { self.shouldCancel($0) }
    defer {
      endServing()
      files.cancelQuestion = nil
    }
    present()
    var isScanning = true
    var isDirty = false
    var lastFrame = HostClock.now()
    var lastLook = lastFrame
    while !isDone {
      if explorer.guests.areServed {
        takeTurn()
        isScanning = true
        continue
      }
      // What moves by itself is seen before it goes on.
      let elapsed = HostClock.now() - lastFrame
      let wait = Int(Self.frameInterval - min(elapsed, Self.frameInterval)) / 1_000_000
      if explorer.hasFaded { isDirty = true }
      let pause = min(explorer.lookInterval, explorer.fadeInterval ?? .max)
      let timeout = isDirty || isScanning ? 0 : explorer.isAnimating ? min(wait, pause) : pause
      // While the file is looked at again and again, its bell would only say what is known.
      terminal.bell = explorer.lookInterval < 1000 ? nil : bell
      if HostClock.now() - lastLook >= UInt64(explorer.lookInterval) * 1_000_000 || terminal.hasRung {
        lastLook = HostClock.now()
        if explorer.lookAtFile() {
          isDirty = true
          isScanning = true
        }
      }
      if let event = nextEvent(timeout) {
        take(event)
        isDirty = true
        isScanning = true
        continue
      }
      if isDirty {
        present()
        isDirty = false
        lastFrame = HostClock.now()
      } else if isScanning {
        isScanning = !explorer.scan(budgetNanoseconds: Self.slice)
        if !isScanning || HostClock.now() - lastFrame >= Self.frameInterval {
          present()
          lastFrame = HostClock.now()
        }
      } else if explorer.isAnimating, HostClock.now() - lastFrame >= Self.frameInterval {
        explorer.beginFrame()
        isScanning = true
      }
    }
  }

  // MARK: Serving

  /// When the next picture of a disk that guests use is due.
  private var nextTurn: UInt64 = 0

  /// One picture of a disk that guests use. The disk is theirs again before anything is waited for or sent.
  private func takeTurn() {
    let now = HostClock.now()
    let wait = nextTurn > now ? Int((nextTurn - now) / 1_000_000) : 0
    if let event = nextEvent(wait) {
      take(event)
      guard !isDone, explorer.guests.areServed else { return }
      // All input that is there first.
      while let next = nextEvent(0), !isDone { take(next) }
      guard !isDone, explorer.guests.areServed else { return }
      present()
      return
    }
    let start = HostClock.now()
    let picture = explorer.guests.exclusively { () -> Canvas? in
      let began = HostClock.now()
      defer { explorer.session.live?.noteHold(.nanoseconds(Int64(HostClock.now() - began))) }
      let isNew = explorer.guests.follow(budgetNanoseconds: Self.guestSlice) || explorer.hasFaded
      // Rows of other images come meanwhile as well.
      let isMoving = explorer.isAnimating
      if isMoving { explorer.beginFrame() }
      return isNew || isMoving ? explorer.canvas() : nil
    }
    nextTurn = start + UInt64(explorer.guests.pause) * 1_000_000
    guard let picture else { return }
    shown = picture
    terminal.present(picture)
  }

  /// Nanoseconds of a slice of the scan while guests wait for the disk.
  private static let guestSlice: UInt64 = 1_000_000

  /// Ends all connections; what guests did stays.
  private func endServing() {
    guard explorer.guests.areServed else { return }
    // A request that is held up would keep its client for ever.
    explorer.guests.exclusively { explorer.session.live?.gate.openWide() }
    explorer.server?.stop()
    explorer.guests.haveLeft()
  }

  private func nextEvent(_ timeout: Int) -> InputEvent? {
    waiting.isEmpty ? terminal.nextEvent(timeoutMilliseconds: timeout) : waiting.removeFirst()
  }

  private func take(_ event: InputEvent) {
    switch event {
    case .signal(let number):
      endServing()
      // Unsaved changes are dropped, as `:q!` does.
      terminal.close()
      Terminal.die(of: number)
    case .hangup:
      endServing()
      terminal.close()
      Terminal.die(of: SIGHUP)
    case .suspendRequested:
      terminal.suspend()
      let size = terminal.size
      carryOut(
        explorer.guests.exclusively { explorer.handle(.resize(width: size.width, height: size.height)) })
    default:
      workStarted = nil
      let now = HostClock.now()
      if now - lastInput > Self.pause { explorer.forgetCount() }
      lastInput = now
      carryOut(explorer.guests.exclusively { explorer.handle(event) })
    }
  }

  private func carryOut(_ effects: [Effect]) {
    for effect in effects {
      switch effect {
      case .quit: isDone = true
      case .stopServing: endServing()
      case .redraw: terminal.forgetScreen()
      case .copy(let text):
        if !terminal.copyToClipboard(text) {
          explorer.tell(
            "this terminal takes no copies; :copy FILE and :json FILE write to a file", error: true)
        }
      case .setTheme(let name): terminal.themeName = name
      case .setMouse(let on): terminal.setMouse(on)
      case .setGlyphs(let glyphs):
        terminal.glyphs = glyphs
        if terminal.glyphs != glyphs {
          explorer.adopt(glyphs: terminal.glyphs)
          explorer.tell("this locale has no UTF-8: plain ASCII stays", error: true)
        }
      }
    }
  }

  private func present() {
    shown = explorer.guests.exclusively { explorer.canvas() }
    terminal.present(shown)
  }

  /// Asked between pieces of long work: shows how far it is, and listens for Esc and Ctrl-C. Keys that were
  /// typed before these meant what is now given up, so they go with it.
  private func shouldCancel(_ progress: Double) -> Bool {
    while let event = terminal.nextEvent(timeoutMilliseconds: 0) {
      switch event {
      case .key(.escape), .key(.control("c")):
        waiting.removeAll {
          if case .resize = $0 { return false }
          return true
        }
        return true
      case .signal, .hangup, .suspendRequested: take(event)
      default: waiting.append(event)
      }
    }
    let now = HostClock.now()
    let started = workStarted ?? now
    workStarted = started
    if now - max(started, progressShown) > Self.frameInterval {
      progressShown = now
      var canvas = shown
      let y = canvas.height - 1
      canvas.fill(Rect(x: 0, y: y, width: canvas.width, height: 1))
      let x = canvas.put("working, Esc gives it up  ", at: 0, y, role: .progress)
      canvas.progressBar(
        done: UInt64(max(0, min(1, progress)) * 1000), total: 1000,
        in: Rect(x: x, y: y, width: min(40, canvas.width - x), height: 1), glyphs: explorer.glyphs)
      terminal.present(canvas)
    }
    return false
  }
}
