// Generations above a storage that stays untouched: every operation is a step that can be taken
// back and forth byte for byte, dropped as if it had never been, or saved to the file below.
//
// Pages are immutable and shared between the map of current pages and the events, so that the
// whole history costs one copy of every changed page.

import Glibc

/// Looks over the shoulder of an operation: hears of every change, and may stop it before it happens.
package protocol OverlayWatch: AnyObject {
  /// Bytes are about to be read, written or replayed. What it throws ends the operation.
  ///
  /// - Throws: ``StorageError`` to refuse the access.
  func willAccess() throws(StorageError)
  /// A range is about to change. What it throws ends the operation.
  ///
  /// - Throws: ``StorageError`` to refuse the change, which then is not made.
  func willChange(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError)
  /// A change was made in memory.
  func noted(_ tag: WriteTag)
}

/// Storage above another one: writes stay in memory, as a history that can be gone through.
package final class OverlayStorage: PagedStorage {
  /// What lies below; it is only read.
  package var base: any Storage { layer.base }
  /// Set while an operation is under way that somebody may want to stop.
  package weak var watch: (any OverlayWatch)?
  package var name: String { base.name }
  package var isWritable: Bool { true }
  package var isRecording: Bool { true }
  package var length: UInt64 { layer.length }
  /// What is shown now.
  package private(set) var layer: PageLayer
  /// Numbers the events of several overlays in the order in which they happen.
  package var clock: EventClock?

  /// Operations whose effect is in place, oldest first.
  package private(set) var applied: [StorageOperation] = []
  /// Operations taken back, the next one to redo last.
  package private(set) var undone: [StorageOperation] = []
  /// The operations the file below holds.
  package private(set) var saved: [StorageOperation] = []

  /// An operation that a failed save left half done on the target, and the event it broke at.
  private var interrupted: (operation: StorageOperation, place: Int)?

  private var open: StorageOperation?
  private var nextID = 1
  /// Memory for pages that are not one repeated byte, in bytes, counted over the whole history.
  private let memoryLimit: Int
  private var memoryInUse = 0

  /// A gibibyte, or half of the memory that the process may have at all if that is less: running out of
  /// memory cannot be survived, refusing a change can.
  package static var ordinaryLimit: Int {
    var limit = rlimit()
    let known = unsafe getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0
    return known ? Int(min(1 << 30, UInt64(limit.rlim_cur) / 2)) : 1 << 30
  }

  /// Starts without operations, showing `base`.
  package init(base: any Storage, memoryLimit: Int = OverlayStorage.ordinaryLimit) {
    self.memoryLimit = memoryLimit
    layer = PageLayer(base)
  }

  /// What the host would keep after saving: pages behind the base's end count unless they are
  /// zeroes, and pages of the base that became zeroes count as given back.
  package var allocatedBytes: UInt64 { layer.allocatedBytes }

  /// How many operations are in place.
  package var generation: Int { applied.count }
  /// There are operations, in place or taken back.
  package var hasHistory: Bool { !(applied.isEmpty && undone.isEmpty) }
  /// The file below does not hold what the overlay shows.
  package var hasUnsavedChanges: Bool {
    interrupted != nil || applied.count != saved.count || zip(applied, saved).contains { $0 !== $1 }
  }

  // MARK: Reading

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try watch?.willAccess()
    try unsafe layer.read(at: offset, into: buffer)
  }

  package func extent(at offset: UInt64) -> HostExtent { layer.extent(at: offset) }
  package var followsMoments: Bool { layer.base.followsMoments }
  package var nameOfFaults: String? { layer.base.nameOfFaults }
  package func reach(_ moment: UInt8) { layer.base.reach(moment) }

  // MARK: Writing

  private var recorder: StorageOperation {
    if let open { return open }
    let operation = StorageOperation.make(id: nextID, title: "")
    nextID += 1
    open = operation
    return operation
  }

  private func checkedEnd(
    _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64
  ) throws(StorageError) -> UInt64 {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(Int64.max) else {
      throw StorageError(
        operation, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    return end
  }

  /// Refuses a change that would need more memory than there may be. The change has not been made.
  private func reserve(_ pages: [Page]) throws(StorageError) {
    let wanted = pages.reduce(memoryInUse) { $0 + $1.ownBytes }
    guard wanted <= memoryLimit else {
      throw StorageError(
        .write, name: name,
        detail: "the changes need more than \(memoryLimit >> 20) MiB of memory; save with :w and open again")
    }
    memoryInUse = wanted
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    let count = UInt64(bytes.count)
    let end = try checkedEnd(.write, offset, count)
    guard count > 0 else { return }
    try willChange(offset, count, tag)
    var before: [Page] = []
    var after: [Page] = []
    for piece in PagePieces(offset: offset, count: count) {
      let old = try layer.page(piece.page)
      let new = unsafe old.replacing(
        from: piece.start, with: UnsafeRawBufferPointer(rebasing: bytes[piece.range]))
      before.append(old)
      after.append(new)
    }
    try reserve(after)
    record(.write, tag, offset, count, max(length, end), before, after)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let end = try checkedEnd(.zero, offset, count)
    guard count > 0 else { return }
    try willChange(offset, count, tag)
    let (before, after) = try zeroedPages(offset, count)
    record(.zero, tag, offset, count, max(length, end), before, after)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard offset < length else { return }
    let inside = min(count, length - offset)
    try willChange(offset, inside, tag)
    let (before, after) = try zeroedPages(offset, inside)
    record(.punch, tag, offset, inside, length, before, after)
  }

  private func willChange(_ offset: UInt64, _ count: UInt64, _ tag: WriteTag) throws(StorageError) {
    guard let watch else { return }
    try watch.willAccess()
    try watch.willChange(at: offset, count: count, tag: tag)
  }

  private func zeroedPages(_ offset: UInt64, _ count: UInt64) throws(StorageError) -> ([Page], [Page]) {
    var before: [Page] = []
    var after: [Page] = []
    let zeroes = [UInt8](repeating: 0, count: Page.size)
    for piece in PagePieces(offset: offset, count: count) {
      let old = try layer.page(piece.page)
      var new = Page.zero
      if piece.range.count < Page.size {
        unsafe zeroes.withUnsafeBytes { bytes in
          let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<piece.range.count])
          unsafe new = old.replacing(from: piece.start, with: part)
        }
      }
      before.append(old)
      after.append(new)
    }
    try reserve(after)
    return (before, after)
  }

  package func truncate(to newLength: UInt64, tag: WriteTag) throws(StorageError) {
    _ = try checkedEnd(.truncate, newLength, 0)
    guard newLength < length else {
      record(.truncate, tag, newLength, 0, newLength, [], [])
      return
    }
    // What is cut off must read as zeroes if the file grows again.
    let cut = length - newLength
    let (before, after) = try zeroedPages(newLength, cut)
    record(.truncate, tag, newLength, cut, newLength, before, after)
  }

  package func flush() throws(StorageError) {
    // A flush behind a flush says nothing new.
    if let last = open?.events.last, case .flush = last.kind { return }
    guard open != nil else { return }
    record(.flush, .untagged, 0, 0, length, [], [])
  }

  package func note(_ tag: WriteTag) {
    watch?.noted(tag)
    record(.note, tag, 0, 0, length, [], [])
  }

  private func record(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ offset: UInt64, _ count: UInt64, _ lengthAfter: UInt64,
    _ before: [Page], _ after: [Page]
  ) {
    let event = StorageEvent(
      kind, tag: tag, offset: offset, count: count, lengthBefore: length, lengthAfter: lengthAfter,
      before: before, after: after, order: clock?.next() ?? 0)
    recorder.append(event)
    if !views.isEmpty { keepForViews(before, from: event.firstPage) }
    layer.goForth(event)
  }

  // MARK: Moments of the past

  private struct WeakView { weak var view: GenerationView? }
  private var views: [WeakView] = []

  /// Keeps a view true from now on.
  func look(_ view: GenerationView) {
    views.removeAll { $0.view == nil }
    views.append(WeakView(view: view))
  }

  private func keepForViews(_ before: [Page], from first: UInt64) {
    views.removeAll { $0.view == nil }
    for (number, page) in zip(first..., before) where layer.pages[number] == nil {
      for place in views { place.view?.keep(page, number) }
    }
  }

  // MARK: Generations

  /// Page changes from which on an operation is taken back by its moment instead of page by page.
  private static let manyChanges = 1 << 14

  /// Where the open operation began, if it is a long one.
  private var start: PageLayer?

  /// The operation that is open; nil if there is none.
  package var pending: StorageOperation? { open }

  /// Starts an operation; what was written before without one stays a step of its own.
  ///
  /// A long one is dropped in an instant however much it did, for the price of a copy of the map of
  /// pages at its first change.
  package func begin(_ title: String, isLong: Bool = false) {
    commit()
    if isLong { start = layer }
    open = StorageOperation.make(id: nextID, title: title)
    nextID += 1
  }

  /// Ends the open operation and makes it the newest generation.
  ///
  /// Operations that had been undone can no longer be redone.
  /// - Returns: the operation, or nil if it did nothing.
  @discardableResult
  package func commit() -> StorageOperation? {
    guard let operation = open else { return nil }
    open = nil
    start = nil
    guard !operation.events.isEmpty else { return nil }
    applied.append(operation)
    undone = []
    countMemory()
    return operation
  }

  /// Forgets what was undone: it can no longer be done again.
  package func dropUndone() {
    guard !undone.isEmpty else { return }
    undone = []
    countMemory()
  }

  /// Drops the open operation as if it had never been, and returns what it did.
  @discardableResult
  package func rollback() -> StorageOperation? {
    guard let operation = open else { return nil }
    open = nil
    if let start { layer = start } else { revert(operation) }
    start = nil
    countMemory()
    return operation
  }

  /// Takes the newest operation back; if the watch stops that, nothing has changed.
  ///
  /// - Throws: ``StorageError`` of the watch that stopped it, or of the storage below.
  @discardableResult
  package func undo() throws(StorageError) -> StorageOperation? {
    commit()
    guard let operation = applied.last else { return nil }
    try allOrNothing(operation) { () throws(StorageError) in
      for event in operation.events.reversed() {
        try watch?.willAccess()
        layer.goBack(event)
      }
    }
    applied.removeLast()
    undone.append(operation)
    return operation
  }

  /// Does the operation again that was taken back last; if the watch stops that, nothing has changed.
  ///
  /// - Throws: ``StorageError`` of the watch that stopped it, or of the storage below.
  @discardableResult
  package func redo() throws(StorageError) -> StorageOperation? {
    guard open == nil, let operation = undone.last else { return nil }
    try allOrNothing(operation) { () throws(StorageError) in
      for event in operation.events {
        try watch?.willAccess()
        layer.goForth(event)
      }
    }
    undone.removeLast()
    applied.append(operation)
    return operation
  }

  /// Replays an operation so that stopping in the middle leaves no trace.
  private func allOrNothing(
    _ operation: StorageOperation, _ replay: () throws(StorageError) -> Void
  ) throws(StorageError) {
    // Short ones are over before anybody could stop them, and need no copy of the map.
    let asked = watch
    if operation.pageChanges < Self.manyChanges { watch = nil }
    defer { watch = asked }
    let before = operation.pageChanges < Self.manyChanges ? nil : layer
    do throws(StorageError) { try replay() } catch {
      if let before { layer = before }
      throw error
    }
  }

  private func revert(_ operation: StorageOperation) {
    for event in operation.events.reversed() { layer.goBack(event) }
  }

  // MARK: Saving

  /// Brings `target`, which holds the state of the last save or of the start, to the state shown.
  ///
  /// Operations the target has and the overlay dropped are taken back, newest first, in the
  /// reverse of their order; then the missing ones are done in their order. Every state on the
  /// way is one the engine went through itself, so a crash at any point leaves what a crash of
  /// the engine would leave: leaks at most, and per write the old or the new data.
  ///
  /// When the target fails, the place is remembered: the next save goes on from there, forward if
  /// the operation is still in place and back if it is not.
  ///
  /// - Throws: ``StorageError`` at the first write that fails; the target then has a part of the changes.
  package func save(to target: any Storage) throws(StorageError) {
    try takeBack(on: target)
    try bringForward(on: target)
  }

  /// The first half of a save: the target no longer holds what the overlay dropped.
  ///
  /// - Throws: ``StorageError`` at the first write that fails.
  package func takeBack(on target: any Storage) throws(StorageError) {
    commit()
    defer { countMemory() }
    if let partial = interrupted, !isWanted(partial.operation) {
      try finish(partial.operation, from: partial.place, forward: false, on: target)
    }
    let common = commonCount
    while saved.count > common, let operation = saved.popLast() {
      try finish(operation, from: operation.events.count, forward: false, on: target)
    }
  }

  /// The second half, only behind the first: the target gets what it lacks.
  ///
  /// - Throws: ``StorageError`` at the first write that fails.
  package func bringForward(on target: any Storage) throws(StorageError) {
    defer { countMemory() }
    if let partial = interrupted {
      try finish(partial.operation, from: partial.place, forward: true, on: target)
      saved.append(partial.operation)
    }
    while saved.count < applied.count {
      let operation = applied[saved.count]
      try finish(operation, from: 0, forward: true, on: target)
      saved.append(operation)
    }
  }

  /// The next operation that the target lacks is this one.
  private func isWanted(_ operation: StorageOperation) -> Bool {
    commonCount == saved.count && saved.count < applied.count && applied[saved.count] === operation
  }

  /// How many operations, from the oldest on, are both in place and in the file below.
  private var commonCount: Int {
    zip(applied, saved).prefix { $0 === $1 }.count
  }

  /// Brings an operation to its end or to its start. `place` is the first event that is not, or not
  /// certainly, on the target.
  private func finish(
    _ operation: StorageOperation, from place: Int, forward: Bool, on target: any Storage
  ) throws(StorageError) {
    let events = operation.events
    interrupted = (operation, place)
    if forward {
      for index in place..<events.count {
        interrupted = (operation, index)
        try watch?.willAccess()
        try events[index].redo(on: target)
      }
      interrupted = (operation, events.count)
    } else {
      // The event at the place may be there in part, so it is taken back too.
      for index in (0..<min(place + 1, events.count)).reversed() {
        interrupted = (operation, index)
        try watch?.willAccess()
        try events[index].undo(on: target)
      }
    }
    try target.flush()
    interrupted = nil
  }

  /// Above a file that another program writes: pages outside of the ranges are those of the file again. What was shown
  /// of them before stays in the history.
  package func forget(outside ranges: [Range<UInt64>]) {
    layer.forget(outside: ranges)
  }

  // MARK: Memory

  /// Counts the pages that the history keeps, after operations came or went.
  private func countMemory() {
    var seen: Set<ObjectIdentifier> = []
    memoryInUse = 0
    for operation in applied + undone + saved + [interrupted?.operation].compactMap({ $0 })
    where seen.insert(ObjectIdentifier(operation)).inserted {
      memoryInUse += operation.ownBytes
    }
  }
}
