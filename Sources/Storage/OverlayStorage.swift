// Generations above a storage that stays untouched: every operation is a step that can be taken
// back and forth byte for byte, dropped as if it had never been, or saved to the file below.
//
// Pages are immutable and shared between the map of current pages and the events, so that the
// whole history costs one copy of every changed page, or what differs from the page before if that is less.

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
  package var base: any Storage { shown.base }
  /// Set while an operation is under way that somebody may want to stop.
  package var watch: (any OverlayWatch)?
  package var name: String { base.name }
  package var isWritable: Bool { true }
  package var isRecording: Bool { true }
  package var isInMemory: Bool { base.isInMemory }
  package var length: UInt64 { through?.length ?? shown.length }
  /// What is shown now.
  package var layer: PageLayer { through.map { PageLayer($0) } ?? shown }
  private var shown: PageLayer
  /// Takes every change at once, which then is no operation; nil for an overlay that keeps its changes. See
  /// ``passThrough(to:hears:)``.
  private var through: (any Storage)?
  /// What takes every change at once again when the operation is over that is held back.
  private var held: (any Storage)?
  /// Hears of every change that was passed through.
  private var hears: ((StorageEvent) -> Void)?
  /// Numbers the events of several overlays in the order in which they happen.
  package var clock: EventClock?

  /// Operations whose effect is in place, oldest first.
  package private(set) var applied: [StorageOperation] = []
  /// Operations taken back, the next one to redo last.
  package private(set) var undone: [StorageOperation] = []
  /// The operations the file below holds.
  package private(set) var saved: [StorageOperation] = []

  /// An operation that a failed save left half done on the target, and the event it broke at.
  private var interrupted: (operation: StorageOperation, place: Int)? {
    didSet {
      interrupted?.operation.hold(true)
      if let oldValue { release(oldValue.operation) }
    }
  }
  /// How many operations, from the oldest on, are both in place and in the file below.
  private var common = 0

  private var open: StorageOperation?
  private var nextID = 1
  /// Memory in bytes that the whole history may keep: pages that are not one repeated byte, and events.
  package let memoryLimit: Int
  /// Memory that it does keep.
  package private(set) var memoryInUse = 0
  /// How many of the oldest operations can no longer be taken back, because their memory was needed.
  package private(set) var forgotten = 0
  /// As many of them are saved and hold no memory any more.
  private var nextForgotten = 0
  /// Pages compared and operations looked at since the beginning: what a test holds the cost of a step against.
  package private(set) var work = 0

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
    shown = PageLayer(base)
  }

  /// What the host would keep after saving: pages behind the base's end count unless they are
  /// zeroes, and pages of the base that became zeroes count as given back.
  package var allocatedBytes: UInt64 { through?.allocatedBytes ?? shown.allocatedBytes }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    shown.base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { shown.base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool {
    shown.base.isReady(at: offset, count: count)
  }

  /// How many operations are in place.
  package var generation: Int { applied.count }
  /// There are operations, in place or taken back.
  package var hasHistory: Bool { !(applied.isEmpty && undone.isEmpty) }
  /// The file below does not hold what the overlay shows.
  package var hasUnsavedChanges: Bool {
    interrupted != nil || applied.count != saved.count || common != applied.count
  }

  // MARK: Reading

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if let through { return try unsafe through.read(at: offset, into: buffer) }
    try watch?.willAccess()
    try unsafe shown.read(at: offset, into: buffer)
  }

  package func extent(at offset: UInt64) -> HostExtent {
    through?.extent(at: offset) ?? shown.extent(at: offset)
  }
  package var followsMoments: Bool { shown.base.followsMoments }
  package var nameOfFaults: String? { shown.base.nameOfFaults }
  package func reach(_ moment: UInt8) { shown.base.reach(moment) }

  // MARK: Writing

  private var recorder: StorageOperation {
    if let open { return open }
    return start("")
  }

  @discardableResult
  private func start(_ title: String) -> StorageOperation {
    let operation = StorageOperation.make(id: nextID, title: title)
    operation.hold(true)
    nextID += 1
    open = operation
    return operation
  }

  /// Refuses a change that would need more memory than there may be, unless old steps that are saved can go for it.
  /// The change has not been made.
  private func reserve(_ bytes: Int) throws(StorageError) {
    if memoryInUse + bytes > memoryLimit {
      forgetSaved(until: memoryLimit - memoryLimit / 8 - bytes)
      // What a save has changed is wanted by those alone that came before it.
      if memoryInUse + bytes > memoryLimit, forgotten == saved.count { giveUpOrigin() }
    }
    guard memoryInUse + bytes <= memoryLimit else {
      throw StorageError(
        .write, name: name,
        detail: "the changes need more than \(memoryLimit >> 20) MiB of memory; save with :w to go on")
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    let count = UInt64(bytes.count)
    if let through {
      return try pass(.write, tag, offset, count) { () throws(StorageError) in
        try unsafe through.write(bytes, at: offset, tag: tag)
      }
    }
    let end = try checkedEnd(.write, offset, count)
    guard count > 0 else { return }
    try willChange(offset, count, tag)
    let size = UInt64(Page.size)
    let before = try shown.found(offset / size..<(end - 1) / size + 1)
    var after = PageRuns(from: before.first, shown.origin)
    var made = 0
    var pieces = PagePieces(offset: offset, count: count)
    // A table that is written back has changed in few places.
    let compares = count <= Self.mostCompared
    for run in before.runs {
      for _ in 0..<run.count {
        guard let piece = pieces.next() else { break }
        let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[piece.range])
        if run.page == nil, piece.range.count == Page.size, !compares {
          let new = unsafe Page.holding(part)
          made += new.ownBytes
          after.append(new, 1)
          continue
        }
        let old: Page
        if let page = run.page { old = page } else { old = try shown.origin.page(piece.page) }
        let new = unsafe old.succeeded(from: piece.start, by: part)
        if new === old {
          after.append(run.page, 1)
        } else {
          made += new.ownBytes
          after.append(new, 1)
        }
      }
    }
    work += Int(before.count)
    try reserve(made)
    record(.write, tag, offset, count, max(length, end), PageChange(before, after), made)
  }

  /// Longer writes are not compared with what the base holds.
  private static let mostCompared: UInt64 = 1 << 18

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    if let through {
      return try pass(.zero, tag, offset, count) { () throws(StorageError) in
        try through.writeZeroes(at: offset, count: count, tag: tag)
      }
    }
    let end = try checkedEnd(.zero, offset, count)
    guard count > 0 else { return }
    try willChange(offset, count, tag)
    let (change, made) = try zeroed(offset, count)
    record(.zero, tag, offset, count, max(length, end), change, made)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard offset < length else { return }
    let inside = min(count, length - offset)
    if let through {
      return try pass(.punch, tag, offset, inside) { () throws(StorageError) in
        try through.punch(at: offset, count: inside, tag: tag)
      }
    }
    try willChange(offset, inside, tag)
    let (change, made) = try zeroed(offset, inside)
    record(.punch, tag, offset, inside, length, change, made)
  }

  private func willChange(_ offset: UInt64, _ count: UInt64, _ tag: WriteTag) throws(StorageError) {
    guard let watch else { return }
    try watch.willAccess()
    try watch.willChange(at: offset, count: count, tag: tag)
  }

  /// The change that zeroes a range, and the memory that its pages keep: only those at its ends may keep any.
  private func zeroed(_ offset: UInt64, _ count: UInt64) throws(StorageError) -> (PageChange?, Int) {
    guard count > 0 else { return (nil, 0) }
    let size = UInt64(Page.size)
    let end = offset + count
    let numbers = offset / size..<(end - 1) / size + 1
    var after = PageRuns(from: numbers.lowerBound, shown.origin)
    var made = 0
    // Where the pages begin and end that are zeroed whole; none if it ends in front of its beginning.
    let (wholeStart, wholeEnd) = ((offset + size - 1) / size, end / size)
    func cut(_ number: UInt64) throws(StorageError) {
      let old = try shown.page(number)
      let from = Int(max(offset, number * size) - number * size)
      let to = Int(min(end, (number + 1) * size) - number * size)
      let new = unsafe Self.zeroes.withUnsafeBytes {
        unsafe old.succeeded(from: from, by: UnsafeRawBufferPointer(rebasing: $0[..<(to - from)]))
      }
      made += new.ownBytes
      after.append(new, 1)
    }
    if wholeStart > wholeEnd {
      try cut(numbers.lowerBound)
    } else {
      if numbers.lowerBound < wholeStart { try cut(numbers.lowerBound) }
      after.append(.zero, wholeEnd - wholeStart)
      if wholeEnd < numbers.upperBound { try cut(wholeEnd) }
    }
    try reserve(made)
    return (PageChange(try shown.found(numbers), after), made)
  }

  private static let zeroes = [UInt8](repeating: 0, count: Page.size)

  package func truncate(to newLength: UInt64, tag: WriteTag) throws(StorageError) {
    if let through {
      return try pass(.truncate, tag, newLength, length - min(length, newLength)) { () throws(StorageError) in
        try through.truncate(to: newLength, tag: tag)
      }
    }
    _ = try checkedEnd(.truncate, newLength, 0)
    guard newLength < length else {
      record(.truncate, tag, newLength, 0, newLength)
      return
    }
    // What is cut off must read as zeroes if the file grows again.
    let cut = length - newLength
    let (change, made) = try zeroed(newLength, cut)
    record(.truncate, tag, newLength, cut, newLength, change, made)
  }

  package func flush() throws(StorageError) {
    if let through { return try through.flush() }
    // A flush behind a flush says nothing new.
    if let last = open?.events.last, case .flush = last.kind { return }
    guard open != nil else { return }
    record(.flush, .untagged, 0, 0, length)
  }

  package func note(_ tag: WriteTag) {
    if through != nil { return tell(.note, tag, 0, 0, length) }
    watch?.noted(tag)
    record(.note, tag, 0, 0, length)
  }

  private func record(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ offset: UInt64, _ count: UInt64, _ lengthAfter: UInt64,
    _ change: PageChange? = nil, _ made: Int = 0
  ) {
    let event = StorageEvent(
      kind, tag: tag, offset: offset, count: count, lengthBefore: length, lengthAfter: lengthAfter, change,
      order: clock?.next() ?? 0)
    memoryInUse += recorder.append(event, pageBytes: made)
    shown.goForth(event)
  }

  // MARK: Passing through

  /// From now on every change reaches `target` at once, and is no operation that could be taken back; `hears` is told
  /// of it. The target first gets what it lacks. Then there is no history any more, and the target is the base.
  ///
  /// An operation that is begun all the same is held back from the target until ``release()``.
  ///
  /// - Throws: ``StorageError`` of the target; then all is as it was.
  package func passThrough(to target: any Storage, hears: @escaping (StorageEvent) -> Void)
    throws(StorageError)
  {
    try save(to: target)
    forgetAll()
    shown = PageLayer(target)
    through = target
    self.hears = hears
  }

  /// Changes are passed through, or would be if none was held back.
  package var passesThrough: Bool { through != nil || held != nil }
  /// An operation is held back.
  package var isHeldBack: Bool { held != nil }

  /// What was held back reaches the target, or what is left of it behind ``undo()``, and further changes are passed
  /// through again. Nothing of it can be taken back then.
  ///
  /// - Returns: what reached it, in order.
  /// - Throws: ``StorageError`` of the target; calling it again goes on from there.
  package func release() throws(StorageError) -> [StorageEvent] {
    guard let target = held else { return [] }
    commit()
    let events = applied[saved.count...].flatMap(\.events)
    try save(to: target)
    forgetAll()
    shown = PageLayer(target)
    (through, held) = (target, nil)
    return events
  }

  /// Changes are kept again, above all that was passed through.
  package func stopPassing() {
    guard let target = through else { return }
    (through, hears) = (nil, nil)
    shown = PageLayer(target)
  }

  private func forgetAll() {
    (applied, undone, saved, interrupted, common) = ([], [], [], nil, 0)
    (memoryInUse, forgotten, nextForgotten) = (0, 0, 0)
  }

  private func pass(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ offset: UInt64, _ count: UInt64,
    _ body: () throws(StorageError) -> Void
  ) throws(StorageError) {
    let before = length
    try body()
    tell(kind, tag, offset, count, before)
  }

  private func tell(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ offset: UInt64, _ count: UInt64, _ lengthBefore: UInt64
  ) {
    hears?(
      StorageEvent(
        kind, tag: tag, offset: offset, count: count, lengthBefore: lengthBefore, lengthAfter: length))
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]
  ) throws(StorageError) {
    if let through {
      let before = length
      try unsafe through.write(bytes, at: offset, parts: parts)
      for part in parts {
        tell(.write, part.tag, offset + UInt64(part.range.lowerBound), UInt64(part.range.count), before)
      }
      return
    }
    unsafe try writeEach(bytes, at: offset, parts: parts)
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let end = try checkedEnd(.truncate, offset, count)
    if let through {
      return try pass(.truncate, tag, max(length, end), 0) { () throws(StorageError) in
        try through.allocate(at: offset, count: count, tag: tag)
      }
    }
    if end > length { try truncate(to: end, tag: tag) }
  }

  // MARK: Generations

  /// Page changes from which on an operation is taken back by its moment instead of page by page.
  private static let manyChanges = 1 << 14

  /// Where the open operation began, if it is a long one.
  private var beginning: PageLayer?

  /// The operation that is open; nil if there is none.
  package var pending: StorageOperation? { open }

  /// Starts an operation; what was written before without one stays a step of its own.
  ///
  /// A long one is dropped in an instant however much it did, for the price of a copy of the map of
  /// pages at its first change.
  package func begin(_ title: String, isLong: Bool = false) {
    if let through { (held, self.through, shown) = (through, nil, PageLayer(through)) }
    commit()
    if isLong { beginning = shown }
    start(title)
  }

  /// Ends the open operation and makes it the newest generation.
  ///
  /// Operations that had been undone can no longer be redone.
  /// - Returns: the operation, or nil if it did nothing.
  @discardableResult
  package func commit() -> StorageOperation? {
    guard let operation = open else { return nil }
    open = nil
    beginning = nil
    guard !operation.events.isEmpty else { return nil }
    operation.end()
    applied.append(operation)
    dropUndone()
    return operation
  }

  /// Forgets what was undone: it can no longer be done again.
  package func dropUndone() {
    for operation in undone { release(operation) }
    undone = []
    lookAtCommon()
  }

  /// Drops the open operation as if it had never been, and returns what it did.
  @discardableResult
  package func rollback() -> StorageOperation? {
    guard let operation = open else { return nil }
    open = nil
    if let beginning { shown = beginning } else { revert(operation) }
    beginning = nil
    release(operation)
    return operation
  }

  /// Takes the newest operation back; if the watch stops that, nothing has changed.
  ///
  /// - Throws: ``StorageError`` of the watch that stopped it, or of the storage below.
  @discardableResult
  package func undo() throws(StorageError) -> StorageOperation? {
    commit()
    guard let operation = applied.last, !operation.isFinal else { return nil }
    try allOrNothing(operation) { () throws(StorageError) in
      for event in operation.events.reversed() where event.movesBytes {
        try watch?.willAccess()
        shown.goBack(event)
      }
    }
    applied.removeLast()
    undone.append(operation)
    lookAtCommon()
    return operation
  }

  /// Does the operation again that was taken back last; if the watch stops that, nothing has changed.
  ///
  /// - Throws: ``StorageError`` of the watch that stopped it, or of the storage below.
  @discardableResult
  package func redo() throws(StorageError) -> StorageOperation? {
    guard open == nil, let operation = undone.last else { return nil }
    try allOrNothing(operation) { () throws(StorageError) in
      for event in operation.events where event.movesBytes {
        try watch?.willAccess()
        shown.goForth(event)
      }
    }
    undone.removeLast()
    applied.append(operation)
    lookAtCommon()
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
    let before = operation.pageChanges < Self.manyChanges ? nil : shown
    do throws(StorageError) { try replay() } catch {
      if let before { shown = before }
      throw error
    }
  }

  private func revert(_ operation: StorageOperation) {
    for event in operation.events.reversed() where event.movesBytes { shown.goBack(event) }
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
    if let partial = interrupted, !isWanted(partial.operation) {
      try finish(partial.operation, from: partial.place, forward: false, on: target)
    }
    let common = common
    while saved.count > common, let operation = saved.popLast() {
      defer { release(operation) }
      try finish(operation, from: operation.events.count, forward: false, on: target)
    }
  }

  /// The second half, only behind the first: the target gets what it lacks.
  ///
  /// - Throws: ``StorageError`` at the first write that fails.
  package func bringForward(on target: any Storage) throws(StorageError) {
    if let partial = interrupted {
      try finish(partial.operation, from: partial.place, forward: true, on: target)
      addSaved(partial.operation)
    }
    while saved.count < applied.count {
      let operation = applied[saved.count]
      try finish(operation, from: 0, forward: true, on: target)
      addSaved(operation)
    }
    if memoryInUse > memoryLimit { forgetSaved(until: memoryLimit - memoryLimit / 8) }
  }

  private func addSaved(_ operation: StorageOperation) {
    operation.hold(true)
    saved.append(operation)
    lookAtCommon()
    if operation.isFinal { forgetSaved(through: saved.count) }
  }

  /// The file below holds all of an operation.
  package func holds(_ operation: StorageOperation) -> Bool {
    // Operations have their numbers in the order in which they were begun.
    var (low, high) = (0, saved.count)
    while low < high {
      let middle = (low + high) / 2
      if saved[middle].id < operation.id { low = middle + 1 } else { high = middle }
    }
    return low < saved.count && saved[low] === operation
  }

  /// The next operation that the target lacks is this one.
  private func isWanted(_ operation: StorageOperation) -> Bool {
    common == saved.count && saved.count < applied.count && applied[saved.count] === operation
  }

  /// Follows what came to the two lists or went from their ends.
  private func lookAtCommon() {
    let most = min(applied.count, saved.count)
    common = min(common, most)
    while common < most, applied[common] === saved[common] {
      common += 1
      work += 1
    }
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
        guard events[index].kind != .note else { continue }
        interrupted = (operation, index)
        try watch?.willAccess()
        if let change = events[index].change { try keep(change.after.numbers) }
        try events[index].redo(on: target)
      }
      interrupted = (operation, events.count)
    } else {
      // The event at the place may be there in part, so it is taken back too.
      for index in (0..<min(place + 1, events.count)).reversed() {
        guard events[index].kind != .note else { continue }
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
    shown.forget(outside: ranges)
  }

  // MARK: Memory

  /// A list of the history no longer holds an operation.
  private func release(_ operation: StorageOperation) {
    if !operation.hold(false) { memoryInUse -= operation.ownBytes }
  }

  /// The file below is about to be changed at these pages. If there is no memory to keep them, nothing can be taken
  /// back any more that was done so far.
  private func keep(_ numbers: Range<UInt64>) throws(StorageError) {
    let before = shown.origin.keptBytes
    var isFull = false
    try shown.origin.keep(numbers) { bytes in
      isFull = memoryInUse + shown.origin.keptBytes - before + bytes > memoryLimit
      return isFull
    }
    memoryInUse += shown.origin.keptBytes - before
    guard isFull else { return }
    dropUndone()
    for operation in applied where !operation.isFinal { operation.makeFinal() }
    forgetSaved(through: common)
    forgotten = applied.count
    giveUpOrigin()
  }

  private func giveUpOrigin() {
    memoryInUse -= shown.origin.keptBytes
    shown.origin.giveUp()
  }

  /// Forgets the oldest operations that the file below holds, as many as are needed for that memory to be enough.
  private func forgetSaved(until limit: Int) {
    while forgotten < common, memoryInUse > limit { forgetSaved(through: forgotten + 1) }
  }

  private func forgetSaved(through end: Int) {
    for operation in applied[min(nextForgotten, end)..<min(end, common)] {
      memoryInUse -= operation.ownBytes
      operation.forget()
      work += 1
    }
    nextForgotten = max(nextForgotten, min(end, common))
    forgotten = max(forgotten, nextForgotten)
  }
}
