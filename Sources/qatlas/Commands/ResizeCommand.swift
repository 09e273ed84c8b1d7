// `qatlas resize`: makes the disk of an image larger or smaller, with the options and sentences of the
// genuine tool. Shrinking loses data, so it has to be asked for by name.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct ResizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: Resize.words.name, abstract: Resize.words.abstract ?? "", discussion: Resize.words.discussion
  )

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Option(
    help: "What is allocated for the new area: off, metadata, falloc, full.", completion: .preallocations)
  var preallocation = "off"
  @Flag(help: "\(Resize.words["--shrink"].sentence)") var shrink = false
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print nothing.") var quiet = false
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String
  @Argument(help: "The new size, or a change.") var size: String

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    guard let preallocation = Image.CreateOptions.Preallocation(rawValue: preallocation) else {
      throw streams.failure("Invalid preallocation mode '\(Escaping.human(preallocation))'")
    }
    let asked: DiskSize
    do throws(CommandError) { asked = try ChangeParser.size(size) } catch {
      throw streams.failure(
        "Parameter 'size' expects a non-negative number below 2^64",
        hint: """
          Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
          and exabytes, respectively.

          """)
    }
    let disk = try open(streams)
    let old = disk.layer.virtualSize
    let new: UInt64
    do throws(ImageError) { new = try asked.target(from: ByteCount(old)).value } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    guard new > old || preallocation == .off else {
      throw streams.failure("Preallocation can only be used for growing images")
    }
    guard new >= old || shrink else {
      throw streams.failure(
        "Use the --shrink option to perform a shrink operation.",
        hint:
          "\(Tool.name): warning: Shrinking an image will delete all data beyond the shrunken image's end. "
          + "Before performing such an operation, make sure there is no important data there.\n")
    }
    do throws(ImageError) {
      switch disk {
      case .image(let image):
        let behind = Tool.isStandIn ? nil : try image.entriesBehindEnd(within: ByteCount(new))
        if let behind, let first = behind.first {
          streams.error(
            "qatlas: warning: \(counted(behind.clusters, "cluster is", "clusters are")) mapped behind the end of the disk, saved VM state "
              + "for one; the larger disk shows their bytes from guest offset 0x\(Notation.hex(first.value)) on. "
              + "Going back to a snapshot or saving a new one with VM state frees them first.\n")
        }
        try Resize(.to(new), maySqueeze: shrink, preallocation: preallocation).run(on: image)
      case .raw(let file): try file.resize(to: ByteCount(new), preallocation)
      }
    } catch {
      let failure = streams.failure(Escaping.human(error.description), hint: error.hint.map { $0 + "\n" })
      // What was done before it stopped is brought to the file, persistent bitmaps included.
      if case .image(let image) = disk { try? image.close() }
      throw failure
    }
    if case .image(let image) = disk { try streams.close(image) }
    if !quiet { streams.output("Image resized.\n") }
    try streams.end()
  }

  /// What is resized.
  private enum Disk {
    case image(Image)
    case raw(RawLayer)

    var layer: any GuestLayer {
      switch self {
      case .image(let image): image
      case .raw(let file): file
      }
    }
  }

  private func open(_ streams: Streams) throws -> Disk {
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, nil, streams)
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.options.writable = true
      opening.options.policies = policy.policies
      opening.options.discard = .ignore
      opening.options.cache = .writeback
      opening.demand = .writable
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      let opened = try Opening.open(opening, streams)
      guard let image = opened.image else {
        if format == nil, request.format == nil { streams.error(Opening.guessed(self.image)) }
        return .raw(RawLayer(opened.file))
      }
      if let line = PinText.warning(image, self.image) { streams.error(line) }
      return .image(image)
    } catch { throw Opening.failure(image, error, streams) }
  }
}
