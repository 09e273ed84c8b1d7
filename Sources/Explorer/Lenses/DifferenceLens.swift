// The lens of the difference: between what is shown and the image as it was opened, the disk as it is now, or any other
// state or file that was asked for.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// What the lens of the difference compares with.
enum ComparedState {
  /// A state of the image, made when it is needed: the history may be another one then.
  case state(SceneState, String)
  /// An image in a file of its own.
  case file(Scene, name: String)
}

extension Lens {
  /// Where two states are mapped otherwise.
  package static let difference = Lens(
    "difference", "what differs from how it was opened, another state (from now), or a file?",
    showsParts: false,
    keys: [
      LensKey("=", .guestNone, "the same"), LensKey("+", .guestData, "only here"),
      LensKey("-", .guestZero, "only there"), LensKey("~", .guestShared, "otherwise"),
    ],
    guest: { _, glyphs in CellLook("_", .muted) },
    host: { _, glyphs in CellLook(Glyphs.host(.free).scalar(glyphs), .hostFree) },
    sheet: { desk in
      switch desk.compared {
      case .file(let scene, let name): return DifferenceSheet(scene, desk.scene, subject: "from \(name)")
      case .state(let state, let which):
        let scene = (try? state.scene(which, of: desk.session)) ?? (state == .now ? desk.session.scene : nil)
        let words = Escaping.human(state == .now ? "now" : "\(state.rawValue) \(which)")
        return scene.map { DifferenceSheet($0, desk.scene, subject: "from \(words)") }
      case nil: break
      }
      if desk.otherState != nil {
        return DifferenceSheet(desk.session.scene, desk.scene, subject: "to the disk as it is now")
      }
      let opened = try? desk.session.scene(at: HistoryMoment(generation: 0))
      return opened.map { DifferenceSheet($0, desk.scene, subject: "to generation 0") }
    })
}
