// Many images at a time, one on each thread. What comes of it is taken by one, in the order of the names or as it comes.

import Cartography
import Live

/// Threads that look at the images of a fleet.
final class FleetCrew: @unchecked Sendable {
  private let monitor = Monitor()
  private let count: Int
  private let look: @Sendable (Int) -> FleetRow?
  private let tells: @Sendable () -> Void
  private var next = 0
  private var taken = 0
  private var isStopped = false
  private var done: [Int: FleetRow?] = [:]
  private var threads: [UInt64] = []

  /// How many rows may wait for one that takes long.
  private static let ahead = 4096

  /// `look` makes the row of a number below `count`, nil for none; it is called on any thread, and `tells` behind it.
  init(
    _ count: Int, look: @escaping @Sendable (Int) -> FleetRow?, tells: @escaping @Sendable () -> Void = {}
  ) {
    self.count = count
    self.look = look
    self.tells = tells
  }

  /// Begins with so many threads, or as many as the host has.
  ///
  /// - Throws: ``ServerError`` if it has none.
  func start(_ wanted: Int) throws(ServerError) {
    for number in 0..<max(1, min(wanted, count)) {
      do throws(ServerError) { threads.append(try Thread.start { self.labour() }) } catch {
        if number == 0 { throw error }
        return
      }
    }
  }

  private func labour() {
    while let index = monitor.locked({ nextIndex() }) {
      let row = look(index)
      monitor.locked {
        done[index] = .some(row)
        monitor.changed()
      }
      tells()
    }
  }

  private func nextIndex() -> Int? {
    while !isStopped, next < count, next - taken >= Self.ahead { monitor.wait() }
    guard !isStopped, next < count else { return nil }
    defer { next += 1 }
    return next
  }

  /// Waits for every row, and hands them out in order.
  ///
  /// - Throws: What `body` throws.
  func each<Failure: Error>(_ body: (Int, FleetRow?) throws(Failure) -> Void) throws(Failure) {
    defer { stop() }
    for index in 0..<count {
      let row = monitor.locked { () -> FleetRow? in
        while done[index] == nil { monitor.wait() }
        defer { monitor.changed() }
        taken += 1
        return done.removeValue(forKey: index) ?? nil
      }
      try body(index, row)
    }
  }

  /// The rows that have come since, with their numbers; nobody waits. Nil when no more come.
  func drain() -> [(index: Int, row: FleetRow?)]? {
    monitor.locked {
      if done.isEmpty, taken == count || isStopped { return nil }
      defer { monitor.changed() }
      let rows = done.sorted { $0.key < $1.key }.map { (index: $0.key, row: $0.value) }
      taken += done.count
      done = [:]
      return rows
    }
  }

  /// Ends as ``stop()`` does, and waits for nobody.
  func giveUp() {
    monitor.locked {
      isStopped = true
      monitor.changed()
    }
  }

  /// Ends with the images that are under way.
  func stop() {
    monitor.locked {
      isStopped = true
      monitor.changed()
    }
    while let thread = threads.popLast() { Thread.join(thread) }
  }
}
