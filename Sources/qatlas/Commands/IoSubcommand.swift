// `qatlas io`: runs reads, writes, zero-writes and discards on an image, from `-c` options or from
// standard input, in one session.

import ArgumentParser
import Explorer
import Glibc
import Qcow
import Storage

struct IoSubcommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "io", abstract: "Read, write and discard ranges of the disk by commands.",
    discussion: "'qatlas io -c help' lists the commands; without -c they come from standard input.")

  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("cmd")], parsing: .unconditionalSingleValue,
    help: "A command to run; may be given several times.")
  var commands: [String] = []
  @Option(name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format, qcow2.")
  var format: String?
  @Flag(name: [.customShort("r"), .customLong("read-only")], help: "Open read-only.") var readOnly = false
  @Flag(
    name: [.customShort("s"), .customLong("snapshot")],
    help: "Keep all changes in memory and drop them at the end.")
  var snapshot = false
  @Flag(name: [.customShort("n"), .customLong("nocache")], help: "Accepted for scripts; stands for -t none.")
  var noCache = false
  @Flag(name: [.customShort("C"), .customLong("copy-on-read")], help: "Accepted for scripts; has no effect.")
  var copyOnRead = false
  @Flag(name: [.customShort("m"), .customLong("misalign")], help: "Accepted for scripts; has no effect.")
  var misalign = false
  @Flag(name: [.customShort("k"), .customLong("native-aio")], help: "Accepted for scripts; has no effect.")
  var nativeAio = false
  @Option(
    name: [.customShort("i", allowingJoined: true), .customLong("aio")],
    help: "Accepted for scripts; has no effect.")
  var aio: String?
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "The cache mode: writethrough (default), directsync, writeback, none, unsafe.")
  var cache: String?
  @Option(
    name: [.customShort("d", allowingJoined: true), .customLong("discard")],
    help: "What discards do: unmap (default) or ignore.")
  var discard: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The image file.") var image: String?

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let opened = try open(streams)
    if let opened, opened.isWritable, let line = PinText.warning(opened, image ?? "") { streams.error(line) }
    let session = IoSession(
      opened,
      terminal: IoSession.Terminal(
        output: streams.output, error: streams.error,
        load: { (name) throws(IoSession.LoadError) in try Self.load(name) }))
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
    do throws(ImageError) {
      try opened?.close()
    } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    if failed { throw ExitCode(1) }
    try streams.end()
  }

  /// Runs lines of standard input until it ends; true if one failed.
  private func runInput(_ session: IoSession, _ streams: Streams) -> Bool {
    let isTerminal = isatty(STDIN_FILENO) == 1
    var failed = false
    var lines = InputLines()
    while true {
      if isTerminal { streams.output("qatlas io> ") }
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
        streams.error("qatlas: standard input cannot be read: \(Output.reason(number))\n")
        return true
      }
      if outcome == .failed { failed = true }
      if outcome == .quit { return failed }
    }
    if isTerminal { streams.output("\n") }
    return failed
  }

  private func open(_ streams: Streams) throws -> Image? {
    guard let image else { return nil }
    var request: OpenRequest
    do throws(OpenRequest.Refusal) {
      let cache = cache ?? (noCache ? "none" : nil)
      if imageOptions {
        guard format == nil else { throw OpenRequest.Refusal("--image-opts and -f are mutually exclusive") }
        request = try OpenRequest(options: image, readOnly: readOnly, cache: cache, discard: discard)
      } else {
        request = try OpenRequest(file: image, readOnly: readOnly, cache: cache, discard: discard)
      }
    } catch {
      throw streams.failure(error.description)
    }
    request.options.writable = !request.isReadOnly
    request.options.policies = policy.policies
    request.policy = chain.added(to: request.policy)
    request.options.tellsRepair = streams.repair
    if share.forcesShare { request.policy.forcesShare = true }
    let prefix = imageOptions ? "can't open" : "can't open device \(Escaping.human(image))"
    do throws(Opening.Refusal) {
      try Opening.check(format: format, image)
      let opened = try open(request)
      if let reason = opened.readOnlyReason {
        throw Opening.Refusal(text: "\(Escaping.human(reason)); open it read-only with -r")
      }
      return opened
    } catch {
      throw streams.failure("\(prefix): \(error.text)", hint: error.hint)
    }
  }

  private func open(_ request: OpenRequest) throws(Opening.Refusal) -> Image {
    let opener = ChainOpener(request.file, request.policy)
    let isScratch = snapshot && !request.isReadOnly
    let file = try Opening.file(opener, writable: request.options.writable && !isScratch)
    var options = request.options
    options.secret = try unlock.get(request, for: file)
    guard isScratch else { return try Opening.image(opener, on: file, options) }
    opener.wrapData = { OverlayStorage(base: $0) }
    opener.keepsFiles = true
    return try Opening.image(opener, on: OverlayStorage(base: file), options)
  }

  /// The bytes of a pattern file, at most 2 GiB.
  private static func load(_ name: String) throws(IoSession.LoadError) -> [UInt8] {
    do throws(StorageError) {
      let file = try FileStorage(path: name, mode: .readOnly)
      return try file.bytes(at: 0, count: Int(min(file.length, 1 << 31)))
    } catch {
      throw IoSession.LoadError(error.detail)
    }
  }
}
