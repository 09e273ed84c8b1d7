// `qatlas snapshot`: lists, takes, goes back to and deletes the internal snapshots of an image, as the
// genuine tool does.

import ArgumentParser
import Cartography
import Glibc
import Qcow
import Storage
import ToolText

struct SnapshotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "List, take, go back to or delete the internal snapshots of an image.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format, qcow2.",
    completion: .formats)
  var format: String?
  @Flag(name: [.customShort("l"), .customLong("list")], help: "List; this is what it does anyway.")
  var list = false
  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("create")],
    help: "Take a snapshot of that name.")
  var create: String?
  @Option(
    name: [.customShort("a", allowingJoined: true), .customLong("apply")],
    help: "Make the disk what it was at the snapshot of that ID or name.")
  var apply: String?
  @Option(
    name: [.customShort("d", allowingJoined: true), .customLong("delete")],
    help: "Delete the first snapshot of that name.")
  var delete: String?
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Has no effect.") var quiet = false
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  /// What is to be done, with the word that its errors begin with.
  private struct Deed {
    let change: any Change
    let verb: String
    let name: String
    /// What the genuine tool says of a disk that cannot have snapshots.
    let rawAnswer: String
  }

  private var deeds: [Deed] {
    let all = [
      create.map { name in
        Deed(
          change: CreateSnapshot(name, leavesHalf: Tool.isStandIn), verb: "create", name: name,
          rawAnswer: "Operation not supported")
      },
      apply.map { name in
        Deed(
          change: ApplySnapshot(name), verb: "apply", name: name,
          rawAnswer: "Block driver does not support snapshots")
      },
      delete.map { name in
        Deed(change: DeleteSnapshot(name), verb: "delete", name: name, rawAnswer: "snapshot not found")
      },
    ]
    return all.compactMap { $0 }
  }

  func run() throws {
    let deeds = deeds
    let streams = deeds.isEmpty ? Streams() : Streams(loss: .isKept)
    defer { streams.flush() }
    guard deeds.count + (list ? 1 : 0) <= 1 else {
      throw streams.failure(
        "Cannot mix '-l', '-a', '-c', '-d'",
        hint: "Try '\(Tool.name) snapshot --help' for more information\n")
    }
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, share, streams)
    guard let deed = deeds.first else { return try tell(request, streams) }
    guard let opened = try open(request, streams) else { throw failure(of: deed, deed.rawAnswer, streams) }
    do throws(ImageError) {
      if opened.hasExternalData, let reason = deed.change.refusal(of: opened) {
        throw ImageError(.unsupported, reason)
      }
      try deed.change.run(on: opened)
    } catch {
      let told = failure(of: deed, Self.reason(error, deed), streams)
      // What was done before a file failed is brought to it as far as it goes.
      if error.code == .storage { try? opened.close() }
      throw told
    }
    try streams.close(opened)
    try streams.end()
  }

  private func failure(of deed: Deed, _ reason: String, _ streams: Streams) -> any Error {
    streams.failure("Could not \(deed.verb) snapshot '\(Escaping.human(deed.name))': \(reason)")
  }

  /// The genuine tool knows only the numbers of errors; this program says what is the matter.
  private static func reason(_ error: ImageError, _ deed: Deed) -> String {
    let isMissing = error.code == .invalidRequest
    if deed.change is DeleteSnapshot, isMissing { return "snapshot not found" }
    if error.code == .bitmaps { return error.description }
    // It says how far the deletion came.
    if deed.change is DeleteSnapshot, error.isInjected { return error.description }
    let number: String
    switch error.code {
    case .unsupported: number = Output.reason(ENOTSUP)
    case .invalidRequest: number = Output.reason(ENOENT)
    case .refcountOverflow: number = Output.reason(EINVAL)
    case .noSpace: number = Output.reason(EFBIG)
    case .storage where error.errno != 0: number = Output.reason(error.errno)
    default: number = Output.reason(EIO)
    }
    let told = Tool.isStandIn || isMissing ? number : Escaping.human(error.description)
    return deed.change is ApplySnapshot ? "Failed to load snapshot: \(told)" : told
  }

  /// Opens the image for writing; nil if it is a raw file.
  private func open(_ request: OpenRequest, _ streams: Streams) throws -> Image? {
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.options.writable = true
      opening.options.policies = policy.policies
      opening.options.cache = .writeback
      opening.options.tellsRepair = streams.repair
      // Of an external data file the change itself says that it cannot have snapshots.
      opening.demand = .writableUnlessExternal
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      guard let opened = try Opening.open(opening, streams).image else { return nil }
      if let line = PinText.warning(opened, image) { streams.error(line) }
      return opened
    } catch { throw Opening.failure(image, error, streams) }
  }

  private func tell(_ request: OpenRequest, _ streams: Streams) throws {
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.options = Image.Options()
      opening.reach = .image
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      // A raw file has no snapshots, and nothing is said of it.
      guard let list = try Opening.open(opening, streams).image?.snapshots, !list.isEmpty else { return }
      streams.output(InfoText.snapshotList(list))
    } catch { throw Opening.failure(image, error, streams) }
  }
}
