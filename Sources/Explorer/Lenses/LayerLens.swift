// The lens of the layers: which file of the chain answers.

import Cartography
import CellScreen

extension Lens {
  /// The depth of the layer that answers.
  package static let layer = Lens(
    "layer", "which layer answers? 0: this image, 1-9: those below, ?: a missing one",
    guest: { cell, glyphs in CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone) },
    host: { cell, glyphs in
      // What the disk uses of the file is of this image.
      let counts = cell.counts
      let content = HostState.allCases.reduce(UInt64(0)) { $0 + ($1.isContent ? counts[$1] : 0) }
      let used = content - min(content, counts[mark: .snapshots])
      guard used > 0 else { return CellLook(Glyphs.host(.free).scalar(glyphs), .hostFree) }
      return CellLook("0", .ramp(0), used < counts.total ? .minority : [])
    },
    sheet: { LayerSheet($0.scene.atlas) })
}
