// Opens image files for the command line tools, with the sentences of the genuine tools for what
// can go wrong.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

/// What may be opened besides the image itself.
struct ChainFlags: ParsableArguments {
  @Flag(
    name: .customLong("allow-outside"),
    help: "Open files the image names that lie outside of its folder.")
  var allowsOutside = false
  @Flag(
    name: .customLong("allow-missing-backing"),
    help: "Go on without backing files (and the data file) that cannot be opened.")
  var allowsMissing = false
  @Option(
    name: .customLong("trust"), parsing: .singleValue,
    help: ArgumentHelp(
      "Open files the image names that lie in this folder or below it. May be given more than once, and as lines of the configuration file.",
      valueName: "folder"))
  var trusted: [String] = []

  var policy: ChainPolicy { added(to: ChainPolicy()) }

  /// The same on top of what an option string asks for.
  func added(to policy: ChainPolicy) -> ChainPolicy {
    var policy = policy
    // The genuine tools open whatever an image names.
    policy.allowsOutside = allowsOutside || Tool.isStandIn
    policy.allowsMissing = allowsMissing
    policy.trust = UserTrust(folders: trusted)
    return policy
  }
}

/// Looking at what somebody else writes.
struct ShareFlag: ParsableArguments {
  @Flag(
    name: [.customShort("U"), .customLong("force-share")],
    help: "Look at the image although another program may be writing it.")
  var forcesShare = false
}

extension MappingPolicy: ExpressibleByArgument {}
extension DiscardGranularity: ExpressibleByArgument {}
extension DiscardReads: ExpressibleByArgument {}

/// Who may change the mapping, and what discards do.
struct PolicyOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Who may change where clusters lie: default (as QEMU does), keep-mapping, pinned. Without it what the image asks for.",
      valueName: "name"))
  var policy: MappingPolicy?
  @Option(
    name: .customLong("discard-granularity"),
    help: ArgumentHelp("What discards act on: cluster (default) or subcluster.", valueName: "unit"))
  var discardGranularity = DiscardGranularity.cluster
  @Option(
    name: .customLong("discard-reads"),
    help: ArgumentHelp(
      "With subcluster: what discarded ranges show, zero (default) or backing.", valueName: "what"))
  var discardReads = DiscardReads.zero

  func validate() throws {
    guard discardReads == .zero || discardGranularity == .subcluster else {
      throw ValidationError("--discard-reads=backing needs --discard-granularity=subcluster")
    }
  }

  var policies: Policies {
    var policies = Policies(policy)
    policies.discardGranularity = discardGranularity
    policies.discardReads = discardReads
    return policies
  }
}

/// Files and images by name.
enum Opening {
  /// Why a file cannot be opened, in one sentence that names it.
  struct Refusal: Error {
    var text: String
    /// A further line.
    var hint: String?

    init(text: String, hint: String? = nil) {
      self.text = text
      self.hint = hint
    }

    init(_ error: ImageError) {
      text = Escaping.human(error.description)
      // The host's own words first, then the way out.
      let lines = [error.hint, Tool.isStandIn ? nil : error.remedy].compactMap { $0 }.map {
        Escaping.human($0) + "\n"
      }
      hint = lines.isEmpty ? nil : lines.joined()
    }

    init(_ error: StorageError) {
      let isLock = error.operation == .lock
      let prefix = isLock ? "" : "Could not open '\(Escaping.human(error.name))': "
      text = prefix + Escaping.human(error.detail)
      hint = error.hint.map { Escaping.human($0) + "\n" }
    }
  }

  static func file(_ opener: ChainOpener, writable: Bool = false) throws(Refusal) -> FileStorage {
    do throws(StorageError) { return try opener.openFile(writable: writable) } catch { throw Refusal(error) }
  }

  /// The image of the opener with everything it names.
  static func image(_ opener: ChainOpener, _ options: Image.Options) throws(Refusal) -> Image {
    try image(opener, on: try file(opener, writable: options.writable), options)
  }

  static func image(
    _ opener: ChainOpener, on storage: any Storage, _ options: Image.Options
  ) throws(Refusal) -> Image {
    do throws(ImageError) { return try opener.openImage(on: storage, options) } catch { throw Refusal(error) }
  }

  /// An image that is only looked at: what is damaged beside the disk is told and left out. The genuine tools
  /// refuse such an image, and so does who stands in for them.
  static func look(
    at storage: any Storage, _ options: Image.Options, _ streams: Streams,
    _ open: (any Storage, Image.Options) throws(ImageError) -> Image
  ) throws(Refusal) -> Image {
    var options = options
    options.tellsRepair = streams.repair
    do throws(ImageError) {
      if Tool.isStandIn { return try open(storage, options) }
      let image = try Image.lookedAt(options) { options throws(ImageError) in try open(storage, options) }
      if let damage = image.damageText { streams.error("note: \(Escaping.human(damage)); it is left out\n") }
      return image
    } catch { throw Refusal(error) }
  }

  /// What the word for the image on the command line stands for: a file name or an option string.
  static func request(
    _ word: String, _ format: String?, isOptions: Bool, _ chain: ChainFlags?, _ share: ShareFlag?,
    _ streams: Streams
  ) throws -> OpenRequest {
    var request: OpenRequest
    do throws(OpenRequest.Refusal) {
      if isOptions {
        guard format == nil else {
          throw OpenRequest.Refusal("--image-opts and --format are mutually exclusive")
        }
        request = try OpenRequest(options: word, readOnly: true, cache: nil, discard: nil)
      } else {
        request = try OpenRequest(file: word, readOnly: true, cache: nil, discard: nil)
        // Here a colon is part of a name; the genuine tools take it for a way to another host.
        if Tool.isStandIn, let scheme = LayerName.scheme(of: word), scheme != "file", scheme != "json" {
          throw OpenRequest.Refusal("can't open: Unknown protocol '\(Escaping.human(scheme))'")
        }
      }
    } catch {
      let prefix = "can't open: "
      let text = error.description
      guard text.hasPrefix(prefix) else { throw streams.failure(text) }
      throw streams.failure("Could not open '\(Escaping.human(word))': \(text.dropFirst(prefix.count))")
    }
    if let chain { request.policy = chain.added(to: request.policy) }
    if let share, share.forcesShare { request.policy.forcesShare = true }
    return request
  }

  /// The image for a command that changes it as a whole, or looks at it with the same sentences.
  static func forChange(
    _ image: String, format: String? = nil, _ chain: ChainFlags, writable: Bool,
    policies: Policies = Policies(), discard: Image.DiscardMode = .unmap, _ streams: Streams
  ) throws -> Image {
    var options = Image.Options()
    options.writable = writable
    options.policies = policies
    options.discard = discard
    options.cache = .writeback
    options.tellsRepair = streams.repair
    do throws(Refusal) {
      try check(format: format, image)
      let opened = try self.image(ChainOpener(image, chain.policy), options)
      if let reason = opened.readOnlyReason { throw Refusal(text: reason) }
      return opened
    } catch {
      throw streams.failure("Could not open '\(Escaping.human(image))': \(error.text)", hint: error.hint)
    }
  }

  /// A guest that writes the first bytes of a raw disk could make it look like an image.
  static func guessed(_ name: String) -> String {
    let name = Escaping.human(name)
    let indent = String(repeating: " ", count: 9)
    return "WARNING: Image format was not specified for '\(name)' and probing guessed raw.\n"
      + indent
      + "Automatically detecting the format is dangerous for raw images, write operations on block 0 will be "
      + "restricted.\n" + indent + "Specify the 'raw' format explicitly to remove the restrictions.\n"
  }

  /// The format of a file, by the value of `-f` or by its first bytes; others than the two that can be
  /// opened are refused by their name.
  static func format(of storage: FileStorage, _ asked: String?) throws(Refusal) -> LayerName.Format {
    try check(format: asked, storage.name, raw: true)
    if let asked { return asked == "raw" ? .raw : .qcow2 }
    let name: String
    do throws(ImageError) { name = try ChainOpener.formatName(of: storage) } catch { throw Refusal(error) }
    if let known = LayerName.Format(rawValue: name) { return known }
    throw Refusal(text: "the file has the format '\(name)', which is not supported, only qcow2 and raw")
  }

  /// Checks the value of `-f`; nil stands for looking at the file.
  static func check(format: String?, _ path: String, raw: Bool = false) throws(Refusal) {
    guard let format, format != "qcow2", !(raw && format == "raw") else { return }
    if format == "raw" {
      throw Refusal(text: "the format 'raw' is not supported by this command, only qcow2")
    }
    throw Refusal(text: "Unknown driver '\(Escaping.human(format))'")
  }
}
