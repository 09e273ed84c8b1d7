// `:salvage`: what is left of the disk that is shown, as raw bytes.

import Cartography
import Qcow
import Storage

/// Copies what can be read of the disk to a new raw file; the rest are zeroes there.
struct SalvageDisk: NewFileVerb {
  let target: String
  private var copy: CopyDisk { CopyDisk(raw: target, salvages: true) }

  /// What people are told of it.
  static let words = ChangeWords(
    "salvage", arguments: [.init("FILE", .file)], hint: "salvage",
    help: "copy what can be read of the disk to a new raw file; what cannot becomes zeroes, and is counted")

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  init(_ values: ChangeValues) throws(ImageError) { target = try values.text(0) }

  /// A layer that is missing is one of the things that cannot be read.
  func refusal(of scene: Scene) -> String? {
    scene.image.isUnlocked ? nil : NewFileVerbs.noData(scene.image)
  }

  func foretold(of scene: Scene, unless stops: (Double) -> Bool) throws(ImageError) -> [String] {
    do throws(ImageError) { return try copy.foretold(of: scene, unless: stops) } catch {
      return ["a raw file of \(scene.image.virtualSize) bytes; not all tables can be read"]
    }
  }

  func write(
    _ scene: Scene, to file: any Storage, unless stops: @escaping (Double) -> Bool
  ) throws(ImageError) -> String {
    try copy.write(scene, to: file, unless: stops)
  }
}
