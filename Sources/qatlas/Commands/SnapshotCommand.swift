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
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format, qcow2.")
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
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Argument(help: "The image file.") var image: String

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
          change: CreateSnapshot(name), verb: "create", name: name, rawAnswer: "Operation not supported")
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
    let request = try Opening.request(image, format, isOptions: imageOptions, chain, share, streams)
    guard let deed = deeds.first else { return try tell(request, streams) }
    guard let opened = try open(request, streams) else { throw failure(of: deed, deed.rawAnswer, streams) }
    do throws(ImageError) {
      if let reason = deed.change.refusal(of: opened) { throw ImageError(.unsupported, reason) }
      try deed.change.run(on: opened)
      try opened.close()
    } catch { throw failure(of: deed, Self.reason(error, deed), streams) }
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
      guard !share.forcesShare else {
        throw Opening.Refusal(text: "force-share=on can only be used with read-only images")
      }
      let opener = ChainOpener(request.file, request.policy)
      let storage = try Opening.file(opener, writable: true)
      guard try Opening.format(of: storage, request.format?.rawValue ?? format) == .qcow2 else { return nil }
      var options = request.options
      options.writable = true
      options.policies = policy.policies
      options.cache = .writeback
      options.tellsRepair = streams.repair
      options.secret = try unlock.needed(request, for: storage)
      let opened = try Opening.image(opener, on: storage, options)
      // Of an external data file the change itself says that it cannot have snapshots.
      if let reason = opened.readOnlyReason, !opened.hasExternalData { throw Opening.Refusal(text: reason) }
      if let line = PinText.warning(opened, image) { streams.error(line) }
      return opened
    } catch {
      throw streams.failure("Could not open '\(Escaping.human(image))': \(error.text)", hint: error.hint)
    }
  }

  private func tell(_ request: OpenRequest, _ streams: Streams) throws {
    do throws(Opening.Refusal) {
      let opener = ChainOpener(request.file, request.policy)
      let storage = try Opening.file(opener)
      // A raw file has no snapshots, and nothing is said of it.
      guard try Opening.format(of: storage, request.format?.rawValue ?? format) == .qcow2 else { return }
      var options = Image.Options()
      options.secret = try unlock.needed(request, for: storage)
      let snapshots: String
      do throws(ImageError) {
        let list = try Image(storage, options: options).snapshots
        snapshots = list.isEmpty ? "" : InfoText.snapshotList(list)
      } catch { throw Opening.Refusal(error) }
      streams.output(snapshots)
    } catch {
      throw streams.failure(
        "Could not open '\(Escaping.human(image))': \(error.text)", hint: error.hint)
    }
  }
}
