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
    commandName: "resize", abstract: "Change the size of an image's disk.",
    discussion: "SIZE is a size (64k, 1.5G), or a change with + or - in front.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.")
  var format: String?
  @Option(help: "What is allocated for the new area: off, metadata, falloc, full.") var preallocation = "off"
  @Flag(help: "Allow a smaller disk, which loses what lies behind its new end.") var shrink = false
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print nothing.") var quiet = false
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Argument(help: "The image file.") var image: String
  @Argument(help: "The new size, or a change.") var size: String

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    guard let preallocation = Image.CreateOptions.Preallocation(rawValue: preallocation) else {
      throw streams.failure("Invalid preallocation mode '\(Escaping.human(preallocation))'")
    }
    let sign = size.first == "+" || size.first == "-" ? size.first : nil
    let amount: UInt64
    do throws(Notation.ParseError) {
      amount = try Notation.parse(sign == nil ? size : String(size.dropFirst()))
    } catch {
      throw streams.failure(
        "Parameter 'size' expects a non-negative number below 2^64",
        hint: """
          Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
          and exabytes, respectively.

          """)
    }
    let disk = try open(streams)
    let old = disk.layer.virtualSize
    let new = try target(old, sign, amount, streams)
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
        let behind = try image.entriesBehindEnd(within: new)
        if let first = behind.first, !Tool.isStandIn {
          streams.error(
            "qatlas: warning: \(counted(behind.clusters, "cluster is", "clusters are")) mapped behind the end of the disk, saved VM state "
              + "for one; the larger disk shows their bytes from guest offset 0x\(Notation.hex(first.value)) on. "
              + "Going back to a snapshot or saving a new one with VM state frees them first.\n")
        }
        try image.resize(to: new, preallocation: preallocation)
        try image.close()
      case .raw(let file): try file.resize(to: new, preallocation)
      }
    } catch {
      throw streams.failure(Escaping.human(error.description))
    }
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
    let request = try Opening.request(image, format, isOptions: imageOptions, chain, nil, streams)
    do throws(Opening.Refusal) {
      let opener = ChainOpener(request.file, request.policy)
      let storage = try Opening.file(opener, writable: true)
      if try Opening.format(of: storage, request.format?.rawValue ?? format) == .raw {
        if format == nil, request.format == nil { streams.error(Opening.guessed(image)) }
        return .raw(RawLayer(storage))
      }
      var options = request.options
      options.writable = true
      options.policies = policy.policies
      options.discard = .ignore
      options.cache = .writeback
      options.secret = try unlock.needed(request, for: storage)
      let opened = try Opening.image(opener, on: storage, options)
      if let reason = opened.readOnlyReason { throw Opening.Refusal(text: reason) }
      if let line = PinText.warning(opened, image) { streams.error(line) }
      return .image(opened)
    } catch {
      throw streams.failure("Could not open '\(Escaping.human(image))': \(error.text)", hint: error.hint)
    }
  }

  private func target(
    _ old: UInt64, _ sign: Character?, _ amount: UInt64, _ streams: Streams
  ) throws -> UInt64 {
    switch sign {
    case "+":
      let (sum, overflow) = old.addingReportingOverflow(amount)
      guard !overflow, sum <= UInt64(Int64.max) else { throw streams.failure("the new size is too large") }
      return sum
    case "-":
      guard amount < old else { throw streams.failure("New image size must be positive") }
      return old - amount
    default:
      guard amount > 0 else { throw streams.failure("New image size must be positive") }
      return amount
    }
  }
}
