// `qatlas serve`: an image as a disk that other programs use, over NBD.

import ArgumentParser
import CSys
import Cartography
import Glibc
import Live
import Qcow
import Storage
import ToolText

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Serve the disk of an image to NBD clients.",
    discussion: """
      Read-only unless --rw or --scratch is given. The socket is a file that only you can connect to; the line printed \
      first is the URI for clients. It is served until interrupted, or with --run until that command ends.
      """)

  @Flag(help: "Let clients write the image.") var rw = false
  @Flag(help: "Let clients write; all changes stay in memory and are dropped at the end.") var scratch = false
  @Option(
    name: [.customShort("k", allowingJoined: true), .customLong("socket")],
    help: ArgumentHelp(
      "Where the socket is made; in a new folder of your own if not given.", valueName: "path"),
    completion: .file())
  var socket: String?
  @Option(
    name: [.customShort("p", allowingJoined: true), .long],
    help: ArgumentHelp(
      "Listen on this port of 127.0.0.1 instead; anybody on this machine can connect then. 0 takes any.",
      valueName: "number"))
  var port: Int?
  @Option(
    name: [.customShort("x", allowingJoined: true), .customLong("export-name")],
    help: ArgumentHelp("The name clients ask for (the empty one).", valueName: "name"))
  var exportName = ""
  @Option(
    name: [.customShort("D", allowingJoined: true), .long],
    help: ArgumentHelp("A sentence about the disk for clients.", valueName: "text"))
  var description: String?
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "The cache mode: writeback (default), writethrough, directsync, none, unsafe.",
    completion: .cacheModes)
  var cache = "writeback"
  @Option(
    name: [.customShort("d", allowingJoined: true), .customLong("discard")],
    help: "What discards do: unmap (default) or ignore.", completion: .list(["unmap", "ignore"]))
  var discard = "unmap"
  @Option(
    name: .customLong("run"),
    help: ArgumentHelp(
      "Run a command with $uri and $unixsocket set, and end with it.", valueName: "command"))
  var command: String?
  @Flag(help: "End when the last client has left.") var once = false
  @Option(
    help: ArgumentHelp(
      "Write each request to a file, as a line for 'qatlas lab --trace'; never its bytes.", valueName: "file"),
    completion: .file())
  var record: String?
  @Flag(name: [.customShort("v"), .long], help: "Tell of each client that comes and goes.") var verbose =
    false
  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The image file.", completion: .file()) var image: String

  func validate() throws {
    if rw, scratch { throw ValidationError("--rw and --scratch exclude each other") }
    if socket != nil, port != nil { throw ValidationError("--socket and --port exclude each other") }
    if let port, !(0...65535).contains(port) { throw ValidationError("--port takes 0 to 65535") }
    if exportName.utf8.count > 4096 { throw ValidationError("the name of an export has at most 4096 bytes") }
  }

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let disk = try open(streams)
    let signals = csys_signals_open()
    guard signals >= 0 else { throw streams.failure("signals cannot be watched: \(Output.reason(-signals))") }
    defer { csys_signals_close() }
    let shared = SharedDisk(disk)
    let recorder: TraceRecorder?
    do throws(StorageError) {
      recorder = try record.map { name throws(StorageError) in try TraceRecorder(shared, of: image, to: name)
      }
    } catch {
      try? disk.close()
      throw streams.failure(Escaping.human(error.description))
    }
    let place: ServingPlace
    do throws(ServerError) {
      if let port {
        place = try ServingPlace(port: port, name: exportName)
      } else {
        place = try ServingPlace(path: socket, name: exportName)
      }
    } catch {
      try? disk.close()
      throw streams.failure(Escaping.human(error.description))
    }
    defer { place.remove() }
    let clients = ClientLog(endsWithLast: once)
    let export = NbdExport(shared, name: exportName, description: description ?? ByteText.lastPart(of: image))
    let server: NbdServer
    do throws(ServerError) { server = try NbdServer(place.descriptor, export, tells: clients.take) } catch {
      try? disk.close()
      throw streams.failure(Escaping.human(error.description))
    }
    if command == nil {
      streams.output(place.uri + "\n")
      streams.flush()
    }
    let code = wait(signals, clients, place, recorder, streams)
    server.stop()
    if let recorder {
      recorder.take()
      if recorder.isPartial || verbose { streams.error(recorder.sentence) }
    }
    if verbose { tell(clients, streams) }
    if verbose { streams.output(ServeText.counts(shared.counts)) }
    try streams.close(disk)
    try streams.end()
    if code != 0 { throw ExitCode(code) }
  }

  /// Returns when it is time to end, with the exit code.
  private func wait(
    _ signals: Int32, _ clients: ClientLog, _ place: ServingPlace, _ recorder: TraceRecorder?,
    _ streams: Streams
  ) -> Int32 {
    var child: ServedCommand?
    if let command {
      child = ServedCommand(command, place)
      guard child != nil else {
        streams.error("\(Tool.name): the command cannot be started\n")
        return 1
      }
    }
    while true {
      var poller = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&poller, 1, child == nil && recorder == nil ? 1000 : 20)
      recorder?.take()
      var signal = csys_signals_next()
      while signal >= 0 {
        // The command of --run has the same terminal and gets the same signal.
        if csys_signal_ends(signal) == 1 { return child?.end() ?? 0 }
        signal = csys_signals_next()
      }
      if verbose { tell(clients, streams) }
      if let code = child?.exitCode() { return code }
      if clients.isOver { return 0 }
    }
  }

  private func tell(_ clients: ClientLog, _ streams: Streams) {
    for event in clients.takeEvents() { streams.output(ServeText.line(event)) }
    streams.flush()
  }

  private func open(_ streams: Streams) throws -> any GuestDisk {
    guard CacheWords.known.contains(cache) else { throw streams.failure("Invalid cache mode") }
    guard discard == "unmap" || discard == "ignore" else { throw streams.failure("Invalid discard mode") }
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, share, streams)
    var opening = request.opening(format)
    opening.options.writable = rw || scratch
    opening.options.cache = CacheWords.waits.contains(cache) ? .writethrough : .writeback
    opening.options.discard = discard == "unmap" ? .unmap : .ignore
    opening.options.policies = policy.policies
    opening.options.tellsRepair = streams.repair
    opening.isScratch = scratch
    opening.demand = rw || scratch ? .writable : .look
    opening.format = .any(asked: format)
    opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
    do throws(Opening.Refusal) {
      return try Opening.disk(
        opening, named: image, isGuessed: format == nil && request.format == nil, streams)
    } catch { throw Opening.failure(image, error, streams) }
  }
}
