// The commands of a disk that is served: begin and end, breakpoints, and what is done with a request that is held up.

import Cartography
import CellScreen
import Live
import Qcow
import QcowFormat
import Storage

extension CommandID {
  /// Gives the disk to NBD clients.
  package static let serve = CommandID("serve")
  static let breakpoint = CommandID("break")
  static let letGo = CommandID("continue")
  static let doHeld = CommandID("try")
}

extension ValueType where Value == Void {
  fileprivate static func words(_ all: [String]) -> ValueType {
    var type = ValueType(candidates: { _ in all }) { _ throws(CommandError) in }
    type.isOpen = true
    return type
  }
}

enum Serving {
  private static let stop = "stop"
  private static let off = "off"
  private static let all = "all"

  static let commands: [CommandSpec] = [
    CommandSpec(
      .serve, .live, arguments: [CommandArgument("SOCKET", .file, optional: true)], hint: "serve",
      help: """
        give the disk to NBD clients, as a QEMU guest, on a socket of your own or at SOCKET, and watch what they do; \
        '\(CommandID.serve.name) \(stop)' ends it
        """,
      refusal: { explorer in
        explorer.server == nil
          ? "nothing can be served here"
          : explorer.desk.lesson == nil
            ? nil : "the image of a lesson is not served; \(CommandID.leave) leaves it"
      },
      run: { explorer, command throws(CommandError) in
        if command.arguments.first == stop {
          guard explorer.session.live != nil else { throw CommandError("nothing is served") }
          explorer.desk.effects.append(.stopServing)
        } else {
          try begin(command.arguments.first, explorer)
        }
      }),
    CommandSpec(
      .breakpoint, .live, arguments: [CommandArgument("WHAT", .words(kinds))],
      keys: [KeyRule("n", in: .live, ["next"])], hint: "hold next",
      help: """
        hold a guest's request up before it is done: 'next'; one that has to 'copy'; that needs a new L2 'table'; that \
        grows the 'refcounts'; a discard that is 'rounded'; 'guest OFF LEN', 'host OFF LEN'; 'off' forgets all
        """,
      refusal: notServed, run: { explorer, command throws(CommandError) in try set(command, explorer) }),
    CommandSpec(
      .letGo, .live, arguments: [CommandArgument("all", .words([all]), optional: true)],
      keys: [KeyRule("c", in: .live), KeyRule("C", in: .live, [all])], hint: "let go", short: "go",
      help: "let the request go that is held up; with 'all' forget the breakpoints too", refusal: notServed,
      run: { explorer, command throws(CommandError) in try letGo(command, explorer) }),
    CommandSpec(
      .doHeld, .live, keys: [KeyRule("d", in: .live)], hint: "do it",
      help: """
        do the request that is held up, and keep it from the file until it is let go: \(key: .step) shows its writes one \
        by one and what a crash behind each would leave, \(key: .undo) takes it back
        """,
      refusal: notServed,
      run: { explorer, _ throws(CommandError) in try doHeld(explorer.desk) }),
  ]

  private static let kinds = [
    "next", "copy", "table", "refcounts", "rounded", "guest", "host", off,
  ]

  private static let notServed: CommandSpec.Refusal = { explorer in
    explorer.desk.session.live == nil ? "no guest uses the disk; \(CommandID.serve) gives it to some" : nil
  }

  /// - Throws: `CommandError` with the reason why it is not served.
  private static func begin(_ socket: String?, _ explorer: Explorer) throws(CommandError) {
    guard let server = explorer.server else { return }
    let desk = explorer.desk
    let hadHistory = desk.session.generations > 0
    do throws(ImageError) { try desk.session.sharing.begin() } catch { throw CommandError(error.description) }
    guard let live = desk.session.live else { return }
    do throws(ServerError) {
      live.uri = try server.start(live.shared, title: desk.session.title, socket: socket)
    } catch {
      try? desk.session.sharing.end()
      throw CommandError("not served: \(Escaping.human(error.description))")
    }
    live.shared.setGate(live.gate)
    let where_ =
      desk.session.refusal != nil && !desk.session.image.isWritable
      ? "guests only read"
      : desk.session.sharing.savesItself ? "guests write the file" : "what guests write is dropped at the end"
    desk.tell(
      "served at \(live.uri): \(where_)" + (hadHistory ? "; the history before is closed" : ""))
    desk.current.imageChanged(at: nil)
  }

  private static func set(_ command: Command, _ explorer: Explorer) throws(CommandError) {
    guard let live = explorer.desk.session.live, let kind = command.arguments.first else { return }
    if kind == off {
      live.gate.breakpoints = []
      return explorer.desk.tell(
        "no breakpoints any more; \(explorer.desk.key(.letGo)) lets go what is held up")
    }
    let point = try breakpoint(command.arguments)
    if !live.gate.breakpoints.contains(point) { live.gate.breakpoints.append(point) }
    // Whoever holds the next one has seen the one before.
    if point == .next, live.gate.held != nil { live.gate.letGo() }
    explorer.desk.tell("stops at \(point.meaning)")
  }

  private static func breakpoint(_ words: [String]) throws(CommandError) -> Breakpoint {
    func range() throws(CommandError) -> Range<UInt64> {
      guard words.count == 3 else {
        throw CommandError("\(CommandID.breakpoint) \(words[0]) needs OFF and LEN")
      }
      let (start, length) = (try Quantity.bytes(words[1]), try Quantity.bytes(words[2]))
      let (end, overflow) = start.addingReportingOverflow(length)
      guard length > 0, !overflow else { throw CommandError("the length must be at least 1") }
      return start..<end
    }
    switch words[0] {
    case "next": return .next
    case "copy": return .copies
    case "table": return .takesTable
    case "refcounts": return .growsRefcounts
    case "rounded": return .roundedAway
    case "guest": return .guest(try range())
    case "host": return .host(try range())
    default:
      throw CommandError("no breakpoint is called '\(words[0])'; there are " + kinds.joined(separator: ", "))
    }
  }

  private static func letGo(_ command: Command, _ explorer: Explorer) throws(CommandError) {
    guard let live = explorer.desk.session.live else { return }
    if command.arguments.first == all {
      live.gate.openWide()
      return explorer.desk.tell("all requests pass")
    }
    guard live.gate.held != nil else { throw CommandError("no request is held up") }
    live.gate.letGo()
  }

  private static func doHeld(_ desk: Desk) throws(CommandError) {
    do throws(ImageError) { try desk.session.sharing.doHeld() } catch {
      throw CommandError(error.description)
    }
    guard let step = desk.session.done.last else {
      return desk.tell("done: it changes nothing")
    }
    desk.change = step.narration
    desk.tell(
      "done, and the file has nothing of it yet; \(desk.key(.step)) shows its writes, \(desk.key(.undo)) takes it back"
    )
    desk.current.imageChanged(at: step.place)
  }
}
