// The clock that only goes on.

import Glibc

/// A clock of the host that is never set back.
package enum HostClock {
  /// Nanoseconds since some moment in the past; 0 if the host does not tell.
  package static func now() -> UInt64 {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &time) == 0 else { return 0 }
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
