// `:dehydrate`: the tables of the image that is shown and not a byte of its guest, for a bug report.

import Cartography
import Qcow
import QcowFormat
import Storage

/// Copies the tables to a new file.
struct Dehydrate: NewFileVerb {
  let target: String
  private let blanks: Skeleton.Blanks

  /// What people are told of it.
  static let words = ChangeWords(
    "dehydrate", arguments: [.init("FILE", .file)],
    options: [
      .init(
        "--blank-names", "overwrite the names of files, snapshots and bitmaps",
        sentence: "Overwrite the names of files, snapshots and bitmaps."),
      .init(
        "--blank-keys", "overwrite the keys of an encrypted image",
        sentence: "Overwrite the keys of an encrypted image."),
    ], hint: "dehydrate",
    help: "copy the tables and not a byte of the guest to a new file, for a bug report")

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  init(_ values: ChangeValues) throws(ImageError) {
    target = try values.text(0)
    var blanks = Skeleton.Blanks()
    blanks.names = values.flags.contains("--blank-names")
    blanks.keys = values.flags.contains("--blank-keys")
    self.blanks = blanks
  }

  /// Data are neither read nor copied.
  func refusal(of scene: Scene) -> String? { nil }

  func foretold(of scene: Scene, unless stops: (Double) -> Bool) throws(ImageError) -> [String] {
    try NewFileVerbs.finish(scene.atlas, unless: stops)
    let skeleton = Skeleton(of: scene.atlas)
    let bytes = skeleton.byteCount
    let clusters = bytes / scene.geometry.clusterSize
    return [
      "a file as long as the image, \(scene.storage.length) bytes",
      "\(counted(clusters, "cluster")) of tables (\(Notation.compact(bytes))) are copied; everything else is a hole",
    ] + (skeleton.problem.map { ["not all tables are known: \(Escaping.human($0))"] } ?? [])
  }

  func write(
    _ scene: Scene, to file: any Storage, unless stops: @escaping (Double) -> Bool
  ) throws(ImageError) -> String {
    try NewFileVerbs.finish(scene.atlas, unless: stops)
    var skeleton = Skeleton(of: scene.atlas)
    skeleton.stops = { stops(0.5 + $0 / 2) }
    let bytes: UInt64
    do throws(StorageError) { bytes = try skeleton.write(to: file, blanks) } catch { throw ImageError(error) }
    return "\(Notation.compact(bytes)) of tables"
      + (skeleton.problem.map { "; not all are known: \(Escaping.human($0))" } ?? "")
  }
}
