// Pulls the plug behind every step of an operation, and in every order in which a disk may bring to rest what lies
// between two flushes. Each state is made of the bytes as they were and of the writes that arrived; the same
// check and the same reads as of any image then say what it is worth.

package import Qcow
package import QcowFormat
package import Storage

/// Where the states of a crash come from.
package struct CrashStates {
  /// All files behind so many events of the operation; nil if there is no such moment.
  package let files: (Int) -> [any PagedStorage]?
  /// The image on such files, to read from.
  package let image: ([any Storage]) throws(ImageError) -> Image
  /// The files that are qcow2 images.
  package let checked: [FileNumber]
  /// Bytes of the disk that the operation is about; nil if it is about the image as a whole.
  package let guest: Range<UInt64>?
  /// Bytes of tables that one check reads, about.
  package let tables: ByteCount

  package init(
    files: @escaping (Int) -> [any PagedStorage]?,
    image: @escaping ([any Storage]) throws(ImageError) -> Image,
    checked: [FileNumber], guest: Range<UInt64>?, tables: ByteCount = 0
  ) {
    self.files = files
    self.image = image
    self.checked = checked
    self.guest = guest
    self.tables = tables
  }
}

/// The verdicts on all crashes of one operation. Works in slices, a state at a time.
package final class CrashSurvey: Work {
  /// What the orders come to that the flushes allow at one moment.
  package struct Orders: Equatable, Sendable {
    /// Writes that may or may not have arrived.
    package internal(set) var writes = 0
    /// Combinations of them that were looked at; all there are, or some.
    package internal(set) var states = 0
    package internal(set) var isAll = false
    /// Of these: with nothing for a check to find, and with leaks only.
    package internal(set) var clean = 0
    package internal(set) var leaking = 0
    /// The worst of them.
    package internal(set) var worst = CrashVerdict()
  }

  /// Operations of more events than this are looked at where somebody asks only.
  private static let longest = 512
  /// The same of images with more bytes of tables than this: each look reads all of them.
  private static let manyTables = ByteCount(8 << 20)
  /// Bytes of the disk that are compared at most.
  private static let compared: UInt64 = 4 << 20
  /// Combinations of more writes than this are not all looked at.
  private static let allOf = 6
  private static let some = 48

  private let events: [FileEvent]
  private let states: CrashStates
  private var verdicts: [Int: CrashVerdict] = [:]
  private var found: [Int: Orders] = [:]
  /// Moments and flushes that are still to be looked at, the next one last.
  private var waiting: [Question] = []
  /// What was in the guest's bytes before and behind all.
  private var contents: (before: [UInt8]?, after: [UInt8]?)?
  private enum Question: Hashable { case moment(Int), orders(Int) }

  /// Looks at nothing yet.
  package init(_ events: [FileEvent], _ states: CrashStates) {
    self.events = events
    self.states = states
    let isSlow = events.count > Self.longest || states.tables > Self.manyTables
    if !isSlow { askAll() }
  }

  /// Looks at all moments, however long it takes.
  package func askAll() {
    let moments = (0...events.count).filter { $0 == key($0) }.map { Question.moment($0) }
    let orders = Set((0...events.count).map { window($0) }).sorted().map { Question.orders($0) }
    waiting = (moments + orders).reversed()
  }

  /// The moment behind so many events, as the first one with the same bytes.
  private func key(_ count: Int) -> Int {
    var count = count
    while count > 0, !changesBytes(events[count - 1].event) { count -= 1 }
    return count
  }

  private func changesBytes(_ event: StorageEvent) -> Bool { event.kind != .note && event.kind != .flush }

  /// The end of the row of events in which a moment lies: behind the last one in front of the next flush.
  private func window(_ count: Int) -> Int {
    var end = count
    while end < events.count, events[end].event.kind != .flush { end += 1 }
    return end
  }

  // MARK: Answers

  /// What a crash behind so many events leaves; nil if nobody looked yet.
  package func verdict(behind count: Int) -> CrashVerdict? { verdicts[key(min(count, events.count))] }

  /// What the orders come to in which the writes around a moment may arrive; nil if nobody looked yet.
  package func orders(around count: Int) -> Orders? { found[window(min(count, events.count))] }

  /// Looks at a moment and the orders around it before all others, however long it takes.
  package func ask(_ count: Int) {
    let count = min(count, events.count)
    for question in [Question.orders(window(count)), .moment(key(count))] where !isKnown(question) {
      waiting.removeAll { $0 == question }
      waiting.append(question)
    }
  }

  /// Leaves what is not looked at yet.
  package func cancel() -> Bool {
    defer { waiting = [] }
    return !waiting.isEmpty
  }

  private func isKnown(_ question: Question) -> Bool {
    switch question {
    case .moment(let count): verdicts[count] != nil
    case .orders(let end): found[end] != nil
    }
  }

  // MARK: Work

  package var progress: Double {
    waiting.isEmpty
      ? 1 : Double(verdicts.count + found.count) / Double(verdicts.count + found.count + waiting.count)
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while let question = waiting.last {
      if isKnown(question) {
        waiting.removeLast()
      } else if lookOnce(question) {
        waiting.removeLast()
      }
      if clock.now >= end { break }
    }
    return waiting.isEmpty
  }

  /// The combinations of a window that are still to be looked at, and what was found so far.
  private var open: (end: Int, settled: [any PagedStorage], combinations: [[Int]], orders: Orders)?

  /// Looks at one state; true when the question is answered.
  private func lookOnce(_ question: Question) -> Bool {
    switch question {
    case .moment(let count):
      verdicts[count] = states.files(count).map { judge($0) } ?? CrashVerdict()
      return true
    case .orders(let end):
      if open?.end != end { begin(end) }
      guard var window = open else { return true }
      if let combination = window.combinations.popLast() {
        if let files = files(window.settled, combination) {
          let verdict = judge(files)
          window.orders.states += 1
          if verdict.isClean { window.orders.clean += 1 }
          if !verdict.isClean, !verdict.isHarm { window.orders.leaking += 1 }
          if verdict.badness > window.orders.worst.badness || window.orders.states == 1 {
            window.orders.worst = verdict
          }
        }
        open = window
      }
      guard window.combinations.isEmpty else { return false }
      found[end] = window.orders
      open = nil
      return true
    }
  }

  private func begin(_ end: Int) {
    let loose = loose(at: end)
    var orders = Orders()
    orders.writes = loose.count
    orders.isAll = loose.count <= Self.allOf
    // Each file as it surely is on the disk then; the combinations differ in what lies above.
    let count = states.files(end)?.count ?? 0
    let bases = (0..<count).compactMap { states.files(settled(FileNumber($0), end))?[$0] }
    let isWhole = count > 0 && bases.count == count
    open = (end, bases, isWhole ? Self.combinations(of: loose) : [], orders)
  }

  /// The writes that may or may not be on the disk at a moment: of every file those behind its last flush.
  private func loose(at end: Int) -> [Int] {
    (0..<end).filter { changesBytes(events[$0].event) && $0 >= settled(events[$0].file, end) }
  }

  /// Events of a file in front of this one are on the disk at a moment.
  private func settled(_ file: FileNumber, _ end: Int) -> Int {
    events[..<end].lastIndex { $0.file == file && $0.event.kind == .flush } ?? 0
  }

  /// All combinations of a few writes; of many: each one missing, each one alone, and some by chance.
  private static func combinations(of loose: [Int]) -> [[Int]] {
    guard loose.count > allOf else {
      return (0..<(1 << loose.count)).map { bits in
        loose.indices.filter { bits >> $0 & 1 == 1 }.map { loose[$0] }
      }
    }
    let every = max(1, loose.count / (some / 3))
    let chosen = stride(from: 0, to: loose.count, by: every)
    var result = chosen.map { index in loose.indices.filter { $0 != index }.map { loose[$0] } }
    result += chosen.map { [loose[$0]] }
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    for _ in 0..<some / 3 {
      result.append(
        loose.filter { _ in
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          return state >> 63 == 1
        })
    }
    return result
  }

  /// The files with some of the writes that are not settled at a moment.
  private func files(_ settled: [any PagedStorage], _ combination: [Int]) -> [any PagedStorage]? {
    let overlays = settled.map { OverlayStorage(base: $0) }
    for index in combination {
      let event = events[index]
      guard (try? event.event.redo(on: overlays[event.file.value])) != nil else { return nil }
    }
    return overlays
  }

  // MARK: One state

  private func judge(_ files: [any PagedStorage]) -> CrashVerdict {
    var verdict = CrashVerdict()
    for file in states.checked where files.indices.contains(file.value) { verdict.check(files[file.value]) }
    verdict.guest = guest(files)
    return verdict
  }

  private func guest(_ files: [any PagedStorage]) -> CrashVerdict.Guest {
    guard let range = states.guest, range.count <= Self.compared else { return .notLookedAt }
    let contents = contents ?? (content(states.files(0), range), content(states.files(events.count), range))
    self.contents = contents
    guard let old = contents.before, let new = contents.after else { return .notLookedAt }
    guard let now = content(files, range) else { return .unreadable }
    var (before, after, other): (UInt64, UInt64, UInt64) = (0, 0, 0)
    var differs = false
    for at in stride(from: 0, to: now.count, by: 512) {
      let sector = at..<min(at + 512, now.count)
      let (isOld, isNew) = (now[sector] == old[sector], now[sector] == new[sector])
      differs = differs || old[sector] != new[sector]
      if isOld && !isNew { before += 1 }
      if isNew && !isOld { after += 1 }
      if !isOld && !isNew { other += 1 }
    }
    if other > 0 { return .other(other) }
    if !differs { return .same }
    if after == 0 { return .before }
    return before == 0 ? .after : .mixed(before: before, after: after)
  }

  /// What the guest reads; nil if it gets an error.
  private func content(_ files: [any PagedStorage]?, _ range: Range<UInt64>) -> [UInt8]? {
    guard let files, let image = try? states.image(files) else { return nil }
    var bytes = [UInt8](repeating: 0, count: range.count)
    let isRead = unsafe bytes.withUnsafeMutableBytes { buffer in
      (try? unsafe image.read(at: GuestOffset(range.lowerBound), into: buffer)) != nil
    }
    return isRead ? bytes : nil
  }
}
