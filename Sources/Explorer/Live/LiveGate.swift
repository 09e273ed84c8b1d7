// The gate that requests of guests pass while a disk is served: it tries them out where a breakpoint wants to know what
// they would do, holds them up, and lets them go when somebody says so. One that is held up holds up all behind it.

import Cartography
package import Live
package import Qcow
import QcowFormat
import Storage

/// Shows requests to breakpoints.
package final class LiveGate: RequestGate {
  /// A request that waits.
  package struct Held {
    /// What is asked for.
    package let request: ServedRequest
    /// The number of the client.
    package let asker: UInt32
    /// What stopped it.
    package let reason: Breakpoint
    /// Since when it waits.
    package let since: ContinuousClock.Instant
    /// It was done on the explorer's side, and the file has nothing of it yet.
    package internal(set) var isDone = false
  }

  /// Gone only when nobody serves it any more.
  private weak var session: Session?
  /// What stops requests.
  package var breakpoints: [Breakpoint] = []
  /// The request that waits; nil if none does.
  package internal(set) var held: Held?
  private var mayGo = false
  /// How many were held up.
  package private(set) var count: UInt64 = 0

  init(_ session: Session) { self.session = session }

  private var shared: SharedDisk? { session?.live?.shared }

  // MARK: On the side of clients

  package func admit(_ request: ServedRequest, by asker: UInt32) throws(ImageError) {
    guard let session, let shared else {
      throw ImageError(.invalidRequest, "the disk is not served any more")
    }
    guard !breakpoints.isEmpty, asker != 0 else { return try shared.perform(request) }
    if let reason = breakpoints.first(where: { $0.stops(request, session.image) }) {
      return try hold(request, asker, reason, shared, session)
    }
    guard request.changes, session.image.isWritable, breakpoints.contains(where: \.needsTrial) else {
      return try shared.perform(request)
    }
    var reason: Breakpoint?
    try session.sharing.tryOut { () throws(ImageError) in
      try shared.perform(request)
    } keepsIf: { events in
      reason = breakpoints.first { point in events.contains { point.stops($0, session.geometry) } }
      return reason == nil
    }
    if let reason { try hold(request, asker, reason, shared, session) }
  }

  private func hold(
    _ request: ServedRequest, _ asker: UInt32, _ reason: Breakpoint, _ shared: SharedDisk, _ session: Session
  ) throws(ImageError) {
    held = Held(request: request, asker: asker, reason: reason, since: .now)
    count += 1
    // Whoever asks for the next request has it.
    breakpoints.removeAll { $0 == .next }
    mayGo = false
    shared.isHeld = true
    while !mayGo { shared.wait() }
    let finished = held
    held = nil
    shared.isHeld = false
    shared.wake()
    // What was done on the explorer's side reaches the file, and nothing if it was taken back.
    try session.sharing.letThrough()
    if finished?.isDone != true { try shared.perform(request) }
  }

  // MARK: On the side of the explorer

  /// Lets the request go that waits.
  package func letGo() {
    guard held != nil else { return }
    mayGo = true
    shared?.wake()
  }

  /// Nothing is held up any more.
  package func openWide() {
    breakpoints = []
    letGo()
  }
}
