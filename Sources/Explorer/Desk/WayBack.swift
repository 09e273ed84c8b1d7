// Where one came from: places that can be gone back to, and the screens that others were opened from.

import Cartography
import Qcow
import QcowFormat

/// What is looked at instead of the disk as it is now.
struct LookedAt {
  var scene: Scene
  /// The revision of the session at which it was asked for.
  var revision: Int
  /// What it is called; nil where its subject says it.
  var name: String?

  /// The same without the scene, which may be large.
  var key: Key { Key(subject: scene.subject, revision: revision, name: name) }

  /// Which state, to make its scene from again.
  struct Key: Hashable, Sendable {
    var subject: Scene.Subject
    var revision: Int
    var name: String?
  }
}

/// A place that can be gone back to.
struct Location: Hashable, Sendable {
  var screen: ScreenKind
  var cursor: TwinCursor
  /// Of every screen.
  var addresses: [Address]
  /// What was looked at there; nil for the disk as it is.
  var state: LookedAt.Key?
}

/// The screens that others were opened from, the first of them last: what closing goes back to.
struct WayBack {
  private(set) var places: [Location] = []

  /// The place that closing goes back to.
  var last: Location? { places.last }

  /// Another screen covers the one of a place. Every screen but the maps is there once, so that the way stays short.
  mutating func leave(_ place: Location, for kind: ScreenKind, _ state: LookedAt.Key?) {
    // What was opened before is gone back to.
    if kind != .explorer, let open = places.firstIndex(where: { $0.screen == kind && $0.state == state }) {
      places.removeSubrange(open...)
      return
    }
    var place = place
    if place.screen != .explorer, let open = places.firstIndex(where: { $0.screen == place.screen }) {
      place.state = places[open].state
      places.removeSubrange(open...)
    }
    places.append(place)
  }

  /// A jump back leads to a place; true if it is the last one, which is gone back to then.
  mutating func goesBack(to place: Location) -> Bool {
    guard let last, last.screen == place.screen, last.state == place.state else { return false }
    places.removeLast()
    return true
  }

  mutating func popLast() -> Location? { places.popLast() }
  mutating func forget() { places = [] }
}
