// Many images at a time: the program around the explorer looks at files on threads of its own. The explorer, which
// opens nothing, takes what comes of it between two pictures.

package import Cartography

/// Something new about a file of a fleet.
package enum FleetNews: Sendable {
  /// The file was looked at, for the first time or again.
  case row(FleetRow)
  /// The file with this name has no row: it is no image, or not there any more.
  case gone(String)
}

/// How far a look at files is.
package struct FleetProgress: Hashable, Sendable {
  /// Files that were looked at.
  package var done: Int
  /// Files that there are; nil while folders are still being listed.
  package var all: Int?

  package init(done: Int, all: Int?) {
    self.done = done
    self.all = all
  }
}

/// Where the rows of a fleet come from. Nothing in here waits.
package protocol FleetShelf: AnyObject {
  /// The folders and files that it consists of; empty before there are any.
  var places: [String] { get }
  /// How far the look at them is; nil when it has ended and all of its news were taken.
  var progress: FleetProgress? { get }
  /// Files that were looked at and are no images.
  var leftOut: Int { get }
  /// Why it is not all that was asked for; nil if it is.
  var problem: String? { get }
  /// What has become known since the last time.
  func news() -> [FleetNews]
  /// Takes other folders and files instead.
  func turn(to places: [String])
  /// Looks at a file again; if not `always`, then only if it has changed.
  func look(at row: FleetRow, always: Bool)
  /// Looks again at those of the files in `known` that have changed, and at files that are new.
  func lookAgain(_ known: [FleetRow])
  /// Ends the look; what is known stays.
  func stop()
}
