// The longest rows of free clusters of a file: from what is known of each leaf of its map, so that only leaves which
// may hold one of them inside are looked at cluster by cluster. Works in slices.

import Qcow
import QcowFormat
import Storage

/// A map of a file that tells which of its clusters are free.
protocol FreeRunSource: AnyObject {
  /// Changes whenever an answer may have changed.
  var revision: Int { get }
  /// Everything has been counted.
  var isComplete: Bool { get }
  /// Clusters of the file.
  var fileClusters: UInt64 { get }
  /// Clusters of a leaf, as a power of two.
  var freeLeafBits: UInt64 { get }
  /// The free rows of a leaf; nil if it has to be looked at.
  func freeRun(ofLeaf leaf: UInt64) -> FreeRun?
  /// Calls `body` for the rows of free clusters of a range, in order.
  func forEachFreeRow(in clusters: Range<UInt64>, _ body: (_ first: UInt64, _ count: UInt64) -> Void)
}

/// Finds the longest rows.
package final class FreeRunSearch: Work {
  /// The longest rows found so far in host clusters, the longest first; the first in the file of two alike.
  package private(set) var runs: [Range<UInt64>] = []
  /// All of the file has been looked at.
  package var isDone: Bool { isStarted && revision == source.revision && leaf >= leaves && source.isComplete }
  /// Free clusters at the end of the file; nil until all of it has been looked at.
  package var tail: UInt64? {
    isDone ? lastRow.map { $0.upperBound >= source.fileClusters ? UInt64($0.count) : 0 } ?? 0 : nil
  }

  private let source: any FreeRunSource
  private let limit: Int
  private var revision = 0
  private var isStarted = false
  private var leaf: UInt64 = 0
  /// The row that reaches up to the leaf that is next.
  private var row: Range<UInt64>?
  /// The last row that ended.
  private var lastRow: Range<UInt64>?

  /// Begins nothing yet; `limit` rows are kept.
  package convenience init(_ atlas: Atlas, limit: Int = 10) { self.init(source: atlas, limit: limit) }
  /// The same of an external data file.
  package convenience init(_ map: DataFileMap, limit: Int = 10) { self.init(source: map, limit: limit) }

  private init(source: any FreeRunSource, limit: Int) {
    self.source = source
    self.limit = max(1, limit)
  }

  private var leaves: UInt64 {
    source.fileClusters == 0 ? 0 : (source.fileClusters - 1) >> source.freeLeafBits + 1
  }

  package var progress: Double { isDone ? 1 : Double(leaf) / Double(max(1, leaves)) }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    // Its own map comes first; there is nothing to do before that.
    guard source.isComplete else { return true }
    if !isStarted || revision != source.revision {
      (isStarted, revision) = (true, source.revision)
      (leaf, row, lastRow, runs) = (0, nil, nil, [])
    }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while leaf < leaves {
      for _ in 0..<16 where leaf < leaves {
        look(leaf)
        leaf += 1
        if leaf >= leaves { finishRow() }
      }
      if clock.now >= end { break }
    }
    return isDone
  }

  /// Rows up to this long do not count any more.
  private var least: UInt64 { runs.count < limit ? 0 : UInt64(runs[runs.count - 1].count) }

  private func look(_ leaf: UInt64) {
    let start = leaf << source.freeLeafBits
    let end = min(start + 1 << source.freeLeafBits, source.fileClusters)
    guard start < end else { return }
    guard let known = source.freeRun(ofLeaf: leaf) else {
      source.forEachFreeRow(in: start..<end) { extend($0..<$0 + $1) }
      return
    }
    if known.prefix > 0 { extend(start..<start + known.prefix) }
    guard known.prefix < end - start else { return }
    let inside = start + known.prefix..<end - known.suffix
    if inside.lowerBound < inside.upperBound, known.best > least, UInt64(inside.count) > least + 2 {
      source.forEachFreeRow(in: inside) { extend($0..<$0 + $1) }
    }
    if known.suffix > 0 { extend(end - known.suffix..<end) }
  }

  private func extend(_ free: Range<UInt64>) {
    if let open = row, open.upperBound == free.lowerBound {
      row = open.lowerBound..<free.upperBound
    } else {
      finishRow()
      row = free
    }
  }

  private func finishRow() {
    guard let done = row else { return }
    row = nil
    lastRow = done
    guard UInt64(done.count) > least else { return }
    let place = runs.firstIndex { $0.count < done.count } ?? runs.count
    runs.insert(done, at: place)
    if runs.count > limit { runs.removeLast() }
  }
}

extension Atlas: FreeRunSource {
  var isComplete: Bool { isDone && !isPartial }
  var freeLeafBits: UInt64 { survey.host.leafBits }

  func freeRun(ofLeaf leaf: UInt64) -> FreeRun? { survey.host.freeRuns.leaf(Int(leaf)) }

  func forEachFreeRow(in clusters: Range<UInt64>, _ body: (_ first: UInt64, _ count: UInt64) -> Void) {
    _ = survey.classifier.classify(clusters) { first, count, facts in
      if facts.state == .free { body(first, count) }
    }
  }
}
