// `:convert`: the disk that is shown as a new image or raw file, written as `qatlas convert` writes it.

import Cartography
import Qcow
import QcowFormat
import Storage
import ToolText

/// Copies the disk to a new image or raw file; the layers of a chain become one.
struct CopyDisk: NewFileVerb {
  let target: String
  /// The new file is a qcow2 image, not raw bytes.
  private let isImage: Bool
  private let compresses: Bool
  /// Options of the new image, as for `create`.
  private let options: String?
  /// What cannot be read becomes zeroes.
  let salvages: Bool

  /// What people are told of it.
  static let words = ChangeWords(
    "convert", arguments: [.init("FILE", .file)],
    options: [
      .init(
        "-O", value: .init("FORMAT", .name), "qcow2 or raw; needed unless FILE ends in .qcow2, .raw or .img",
        sentence: "The format of the new file, qcow2 or raw."),
      .init("-c", "compress the clusters", sentence: "Compress the clusters."),
      .init(
        "-o", value: .init("OPTIONS", .name), "options of the new image, as in cluster_size=4k",
        sentence: "Options of the new image, as for create."),
      .init(
        "--salvage", "what cannot be read becomes zeroes", sentence: "What cannot be read becomes zeroes."),
    ], hint: "convert",
    help: "copy the disk that is shown to a new file, with all layers in one; ! replaces an existing file")

  init(raw target: String, salvages: Bool) {
    self.target = target
    isImage = false
    compresses = false
    options = nil
    self.salvages = salvages
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` for a format that is unknown or has no such options.
  init(_ values: ChangeValues) throws(ImageError) {
    target = try values.text(0)
    compresses = values.flags.contains("-c")
    salvages = values.flags.contains("--salvage")
    options = values.text(behind: "-o")
    switch values.text(behind: "-O") ?? Self.ending(of: target) {
    case "qcow2": isImage = true
    case "raw", "img": isImage = false
    case let word:
      throw ImageError(
        .option,
        values.text(behind: "-O") == nil
          ? "say what '\(target)' is to be: -O qcow2 or -O raw"
          : "the format '\(word)' is not supported, only qcow2 and raw")
    }
    if !isImage, compresses || options != nil {
      throw ImageError(.option, "-c and -o are for qcow2, and the new file is raw")
    }
  }

  private static func ending(of name: String) -> String {
    let last = ByteText.lastPart(of: name)
    return last.contains(".") ? String(last.split(separator: ".").last ?? "") : ""
  }

  /// What the new image is made with.
  private func creation(_ size: UInt64) throws(ImageError) -> Image.CreateOptions {
    do throws(CreateRequest.Refusal) {
      let request = try CreateRequest(
        copy: target, size: size, lists: options.map { [$0] } ?? [], backing: nil, backingFormat: nil)
      if let refusal = request.refusal { throw refusal }
      guard request.encryption == nil, request.dataFile == nil, request.options.backingFile == nil else {
        throw CreateRequest.Refusal(
          "other files and passphrases belong to such an image; 'qatlas convert' on the command line takes them"
        )
      }
      return request.options
    } catch { throw ImageError(.option, error.description) }
  }

  func foretold(of scene: Scene, unless stops: (Double) -> Bool) throws(ImageError) -> [String] {
    let image = scene.image
    let size = Notation.compact(image.virtualSize)
    guard isImage else {
      let data = try Measure.data(of: image, inClustersOf: 4096)
      return [
        "a raw file of \(image.virtualSize) bytes (\(size))",
        "at most \(Notation.compact(data)) are written; the rest are zeroes, which become holes",
      ]
    }
    let creation = try creation(image.virtualSize)
    let data = try Measure.data(of: image, inClustersOf: ByteCount(creation.clusterSize))
    let measure = try Measure(creation, source: image)
    let clusters = data / creation.clusterSize
    return [
      "a qcow2 image of a disk of \(size), in clusters of \(Notation.compact(creation.clusterSize))",
      "at most \(counted(clusters, "cluster")) of data (\(Notation.compact(data))) "
        + (compresses ? "are read and compressed" : "are written"),
      "its file takes \(Notation.compact(measure.required)) at most"
        + (compresses ? ", and less as far as it can be compressed" : ""),
    ]
  }

  func write(
    _ scene: Scene, to file: any Storage, unless stops: @escaping (Double) -> Bool
  ) throws(ImageError) -> String {
    let source = scene.image
    var opening = Image.Options()
    opening.writable = true
    opening.cache = .writeback
    let disk: any GuestDisk
    if isImage {
      let creation = try creation(source.virtualSize)
      if compresses, creation.preallocation != .off {
        throw ImageError(.option, "Compression and preallocation not supported at the same time")
      }
      disk = try ImageOpening.made(on: file, creation, opening)
    } else {
      disk = RawDisk(file, opening, isGuessed: false)
      try disk.resize(to: ByteCount(source.virtualSize), preallocation: .off)
    }
    var copying = CopyOptions()
    copying.compresses = compresses
    copying.targetIsZero = disk.isZeroWhenNew
    let lost = Lost()
    if salvages { copying.lost = { lost.add($0) } }
    let copy = try NewFileVerbs.copying { () throws(CopyFailure) in try GuestCopy([source], to: disk, copying)
    }
    while try NewFileVerbs.copying({ () throws(CopyFailure) in try copy.step() }) {
      if stops(Double(copy.done) / Double(max(1, copy.total))) { throw NewFileVerbs.givenUp }
    }
    try NewFileVerbs.copying { () throws(CopyFailure) in try copy.finish() }
    try disk.close()
    let kind = isImage ? "a qcow2 image of \(Notation.compact(source.virtualSize))" : "raw"
    return "\(kind), \(Notation.compact(file.length)) long"
      + (lost.sectors > 0 ? "; \(counted(lost.sectors, "sector")) could not be read and are zeroes" : "")
  }

  /// Counts what could not be read.
  private final class Lost {
    var sectors: UInt64 = 0
    func add(_ failure: CopyFailure) { if failure.step == .read { sectors += 1 } }
  }
}
