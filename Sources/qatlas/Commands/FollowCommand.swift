// `qatlas follow`: an image while another program writes it, one line for each change that is seen.

import ArgumentParser
import Cartography
import CellScreen
import Explorer
import Glibc
import Qcow
import Storage
import TerminalHost
import ToolText

struct FollowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "follow",
    abstract: "Print what another program changes in an image, as it is seen in the file.",
    discussion: """
      One line a change, until interrupted. No lock is taken, and nothing is written. What the other program keeps in \
      its memory is seen when it reaches the file. The file of the image is followed, not the layers below it.
      """)

  @Flag(help: "Print JSON, one object a line.") var json = false
  @Option(name: .customLong("for"), help: ArgumentHelp("Stop after so many seconds.", valueName: "seconds"))
  var seconds: Double?
  @OptionGroup var opening: SessionFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  func validate() throws {
    if let seconds, !(seconds >= 0 && seconds <= 1e9) {
      throw ValidationError("--for takes seconds, 0 or more")
    }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let files = HostFiles(path: image)
    func open() throws(ImageError) -> Session {
      try opening.open(image, files, mode: .readOnly, follows: true, readsConfiguration: true)
    }
    let explorer: Explorer
    do throws(ImageError) {
      explorer = Explorer(try open(), files: files, width: 80, height: 24, glyphs: .ascii)
    } catch { throw streams.failure("\(Escaping.human(image)): \(Escaping.human(error.description))") }
    explorer.reopen = { () throws(ImageError) in try open() }
    let text = FollowText(json: json, output: streams.output)
    let session = explorer.session
    text.write(
      name: session.title, length: session.overlay.length, generation: session.generation,
      remark: session.unfollowed)
    streams.flush()
    follow(explorer, text, streams)
  }

  /// Prints until the time is over.
  private func follow(_ explorer: Explorer, _ text: FollowText, _ streams: Streams) {
    let clock = ContinuousClock()
    let end = seconds.map { clock.now + .seconds($0) }
    let bell = FileBell(path: explorer.session.overlay.name)
    var (session, told) = (explorer.session, explorer.session.generation)
    var state = ""
    while end.map({ clock.now < $0 }) ?? true {
      _ = explorer.lookAtFile()
      while !explorer.scan(budgetNanoseconds: 10_000_000), end.map({ clock.now < $0 }) ?? true {}
      if explorer.session !== session {
        (session, told) = (explorer.session, 0)
        text.write(state: explorer.message ?? "read again")
      }
      for number in told..<max(told, session.generation) {
        guard let step = session.step(number) else { break }
        text.write(step.narration, generation: number + 1)
      }
      told = session.generation
      let now = explorer.followedState ?? ""
      if now != state, now != "" {
        // What comes and goes within moments is not worth a line.
        if now == "UNREADABLE NOW" || state == "UNREADABLE NOW" { text.write(state: now) }
        state = now
      }
      streams.flush()
      let left = end.map { Int(max(0, min(($0 - clock.now) / .milliseconds(1), 1e6))) } ?? 1000
      // While the file is looked at again and again, its bell would only say what is known.
      let isRestless = explorer.lookInterval < 1000
      FileBell.wait(isRestless ? nil : bell, milliseconds: min(left, explorer.lookInterval))
    }
  }
}
