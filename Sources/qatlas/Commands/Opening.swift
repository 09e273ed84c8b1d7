// Opens image files for the command line tools, with the sentences of the genuine tools for what
// can go wrong.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import ToolText

/// What may be opened besides the image itself.
struct ChainFlags: PlainOptions {
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
      valueName: "folder"), completion: .directory)
  var trusted: [String] = []

  static var plain: Self {
    var flags = Self()
    flags.allowsOutside = false
    flags.allowsMissing = false
    flags.trusted = []
    return flags
  }

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
struct ShareFlag: PlainOptions {
  @Flag(
    name: [.customShort("U"), .customLong("force-share")],
    help: "Look at the image although another program may be writing it.")
  var forcesShare = false

  static var plain: Self {
    var flag = Self()
    flag.forcesShare = false
    return flag
  }
}

extension MappingPolicy: ExpressibleByArgument {}
extension DiscardGranularity: ExpressibleByArgument {}
extension DiscardReads: ExpressibleByArgument {}

/// Who may change the mapping, and what discards do.
struct PolicyOptions: PlainOptions {
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

  static var plain: Self {
    var options = Self()
    options.policy = nil
    options.discardGranularity = .cluster
    options.discardReads = .zero
    return options
  }

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
    /// The sentence names the image.
    var isNamed = false

    init(text: String, hint: String? = nil) {
      self.text = text
      self.hint = hint
    }

    init(_ error: ImageError) {
      text = Escaping.human(error.description)
      // The host's own words first, then the way out. Who compares the words with those of the genuine tools is no
      // person at a terminal.
      let isAdvice = error.remedy == ImageError.salvage && isatty(STDERR_FILENO) == 0
      let lines = [error.hint, Tool.isStandIn || isAdvice ? nil : error.remedy].compactMap { $0 }.map {
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

  /// Opens what a command wants. What is left out of an image that is only looked at is told; the genuine tools
  /// refuse such an image, and so does who stands in for them.
  static func open(_ opening: ImageOpening, _ streams: Streams) throws(Refusal) -> ImageOpening.Opened {
    var opening = opening
    if opening.demand == .look { opening.options.tellsRepair = streams.repair }
    opening.options.tellsLoss = streams.loss
    if Tool.isStandIn, opening.demand == .look { opening.demand = .sound }
    do throws(ImageOpening.Failure) {
      let opened = try opening.open()
      if let damage = opened.damage { streams.error("note: \(Escaping.human(damage)); it is left out\n") }
      return opened
    } catch {
      switch error {
      case .file(let error): throw Refusal(error)
      case .image(let error): throw Refusal(error)
      }
    }
  }

  /// The same as a disk, of an image or of a raw file; `isGuessed` if nobody said that it is raw, of which who writes to
  /// the file is warned.
  static func disk(
    _ opening: ImageOpening, named name: String, isGuessed: Bool, _ streams: Streams
  ) throws(Refusal) -> any GuestDisk {
    let opened = try open(opening, streams)
    if let image = opened.image { return image }
    if opening.options.writable, !opening.isScratch, isGuessed { streams.error(guessed(name)) }
    return RawDisk(opened.storage, opening.options, isGuessed: isGuessed)
  }

  /// The same for a command that takes nothing but images.
  static func image(_ opening: ImageOpening, _ streams: Streams) throws(Refusal) -> Image {
    guard let image = try open(opening, streams).image else {
      throw Refusal(text: "the format 'raw' is not supported by this command, only qcow2")
    }
    return image
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
        guard !word.isEmpty || !Tool.isStandIn else {
          throw OpenRequest.Refusal(cannotOpen: "The 'file' block driver requires a file name")
        }
        request = try OpenRequest(file: word, readOnly: true, cache: nil, discard: nil)
        // Here a colon is part of a name; the genuine tools take it for a way to another host.
        let known = ["file", "json", "blkdebug", "nbd", "nbd+unix"]
        if Tool.isStandIn, let scheme = LayerName.scheme(of: word), !known.contains(scheme) {
          throw OpenRequest.Refusal(cannotOpen: "Unknown protocol '\(Escaping.human(scheme))'")
        }
      }
    } catch {
      guard let reason = error.reasonAgainstOpening else { throw streams.failure(error.description) }
      throw streams.failure("Could not open '\(Escaping.human(word))': \(reason)")
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
    var opening = ImageOpening(image, chain.policy, options)
    opening.format = .qcow2(asked: format)
    opening.demand = .writable
    do throws(Refusal) { return try self.image(opening, streams) } catch {
      throw failure(image, error, streams)
    }
  }

  /// Says that the image cannot be opened, and why.
  static func failure(_ image: String, _ refusal: Refusal, _ streams: Streams) -> ExitCode {
    streams.failure("Could not open '\(Escaping.human(image))': \(refusal.text)", hint: refusal.hint)
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
}
