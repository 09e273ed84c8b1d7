// The explorer while its disk is served: one picture takes the disk for a moment, follows what has come, and draws.

import Cartography
import Live
import Qcow
import QcowFormat
import Storage

/// The explorer and the guests that use its disk.
package struct Guests {
  let explorer: Explorer
  private var session: Session { explorer.session }
  private var desk: Desk { explorer.desk }

  /// Guests use the disk.
  package var areServed: Bool { session.live != nil }

  /// Runs `body` while no guest uses the disk, if any does.
  package func exclusively<Answer>(_ body: () -> Answer) -> Answer {
    guard let live = session.live else { return body() }
    return live.shared.locked { _ in body() }
  }

  /// Milliseconds until the next picture of a disk that is served.
  package var pause: Int { session.live?.pause ?? 50 }

  /// Takes what guests did since the last picture, and scans for about the given time; true if the picture is another
  /// one. Only while no guest uses the disk.
  package func follow(budgetNanoseconds: UInt64) -> Bool {
    guard let live = session.live else { return false }
    let news = live.look(session)
    if news.isAny {
      let told = news.narration
      desk.glow.add(
        guest: (told?.guestClusters ?? []) + clusters(news.touched), host: told?.hostClusters ?? [],
        at: desk.now())
    }
    if news.hasChanges {
      session.revision += 1
      desk.current.imageChanged(at: nil)
    }
    if live.owesCount(at: ContinuousClock.now), session.atlas.isDone {
      session.atlas.restart()
    }
    noticeHold(live)
    let wasDone = session.atlas.isDone && session.atlas.partsBehind == 0
    let isDone = explorer.scan(
      budgetNanoseconds: max(budgetNanoseconds, session.atlas.isDone ? 0 : live.scanBudget))
    // How long a request waits is said by the second.
    return news.isAny || news.hasRates || !isDone || !wasDone || live.gate.held != nil
  }

  private func clusters(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    let bits = UInt64(desk.geometry.clusterBits)
    return ranges.map { $0.lowerBound >> bits..<($0.upperBound - 1) >> bits + 1 }
  }

  /// Says that a request is held up, and goes to its place.
  private func noticeHold(_ live: LiveDisk) {
    guard let held = live.gate.held, desk.wasHeld != held.since else {
      if live.gate.held == nil { desk.wasHeld = nil }
      return
    }
    desk.wasHeld = held.since
    let text = LiveWords.request(held.request.kind, held.request.offset, held.request.length)
    explorer.tell("held up: \(text), \(held.reason.meaning)")
    if held.request.length > 0 {
      desk.setCursor(.guest, min(held.request.offset, desk.geometry.virtualSize - 1))
    }
    desk.open(.live)
  }

  /// The program has ended all connections: the disk is the explorer's alone again.
  package func haveLeft() {
    do throws(ImageError) {
      try session.sharing.end()
      explorer.tell("no guest uses the disk any more")
    } catch { explorer.tell("not all tables were written: \(error.description)", error: true) }
    desk.current.imageChanged(at: nil)
    desk.settle()
  }
}
