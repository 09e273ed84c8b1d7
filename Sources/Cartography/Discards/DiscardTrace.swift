// A file of requests laid over an image: first what alignment drops, which follows from the lines alone, then what
// each policy makes of the image when the requests are really played, in memory. A large disk is played part by part,
// so that the tables of one part are all that is kept at a time.

package import Qcow
import QcowFormat
package import Storage

/// A trace of discards on one image; the image stays as it is.
///
/// Not safe for use from two threads at once. The image must not change while the work goes on.
package final class DiscardTrace: Work {
  /// The losses that are kept.
  package static let mostLosses = 1000
  /// Parts of the disk whose share is told.
  package static let parts = 64
  /// Bytes of L2 tables that are played on at a time.
  package static let tableBytes: UInt64 = 16 << 20
  /// Longer requests are played in pieces, as the explorer does them.
  private static let longest: UInt64 = 64 << 20
  private static let piece: UInt64 = 8 << 20

  private let image: Image
  private let geometry: Geometry
  private let lines: TraceFile
  private let zeroes = UntouchedZeroes()
  private let trials: [DiscardTrial]
  /// Told of every discard that loses something, in the order of the file.
  package var hearsLoss: ((DiscardLoss) -> Void)?

  /// What follows from the lines; complete once ``isCounted``.
  package private(set) var counts = DiscardCounts()
  /// The discards that lose most by clusters, the worst first.
  package private(set) var losses: [DiscardLoss] = []
  private var heap: [DiscardLoss] = []
  /// For each of ``parts`` equal parts of the disk: bytes that discards asked for there and do not get by clusters.
  package private(set) var lost = [UInt64](repeating: 0, count: parts)
  /// The same of all bytes that they asked for.
  package private(set) var asked = [UInt64](repeating: 0, count: parts)
  /// All lines were read once.
  package private(set) var isCounted = false
  /// All requests were played under all policies.
  package private(set) var isDone = false
  /// Why the file could not be read to its end; nil if it could.
  package private(set) var failure: String?
  /// Why the requests are not played; nil if they are.
  package private(set) var refusal: String?

  /// Bytes of the disk that are played on at a time, and which of these parts are touched.
  private let partBytes: UInt64
  private var touched: [Bool]
  private var part = 0
  /// What is left of the request that is being played, and its line.
  private var playing: (request: Request, line: UInt64)?

  /// `file` is the file of requests; the tables of `image` have been flushed. The tables that are played on at a time
  /// have `tableBytes`, at least one of them.
  package init(_ image: Image, _ file: any Storage, tableBytes: UInt64 = tableBytes) {
    self.image = image
    geometry = image.geometry
    lines = TraceFile(file)
    trials = DiscardPolicy.all(for: image).map { [zeroes] in DiscardTrial($0, of: image, zeroes) }
    let tables = max(1, tableBytes / image.geometry.clusterSize)
    let (bytes, overflow) = image.geometry.bytesPerL2Table.multipliedReportingOverflow(by: tables)
    partBytes = overflow ? .max : bytes
    touched = Array(repeating: false, count: Int(image.geometry.virtualSize / partBytes) + 1)
  }

  /// The policies that are compared, the first is what happens without options.
  package var policies: [DiscardPolicy] { trials.map(\.policy) }
  /// What the discards do under each of them, as far as they were played.
  package var outcomes: [DiscardOutcome] { trials.map(\.outcome) }
  /// Bytes that a policy drops by alignment.
  package func lostBytes(_ policy: DiscardPolicy) -> UInt64 {
    policy.bySubclusters ? counts.lostBySubclusters : counts.lostByClusters
  }

  /// A discard of an image of version 2 with a backing file is dropped as a whole: nothing could say there that
  /// zeroes are to be read.
  package var dropsAll: Bool {
    image.header.version < 3 && image.backingFileName != nil && !image.options.standsAlone
  }

  // MARK: Work

  package var progress: Double {
    guard !isDone else { return 1 }
    let passes = Double(1 + touched.count(where: { $0 }))
    let done = isCounted ? 1 + touched[..<min(part, touched.count)].count(where: { $0 }) : 0
    return min(1, (Double(done) + lines.progress) / passes)
  }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard !isDone else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    do throws(StorageError) {
      repeat {
        if isCounted { try play() } else { try count() }
      } while !isDone && clock.now < end
    } catch {
      failure = error.description
      finish()
    }
    return isDone
  }

  private func finish() {
    if !isCounted { sortLosses() }
    isCounted = true
    isDone = true
    for trial in trials { trial.end() }
  }

  // MARK: What the lines say

  /// Counts some lines.
  private func count() throws(StorageError) {
    for _ in 0..<256 {
      guard let line = try lines.next() else {
        isCounted = true
        sortLosses()
        part = -1
        return beginNextPart()
      }
      counts.lines += 1
      switch line {
      case .nothing: break
      case .notUnderstood(let reason):
        counts.notUnderstood += 1
        if counts.firstNotUnderstood == nil { counts.firstNotUnderstood = "line \(lines.line): \(reason)" }
      case .request(let request): count(request)
      }
    }
  }

  /// The bytes of a request; nil if they do not lie on the disk.
  private func range(_ request: Request) -> Range<UInt64>? {
    let (end, overflow) = request.offset.addingReportingOverflow(request.length)
    return overflow || end > geometry.virtualSize ? nil : request.offset..<end
  }

  private func count(_ request: Request) {
    guard let range = range(request) else {
      counts.outside += 1
      return
    }
    for part in Int(range.lowerBound / partBytes)...Int((range.upperBound - 1) / partBytes) {
      touched[part] = true
    }
    guard request.kind == .discard else {
      counts.writes += 1
      return
    }
    counts.discards += 1
    counts.asked &+= request.length
    let whole = UInt64(range.count)
    func lost(_ bySubclusters: Bool) -> UInt64 {
      dropsAll && !bySubclusters
        ? whole : whole - UInt64(geometry.discardable(range, bySubclusters: bySubclusters).count)
    }
    let loss = DiscardLoss(
      line: lines.line, range: range, byClusters: lost(false), bySubclusters: lost(true))
    counts.lostByClusters &+= loss.byClusters
    counts.lostBySubclusters &+= loss.bySubclusters
    if loss.bySubclusters > 0 { counts.losingBySubclusters += 1 }
    if loss.bySubclusters == whole { counts.losingAllBySubclusters += 1 }
    share(range, into: &asked)
    guard loss.byClusters > 0 else { return }
    counts.losing += 1
    if loss.byClusters == whole { counts.losingAll += 1 }
    let left =
      dropsAll ? range.lowerBound..<range.lowerBound : geometry.discardable(range, bySubclusters: false)
    if left.isEmpty {
      share(range, into: &self.lost)
    } else {
      share(range.lowerBound..<left.lowerBound, into: &self.lost)
      share(left.upperBound..<range.upperBound, into: &self.lost)
    }
    hearsLoss?(loss)
    keep(loss)
  }

  /// Adds the bytes of a range to the parts of the disk that it lies in.
  private func share(_ range: Range<UInt64>, into parts: inout [UInt64]) {
    guard !range.isEmpty else { return }
    let first = part(at: range.lowerBound)
    let last = part(at: range.upperBound - 1)
    guard first < last else {
      parts[first] &+= UInt64(range.count)
      return
    }
    for part in first...last {
      parts[part] &+= UInt64(range.clamped(to: start(ofPart: part)..<start(ofPart: part + 1)).count)
    }
  }

  /// The first byte of one of the equal parts of the disk.
  package func start(ofPart part: Int) -> UInt64 {
    let (high, low) = geometry.virtualSize.multipliedFullWidth(by: UInt64(part))
    return UInt64(Self.parts).dividingFullWidth((high, low)).quotient
  }

  private func part(at offset: UInt64) -> Int {
    let (high, low) = offset.multipliedFullWidth(by: UInt64(Self.parts))
    var part = min(Self.parts - 1, Int(max(1, geometry.virtualSize).dividingFullWidth((high, low)).quotient))
    if part + 1 < Self.parts, start(ofPart: part + 1) <= offset { part += 1 }
    return part
  }

  // MARK: The worst

  /// Whether a loss is smaller than another, or as large and later.
  private static func isLess(_ a: DiscardLoss, _ b: DiscardLoss) -> Bool {
    a.byClusters != b.byClusters ? a.byClusters < b.byClusters : a.line > b.line
  }

  /// Keeps a loss among the worst: a heap with the least of them in front.
  private func keep(_ loss: DiscardLoss) {
    if heap.count < Self.mostLosses {
      heap.append(loss)
      var child = heap.count - 1
      while child > 0, Self.isLess(heap[child], heap[(child - 1) / 2]) {
        heap.swapAt(child, (child - 1) / 2)
        child = (child - 1) / 2
      }
    } else if let least = heap.first, Self.isLess(least, loss) {
      heap[0] = loss
      var parent = 0
      while let child = [2 * parent + 1, 2 * parent + 2].filter({ $0 < heap.count }).min(by: {
        Self.isLess(heap[$0], heap[$1])
      }), Self.isLess(heap[child], heap[parent]) {
        heap.swapAt(child, parent)
        parent = child
      }
    }
  }

  private func sortLosses() { losses = heap.sorted { Self.isLess($1, $0) } }

  // MARK: What the image makes of them

  private func beginNextPart() {
    part += 1
    while part < touched.count, !touched[part] { part += 1 }
    guard part < touched.count else { return finish() }
    lines.rewind()
    for trial in trials {
      do throws(ImageError) { try trial.begin() } catch {
        refusal = error.description
        return finish()
      }
    }
  }

  /// Plays the next piece of a request, or reads lines up to the next one.
  private func play() throws(StorageError) {
    if let (request, line) = playing {
      var now = request
      if request.length > Self.longest {
        now.length = Self.piece - request.offset % Self.piece
        let rest = Request(request.kind, at: request.offset + now.length, length: request.length - now.length)
        playing = (rest, line)
      } else {
        playing = nil
      }
      for trial in trials { trial.play(now, line: line) }
      return
    }
    for _ in 0..<256 {
      guard let next = try lines.next() else { return beginNextPart() }
      guard case .request(let request) = next, let range = range(request), request.length > 0 else {
        continue
      }
      let here = UInt64(part) * partBytes
      let (end, overflow) = here.addingReportingOverflow(partBytes)
      let mine = range.clamped(to: here..<(overflow ? .max : end))
      guard !mine.isEmpty else { continue }
      playing = (Request(request.kind, at: mine.lowerBound, length: UInt64(mine.count)), lines.line)
      return
    }
  }
}
