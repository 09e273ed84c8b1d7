// The play of a lesson without a screen: its files, the session that is explored, and one operation after the other.
// A session is done again from its beginning for every request in it, so that what is looked at is what a program
// leaves that ends there.

import Cartography
package import Qcow
import QcowFormat
import Storage
import ToolText

/// Plays operations of a lesson, or of a question.
package final class LessonStage {
  /// Requests of one session, and operations that can be taken back.
  private static let mostRequests = 1000

  /// A request, and the wrong orders that hold for it.
  private struct Request {
    var line: String
    var wrongOrders: Set<WrongOrder>
  }

  /// What is opened, and how.
  private struct Opening {
    var name: String
    var options: SessionOptions
    var isReadOnly: Bool
  }

  /// The files behind the last operation, as if the session had been closed.
  package private(set) var bench: Workbench
  /// The file that is explored.
  package private(set) var current = "disk"
  /// "ok", or why the last operation failed.
  package private(set) var outcome = "ok"
  /// How the explored file is opened.
  package private(set) var options: SessionOptions
  /// It is opened for reading only.
  package private(set) var isReadOnly = false
  /// Wrong orders that the engine takes now: those of the lesson, or of the step that was entered.
  package private(set) var wrongOrders: Set<WrongOrder> = []

  /// How genuine tools come to the same files; nil where they cannot.
  package private(set) var toolWork: ToolWork?

  private let lessonFaults: Set<WrongOrder>
  /// The engine's own choices, which outlast the session.
  private var policies: [String: String] = [:]
  /// The files when the session began, and its requests; nil before the first.
  private var session: (start: Workbench, requests: [Request], failures: Int)?
  private var history: [(bench: Workbench, current: String, options: SessionOptions)] = []
  private var before: LessonMoment?
  private var steps: [LessonMoment] = []
  private var record: (() throws(LessonProblem) -> StepRecord)?

  /// A stage with the image of a lesson; `tells` hears how genuine tools do a line of it, and what the engine made.
  ///
  /// - Throws: ``LessonProblem`` for a line of the image that fails, and a fault that is not known.
  package convenience init(
    _ lesson: Lesson, tells: ((_ line: Lesson.Line, _ work: ToolWork, _ after: Workbench) -> Void)? = nil
  ) throws(LessonProblem) {
    let bench = Workbench()
    for line in lesson.image {
      let work = tells == nil ? nil : ToolWork(line.text, on: bench.copy())
      do throws(LessonProblem) { try bench.run(line.text) } catch { throw error.at(line.number) }
      if let work { tells?(line, work, bench) }
    }
    try self.init(bench, lesson.session, fault: lesson.fault)
  }

  /// A stage with files that are there.
  ///
  /// - Throws: ``LessonProblem`` for a fault that is not known.
  package init(
    _ bench: Workbench, _ session: SessionOptions = SessionOptions(), fault: String? = nil
  ) throws(LessonProblem) {
    self.bench = bench
    options = session
    lessonFaults = try Self.faults(fault)
    wrongOrders = lessonFaults
  }

  private init(_ other: LessonStage) {
    bench = other.bench.copy()
    (current, outcome, options, isReadOnly) = (other.current, other.outcome, other.options, other.isReadOnly)
    (wrongOrders, lessonFaults, policies) = (other.wrongOrders, other.lessonFaults, other.policies)
    (session, history, before, steps, record) =
      (other.session, other.history, other.before, other.steps, other.record)
  }

  /// The same state once more; either may go on without the other.
  package func copy() -> LessonStage { LessonStage(self) }

  private static func faults(_ name: String?) throws(LessonProblem) -> Set<WrongOrder> {
    guard let name else { return [] }
    guard let order = WrongOrder(rawValue: name) else { throw LessonProblem("there is no fault '\(name)'") }
    return [order]
  }

  /// The files now, with what the last operation wrote.
  package var moment: LessonMoment {
    LessonMoment(bench, current: current, outcome: outcome, before: before, steps: steps, record: record)
  }

  /// Says of the files what a step leaves: equal numbers mean that all bytes are equal, but for dates.
  package var digest: UInt64 { FileDigest.of(bench, current) }

  // MARK: Steps

  /// Begins a step: its fault is switched on, its leading operations are done, and from here on `before` means the
  /// files as they are then.
  ///
  /// - Throws: ``LessonProblem`` with the line for what cannot be done.
  package func enter(_ step: Lesson.Step) throws(LessonProblem) {
    do throws(LessonProblem) {
      wrongOrders = lessonFaults.union(try Self.faults(step.fault))
    } catch { throw error.at(step.line) }
    for line in step.leading {
      do throws(LessonProblem) { try perform(line.text) } catch { throw error.at(line.number) }
    }
    beginStep()
  }

  /// Begins the exercise.
  package func enterExercise() {
    wrongOrders = lessonFaults
    beginStep()
  }

  private func beginStep() {
    before = LessonMoment(bench.copy(), current: current, outcome: outcome)
    steps = []
  }

  /// An operation of the step is done, which `after[K]` counts.
  package func endOperation() {
    steps.append(LessonMoment(bench.copy(), current: current, outcome: outcome, record: record))
  }

  /// The files are what somebody else has made of them, who has played operations of a learner: the session ends, and
  /// can be taken back with the operations before.
  package func replaceFiles(by other: Workbench) {
    remember()
    session = nil
    record = nil
    outcome = "ok"
    bench = other.copy()
  }

  // MARK: Operations

  private static let requests: Set<String> = ["write", "read", "discard"]
  private static let verbs: Set<String> = ["snapshot", "resize", "commit", "rebase", "check", "bitmap"]
  /// What is done on entering a step, before anything is shown or asked.
  package static let leading: Set<String> = ["open", "reopen", "undo"]
  /// What the first word of an operation may be.
  package static let operations: Set<String> = requests.union(verbs).union(leading).union([
    "crash", "race", "poke", "punch", "cut", "pin", "unpin", "policy", "set",
  ])

  private var opening: Opening {
    var parts = options.text.isEmpty ? [] : [options.text]
    parts += policies.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    let all = (try? SessionOptions(parts.joined(separator: ","))) ?? options
    return Opening(name: current, options: all, isReadOnly: isReadOnly)
  }

  private func remember() {
    if history.count >= Self.mostRequests { history.removeFirst() }
    history.append((bench.copy(), current, options))
  }

  /// Does an operation. What the image or the tools refuse is an ``outcome``.
  ///
  /// - Throws: ``LessonProblem`` for words that are no operation, and for one that is too much for a lesson.
  package func perform(_ line: String) throws(LessonProblem) {
    let words = Workbench.words(line)
    guard let verb = words.first else { return }
    guard Self.operations.contains(verb) else { throw LessonProblem("'\(verb)' is no operation") }
    if !Self.leading.contains(verb) { remember() }
    toolWork = nil
    switch verb {
    case _ where Self.requests.contains(verb): try request(line)
    case "crash": try crash()
    case "open", "reopen": try open(verb, words)
    case "undo": try undo(words)
    case "race": try race(line)
    case "poke", "punch", "cut":
      endSession()
      try bench.change(current, verb, Array(words.dropFirst()))
    case "pin", "unpin":
      endSession()
      outcome = Self.verb([verb, current], on: bench, wrongOrders)
    case "policy", "set":
      session = nil
      try choose(verb, words.last ?? "")
    default: image(words)
    }
    try bench.requireSmall()
  }

  private func endSession() {
    session = nil
    record = nil
    outcome = "ok"
  }

  private func choose(_ verb: String, _ word: String) throws(LessonProblem) {
    var chosen = policies
    switch (verb, word) {
    case ("policy", _): chosen["policy"] = word
    case (_, "discard-subcluster"): chosen["discard-granularity"] = "subcluster"
    case (_, "discard-cluster"): chosen["discard-granularity"] = "cluster"
    default: throw LessonProblem("'set' needs discard-subcluster or discard-cluster")
    }
    _ = try SessionOptions(chosen.map { "\($0.key)=\($0.value)" }.joined(separator: ","))
    policies = chosen
  }

  // MARK: Sessions

  private func request(_ line: String) throws(LessonProblem) {
    var open = session ?? (bench.copy(), [], 0)
    let added = line.split(separator: ";").map {
      Request(line: String($0.drop { $0 == " " }), wrongOrders: wrongOrders)
    }
    for request in added { try Workbench.requireSmall(request.line) }
    open.requests += added
    guard open.requests.count <= Self.mostRequests else {
      throw LessonProblem("a session has at most \(Self.mostRequests) requests")
    }
    let (start, requests, opening) = (open.start, open.requests, opening)
    bench = start.copy()
    let failures = try Self.play(requests, on: bench, opening)
    outcome = failures.count > open.failures ? failures.last ?? "failed" : "ok"
    open.failures = failures.count
    session = open
    record = { () throws(LessonProblem) in try Self.record(requests, added.count, from: start, opening) }
    toolWork = work(requests, from: start, crashes: false)
  }

  /// Only this program has policies and faults.
  private func work(_ requests: [Request], from start: Workbench, crashes: Bool) -> ToolWork? {
    guard policies.isEmpty, !options.text.contains("policy="), requests.allSatisfy({ $0.wrongOrders.isEmpty })
    else { return nil }
    return ToolWork(
      session: requests.map(\.line), on: start, current, options.text, isReadOnly: isReadOnly,
      crashes: crashes)
  }

  /// Opens the file, makes requests and closes it, unless it `crashes`. What failed is told.
  private static func play(
    _ requests: [Request], _ added: Int = 1, on bench: Workbench, _ opening: Opening, crashes: Bool = false,
    beforeLast: ((Image) throws(LessonProblem) -> Void)? = nil,
    behindLast: ((Image) throws(LessonProblem) -> Void)? = nil
  ) throws(LessonProblem) -> [String] {
    var failures: [String] = []
    let image: Image
    do throws(LessonProblem) {
      image = try bench.open(opening.name, opening.options, isReadOnly: opening.isReadOnly)
    } catch { return requests.map { _ in error.reason } }
    let session = IoSession(image, terminal: bench.terminal, program: "qemu-io")
    for (index, request) in requests.enumerated() {
      if index == requests.count - added { try beforeLast?(image) }
      image.storage.note(StepRecord.mark)
      WrongOrder.switchOn(request.wrongOrders, in: image)
      bench.forgetOutput()
      let isDone = session.run(request.line) == .done
      if let reason = failure(in: bench.output) {
        failures.append(reason)
      } else if !isDone {
        failures.append("failed")
      }
    }
    try behindLast?(image)
    if !crashes { try? image.close() }
    return failures
  }

  /// The reason in a line as "write failed: Input/output error"; nil if all went well.
  private static func failure(in output: String) -> String? {
    for line in output.split(separator: "\n") {
      for word in ["failed: ", "rror: ", "can't "] {
        guard line.contains(word), let colon = line.lastIndex(of: ":") else { continue }
        return String(line[line.index(after: colon)...].drop { $0 == " " })
      }
    }
    return nil
  }

  private static func record(
    _ requests: [Request], _ added: Int, from start: Workbench, _ opening: Opening
  ) throws(LessonProblem) -> StepRecord {
    let work = start.copy()
    let recorder = RecordingStorage(try work.file(opening.name))
    let reads = ReadLog(recorder)
    work.stands[opening.name] = reads
    var before = work
    _ = try play(
      requests, added, on: work, opening,
      beforeLast: { (image) throws(LessonProblem) in
        do throws(ImageError) { try image.flush() } catch { throw LessonProblem(error.description) }
        before = work.copy()
        recorder.forget()
      },
      behindLast: { (image) throws(LessonProblem) in
        // What cannot be flushed is what the request left.
        try? image.flush()
      })
    work.stands = [:]
    return try StepRecord(
      recorder.events, reads: reads.reads, before: before, after: work, current: opening.name,
      asked: requests.suffix(added).reduce(0) { $0 &+ asked($1.line) })
  }

  /// Bytes that a line writes.
  private static func asked(_ line: String) -> UInt64 {
    let words = Workbench.words(line)
    guard words.first == "write", words.count > 2 else { return 0 }
    return Size.bytes(words[words.count - 1]) ?? 0
  }

  private func crash() throws(LessonProblem) {
    guard let open = session else { throw LessonProblem("there is no session that could crash") }
    bench = open.start.copy()
    _ = try Self.play(open.requests, on: bench, opening, crashes: true)
    toolWork = work(open.requests, from: open.start, crashes: true)
    endSession()
  }

  private func open(_ verb: String, _ words: [String]) throws(LessonProblem) {
    session = nil
    isReadOnly = false
    var list: [String] = []
    var name: String?
    for word in words.dropFirst() {
      if word == "-r" {
        isReadOnly = true
      } else if word.contains("=") {
        list.append(word)
      } else {
        name = word
      }
    }
    options = try SessionOptions(list.joined(separator: ","))
    if let name {
      _ = try bench.file(name)
      current = name
    } else if verb == "open" {
      // What opening does by itself, a repair after a crash above all, is done now.
      let failures = try Self.play([Request(line: "length", wrongOrders: [])], on: bench, opening)
      outcome = failures.last ?? "ok"
    }
  }

  private func undo(_ words: [String]) throws(LessonProblem) {
    endSession()
    for _ in 0..<min(Self.mostRequests, max(1, words.count > 1 ? Int(words[1]) ?? 1 : 1)) {
      guard let last = history.popLast() else { throw LessonProblem("nothing to undo") }
      (bench, current, options) = last
    }
  }

  // MARK: Two requests at once

  /// The first request is held before its data reaches the file, the second comes, the first goes on. A request that
  /// frees a cluster waits for those that use it.
  private func race(_ line: String) throws(LessonProblem) {
    endSession()
    let parts = line.dropFirst("race".count).split(separator: ",")
    guard parts.count == 2 else { throw LessonProblem("'race' needs two requests with a comma between") }
    let both = parts.map { Request(line: String($0.drop { $0 == " " }), wrongOrders: []) }
    for request in both { try Workbench.requireSmall(request.line) }
    guard wrongOrders.contains(.noWait) else {
      outcome = try Self.play(both, on: bench, opening).last ?? "ok"
      return
    }
    let held = try heldWrite(both[0].line)
    outcome = try Self.play([both[1]], on: bench, opening).last ?? "ok"
    let file = try bench.file(current)
    do throws(StorageError) {
      try file.write(held.bytes, at: held.host)
      try file.write(held.entry.bigEndianBytes, at: held.entryAt)
    } catch { throw LessonProblem(error.description) }
  }

  /// What a write has settled before its data lands: its bytes and their place, which is that of its cluster's entry,
  /// and the entry that it is going to write.
  private func heldWrite(
    _ line: String
  ) throws(LessonProblem) -> (bytes: [UInt8], host: UInt64, entry: UInt64, entryAt: UInt64) {
    let words = Workbench.words(line)
    guard words.first == "write", words.count > 2, let image = ImageBytes(try bench.file(current)),
      let start = Size.bytes(words[words.count - 2]), let count = Size.bytes(words[words.count - 1]),
      count > 0, count <= image.geometry.clusterSize,
      image.geometry.offsetInCluster(start) <= image.geometry.clusterSize - count,
      let entryAt = image.entryOffset(image.geometry.cluster(of: GuestOffset(start)), image.active)
    else { throw LessonProblem("'no-wait' needs a write within one cluster that has a table") }
    let entry = image.entry(image.geometry.cluster(of: GuestOffset(start)), image.active)
    guard !entry.isCompressed, entry.offsetBits != 0 else {
      throw LessonProblem("'no-wait' needs a cluster that has its place")
    }
    let pattern = words.firstIndex(of: "-P").flatMap { Size.bytes(words[$0 + 1]) } ?? 0xcd
    return (
      [UInt8](repeating: UInt8(truncatingIfNeeded: pattern), count: Int(count)),
      entry.offsetBits &+ image.geometry.offsetInCluster(start), entry.offsetBits | L2Entry.copiedFlag,
      entryAt
    )
  }

  // MARK: Verbs over the whole image

  private func image(_ words: [String]) {
    session = nil
    var line = words
    switch words[0] {
    case "bitmap" where words.count > 1: line.insert(current, at: words.count - 1)
    case "resize":
      let flags = words.dropFirst().filter { $0.hasPrefix("-") }
      line = ["resize"] + flags + [current] + words.dropFirst().filter { !$0.hasPrefix("-") }
    default: line.append(current)
    }
    let start = bench.copy()
    let (current, wrongOrders) = (current, wrongOrders)
    outcome = Self.verb(line, on: bench, wrongOrders)
    if wrongOrders.isEmpty {
      toolWork = ToolWork("img " + line.map(ChangeWords.quoted).joined(separator: " "), on: start)
    }
    record = { () throws(LessonProblem) in
      let work = start.copy()
      let recorder = RecordingStorage(try work.file(current))
      work.stands[current] = recorder
      _ = Self.verb(line, on: work, wrongOrders)
      work.stands = [:]
      return try StepRecord(recorder.events, before: start, after: work, current: current, asked: 0)
    }
  }

  private static func verb(_ words: [String], on bench: Workbench, _ wrongOrders: Set<WrongOrder>) -> String {
    bench.wrongOrders = wrongOrders
    defer { bench.wrongOrders = [] }
    do throws(LessonProblem) {
      try bench.run("img " + words.map(ChangeWords.quoted).joined(separator: " "))
      return "ok"
    } catch { return error.reason }
  }
}

extension UInt64 {
  /// As the format has numbers.
  fileprivate var bigEndianBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (56 - 8 * $0)) } }
}
