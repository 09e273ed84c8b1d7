// What one operation wrote to the file, write by write, and what would be there if it had stopped in between.

import Cartography
import Qcow
import QcowFormat
package import Storage

/// The writes of an operation in the order in which they reached the file.
package struct StepRecord {
  /// One write.
  package struct Write {
    /// Whose cluster it is, "punch" in front of what is given back.
    package var name: String
    /// Where it begins in the file.
    package var offset: UInt64
    /// Bytes that it changes: of an L1 table the entries alone.
    package var length: UInt64
    /// A flush comes before the next write.
    package var isFlushed = false
    /// What the engine did for it: more than one where it writes guest data and what lies around it piece by piece.
    package var events: [StorageEvent]
    /// What it said of entries and counts in memory since the write before.
    package var notes: [StorageEvent]
  }

  package let writes: [Write]
  /// Reads of L2 tables, or of pieces of them, since the session began: bytes of each.
  let tableReads: [UInt64]
  /// The file before the operation, with the other files of the lesson.
  private let bench: Workbench
  private let current: String
  /// Bytes of the guest that the operation wrote.
  private let asked: UInt64

  /// `before` and `after` are the files before and behind the operation.
  init(
    _ events: [StorageEvent], reads: [(offset: UInt64, count: UInt64)] = [], before: Workbench,
    after: Workbench,
    current: String, asked: UInt64
  ) throws(LessonProblem) {
    bench = before
    self.current = current
    self.asked = asked
    let names = try (old: Self.names(before, current), new: Self.names(after, current))
    let file = try after.file(current)
    let found = FileWrite.writes(of: events.map { FileEvent(file: .image, event: $0) })
    let writes = found.map { Self.write($0, names, file) }
    self.writes = writes
    let geometry = ImageBytes(file)?.geometry
    tableReads = reads.compactMap { read in
      let owner = geometry.flatMap { names.new?.all(of: $0.cluster(of: HostOffset(read.offset))).first }
      return owner?.hasPrefix("L2[") == true ? read.count : nil
    }
  }

  /// Where a request begins, among the notes of what it does.
  static let mark = FileWrite.mark

  private static func names(_ bench: Workbench, _ name: String) throws(LessonProblem) -> OwnerNames? {
    try bench.look(name).map(OwnerNames.init)
  }

  private static func write(
    _ found: FileWrite, _ names: (old: OwnerNames?, new: OwnerNames?), _ file: MemoryStorage
  ) -> Write {
    let first = found.events[0]
    let range = found.range
    var write = Write(
      name: "?", offset: range.lowerBound, length: UInt64(range.count), isFlushed: found.isFlushed,
      events: found.events, notes: found.notes)
    guard let image = ImageBytes(file) else { return write }
    let cluster = image.geometry.cluster(of: HostOffset(range.lowerBound))
    let old = names.old?.all(of: cluster) ?? []
    let new = names.new?.all(of: cluster) ?? []
    let owners = first.kind == .punch ? old + new : new + old
    write.name = (first.kind == .punch ? "punch " : "") + (owners.first ?? "free")
    if write.name == "L1", first.kind == .write, first.count < image.geometry.clusterSize {
      let changed = ByteChange.changes(of: first, limit: Self.mostEntries).changes
      if let place = changed.first?.offset, range.lowerBound >= image.header.l1TableOffset {
        write.name = "L1[\((place - image.header.l1TableOffset) / 8)]"
        write.length = UInt64(changed.count) * 8
      }
    }
    return write
  }

  /// Entries of an L1 table that one write changes, at most.
  private static let mostEntries = 1 << 16

  // MARK: Answers

  func value(_ term: Query.Term) throws(LessonProblem) -> QueryValue {
    switch term.form {
    case .stepWrites: return .number(UInt64(writes.count))
    case .stepOrder:
      let words = writes.map { $0.name + ($0.isFlushed ? " F" : "") }
      return .words(words.isEmpty ? "nothing" : words.joined(separator: ", "))
    case .stepSizes: return .numbers(writes.map(\.length))
    case .stepBytes: return .number(writes.reduce(0) { $0 &+ $1.length })
    case .copied:
      let data = writes.filter { $0.name.hasPrefix("data[") }.reduce(UInt64(0)) { $0 &+ $1.length }
      return .number(data > asked ? data - asked : 0)
    case .sessionReads: return .number(UInt64(tableReads.count))
    case .sessionReadBytes: return .number(tableReads.reduce(0, &+))
    case .stepCheck, .stepCheckIn:
      return .words(
        try stops(term.form == .stepCheckIn ? term.numbers : nil).map(\.check).joined(separator: ", "))
    case .stepWorst, .stepWorstIn:
      let found = try stops(term.form == .stepWorstIn ? term.numbers : nil)
      return .words(found.max { ($0.errors, $0.leaks) < ($1.errors, $1.leaks) }?.check ?? "clean")
    case .stepRead:
      guard term.numbers.count == 2 else { throw LessonProblem("'step.read' needs a place and a length") }
      let read = try Query("read \(term.numbers[0]) \(term.numbers[1])")
      return .words(
        try stops(nil).map { (stop) throws(LessonProblem) in
          try stop.moment.value(read).text
        }.joined(separator: ", "))
    default: throw LessonProblem("'\(term.form.rawValue)' is not known of this engine")
    }
  }

  private struct Stop {
    var moment: LessonMoment
    var check: String
    var errors: UInt64
    var leaks: UInt64
  }

  /// The files if the machine had stopped behind so many writes of the operation.
  ///
  /// - Throws: ``LessonProblem`` if there are not so many.
  package func stopped(behind count: Int) throws(LessonProblem) -> Workbench {
    guard writes.indices.contains(count - 1) || count == 0 else {
      throw LessonProblem("there is no write \(count)")
    }
    let work = bench.copy()
    for write in writes.prefix(count) { try write.redo(on: try work.file(current)) }
    return work
  }

  /// The file if the machine had stopped after each write: in the order of the file, or in another one, in which the
  /// first write is 1.
  private func stops(_ order: [UInt64]?) throws(LessonProblem) -> [Stop] {
    let numbers = order ?? (0..<UInt64(writes.count)).map { $0 + 1 }
    guard numbers.count <= Self.mostStops else {
      throw LessonProblem("more than \(Self.mostStops) stops are not looked at")
    }
    let work = bench.copy()
    var stops: [Stop] = []
    let query = try Query("check")
    for number in numbers {
      guard number >= 1, number <= UInt64(writes.count) else {
        throw LessonProblem("there is no write \(number)")
      }
      try writes[Int(number) - 1].redo(on: try work.file(current))
      let moment = LessonMoment(work.copy(), current: current)
      let check = try moment.value(query).text
      let words = check.split(separator: " ")
      func count(_ word: String) -> UInt64 {
        words.firstIndex(of: Substring(word)).flatMap {
          words.indices.contains($0 + 1) ? UInt64(words[$0 + 1]) : nil
        } ?? 0
      }
      stops.append(Stop(moment: moment, check: check, errors: count("errors"), leaks: count("leaks")))
    }
    return stops
  }

  private static let mostStops = 256
}

extension StepRecord.Write {
  /// Does it once more.
  fileprivate func redo(on file: MemoryStorage) throws(LessonProblem) {
    for event in events {
      do throws(StorageError) { try event.redo(on: file) } catch {
        throw LessonProblem("a write cannot be done again")
      }
    }
  }
}
