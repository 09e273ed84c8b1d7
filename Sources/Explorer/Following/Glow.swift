// What another program changed a moment ago: places glow, fade and are plain again. While something fades there are
// new pictures, and none without.

import Cartography
import CellScreen
import Storage

/// The places that changed in the last seconds.
struct Glow {
  /// How far a change has faded.
  enum Step: Int, CaseIterable {
    /// Just now.
    case fresh
    case fading
    case faint
  }

  /// How long each step lasts.
  static let stepLength = Duration.milliseconds(1200)
  private static let maximumKept = 64

  private struct Change {
    let time: ContinuousClock.Instant
    let guest: [Range<UInt64>]
    let host: [Range<UInt64>]
  }

  /// The newest last.
  private var changes: [Change] = []
  /// What the newest picture showed of it.
  private var shown: [Step] = []

  /// Clusters of the disk and of the file changed now.
  mutating func add(guest: [Range<UInt64>], host: [Range<UInt64>], at now: ContinuousClock.Instant) {
    guard !guest.isEmpty || !host.isEmpty else { return }
    forget(before: now)
    // Of a storm of changes the oldest go first.
    if changes.count >= Self.maximumKept { changes.removeFirst() }
    changes.append(Change(time: now, guest: guest, host: host))
  }

  mutating func forget(before now: ContinuousClock.Instant) {
    changes.removeAll { Self.step($0.time, now) == nil }
  }

  private static func step(_ time: ContinuousClock.Instant, _ now: ContinuousClock.Instant) -> Step? {
    Step.allCases.first { now - time < stepLength * ($0.rawValue + 1) }
  }

  /// Nothing fades.
  var isEmpty: Bool { changes.isEmpty }

  /// Another picture is worth it: some change is at another step than it was shown at.
  func hasMoved(at now: ContinuousClock.Instant) -> Bool {
    changes.count != shown.count || zip(changes, shown).contains { Self.step($0.time, now) != $1 }
  }

  /// A picture is drawn.
  mutating func show(at now: ContinuousClock.Instant) {
    forget(before: now)
    shown = changes.compactMap { Self.step($0.time, now) }
  }

  /// Milliseconds until some change is at its next step; nil if nothing fades.
  func wait(at now: ContinuousClock.Instant) -> Int? {
    changes.map { change in
      let age = now - change.time
      let next = Self.stepLength * (Int(age / Self.stepLength) + 1) - age
      return max(1, Int(next / .milliseconds(1)) + 1)
    }.min()
  }

  /// The changes of one side as they are now, the faint ones first, so that the newest is drawn last.
  func layers(_ side: Side, at now: ContinuousClock.Instant) -> [(step: Step, clusters: [Range<UInt64>])] {
    changes.compactMap { change in
      Self.step(change.time, now).map { ($0, side == .guest ? change.guest : change.host) }
    }
  }
}
