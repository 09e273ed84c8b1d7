// Verbs that write a new file from what is shown, as values: what they are called, what they would write, and how. The
// image stays as it is; a file that is given up or fails is removed again.

import Cartography
import Qcow
import Storage

/// Something that is written to a new file.
protocol NewFileVerb: Sendable {
  /// What people are told of it.
  static var words: ChangeWords { get }

  /// Takes the values that stand behind its name.
  /// - Throws: ``ImageError`` with the code ``ImageError/Code/option`` if they make no sense.
  init(_ values: ChangeValues) throws(ImageError)

  /// The new file.
  var target: String { get }

  /// Why it cannot be done with what is shown; nil if it may be tried.
  func refusal(of scene: Scene) -> String?

  /// What would be written, in sentences with numbers. `stops` is asked with the share of the work that is done,
  /// and true ends it.
  ///
  /// - Throws: ``ImageError`` for tables that cannot be read.
  func foretold(of scene: Scene, unless stops: (Double) -> Bool) throws(ImageError) -> [String]

  /// Writes it to an empty file; says what was written. `stops` as above.
  ///
  /// - Throws: ``ImageError`` for what can be neither read nor written, and ``NewFileVerbs/givenUp``.
  func write(
    _ scene: Scene, to file: any Storage, unless stops: @escaping (Double) -> Bool
  ) throws(ImageError) -> String
}

extension NewFileVerb {
  func refusal(of scene: Scene) -> String? { NewFileVerbs.noData(scene.image) }
}

/// All of them. A new one has a file of its own and a name here.
enum NewFileVerbs {
  /// In the order of help.
  static let all: [any NewFileVerb.Type] = [
    CopyDisk.self, CopyRange.self, SalvageDisk.self, Dehydrate.self,
  ]

  /// Somebody wanted no more of it.
  static let givenUp = ImageError(.storage, "given up")

  /// Why the bytes of the disk cannot be had; nil if they can.
  static func noData(_ image: Image) -> String? {
    if let missing = image.missingLayer { return "the layer '\(missing.layerName)' is missing" }
    return image.isUnlocked ? nil : "the data are encrypted, and the passphrase is not known"
  }

  /// A verb with the words behind its name.
  /// - Throws: ``CommandError`` if there are too few, too many or unknown words.
  static func parse(
    _ type: any NewFileVerb.Type, _ words: [String]
  ) throws(CommandError) -> any NewFileVerb {
    let values = try ChangeParser.values(type.words, words)
    do throws(ImageError) { return try type.init(values) } catch { throw CommandError(error.description) }
  }

  /// A part of a copy of a disk.
  static func copying<T>(_ body: () throws(CopyFailure) -> T) throws(ImageError) -> T {
    do throws(CopyFailure) { return try body() } catch { throw error.error }
  }

  /// The rest of an atlas, which some need whole.
  static func finish(_ atlas: Atlas, unless stops: (Double) -> Bool) throws(ImageError) {
    while !atlas.isDone {
      atlas.step(budgetNanoseconds: 20_000_000)
      if stops(atlas.progress / 2) { throw givenUp }
    }
  }
}
