// A check that goes on in slices, for a screen: what is found so far, in groups, and what is not looked at yet.

package import Qcow
package import QcowFormat
package import Storage

/// One check of one image, bit by bit.
package final class CheckScan: Work {
  private let check: ImageCheck
  private let collected: Collected
  /// It was given up before its end.
  package private(set) var isStopped = false

  private final class Collected {
    var groups: DamageGroups
    init(_ geometry: Geometry) { groups = DamageGroups(geometry) }
  }

  /// A check of the image in `storage`, which must stay as it is until the check is at its end.
  ///
  /// - Throws: ``ImageError`` as opening the image does.
  package init(_ storage: any Storage, _ geometry: Geometry) throws(ImageError) {
    let collected = Collected(geometry)
    self.collected = collected
    check = try ImageCheck(storage, namesOwners: true) { collected.groups.add($0) }
  }

  /// What was found so far, the worst first.
  package var groups: DamageGroups { collected.groups }
  /// What was counted so far.
  package var result: CheckResult { check.current }
  /// What the check is at.
  package var phase: ImageCheck.Phase { check.phase }
  /// All findings are made; what is left are notes.
  package var hasFindings: Bool { check.hasFindings }
  /// Nothing is left to be looked at.
  package private(set) var isDone = false

  /// About how much of the time of a check each phase takes.
  private static let shares: [(phase: ImageCheck.Phase, share: Double)] = [
    (.snapshots, 0.01), (.references, 0.49), (.refcounts, 0.1), (.owners, 0.1), (.flags, 0.1),
    (.overlaps, 0.05),
    (.leaks, 0.15),
  ]

  package var progress: Double {
    guard !isDone else { return 1 }
    var sum = 0.0
    for (phase, share) in Self.shares {
      if phase == check.phase { return min(0.99, sum + share * check.phaseProgress) }
      sum += share
    }
    return 0.99
  }

  /// Gives it up; what is found so far stays. False if there is nothing to give up.
  package func stop() -> Bool {
    guard !isDone, !isStopped else { return false }
    isStopped = true
    return true
  }

  /// Goes on where ``stop()`` came.
  package func resume() { isStopped = false }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard !isDone, !isStopped else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while check.step() {
      if clock.now >= end { return false }
    }
    check.notes { collected.groups.add($0) }
    if check.current.failure == nil {
      collected.groups.sortLeaks { check.holdsData($0) ?? true }
    }
    isDone = true
    return true
  }
}
