// Which snapshot of a source is meant: `-l NAME`, or its ID and name as options, with the words of the genuine
// tool for what is wrong.

import Cartography
package import Qcow
package import QcowFormat

/// One snapshot, as the command line names it.
package struct SnapshotChoice: Equatable, Sendable {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  private enum Words: Equatable, Sendable {
    /// An ID, or a name.
    case either(String)
    case exactly(id: String?, name: String?)
  }

  private let words: Words

  /// It is named by options.
  package var isExact: Bool { if case .exactly = words { true } else { false } }

  /// The value of `-l`.
  ///
  /// - Throws: ``Refusal`` for options that there are not.
  package init(_ text: String) throws(Refusal) {
    guard text.hasPrefix("snapshot.") else {
      words = .either(text)
      return
    }
    var id: String?
    var name: String?
    for item in try CreateRequest.items(of: text) {
      switch CreateRequest.sides(of: item) {
      case ("snapshot.id", let value): id = value ?? "on"
      case ("snapshot.name", let value): name = value ?? "on"
      case (let other, _):
        throw Refusal(
          "Invalid parameter '\(Escaping.human(other))'\n"
            + "Failed in parsing snapshot param '\(Escaping.human(text))'")
      }
    }
    words = .exactly(id: id, name: name)
  }

  /// The snapshot of an image that is meant.
  ///
  /// - Throws: ``Refusal`` if there is none, or the layer is no image.
  package func find(in layer: any GuestLayer) throws(Refusal) -> (image: Image, snapshot: SnapshotEntry) {
    guard let image = layer as? Image else {
      throw Refusal(
        "Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily loading "
          + "internal snapshots")
    }
    let found =
      switch words {
      case .either(let word): image.snapshots.index(idOrName: word)
      case .exactly(let id, let name): image.snapshots.index(id: id, name: name)
      }
    guard let found else { throw Refusal("Failed to load snapshot: Can't find snapshot") }
    return (image, image.snapshots[found])
  }
}
