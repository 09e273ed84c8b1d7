// `qatlas amend`: changes options of an image after it was made, with the options and sentences of the genuine
// tool. What loses something has to be asked for by name, except by scripts that call the genuine tool.

import ArgumentParser
import Cartography
import Qcow
import Storage
import ToolText

struct AmendCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: Amend.words.name, abstract: Amend.words.abstract ?? "", discussion: Amend.words.discussion)

  @Option(
    name: [.customShort("o"), .customLong("options")], parsing: .unconditionalSingleValue,
    help: "Options with new values, separated by commas; help lists them.", completion: .createOptions)
  var lists: [String] = []
  @Flag(help: "\(Amend.words["--shrink"].sentence)") var shrink = false
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")], help: "The cache mode.",
    completion: .cacheModes)
  var cache = "writeback"
  @Flag(help: "Overwrite key slots in use, and empty the last one.") var force = false
  @OptionGroup var progress: ProgressFlags
  @OptionGroup var target: ChangeTarget
  @Argument(help: "The image file.", completion: .file()) var words: [String] = []

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    do throws(AmendRequest.Refusal) {
      for list in lists { try AmendRequest.check(list: list) }
    } catch { throw streams.failure(error.description) }
    guard !lists.isEmpty else {
      throw streams.failure(
        "Must specify options (-o)", hint: "Try '\(Tool.name) amend --help' for more information\n")
    }
    let line = progress.line(streams, step: 1)
    defer { line.end() }
    try target.unlock.checkObjects(streams)
    let asksForHelp = AmendRequest.asksForHelp(lists)
    if let format = target.format, asksForHelp {
      try checkFormat(format, streams)
      return streams.output(AmendRequest.help)
    }
    guard words.count == 1, let file = words.first else {
      throw streams.failure("Expecting one image file name")
    }
    guard ["none", "off", "writeback", "unsafe", "writethrough", "directsync"].contains(cache) else {
      throw streams.failure("Invalid cache option: \(Escaping.human(cache))")
    }
    guard let image = try target.open(file, streams) else {
      throw streams.failure("Format driver 'raw' does not support option amendment")
    }
    do {
      if asksForHelp { streams.output(AmendRequest.help) } else { try amend(image, line, streams) }
    } catch {
      // What was done before it stopped is brought to the file, persistent bitmaps included.
      try? image.close()
      throw error
    }
    do throws(ImageError) { try image.close() } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    try streams.end()
  }

  private func checkFormat(_ format: String, _ streams: Streams) throws {
    if format == "raw" { throw streams.failure("Format driver 'raw' does not support option amendment") }
    guard format == "qcow2" else {
      throw streams.failure("Unknown file format '\(Escaping.human(format))'")
    }
  }

  private func amend(_ image: Image, _ line: PercentLine, _ streams: Streams) throws {
    let request: AmendRequest
    do throws(AmendRequest.Refusal) { request = try AmendRequest(lists) } catch {
      throw streams.failure(error.description, hint: error.hint)
    }
    line.show(0)
    do throws(ImageError) {
      if !Tool.isStandIn, let reason = Amend(request.amendment, maySqueeze: shrink).refusal(of: image) {
        throw ImageError(.option, reason)
      }
      let keys = try keys(request, image)
      try image.amend(request.amendment, keys: keys) { line.show(100 * Float($0) / Float(max(1, $1))) }
    } catch {
      line.show(100)
      throw streams.failure(
        Escaping.human(error.description), hint: error.hint.map { Escaping.human($0) + "\n" })
    }
    line.show(100)
  }

  /// What is to be done with key slots, with the passphrases.
  private func keys(_ request: AmendRequest, _ image: Image) throws(ImageError) -> KeySlotChange? {
    guard let asked = request.keys else { return nil }
    try KeySlotChange.check(image)
    guard let word = asked.state else { throw ImageError(.option, "Parameter 'state' is missing") }
    guard let state = KeySlotChange.State(rawValue: word) else {
      throw ImageError(.option, "Parameter 'state' does not accept value '\(word)'")
    }
    var change = KeySlotChange(state)
    change.slot = asked.slot.map { Int(Int32(truncatingIfNeeded: $0)) }
    change.milliseconds = asked.milliseconds.map { Int(clamping: $0) }
    change.isForced = force
    func secret(_ name: String?) throws(ImageError) -> Secret? {
      guard let name else { return nil }
      return try target.unlock.get(named: name, for: image.storage, image.storage.name)
    }
    change.newSecret = try secret(asked.newSecret)
    change.oldSecret = try secret(asked.oldSecret)
    change.secret = try target.passphrase(for: image.storage, words[0])
    return change
  }
}
