// The lens of the difference: between what is shown and the image as it was opened, or the disk as it is now.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Lens {
  /// Where two states are mapped otherwise.
  package static let difference = Lens(
    "difference", "what differs from how it was opened? another state: from now",
    showsParts: false,
    guest: { _, glyphs in CellLook("_", .muted) },
    host: { _, glyphs in CellLook(Glyphs.host(.free).scalar(glyphs), .hostFree) },
    sheet: { desk in
      if desk.otherState != nil {
        return DifferenceSheet(desk.session.scene, desk.scene, subject: "to the disk as it is now")
      }
      let opened = try? desk.session.scene(at: HistoryMoment(generation: 0))
      return opened.map { DifferenceSheet($0, desk.scene, subject: "to generation 0") }
    })
}
