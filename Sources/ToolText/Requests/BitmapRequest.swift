// What `bitmap` was asked for: actions in the order of the words, with the genuine tool's sentences for words
// that make no sense together.

import Cartography
package import Qcow
import QcowFormat

/// A request to change the persistent bitmaps of an image.
package struct BitmapRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// One thing that is done with a bitmap.
  package enum Action: String, CaseIterable, Sendable {
    case add, remove
    case removeAll = "remove-all"
    case clear, enable, disable, merge
  }

  /// What is done, in order.
  package let actions: [Action]
  /// For every ``Action/merge`` the bitmap whose bits are taken.
  package let sources: [String]
  /// Bytes of the disk that a bit of a new bitmap stands for; nil for the usual number.
  package let granularity: UInt64?
  /// The image file, or its options.
  package let file: String
  /// The bitmap; empty if only all are removed.
  package let name: String

  /// Checks words that were read one by one.
  ///
  /// - Throws: ``Refusal`` for words that do not belong together.
  package init(
    _ actions: [Action], sources: [String], granularity: String?, hasSourceFile: Bool, hasSourceFormat: Bool,
    operands: [String]
  ) throws(Refusal) {
    let bytes = try granularity.map { (text) throws(Refusal) in try Self.granularity(text) }
    guard !actions.isEmpty else {
      throw Refusal(
        "Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge")
    }
    guard bytes == nil || bytes == 0 || actions.contains(.add) else {
      throw Refusal("granularity only supported with --add")
    }
    guard !hasSourceFormat || hasSourceFile else { throw Refusal("-F only supported with -b") }
    guard !hasSourceFile || actions.contains(.merge) else {
      throw Refusal("Merge bitmap source file only supported with --merge")
    }
    guard sources.count == actions.count(where: { $0 == .merge }) else {
      throw Refusal("--merge needs the name of a bitmap")
    }
    let needsName = actions.contains { $0 != .removeAll }
    guard operands.count == (needsName ? 2 : 1) else {
      throw Refusal(needsName ? "Expecting filename and bitmap name" : "Expecting filename")
    }
    self.actions = actions
    self.sources = sources
    // No number of bytes stands for the usual one.
    self.granularity = bytes == 0 ? nil : bytes
    file = operands[0]
    name = needsName ? operands[1] : ""
  }

  /// The number behind `-g`.
  ///
  /// - Throws: ``Refusal`` for what is none.
  package static func granularity(_ text: String) throws(Refusal) -> UInt64 {
    do throws(Notation.ParseError) { return try Notation.parse(text) } catch {
      if case .tooLarge = error {
        throw Refusal("Invalid granularity specified. Must be between 0 and \(Notation.maximum).")
      }
      throw Refusal(CreateRequest.invalidNumber("granularity", text))
    }
  }

  /// What the engine does for every action; `other` has the bitmaps of the image that is merged from.
  package func steps(_ other: BitmapCopy?) -> [(action: Action, step: BitmapAction)] {
    var sources = sources[...]
    return actions.map { action in
      let step: BitmapAction =
        switch action {
        case .add: .add(name, granularity: granularity.map { ByteCount($0) }, recordsWrites: true)
        case .remove: .remove(name)
        case .removeAll: .removeAll
        case .clear: .clear(name)
        case .enable: .setRecording(name, true)
        case .disable: .setRecording(name, false)
        case .merge: .merge(sources.popFirst() ?? "", of: other, into: name)
        }
      return (action, step)
    }
  }
}
