// A session whose disk guests use: what they asked, what it changed, and what is not drawn yet. Guests never wait for a
// picture; a picture takes what has come since the last one.

import Cartography
package import Live
import Qcow
import QcowFormat
import Storage

/// The disk of a session while it is served. Everything is used by whoever has the disk (``SharedDisk/locked(by:_:)``).
package final class LiveDisk {
  /// More changes than this between two pictures are not followed one by one: the maps are counted anew.
  private static let mostChanges = 1 << 17
  /// Changes that one picture tells in words.
  private static let mostTold = 512
  /// Lines of the log that are kept.
  private static let mostLines = 1000
  /// A picture takes the disk for one part of the time in so many, at most.
  private static let share = 16

  /// What clients share with the explorer.
  package let shared: SharedDisk
  /// Where clients find it.
  package internal(set) var uri = ""
  /// Holds requests up.
  package let gate: LiveGate
  /// Exact counts since it is served.
  package private(set) var figures = LiveFigures()
  /// What was asked and what it changed, the newest last; of busy times a sample.
  package private(set) var lines: [LiveLine] = []
  /// How the last second was.
  package private(set) var rates = LiveRates()
  /// Changes that the maps do not show yet.
  private var changes = StorageOperation.make(id: 0, title: "")
  private var hasLost = false
  private var nextRequest: UInt64 = 0
  private let clock = ContinuousClock()
  private let began: ContinuousClock.Instant
  /// When bytes last went where no table tells of it, and whether that is still to be counted.
  private var lastData: ContinuousClock.Instant?
  /// Of a scan that starts anew each time a guest writes: longer each time, until one ends.
  private(set) var scanBudget: UInt64 = 1_000_000

  init(_ session: Session) {
    shared = SharedDisk(session.image)
    shared.keepRequests()
    gate = LiveGate(session)
    began = clock.now
  }

  // MARK: The tap

  /// Takes a change of the image file in, as it is made.
  func take(_ event: StorageEvent) {
    figures.take(event)
    follow(event)
  }

  /// Counts a change that the maps show already, or one of the external data file, which has no tables.
  func count(_ event: StorageEvent, isData: Bool) { figures.take(event, isData: isData) }

  private func follow(_ event: StorageEvent) {
    // Bytes that lie where they lay change no map.
    if event.kind == .write, event.tag.target == .data, event.lengthBefore == event.lengthAfter {
      lastData = clock.now
      return
    }
    guard !hasLost, event.kind != .flush else { return }
    guard changes.events.count < Self.mostChanges else {
      hasLost = true
      changes = StorageOperation.make(id: 0, title: "")
      return
    }
    _ = changes.append(event, pageBytes: 0)
  }

  // MARK: Pictures

  /// What came since the last picture.
  struct News {
    /// Of the changes; nil if there are none, or too many to be told.
    var narration: Narration?
    /// Bytes of the disk that requests asked for, the newest ones.
    var touched: [Range<UInt64>] = []
    /// Some request came, or something changed.
    var isAny = false
    /// Another second has its rates.
    var hasRates = false
    /// Some table or length changed.
    var hasChanges = false
  }

  /// Takes what has come: the maps of the session follow, and the log gets a line.
  func look(_ session: Session) -> News {
    var news = News()
    let (records, lost) = shared.requests(from: nextRequest, most: Int.max)
    nextRequest += lost + UInt64(records.count)
    let taken = changes
    let wasLost = hasLost
    if !taken.events.isEmpty || wasLost {
      changes = StorageOperation.make(id: 0, title: "")
      hasLost = false
      news.isAny = true
      news.hasChanges = true
      if wasLost {
        session.atlas.restart()
      } else {
        if !session.atlas.isDone { scanBudget = min(scanBudget * 2, 1_000_000_000) }
        _ = session.atlas.follow(taken)
        if taken.events.count <= Self.mostTold {
          news.narration = Narration(taken, geometry: session.geometry)
        }
      }
    }
    if session.atlas.isDone { scanBudget = 1_000_000 }
    if !records.isEmpty || lost > 0 {
      news.isAny = true
      news.touched = records.suffix(64).filter { $0.length > 0 && $0.kind != .read }.map {
        $0.offset..<$0.offset &+ $0.length
      }
      add(records, lost, news.narration)
    }
    news.hasRates = rates.take(shared.counts, at: clock.now)
    return news
  }

  /// Bytes were written where tables say nothing of it, some time ago: the host may keep more for the file by now.
  func owesCount(at now: ContinuousClock.Instant) -> Bool {
    guard let lastData, now - lastData > .seconds(2) else { return false }
    self.lastData = nil
    return true
  }

  private func add(_ records: [RequestRecord], _ lost: UInt64, _ narration: Narration?) {
    // What changes something tells more than what reads.
    guard
      let told = records.last(where: { $0.kind != .read && $0.kind != .flush })
        ?? records.last(where: { $0.kind == .read }) ?? records.last
    else { return }
    let time = clock.now - began
    lines.append(
      LiveLine(
        time: time, request: told, others: UInt64(records.count - 1) &+ lost,
        changes: narration?.lines.prefix(3).map { $0 } ?? []))
    if lines.count > Self.mostLines { lines.removeFirst(lines.count - Self.mostLines) }
  }

  // MARK: Time

  private var lastHold = Duration.zero

  /// The disk was had so long for a picture.
  package func noteHold(_ time: Duration) { lastHold = time }

  /// Milliseconds until the next picture: 50, and more if the last one kept guests waiting for long.
  package var pause: Int {
    let wanted = lastHold * Self.share
    return max(50, min(500, Int(wanted / .milliseconds(1))))
  }
}

/// A line of the log while a disk is served: one request, how many others came with it, and what they changed.
package struct LiveLine: Sendable {
  /// Since the disk is served.
  package let time: Duration
  /// One of them.
  package let request: RequestRecord
  /// How many others came between two pictures.
  package let others: UInt64
  /// What they changed together, in lines.
  package let changes: [String]

  /// "  12.3 s  write 0x100000 +64K, and 811 more".
  package var text: String {
    let tenths = Int(time / .milliseconds(100))
    let seconds = "\(tenths / 10).\(tenths % 10) s"
    return "\(String(repeating: " ", count: max(0, 9 - seconds.utf8.count)))\(seconds)  "
      + LiveWords.request(request) + (others == 0 ? "" : ", and \(Notation.grouped(others)) more")
  }
}

/// Words for requests.
enum LiveWords {
  static func name(_ kind: RequestKind) -> String {
    switch kind {
    case .read: "read"
    case .write: "write"
    case .zeroWrite: "zero"
    case .zeroWriteMayUnmap: "zero -u"
    case .discard: "discard"
    case .flush: "flush"
    }
  }

  static func request(_ kind: RequestKind, _ offset: UInt64, _ length: UInt64) -> String {
    kind == .flush ? name(kind) : "\(name(kind)) 0x\(Notation.hex(offset)) +\(Notation.compact(length))"
  }

  static func request(_ record: RequestRecord) -> String {
    request(record.kind, record.offset, record.length) + (record.failed ? " FAILED" : "")
      + (record.asker > 1 ? " (client \(record.asker))" : "")
  }
}

/// How much came in the last second or so, from exact counts.
package struct LiveRates: Sendable {
  /// Requests in a second; nil before the first second is over.
  package private(set) var requests: Double?
  /// Bytes that guests read in a second.
  package private(set) var bytesRead = 0.0
  /// Bytes that guests wrote in a second.
  package private(set) var bytesWritten = 0.0

  private var before: (time: ContinuousClock.Instant, counts: RequestCounts)?

  /// Takes exact counts in.
  ///
  /// - Returns: whether the rates are other ones.
  mutating func take(_ counts: RequestCounts, at now: ContinuousClock.Instant) -> Bool {
    guard let before else {
      self.before = (now, counts)
      return false
    }
    let time = now - before.time
    guard time >= .seconds(1) else { return false }
    let seconds = time / .seconds(1)
    let old = requests
    requests = Double(counts.requests &- before.counts.requests) / seconds
    bytesRead = Double(counts.bytesRead &- before.counts.bytesRead) / seconds
    bytesWritten = Double(counts.bytesWritten &- before.counts.bytesWritten) / seconds
    self.before = (now, counts)
    return old != requests
  }
}
