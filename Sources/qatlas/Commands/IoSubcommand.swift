// `qatlas io`: runs reads, writes, zero-writes and discards on an image, from `-c` options or from
// standard input, in one session.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import Storage
import ToolText

struct IoSubcommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "io", abstract: "Read, write and discard ranges of the disk by commands.",
    discussion: "'qatlas io -c help' lists the commands; without -c they come from standard input.")

  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("cmd")], parsing: .unconditionalSingleValue,
    help: "A command to run; may be given several times.")
  var commands: [String] = []
  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format, qcow2.",
    completion: .formats)
  var format: String?
  @Flag(name: [.customShort("r"), .customLong("read-only")], help: "Open read-only.") var readOnly = false
  @Flag(
    name: [.customShort("s"), .customLong("snapshot")],
    help: "Keep all changes in memory and drop them at the end.")
  var snapshot = false
  @Flag(name: [.customShort("n"), .customLong("nocache")], help: "Accepted for scripts; stands for -t none.")
  var noCache = false
  @Flag(
    name: [.customShort("C"), .customLong("copy-on-read")],
    help: "Refused for images with a backing file; has no effect on others.")
  var copyOnRead = false
  @Flag(name: [.customShort("m"), .customLong("misalign")], help: "Accepted for scripts; has no effect.")
  var misalign = false
  @Flag(name: [.customShort("k"), .customLong("native-aio")], help: "Accepted for scripts; has no effect.")
  var nativeAio = false
  @Option(
    name: [.customShort("i", allowingJoined: true), .customLong("aio")],
    help: "Accepted for scripts; has no effect.", completion: .list(["threads", "native", "io_uring"]))
  var aio: String?
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "The cache mode: writethrough (default), directsync, writeback, none, unsafe.",
    completion: .cacheModes)
  var cache: String?
  @Option(
    name: [.customShort("d", allowingJoined: true), .customLong("discard")],
    help: "What discards do: unmap (default) or ignore.", completion: .list(["unmap", "ignore"]))
  var discard: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The image file.", completion: .file()) var image: String?
  /// Option strings of `reopen`, which change what the image was opened with.
  private var changes: [String] = []
  private var isReopened = false

  private enum CodingKeys: CodingKey {
    case commands, format, readOnly, snapshot, noCache, copyOnRead, misalign, nativeAio, aio, cache, discard
    case chain, share, word, policy, unlock, image
  }

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    // The command that opened what is open, for `reopen`.
    var current = self
    // Nothing else keeps the image, so that `close` gives its lock back.
    let session = IoSession(
      try open(streams),
      terminal: IoSession.Terminal(
        output: streams.output, error: streams.error,
        load: { (name) throws(IoSession.LoadError) in try Self.load(name) },
        open: { words in
          let opened = Self.opened(words, streams)
          current = opened?.command ?? current
          return opened?.disk
        },
        reopen: { request in
          current.isReopened = true
          current.readOnly = request.isReadOnly
          current.cache = request.cache ?? current.cache
          current.changes += request.options.map { [$0] } ?? []
          return try? current.open(streams)
        }),
      program: Tool.name)
    var failed = false
    if commands.isEmpty {
      failed = runInput(session, streams)
    } else {
      for command in commands {
        let outcome = session.run(command)
        if outcome == .failed { failed = true }
        if outcome == .quit { break }
      }
    }
    if let tag = session.stoppedRequest {
      throw streams.failure("request '\(Escaping.human(tag))' still stands still; the image is left as it is")
    }
    if let disk = session.disk { try streams.close(disk) }
    if failed { throw ExitCode(1) }
    try streams.end()
  }

  /// Runs lines of standard input until it ends; true if one failed.
  private func runInput(_ session: IoSession, _ streams: Streams) -> Bool {
    let isTerminal = isatty(STDIN_FILENO) == 1
    var failed = false
    var lines = InputLines()
    while true {
      if Tool.isStandIn {
        streams.output("\(Tool.name)> ")
      } else if isTerminal {
        streams.output("qatlas io> ")
      }
      // What a command printed must not wait for the next line.
      streams.flush()
      guard let line = lines.next() else { break }
      let outcome: IoSession.Outcome
      switch line {
      case .text(let text): outcome = session.run(text)
      case .tooLong(let number):
        streams.error("line \(number) is longer than \(InputLines.longest) bytes and was not run\n")
        outcome = .failed
      case .unreadable(let number):
        streams.error("\(Tool.name): standard input cannot be read: \(Output.reason(number))\n")
        return true
      }
      if outcome == .failed { failed = true }
      if outcome == .quit { return failed }
    }
    if isTerminal && !Tool.isStandIn { streams.output("\n") }
    return failed
  }

  private func open(_ streams: Streams) throws -> (any GuestDisk)? {
    guard let image else { return nil }
    var request: OpenRequest
    let cache = cache ?? (noCache ? "none" : nil)
    let aio = nativeAio ? "native" : aio
    do throws(OpenRequest.Refusal) {
      // Wrong modes come before everything else.
      _ = try OpenRequest(file: "", readOnly: readOnly, cache: cache, discard: discard)
      if let aio = self.aio, !AioWords.known.contains(aio) {
        throw OpenRequest.Refusal("Invalid aio option: \(Escaping.human(aio))")
      }
      if aio == "native", !isDirect, readOnly || !share.forcesShare,
        format.map(LayerName.known.contains) ?? true
      {
        let place = word.isOptions ? "can't open" : "can't open device \(Escaping.human(image))"
        throw OpenRequest.Refusal(
          "\(place): \(AioWords.needsDirect)")
      }
      if word.isOptions {
        guard format == nil else { throw OpenRequest.Refusal("--image-opts and -f are mutually exclusive") }
        request = try OpenRequest(options: image, readOnly: readOnly, cache: cache, discard: discard)
      } else {
        request = try OpenRequest(file: image, readOnly: readOnly, cache: cache, discard: discard)
      }
      for change in changes { try request.change(change) }
    } catch {
      guard !word.isOptions, let reason = error.reasonAgainstOpening else {
        throw streams.failure(error.description)
      }
      throw streams.failure("can't open device \(Escaping.human(image)): \(reason)")
    }
    request.options.writable = !request.isReadOnly
    request.options.policies = policy.policies
    request.policy = chain.added(to: request.policy)
    request.options.tellsRepair = streams.repair
    if share.forcesShare { request.policy.forcesShare = true }
    let prefix = word.isOptions ? "can't open" : "can't open device \(Escaping.human(image))"
    do throws(Opening.Refusal) {
      let asked = format ?? request.format?.rawValue
      do throws(ImageError) { try ImageOpening.check(format: asked, mayBeRaw: true) } catch {
        throw Opening.Refusal(error)
      }
      if request.isReadOnly && !readOnly { throw Opening.Refusal(text: "Block node is read-only") }
      if copyOnRead, request.isReadOnly {
        throw Opening.Refusal(text: "Can't use copy-on-read on read-only device")
      }
      let (opened, isGuessed) = try open(request, asked, streams)
      if isGuessed, opened.isWritable, !isReopened, !snapshot { streams.error(Opening.guessed(image)) }
      if copyOnRead, opened.layerBelow != nil {
        throw Opening.Refusal(
          text: "copy-on-read is not supported for images with a backing file; leave out -C")
      }
      if let reason = opened.readOnlyReason {
        throw Opening.Refusal(text: "\(Escaping.human(reason)); open it read-only with -r")
      }
      // The genuine tool knows nothing of pins.
      if opened.isWritable, !Tool.isStandIn, let opened = opened as? Image,
        let line = PinText.warning(opened, image)
      {
        streams.error(line)
      }
      return opened
    } catch {
      throw streams.failure("\(prefix): \(error.text)", hint: error.hint)
    }
  }

  /// What the words of the command `open` name; nil if it cannot be opened, which is said.
  private static func opened(
    _ words: [String], _ streams: Streams
  ) -> (command: IoSubcommand, disk: any GuestDisk)? {
    var translated: [String] = []
    var options: [String] = []
    var file: String?
    var at = 0
    while at < words.count {
      let word = words[at]
      at += 1
      if word.hasPrefix("-o") {
        options.append(word.utf8.count > 2 ? String(word.dropFirst(2)) : at < words.count ? words[at] : "")
        at += word.utf8.count > 2 ? 0 : 1
      } else if word.hasPrefix("-"), word.count == 2, "itd".contains(word.dropFirst()), at < words.count {
        translated.append(word + words[at])
        at += 1
      } else if word.hasPrefix("-") {
        translated.append(word)
      } else if file == nil {
        file = word
      } else {
        streams.output(IoCommand.named("open")?.usage ?? "")
        return nil
      }
    }
    if options.isEmpty {
      translated += file.map { ["--", $0] } ?? []
    } else {
      if let file { options.append("file.filename=" + file.replacing(",", with: ",,")) }
      if !options.contains(where: { $0.contains("driver=") }) { options.insert("driver=qcow2", at: 0) }
      translated += ["--image-opts", "--", options.joined(separator: ",")]
    }
    do {
      let command = try IoSubcommand.parse(translated)
      return try command.open(streams).map { (command, $0) }
    } catch {
      if !(error is ExitCode) { streams.error("\(Tool.name): \(IoSubcommand.message(for: error))\n") }
      return nil
    }
  }

  /// The host's cache is not used.
  private var isDirect: Bool { cache.map { CacheWords.direct.contains($0) } ?? noCache }

  /// The disk, and whether its file was taken for raw because nothing says what it is.
  private func open(
    _ request: OpenRequest, _ format: String?, _ streams: Streams
  ) throws(Opening.Refusal) -> (disk: any GuestDisk, isGuessed: Bool) {
    var opening = request.opening(format)
    opening.format = .any(asked: format)
    opening.isScratch = snapshot && !request.isReadOnly
    opening.secret = { file throws(ImageError) in try unlock.get(request, for: file) }
    let opened = try Opening.open(opening, streams)
    if let image = opened.image { return (image, false) }
    if isDirect, request.options.writable, !opening.isScratch, opened.file.length % 512 != 0 {
      throw Opening.Refusal(
        text: "Cannot get 'write' permission without 'resize': Image size is not a multiple of request "
          + "alignment")
    }
    return (RawDisk(opened.storage, request.options, isGuessed: format == nil), format == nil)
  }

  /// The bytes of a pattern file, at most 2 GiB.
  private static func load(_ name: String) throws(IoSession.LoadError) -> [UInt8] {
    do throws(StorageError) {
      let file = try FileOpener().open(name, for: .text)
      return try file.bytes(at: 0, count: Int(min(file.length, 1 << 31)))
    } catch {
      throw IoSession.LoadError(error.detail)
    }
  }
}
