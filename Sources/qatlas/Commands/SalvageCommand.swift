// `qatlas salvage`: what can be had of an image whose header or tables are destroyed. The file is only read; what is
// rebuilt lies in memory above it.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct SalvageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "salvage", abstract: "Find what is left of an image whose header or tables are destroyed.",
    discussion: """
      The image is never written. Tables that are destroyed are looked for by their shape, and every place that an \
      L2 table is given is told with the reason. --export writes the guest's disk to a new raw file; what could \
      not be found is a hole there. The exit code is 2 if something is lost.
      """)

  @Flag(help: "Print JSON.") var json = false
  @Flag(help: "Print the bytes of the header as well.") var show = false
  @Option(
    name: .customLong("header-to"),
    help: ArgumentHelp("Write the first cluster to a new file.", valueName: "file"), completion: .file())
  var headerTo: String?
  @Option(
    help: ArgumentHelp("Write the guest's disk to a new raw file.", valueName: "file"), completion: .file())
  var export: String?
  @Option(name: .customLong("cluster-size"), help: "The cluster size, if it is known better.")
  var clusterSize: String?
  @Option(help: "The size of the disk, if it is known better.") var size: String?
  @OptionGroup var share: ShareFlag
  @OptionGroup var progress: ProgressFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let salvage = try Self.salvage(image, try options(streams), share, streams)
    let report = salvage.report
    var first: [UInt8] = []
    if show || headerTo != nil {
      let count = Int(report.header.geometry.clusterSize)
      do throws(StorageError) { first = try salvage.overlay.bytes(at: 0, count: count) } catch {
        throw streams.failure(Escaping.human(error.description))
      }
    }
    var text = SalvageText(report, json: json, output: streams.output)
    text.write(firstBytes: show ? first : [])
    streams.flush()
    if let headerTo { try write(first, to: headerTo, streams) }
    if let export { try copy(salvage, to: export, streams) }
    if report.lostBytes > 0 || report.unplaced > 0 { throw ExitCode(2) }
  }

  private func options(_ streams: Streams) throws -> Salvage.Options {
    var options = Salvage.Options()
    do {
      if let size { options.size = try Notation.parse(size) }
      if let clusterSize { options.clusterBits = try Notation.parse(clusterSize).trailingZeroBitCount }
      guard let bits = options.clusterBits else { return options }
      guard let clusterSize, (9...21).contains(bits), try Notation.parse(clusterSize) == 1 << UInt64(bits)
      else {
        throw streams.failure("the cluster size is a power of two from 512 to 2 MiB")
      }
    } catch let error as Notation.ParseError { throw streams.failure(Escaping.human(error.description)) }
    return options
  }

  /// Salvages an image into memory.
  static func salvage(
    _ image: String, _ options: Salvage.Options, _ share: ShareFlag, _ streams: Streams
  ) throws -> Salvage {
    var opening = ImageOpening(image)
    opening.policy.forcesShare = share.forcesShare
    opening.reach = .file
    opening.demand = .look
    do throws(Opening.Refusal) {
      let opened = try Opening.open(opening, streams)
      let salvage = Salvage(OverlayStorage(base: opened.storage, memoryLimit: Salvage.memoryLimit), options)
      do throws(ImageError) { try salvage.run() } catch { throw Opening.Refusal(error) }
      return salvage
    } catch { throw streams.failure("\(Escaping.human(image)): \(error.text)", hint: error.hint) }
  }

  // MARK: New files

  private func newFile(_ path: String, _ streams: Streams) throws -> NewFile {
    guard FileStorage.identity(path: path) == nil else {
      throw streams.failure("'\(Escaping.human(path))' is there already and stays as it is")
    }
    do throws(StorageError) {
      let file = try NewFile(path)
      try file.prepare()
      return file
    } catch { throw streams.failure(Escaping.human(error.description)) }
  }

  private func write(_ bytes: [UInt8], to path: String, _ streams: Streams) throws {
    let file = try newFile(path, streams)
    do throws(StorageError) {
      try file.storage.write(bytes, at: 0)
      try file.storage.flush()
    } catch {
      file.remove()
      throw streams.failure(Escaping.human(error.description))
    }
  }

  private func copy(_ salvage: Salvage, to path: String, _ streams: Streams) throws {
    let source: Image
    do throws(ImageError) { source = try salvage.open() } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    guard source.isUnlocked else {
      throw streams.failure("the data are encrypted; --header-to gives a header to open them with")
    }
    let file = try newFile(path, streams)
    let line = progress.line(streams, step: 1)
    var export = SalvageExport()
    do {
      try Interruption.during("'\(path)' was removed again; the same command begins anew", removing: path) {
        try export.run(source, to: file.storage) { done, total in
          line.show(Float(100 * Double(done.value) / Double(max(1, total.value))))
        }
      }
    } catch let error as CopyFailure {
      file.remove()
      throw streams.failure(CopyWords.failure(error, reason: Tool.reason(error.error)))
    }
    line.end()
    for range in export.lost {
      let (first, last) = (Notation.hex(range.lowerBound), Notation.hex(range.upperBound - 1))
      streams.error("note: guest 0x\(first) to 0x\(last) could not be read\n")
    }
    if export.lostBytes > 0 { throw ExitCode(2) }
  }
}
