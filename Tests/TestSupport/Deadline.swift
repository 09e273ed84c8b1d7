// Waiting in tests: for a condition, and never longer than until a deadline. Nothing else here sleeps.

import Dispatch
import Glibc

/// A point in time that must not be passed.
package struct Deadline {
  private let end: DispatchTime
  /// So many seconds from now.
  package init(_ seconds: Double) { end = .now() + seconds }
  /// The seconds that are left, 0 when it is over.
  package var remaining: Double {
    let now = DispatchTime.now()
    return now >= end ? 0 : Double(end.uptimeNanoseconds - now.uptimeNanoseconds) / 1e9
  }
  package var isOver: Bool { remaining <= 0 }
  func milliseconds(atMost limit: Int) -> Int32 { Int32(min(Double(limit), remaining * 1000 + 1)) }

  /// Looks again and again whether a condition holds, at first after a fraction of a millisecond;
  /// false if it does not hold until the end.
  @discardableResult
  package func wait(until condition: () throws -> Bool) rethrows -> Bool {
    var pause: useconds_t = 250
    while try !condition() {
      if isOver { return false }
      usleep(pause)
      pause = min(pause * 2, 10_000)
    }
    return true
  }
}
