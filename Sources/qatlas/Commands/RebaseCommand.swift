// `qatlas rebase`: gives an image another backing file, or none, as the genuine tool does. What its guest reads stays
// the same, unless that is not wanted.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct RebaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rebase",
    abstract: "Give an image another backing file.",
    discussion: """
      Where the two backing files differ the image gets the bytes of the old one first, so that its disk reads as \
      before. Interrupted, it can be done again. Snapshots inside of the image read from the new backing file \
      from then on: they change, unless both have the same bytes.
      """)

  @OptionGroup var target: ChangeTarget
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "writethrough waits for the disk after every request.", completion: .cacheModes)
  var cache = "writeback"
  @Option(
    name: [.customShort("b", allowingJoined: true), .customLong("backing")], parsing: .unconditional,
    help: "The new backing file; an empty word for none.", completion: .file())
  var backing: String?
  @Option(
    name: [
      .customShort("F", allowingJoined: true), .customShort("B", allowingJoined: true),
      .customLong("backing-format"),
    ],
    help: "The new backing file's format.", completion: .formats)
  var backingFormat: String?
  @Option(
    name: [.customShort("T", allowingJoined: true), .customLong("backing-cache")], help: "Has no effect.",
    completion: .cacheModes)
  var backingCache = "writeback"
  @Flag(
    name: [.customShort("u"), .customLong("backing-unsafe")],
    help: "Change the name alone, whatever is there: for a backing file that was moved.")
  var onlyName = false
  @Flag(name: [.customShort("c"), .customLong("compress")], help: "Write compressed clusters.")
  var compresses = false
  @Flag(
    name: .customLong("snapshots-follow"),
    help: "Snapshots may change with the backing file that they read from.")
  var snapshotsFollow = false
  @Flag(
    name: [.customShort("U"), .customLong("force-share")],
    help: "Read the new backing file although another program may be writing it.")
  var forcesShare = false
  @OptionGroup var progress: ProgressFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  private var name: String { Escaping.human(backing ?? "(null)") }

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    guard onlyName || backing != nil else {
      throw streams.failure(
        "Must specify backing file (-b) or use unsafe mode (-u)",
        hint: "Try '\(Tool.name) rebase --help' for more information\n")
    }
    try target.unlock.checkObjects(streams)
    let line = progress.line(streams, step: 1)
    line.show(0)
    defer { line.end() }
    for (what, word) in [("", cache), ("source ", backingCache)] where !CacheWords.known.contains(word) {
      throw streams.failure("Invalid \(what)cache option: \(Escaping.human(word))")
    }
    let image = try target.open(image, streams) { opening in
      if onlyName { opening.policy.backing = .nothing }
      opening.options.cache = CacheWords.waits.contains(cache) ? .writethrough : .writeback
    }
    do {
      if compresses, image == nil {
        throw streams.failure("Compression not supported for this file format")
      }
      if let backingFormat, !LayerName.known.contains(backingFormat) {
        throw streams.failure("Invalid format name: '\(Escaping.human(backingFormat))'")
      }
      guard let image else { throw failure(to: "Operation not supported", streams) }
      try change(image, line, streams)
    } catch {
      // What has arrived stays, as a sound image.
      try? image?.close()
      throw error
    }
    line.show(100)
    try streams.end()
  }

  private func change(_ image: Image, _ line: PercentLine, _ streams: Streams) throws {
    let newName = backing == "" ? nil : backing
    let format = newName == nil ? nil : backingFormat
    let new = try onlyName ? nil : newName.map { try layer($0, for: image, streams) }
    guard newName == nil || format != nil else {
      throw refuse("backing format must be specified", line, streams)
    }
    let named = NewBacking(newName, format: format)
    do throws(ImageError) {
      // Before all the work, and not behind it.
      try named.check(image)
    } catch { throw refuse(reason(error), line, streams) }
    if !onlyName {
      if !Tool.isStandIn { try refuseHarm(image, new, streams) }
      let kept = "the disk of '\(self.image)' reads as before; the same command goes on"
      try Interruption.during(kept) { try copy(image, new, line, streams) }
    }
    do throws(ImageError) {
      try named.install(in: image)
      try image.close()
    } catch { throw failure(to: reason(error), streams) }
  }

  private func copy(_ image: Image, _ new: (any GuestLayer)?, _ line: PercentLine, _ streams: Streams) throws
  {
    let work = Rebase(image, onto: new, compresses: compresses)
    let share = Float(100) / Float(work.areas)
    work.tells = { line.add(share) }
    do throws(RebaseFailure) { while try work.step() {} } catch {
      let reason = Tool.reason(error.error)
      switch error.step {
      case .lookup: throw streams.failure("error while reading image metadata: \(reason)")
      case .readOld: throw streams.failure("error while reading from old backing file" + told(error.error))
      case .readNew: throw streams.failure("error while reading from new backing file" + told(error.error))
      case .write: throw streams.failure("Error while writing to COW image: \(reason)")
      }
    }
  }

  /// What the genuine tool leaves out.
  private func told(_ error: ImageError) -> String {
    Tool.isStandIn ? "" : ": " + Escaping.human(error.description)
  }

  /// The new layer: one of those below already, or another file with what it names.
  private func layer(_ name: String, for image: Image, _ streams: Streams) throws -> any GuestLayer {
    do throws(ImageError) {
      let layer = try LayerName(name, format: backingFormat, imagePath: image.storage.name)
      if let depth = LayersBelow(image).depth(ofFile: layer.path) { return image.layers[depth] }
      var policy = target.chain.policy
      policy.forcesShare = forcesShare
      return try ImageOpening.layer(layer, policy, of: image.storage.name)
    } catch {
      let refusal = Opening.Refusal(error)
      throw streams.failure(
        "Could not open new backing file '\(self.name)': \(refusal.text)", hint: refusal.hint)
    }
  }

  /// The genuine tool does these without a word.
  private func refuseHarm(_ image: Image, _ new: (any GuestLayer)?, _ streams: Streams) throws {
    if let new, backingFormat != (new is Image ? "qcow2" : "raw") {
      throw streams.failure(
        "the chain has '\(name)' as \(new is Image ? "qcow2" : "raw"); named as "
          + "\(Escaping.human(backingFormat ?? "")) the disk would read otherwise")
    }
    if let reason = Rebase.harm(to: image, onto: new, snapshotsFollow: snapshotsFollow) {
      throw streams.failure(reason)
    }
  }

  /// The genuine tool has done all the work when it finds out.
  private func refuse(_ reason: String, _ line: PercentLine, _ streams: Streams) -> ExitCode {
    if Tool.isStandIn { line.show(100) }
    return failure(to: reason, streams)
  }

  private func failure(to reason: String, _ streams: Streams) -> ExitCode {
    streams.failure("Could not change the backing file to '\(name)': \(reason)")
  }

  private func reason(_ error: ImageError) -> String {
    switch error.code {
    case .format(.headerFull): "No space left in the file header"
    case .option where Tool.isStandIn: "Invalid argument"
    default: Tool.reason(error)
    }
  }
}
