// Threads of which one runs at a time; which one goes on is drawn from a seed, at every moment where another could
// come between. The same seed gives the same order each time.

import Foundation
import Live
import TestSupport

/// The turns of some threads.
final class Turns: @unchecked Sendable {
  /// Where a thread is when another may come between.
  enum Moment: UInt8 {
    /// Before it asks for the disk, behind what it did with it before.
    case begins
    /// It has to wait for somebody who has the disk, or holds requests up.
    case waits
    /// While it has the disk: before it reads the file, or changes it.
    case reads, writes, zeroes, punches, truncates, allocates, flushes
    /// It does nothing more.
    case ends
  }

  /// Turns after which somebody must have come to an end.
  private static let most = 2_000_000

  private var random: SplitMix64
  private let bodies: [@Sendable () -> Void]
  private let signals: [DispatchSemaphore]
  private let over = DispatchSemaphore(value: 0)
  /// Threads that have not ended; and those of them that wait for what only another one's leaving the disk can bring.
  private var living: Set<Int>
  private var waiting: Set<Int> = []
  /// The thread that runs; nil before the first and behind the last.
  private(set) var current: Int?
  /// How many turns were given.
  private(set) var count = 0
  /// How many of them went to another thread while one had the disk.
  private(set) var inTheMidst = 0
  /// Of all that happened, in its order.
  private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325
  /// Nobody could go on.
  private(set) var isStuck = false

  /// Threads that will run `bodies`.
  init(_ seed: UInt64, _ bodies: [@Sendable () -> Void]) {
    random = SplitMix64(seed: seed)
    self.bodies = bodies
    signals = bodies.map { _ in DispatchSemaphore(value: 0) }
    living = Set(bodies.indices)
  }

  /// Runs all threads to their ends.
  ///
  /// - Throws: `TestFailure` if they wait for each other for ever; they are left behind then.
  func run() throws {
    var threads: [UInt64] = []
    for index in bodies.indices {
      threads.append(
        try Live.Thread.start { [self] in
          signals[index].wait()
          bodies[index]()
          come(.ends)
        })
    }
    giveTurn()
    over.wait()
    if isStuck { throw TestFailure("after \(count) turns threads \(living.sorted()) wait for each other") }
    for thread in threads { Live.Thread.join(thread) }
  }

  /// How many have not ended.
  var left: Int { living.count }

  /// The thread that runs comes to a moment where others may go on before it. Nothing happens outside of ``run()``.
  func come(_ moment: Moment, _ place: UInt64 = 0) {
    guard let me = current else { return }
    note(UInt64(me) << 8 | UInt64(moment.rawValue))
    note(place)
    switch moment {
    case .waits: waiting.insert(me)
    case .begins: waiting = []
    case .ends:
      waiting = []
      living.remove(me)
    case .reads, .writes, .zeroes, .punches, .truncates, .allocates, .flushes: break
    }
    if !giveTurn(from: me, inTheMidst: moment != .begins && moment != .waits && moment != .ends),
      moment != .ends
    {
      signals[me].wait()
    }
  }

  /// Whether the turn stays where it is. If not, everything here is another thread's at once.
  @discardableResult
  private func giveTurn(from me: Int? = nil, inTheMidst: Bool = false) -> Bool {
    // All may wait: one of them finds that somebody who was in its way has gone on since.
    let ready = living.subtracting(waiting).sorted()
    let able = ready.isEmpty ? living.sorted() : ready
    count += 1
    isStuck = count > Self.most
    guard !able.isEmpty, !isStuck else {
      current = nil
      over.signal()
      // Whoever is stuck stays so.
      if isStuck { DispatchSemaphore(value: 0).wait() }
      return false
    }
    let next = able[Int(random.below(UInt64(able.count)))]
    guard next != me else { return true }
    if inTheMidst { self.inTheMidst += 1 }
    current = next
    signals[next].signal()
    return false
  }

  private func note(_ word: UInt64) { digest = (digest ^ word) &* 0x100_0000_01b3 }
}
