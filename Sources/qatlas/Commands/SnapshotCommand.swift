// `qatlas snapshot`: lists the internal snapshots of an image, as the genuine tool does.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

struct SnapshotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "List the internal snapshots of an image.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format, qcow2.")
  var format: String?
  @Flag(name: [.customShort("l"), .customLong("list")], help: "List; this is what it does anyway.")
  var list = false
  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("create")], help: "Refused by this version.")
  var create: String?
  @Option(
    name: [.customShort("a", allowingJoined: true), .customLong("apply")], help: "Refused by this version.")
  var apply: String?
  @Option(
    name: [.customShort("d", allowingJoined: true), .customLong("delete")], help: "Refused by this version.")
  var delete: String?
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Has no effect on a list.") var quiet = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Argument(help: "The image file.") var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    guard create == nil, apply == nil, delete == nil else {
      throw streams.failure(
        "this version lists snapshots and cannot change them yet; the image was not touched")
    }
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: imageOptions, chain, share, streams)
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
