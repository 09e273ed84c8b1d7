// A moment of the history of an overlay, to look at: any generation, and the moment behind any event of an
// operation. Looking moves nothing, neither the overlay nor the file below.

/// A place in the history of an overlay: behind `generation` operations, and behind the first `events` of the
/// operation that follows them.
package struct HistoryMoment: Hashable, Comparable, Sendable {
  /// Operations before the moment, those that were taken back included.
  package var generation: Int
  /// Events of the operation behind them.
  package var events: Int

  package init(generation: Int, events: Int = 0) {
    self.generation = generation
    self.events = events
  }

  package static func < (a: HistoryMoment, b: HistoryMoment) -> Bool {
    (a.generation, a.events) < (b.generation, b.events)
  }
}

/// A storage whose bytes are pages above a base.
package protocol PagedStorage: Storage {
  /// What it shows.
  var layer: PageLayer { get }
}

/// What an overlay showed at one moment. It can only be read, and stays true while the overlay goes on and
/// while it is saved.
package final class GenerationView: PagedStorage, LookedAtStorage {
  package let layer: PageLayer

  init(_ layer: PageLayer) { self.layer = layer }

  package var name: String { layer.base.name }
  package var length: UInt64 { layer.length }
  package var allocatedBytes: UInt64 { layer.allocatedBytes }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    layer.base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { layer.base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool {
    layer.base.isReady(at: offset, count: count)
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe layer.read(at: offset, into: buffer)
  }

  package func extent(at offset: UInt64) -> HostExtent { layer.extent(at: offset) }

  package var refusal: String { "a moment of the past can only be looked at" }
}

extension PagedStorage {
  /// What was shown before an operation that has just been done here, or just been taken back. True until the
  /// next change.
  ///
  /// Costs the events of the operation and one copy of the map of changed pages.
  package func moment(before operation: StorageOperation, undone: Bool) -> GenerationView {
    var layer = layer
    if undone {
      for event in operation.events { layer.goForth(event) }
    } else {
      for event in operation.events.reversed() { layer.goBack(event) }
    }
    return GenerationView(layer)
  }
}

extension OverlayStorage {
  /// What was shown at a moment of the history; nil if there is no such moment, and if it is forgotten.
  ///
  /// Costs the events between that moment and now, and one copy of the map of changed pages.
  package func view(at moment: HistoryMoment) -> GenerationView? {
    let history = applied + undone.reversed()
    guard moment.generation >= forgotten, moment.generation <= history.count, moment.events >= 0,
      moment.events == 0
        || moment.generation < history.count && moment.events <= history[moment.generation].events.count
    else { return nil }
    var layer = layer
    if let pending { for event in pending.events.reversed() { layer.goBack(event) } }
    let now = applied.count
    if moment.generation >= now {
      for operation in history[now..<moment.generation] {
        for event in operation.events { layer.goForth(event) }
      }
      if moment.events > 0 {
        for event in history[moment.generation].events.prefix(moment.events) { layer.goForth(event) }
      }
    } else {
      for operation in history[(moment.generation + 1)..<now].reversed() {
        for event in operation.events.reversed() { layer.goBack(event) }
      }
      for event in history[moment.generation].events.dropFirst(moment.events).reversed() {
        layer.goBack(event)
      }
    }
    return GenerationView(layer)
  }
}
