// Keeps a copy to a number of bytes in a second, so that what else uses the disk can go on.

import Glibc
package import QcowFormat

/// Counts bytes against the clock.
package struct CopyRate {
  private let bytesPerSecond: UInt64
  private let start: Double
  private var bytes: UInt64 = 0
  /// Seconds' worth of bytes that may go ahead of time.
  private static let ahead = 0.1

  /// Nil for no limit, which 0 stands for as well.
  package init?(_ bytesPerSecond: UInt64?) {
    guard let bytesPerSecond, bytesPerSecond > 0 else { return nil }
    self.bytesPerSecond = bytesPerSecond
    start = Self.now
  }

  private static var now: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// Sleeps until `count` more bytes may be written.
  package mutating func wait(for count: ByteCount) {
    let due = start + Double(bytes) / Double(bytesPerSecond) - Self.ahead
    bytes &+= count.value
    var left = due - Self.now
    while left > 0 {
      var time = timespec(tv_sec: Int(left), tv_nsec: Int((left - left.rounded(.down)) * 1e9))
      unsafe nanosleep(&time, nil)
      left = due - Self.now
    }
  }
}
