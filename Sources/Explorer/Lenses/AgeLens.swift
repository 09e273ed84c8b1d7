// The lens of the age: which operation of the session changed a place last.

import Cartography
import CellScreen
import QcowFormat
import Storage

extension Lens {
  /// The last change, from the oldest operation to the newest.
  package static let age = Lens(
    "age", "what changed last? from 0, by the oldest operation, to 9, by the newest", showsParts: false,
    guest: { _, glyphs in CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone) },
    host: { _, glyphs in CellLook(Glyphs.host(.free).scalar(glyphs), .hostFree) },
    sheet: { desk in
      let session = desk.session
      let count: Int
      switch desk.scene.subject {
      case .live: count = session.generation
      case .moment(let moment): count = min(moment.generation, session.generation)
      default: count = 0
      }
      let geometry = desk.geometry
      let touches = (0..<count).compactMap { session.step($0) }.map { step in
        var guest = step.narration.guestClusters
        // Bytes that went to where the cluster was: no entry tells of them.
        if step.narration.numbers.guestBytes > 0, let range = step.range {
          guest.append(
            geometry.cluster(of: GuestOffset(range.lowerBound))
              .value..<geometry.clustersCovering(
                range.upperBound))
        }
        return AgeSheet.Touch(guest: guest, host: step.narration.hostClusters)
      }
      let isOfSession = desk.scene.subject == .live || count > 0
      return AgeSheet(
        touches, clusterBits: geometry.clusterBits,
        subject: isOfSession ? counted(count, "operation") : "not of this state")
    })
}
