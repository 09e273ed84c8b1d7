// Waiting for what happens: keys, mouse, resizes, stops, signals, the end of the terminal.
// One poll over the terminal and the signal pipe, so that nothing is lost between a check and a wait.

package import CellScreen
internal import CNcurses
internal import CSys
internal import Glibc

extension Terminal {
  /// The next event, or nil when the time is over or ``wake()`` was called.
  ///
  /// A negative timeout waits without limit. After `.hangup` it only ever waits and returns nil or a
  /// signal, so a caller that goes on asking does not spin.
  package func nextEvent(timeoutMilliseconds timeout: Int) -> InputEvent? {
    let deadline = timeout < 0 ? nil : Terminal.now() + timeout
    while true {
      if let event = decoder.next() { return event }

      var wait = deadline.map { max(0, $0 - Terminal.now()) }
      let patience = decoder.patience(at: Terminal.now())
      if let patience { wait = min(wait ?? patience, patience) }
      if resizeIsPending { wait = 0 }
      var ready = poll(wait: wait)
      ready.signal = ready.signal || resizeIsPending

      if ready.signal {
        switch takeSignals() {
        case .event(let event): return event
        case .wake: return nil
        case .nothing: break
        }
      }
      if ready.input {
        guard readInput() else {
          hasHungUp = true
          return .hangup
        }
      } else if decoder.patience(at: Terminal.now()) == 0 {
        // Also for a caller that never waits: nothing more came for so long.
        decoder.timeout(at: Terminal.now())
      }
      if let event = decoder.next() { return event }
      if bellHasRung { return nil }
      if let deadline, Terminal.now() >= deadline { return nil }
    }
  }

  private func poll(wait: Int?) -> (input: Bool, signal: Bool) {
    var descriptors = [pollfd(fd: signalDescriptor, events: Int16(POLLIN), revents: 0)]
    if !hasHungUp { descriptors.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)) }
    if let bell { descriptors.append(pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0)) }
    let count = nfds_t(descriptors.count)
    // Curses gives up a frame when input waits; with none waiting, the rest of it goes out now.
    if frameMayBePartial && !hasHungUp {
      let waiting = unsafe descriptors.withUnsafeMutableBufferPointer {
        unsafe Glibc.poll($0.baseAddress, count, 0)
      }
      if waiting == 0 {
        doupdate()
        frameMayBePartial = false
      }
    }
    let milliseconds = Int32(min(wait ?? -1, 1 << 30))
    let result = unsafe descriptors.withUnsafeMutableBufferPointer {
      unsafe Glibc.poll($0.baseAddress, count, milliseconds)
    }
    guard result > 0 else { return (false, false) }
    if let bell, descriptors[descriptors.count - 1].revents != 0 {
      bell.silence()
      bellHasRung = true
    }
    return (!hasHungUp && descriptors[1].revents != 0, descriptors[0].revents != 0)
  }

  /// Reads what is there; false when the terminal is gone.
  private func readInput() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let got = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
    if got < 0 { return errno == EINTR || errno == EAGAIN }
    if got == 0 { return false }
    decoder.feed(buffer.prefix(got), at: Terminal.now())
    return true
  }

  /// What the signals since the last call amount to.
  private enum Taken {
    case nothing, wake
    case event(InputEvent)
  }

  /// Takes signals until one is an event; resizes are collected and come last.
  private func takeSignals() -> Taken {
    var woken = false
    while true {
      let number = csys_signals_next()
      switch number {
      case ..<0:
        if resizeIsPending { return .event(resize()) }
        return woken ? .wake : .nothing
      case 0: woken = true
      case SIGWINCH: resizeIsPending = true
      case SIGTSTP: return .event(.suspendRequested)
      case SIGCONT:
        // Stopped from outside, without our help: the shell has used the terminal meanwhile.
        // A hangup continues the program too, but there is nothing left to draw on.
        if !hasHungUp && Terminal.now() - lastReentry > 250 {
          reenter()
          return .event(.resumed)
        }
      default: return .event(.signal(number))
      }
    }
  }

  /// Reports the size even if it is the old one: between two changes the picture may have been cut.
  private func resize() -> InputEvent {
    resizeIsPending = false
    size = Terminal.currentSize(descriptor)
    resize_term(Int32(size.height), Int32(size.width))
    forgetScreen()
    return .resize(width: size.width, height: size.height)
  }

  /// Milliseconds of a clock that never goes back.
  static func now() -> Int {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1000 + Int(time.tv_nsec) / 1_000_000
  }
}
