// Where a key press lands: the focused pane, or the screen that covers the panes. A context is declared by
// its screen, with the areas it belongs to; keys are given to areas or to single contexts.

/// Where a key press lands.
package struct Context: Hashable, Sendable, CaseIterable, CustomStringConvertible {
  /// What several contexts have in common.
  package enum Area: String, CaseIterable, Sendable {
    /// The guest map and the host map.
    case maps
    /// The panes beside each other.
    case panes
    /// The image itself is shown.
    case image
    /// Something can be found.
    case searched
  }

  /// As it is written in the configuration.
  package let name: String
  /// The heading of help.
  package let title: String
  /// What it belongs to; keys can be bound for all of an area.
  package let areas: Set<Area>

  package init(_ name: String, title: String, _ areas: Set<Area>) {
    self.name = name
    self.title = title
    self.areas = areas
  }

  /// The contexts of all screens.
  package static let allCases: [Context] = ScreenList.all.flatMap { $0.contexts }

  package var description: String { name }
  package static func == (left: Context, right: Context) -> Bool { left.name == right.name }
  package func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// A set of contexts.
package struct Contexts: Hashable, Sendable, ExpressibleByArrayLiteral {
  /// The contexts themselves.
  package private(set) var members: Set<Context>

  package init(_ members: Set<Context>) { self.members = members }
  /// One context alone.
  package init(_ context: Context) { members = [context] }

  /// The contexts of all of them.
  package init(arrayLiteral parts: Contexts...) {
    members = parts.reduce(into: []) { $0.formUnion($1.members) }
  }

  /// All contexts of an area.
  package init(_ area: Context.Area) {
    members = Set(Context.allCases.filter { $0.areas.contains(area) })
  }

  /// Everywhere.
  package static let all = Contexts(Set(Context.allCases))
  /// Both maps.
  package static let maps = Contexts(.maps)
  /// The panes beside the maps, and the maps.
  package static let panes = Contexts(.panes)
  /// Everything that shows the image.
  package static let image = Contexts(.image)
  /// Where `/` finds something.
  package static let searched = Contexts(.searched)

  /// The area or context that a name of the configuration means; nil if it means none.
  package init?(named name: String) {
    if name == "all" {
      self = .all
    } else if let area = Context.Area(rawValue: name) {
      self.init(area)
    } else if let context = Context.allCases.first(where: { $0.name == name }) {
      self.init(context)
    } else {
      return nil
    }
  }

  /// The names that mean contexts, for messages.
  package static var names: [String] {
    ["all"] + Context.Area.allCases.map(\.rawValue) + Context.allCases.map(\.name)
  }

  /// There is no context in it.
  package var isEmpty: Bool { members.isEmpty }
  /// Whether a context is one of them.
  package func contains(_ context: Context) -> Bool { members.contains(context) }
  /// Those that are not in the other.
  package func subtracting(_ other: Contexts) -> Contexts { Contexts(members.subtracting(other.members)) }
  /// Those that are in both.
  package func intersection(_ other: Contexts) -> Contexts { Contexts(members.intersection(other.members)) }
}
