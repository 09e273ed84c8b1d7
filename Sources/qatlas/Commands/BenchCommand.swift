// `qatlas bench`: how long a row of reads or writes takes. One request is under way at a time.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import ToolText

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Time a row of reads or writes.",
    discussion: """
      Requests are done one after the other, whatever -d says; it only bounds --flush-interval. -w writes over what \
      the image holds.
      """)

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "The cache mode: writeback (default), writethrough, directsync, none, unsafe.",
    completion: .cacheModes)
  var cache = "writeback"
  @Option(name: [.customShort("c", allowingJoined: true), .long], help: "Requests to do (75000).")
  var count: String?
  @Option(name: [.customShort("d", allowingJoined: true), .long], help: "Requests under way at a time (64).")
  var depth: String?
  @Option(
    name: [.customShort("o", allowingJoined: true), .long], parsing: .unconditional,
    help: "Where the first begins (0).")
  var offset: String?
  @Option(name: [.customShort("s", allowingJoined: true), .long], help: "Bytes of a request (4k).")
  var bufferSize: String?
  @Option(
    name: [.customShort("S", allowingJoined: true), .long], parsing: .unconditional,
    help: "From one to the next; as large as a request if not given.")
  var stepSize: String?
  @Flag(name: [.customShort("w"), .customLong("write")], help: "Write.") var writes = false
  @Option(parsing: .unconditional, help: "The byte to write (0).") var pattern: String?
  @Option(parsing: .unconditional, help: "Flush after so many requests.") var flushInterval: String?
  @Flag(help: "Accepted for scripts; has no effect.") var noDrain = false
  @Option(
    name: [.customShort("i", allowingJoined: true), .customLong("aio")],
    help: "Accepted for scripts; has no effect.", completion: .list(["threads", "native", "io_uring"]))
  var aio: String?
  @Flag(
    name: [.customShort("n"), .customLong("native")], help: "Accepted for scripts; stands for -i native.")
  var native = false
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Accepted for scripts; has no effect.")
  var quiet = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try unlock.checkObjects(streams)
    let row: BenchRequest
    do throws(BenchRequest.Refusal) { row = try request() } catch { throw streams.failure(error.description) }
    let disk = try open(streams)
    streams.output(row.headline)
    streams.flush()
    let clock = ContinuousClock()
    let start = clock.now
    do throws(ImageError) { try run(row, on: disk) } catch {
      try? disk.close()
      throw streams.failure("Failed request: \(Tool.reason(error))")
    }
    let seconds = start.duration(to: clock.now).inSeconds
    streams.output("Run completed in \(Notation.decimals(seconds, 3)) seconds.\n")
    do throws(ImageError) { try disk.close() } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    try streams.end()
  }

  private func request() throws(BenchRequest.Refusal) -> BenchRequest {
    if let aio, !AioWords.known.contains(aio) {
      throw BenchRequest.Refusal("Invalid aio option: \(Escaping.human(aio))")
    }
    guard CacheWords.known.contains(cache) else { throw BenchRequest.Refusal("Invalid cache mode") }
    var words = BenchRequest.Words()
    (words.count, words.depth, words.offset) = (count, depth, offset)
    (words.size, words.step) = (bufferSize, stepSize)
    (words.pattern, words.flushInterval, words.writes) = (pattern, flushInterval, writes)
    return try BenchRequest(words)
  }

  private func open(_ streams: Streams) throws -> any GuestDisk {
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, share, streams)
    var opening = request.opening(format)
    opening.options.writable = writes
    opening.options.cache = CacheWords.waits.contains(cache) ? .writethrough : .writeback
    opening.options.tellsRepair = streams.repair
    opening.demand = writes ? .writable : .look
    opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
    do throws(Opening.Refusal) {
      if native || aio == "native", !CacheWords.direct.contains(cache) {
        throw Opening.Refusal(text: AioWords.needsDirect)
      }
      let disk = try Opening.disk(
        opening, named: image, isGuessed: format == nil && request.format == nil, streams)
      (disk as? Image)?.report = { streams.error(Escaping.human($0) + "\n") }
      return disk
    } catch { throw Opening.failure(image, error, streams) }
  }

  private func run(_ row: BenchRequest, on disk: any GuestDisk) throws(ImageError) {
    let size = disk.virtualSize
    // A request that does not fit on the disk needs no memory, and a very long one is done in parts.
    let buffer = CopyBuffer(Int(clamping: min(max(1, min(row.size, size)), 16 << 20)))
    let bytes = unsafe buffer.part(0, buffer.count)
    for index in bytes.indices { unsafe bytes[index] = row.pattern }
    var left = row.count
    for offset in row.offsets(on: size) {
      guard offset <= size, row.size <= size - offset else {
        throw ImageError(
          .invalidRequest, "the request at \(offset) of \(row.size) bytes ends behind the disk")
      }
      var done: UInt64 = 0
      while done < row.size {
        let part = unsafe buffer.part(0, Int(min(UInt64(buffer.count), row.size - done)))
        if row.writes {
          unsafe try disk.write(UnsafeRawBufferPointer(part), at: GuestOffset(offset + done))
        } else {
          unsafe try disk.read(at: GuestOffset(offset + done), into: part)
        }
        done += UInt64(part.count)
      }
      left -= 1
      if row.flushInterval > 0, left % row.flushInterval == 0 { try disk.flush() }
    }
  }
}
