// A host cluster that only a snapshot has: the way to its place is a look at the snapshot, which is offered.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

enum SnapshotOffer {
  private static let look = OverlayKey(key: .enter, word: "look at it", footer: "look at the snapshot there")
  private static let entry = OverlayKey(key: .character("e"), word: "its entry", footer: "its entry")

  /// Opens it if the cluster of the cursor belongs to snapshots and not to the disk as it is now.
  /// - Returns: false where there is nothing to offer.
  static func opens(in explorer: Explorer, for command: CommandID) -> Bool {
    let desk = explorer.desk
    let image = desk.session.image
    // Another state is only looked at, and its snapshots need not be those of the image.
    guard desk.current.offersSnapshot(for: command), desk.scene === desk.session.scene,
      desk.cursor.side == .host, !desk.cursor.isTwinned, !desk.host.isData
    else { return false }
    let place = desk.place
    guard let first = place.inSnapshots.first, image.snapshots.indices.contains(first.snapshot) else {
      return false
    }
    let name = Escaping.human(Owner.name(ofSnapshot: first.snapshot, image.snapshots))
    var lines = [
      "This cluster holds guest 0x\(Notation.hex(first.guest.value)) of \(name). The disk as it is now does not use it."
    ]
    let more = place.inSnapshots.count - 1
    if more > 0 { lines.append("Snapshots use it in \(counted(more, "more place")).") }
    let address = place.owners.lazy.compactMap { $0.entry(in: image, desk.scene.owners.bitmaps) }.first
    explorer.overlay = QuestionBox(
      "Only a snapshot has it", lines,
      [
        QuestionBox.Answer(key: look) { explorer throws(CommandError) in
          try show(first.snapshot, first.guest, explorer.desk)
        }
      ]
        + (address.map { address in
          [
            QuestionBox.Answer(key: entry) { explorer in
              explorer.desk.remember()
              explorer.desk.show(.hex(address.value, .image))
            }
          ]
        } ?? []), desk)
    return true
  }

  private static func show(_ snapshot: Int, _ guest: GuestOffset, _ desk: Desk) throws(CommandError) {
    let scene: Scene
    do throws(ImageError) { scene = try desk.session.scene(ofSnapshot: snapshot) } catch {
      throw CommandError(error.description)
    }
    desk.explore(scene)
    desk.show(.maps(.guestMap))
    desk.setCursor(.guest, min(guest.value, max(1, desk.geometry.virtualSize) - 1))
  }
}
