// What a scan found wrong with an image in two numbers, for the status line and before a change.

import QcowFormat

/// What a finished scan knows about the health of an image.
package struct ScanHealth: Equatable, Sendable {
  /// Host clusters with more in their refcount than users.
  package var leaks: UInt64 = 0
  /// Host clusters that are used more than their refcount says or by what cannot share them, and guest
  /// clusters whose entry cannot be followed.
  package var errors: UInt64 = 0
  /// The scan has seen all of the image.
  package var isComplete = true

  /// Counts what the totals say.
  init(_ totals: Totals, _ geometry: Geometry, isComplete: Bool) {
    let units = UInt64(geometry.subclustersPerCluster)
    leaks = totals.leaked
    errors = totals.wrong + totals.bad / units + (totals.bad % units > 0 ? 1 : 0)
    self.isComplete = isComplete
  }
}
