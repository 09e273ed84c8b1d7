// Breakpoints: a request in the background stands still when work on the image comes to a moment. While it does
// nothing else is asked of the image, whose tables are in the middle of a change.

import Cartography
import Glibc
import Qcow
import Storage

/// Where requests are to stand still, and the one that does.
struct Breakpoints {
  fileprivate var waiting: [(moment: Moment, tag: String)] = []
  fileprivate var request: StoppedRequest?

  init() {}

  /// The name of the request that stands still; nil if none does.
  var stoppedTag: String? { request?.tag }

  /// A request may have to stand still.
  fileprivate var areSet: Bool { !waiting.isEmpty }
}

extension IoSession {
  /// Why a command has to wait for a request that stands still; nil if it need not.
  func refusalWhileStopped(_ command: IoCommand) -> String? {
    guard let tag = breakpoints.stoppedTag, command.needsImage else { return nil }
    switch command.verb {
    case .resume, .removeBreak, .waitBreak, .breakpoint: return nil
    default:
      return "request '\(Escaping.human(tag))' stands still in the middle of a change; resume it first\n"
    }
  }

  /// Carries out `break`, `remove_break`, `resume` and `wait_break`.
  func breakpoint(
    _ verb: IoCommand.Verb, _ operands: [String], on disk: any GuestDisk
  ) throws(Failure) {
    guard let storage = (disk as? Image)?.storage as? InjectingStorage else {
      let reason = FileStorage.reason(EOPNOTSUPP)
      switch verb {
      case .breakpoint: throw .text("Could not set breakpoint: \(reason)")
      case .resume: throw .text("Could not resume request: \(reason)")
      case .removeBreak:
        throw .text("Could not remove breakpoint \(Escaping.human(operands[0])): \(reason)")
      default: throw .text("no request can be stopped here: \(reason)")
      }
    }
    let reason = FileStorage.reason(ENOENT)
    switch verb {
    case .breakpoint:
      guard let moment = Moment(name: operands[0]) else { throw .text("Could not set breakpoint: \(reason)") }
      breakpoints.waiting.append((moment, operands[1]))
      storage.watch = { [weak self] moment in self?.reached(moment) }
    case .resume:
      guard breakpoints.stoppedTag == operands[0] else { throw .text("Could not resume request: \(reason)") }
      goOn(operands[0])
    case .removeBreak:
      let tag = operands[0]
      let before = breakpoints.waiting.count
      breakpoints.waiting.removeAll { $0.tag == tag }
      let isStopped = breakpoints.stoppedTag == tag
      if isStopped { goOn(tag) }
      guard isStopped || breakpoints.waiting.count < before else {
        throw .text("Could not remove breakpoint \(Escaping.human(tag)): \(reason)")
      }
    default:
      // Whoever waits for what cannot come waits for ever.
      guard breakpoints.stoppedTag == operands[0] else {
        throw .text("no request '\(Escaping.human(operands[0]))' is under way")
      }
    }
  }

  private func goOn(_ tag: String) {
    terminal.output("blkdebug: Resuming request '\(Escaping.human(tag))'\n")
    breakpoints.request?.resume()
    if breakpoints.request?.hasEnded == true { breakpoints.request = nil }
  }

  /// Work on the image has come to a moment. Only a request in the background can stand still.
  private func reached(_ number: UInt8) {
    guard let index = breakpoints.waiting.firstIndex(where: { $0.moment.rawValue == number }) else { return }
    let tag = breakpoints.waiting[index].tag
    guard let request = breakpoints.request, !request.hasEnded, request.tag == nil else { return }
    breakpoints.waiting.remove(at: index)
    terminal.output("blkdebug: Suspended request '\(Escaping.human(tag))'\n")
    request.stop(tag)
  }

  /// Runs a request in the background: at once, or on a thread of its own if it may have to stand still.
  func inBackground(_ body: @escaping () throws(Failure) -> Void) throws(Failure) {
    guard breakpoints.areSet else { return try told(body) }
    var failure: Failure?
    let request = StoppedRequest { [weak self] in
      do throws(Failure) { try self?.told(body) } catch { failure = error }
    }
    breakpoints.request = request
    guard request.start() else {
      breakpoints.request = nil
      return try told(body)
    }
    guard request.hasEnded else { return }
    breakpoints.request = nil
    if let failure { throw failure }
  }

  /// A failure of the request is told and does not fail the command, which the genuine tool has ended by then; what is
  /// wrong with the command itself does.
  private func told(_ body: () throws(Failure) -> Void) throws(Failure) {
    do throws(Failure) { try body() } catch {
      switch error {
      case .said: return
      case .request(_, EIO): terminal.output((error.line ?? "") + "\n")
      case .request, .text, .usage: throw error
      }
    }
  }
}
