// What the scan knows about the users of single host clusters, for those who are about to change one.

import Qcow
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
}

extension Atlas {
  /// What the scan found so far.
  package var health: ScanHealth {
    let units = UInt64(image.geometry.subclustersPerCluster)
    let totals = totals
    let bad = totals.guest[.bad]
    return ScanHealth(
      leaks: totals.leaked, errors: totals.wrong + bad / units + (bad % units > 0 ? 1 : 0),
      isComplete: isDone && !isPartial)
  }

  /// How many references to a host cluster the scan has met so far: entries and structures, snapshots
  /// included. 0 also where it has not looked.
  package func knownUsers(of cluster: UInt64) -> UInt64 { references.count(of: cluster) }

  /// Scans on until every user of every cluster is known again, if the scan before found damage and an
  /// operation made it start anew; `stops` is asked now and then and ends it early.
  package func knowUsers(unless stops: () -> Bool) {
    guard knewConflicts else { return }
    while phase.rawValue < Phase.host.rawValue && !stops() { step(budgetNanoseconds: 20_000_000) }
  }

  /// Some cluster may have more users than its refcount says. False only if the scan has seen all of the
  /// image and found no such cluster.
  package var mayHoldConflicts: Bool {
    let totals = totals
    return !isDone || isPartial || totals.wrong + totals.uncounted > 0 || totals.guest[.bad] > 0
  }
}
