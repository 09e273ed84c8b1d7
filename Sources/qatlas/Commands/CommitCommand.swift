// `qatlas commit`: writes what an image holds into its backing file, or into one further down, as the genuine tool
// does, and empties the image.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct CommitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "commit",
    abstract: "Write what an image holds into its backing file.",
    discussion: """
      The backing file then reads as the image, and the image is emptied unless -d or -b is given. Other images \
      on the same backing file change with it. Interrupted, it can be done again.
      """)

  @OptionGroup var target: ChangeTarget
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "writethrough waits for the disk after every request.", completion: .cacheModes)
  var cache = "writeback"
  @Flag(name: [.customShort("d"), .customLong("drop")], help: "Leave the image as it is.") var drops = false
  @Option(
    name: [.customShort("b", allowingJoined: true), .customLong("base")], parsing: .unconditional,
    help: "The layer to write into, if not the next one; the image is not emptied then.", completion: .file())
  var base: String?
  @Option(
    name: [.customShort("r", allowingJoined: true), .customLong("rate-limit")], parsing: .unconditional,
    help: "Bytes to write in a second at most.")
  var rate: String?
  @OptionGroup var progress: ProgressFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let bytesPerSecond: UInt64?
    do throws(CreateRequest.Refusal) { bytesPerSecond = try ConvertRequest.number("rate limit", rate) } catch
    {
      throw streams.failure(error.description, hint: error.hint)
    }
    try target.unlock.checkObjects(streams)
    guard CacheWords.known.contains(cache) else {
      throw streams.failure("Invalid cache option: \(Escaping.human(cache))")
    }
    var secret: ((any Storage) throws(ImageError) -> Secret?)?
    let image = try target.open(image, streams) { opening in
      opening.options.discard = .unmap
      opening.options.cache = mode
      secret = opening.secret
    }
    let line = progress.line(streams, step: 1)
    line.show(0)
    do {
      let kept = "the disk of '\(self.image)' reads as before; the same command goes on"
      try Interruption.during(kept) { try commit(image, secret, bytesPerSecond, line, streams) }
    } catch {
      line.end()
      try? image?.close()
      throw error
    }
    line.end()
    if !progress.quiet { streams.output("Image committed.\n") }
    try streams.end()
  }

  private var mode: Image.CacheMode { CacheWords.waits.contains(cache) ? .writethrough : .writeback }

  private func commit(
    _ image: Image?, _ secret: ((any Storage) throws(ImageError) -> Secret?)?, _ bytesPerSecond: UInt64?,
    _ line: PercentLine, _ streams: Streams
  ) throws {
    let depth = image.flatMap { image in
      base.map { LayersBelow(image).depth(ofLayer: $0) } ?? (image.backing == nil ? nil : 1)
    }
    guard let image, let depth else {
      throw streams.failure(
        base.map {
          "Did not find '\(Escaping.human($0))' in the backing chain of '\(Escaping.human(self.image))'"
        } ?? "Image does not have a backing file")
    }
    let layer = image.layers[depth]
    let disk: any GuestDisk
    do throws(ImageOpening.Failure) {
      var options = Image.Options()
      options.cache = mode
      options.tellsRepair = streams.repair
      disk = try ImageOpening.writer(of: layer, options) { file throws(ImageError) in try secret?(file) }
    } catch {
      let refusal: Opening.Refusal =
        switch error {
        case .file(let error): .init(error)
        case .image(let error): .init(error)
        }
      let isLock = if case .file(let error) = error { error.operation == .lock } else { false }
      throw streams.failure(
        isLock ? refusal.text : "Could not open '\(Escaping.human(layer.layerName))': \(refusal.text)",
        hint: refusal.hint)
    }
    disk.report = { streams.error("\(Tool.name): \(Escaping.human($0))\n") }
    do throws(ImageError) {
      let work = try Commit(image, into: disk, depth: depth, perSecond: bytesPerSecond.map { ByteCount($0) })
      while try work.step() {
        if work.total > 0, work.done > 0 { line.show(Float(100 * Double(work.done) / Double(work.total))) }
      }
      try disk.close()
    } catch {
      try? disk.close()
      throw streams.failure("Block job failed: \(Tool.reason(error))")
    }
    if depth > 1, !Tool.isStandIn {
      streams.error("note: layers between the image and its base are as before, and read otherwise now\n")
    }
    do throws(ImageError) {
      if !drops, base == nil { try Emptying(image).run() }
      try image.close()
    } catch { throw streams.failure("Could not empty blk: \(Tool.reason(error))") }
    line.show(100)
  }
}
