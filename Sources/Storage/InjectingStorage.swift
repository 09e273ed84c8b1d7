// A storage on which requests fail as a plan has it. What is read and written says itself what it is, by its tag;
// what else happens above is announced.

/// Storage on another one that carries out a plan of faults.
package final class InjectingStorage: Storage {
  /// The moments that writes bring with them.
  package struct Moments: Sendable {
    /// In front of a change of that kind and tag, in their order.
    package var before: @Sendable (StorageEvent.Kind, WriteTag) -> [UInt8]
    /// Behind every write, also one that failed.
    package var behindWrite: UInt8
    /// As soon as there is a file.
    package var opened: UInt8

    package init(
      before: @escaping @Sendable (StorageEvent.Kind, WriteTag) -> [UInt8], behindWrite: UInt8, opened: UInt8
    ) {
      self.before = before
      self.behindWrite = behindWrite
      self.opened = opened
    }
  }

  /// Where the bytes are.
  package let base: any Storage
  /// What goes wrong.
  package let plan: FaultPlan
  private let moments: Moments
  private var course: FaultCourse
  /// Counts changes, and those that had been made when a flush was through; the host is only asked to flush
  /// what has changed.
  private var changes = 0
  private var flushedChanges = 0

  package init(_ base: any Storage, _ plan: FaultPlan, _ moments: Moments) {
    self.base = base
    self.plan = plan
    self.moments = moments
    course = FaultCourse(plan)
    course.reach(moments.opened)
  }

  package var name: String { base.name }
  package var length: UInt64 { base.length }
  package var isWritable: Bool { base.isWritable }
  package var hasFixedLength: Bool { base.hasFixedLength }
  package var isRecording: Bool { base.isRecording }
  package var allocatedBytes: UInt64 { base.allocatedBytes }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool { base.isReady(at: offset, count: count) }
  package func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }
  package func note(_ tag: WriteTag) { base.note(tag) }

  package var followsMoments: Bool { true }
  package var nameOfFaults: String? { plan.name }
  /// Hears of every moment, when the plan has; it may take its time.
  package var watch: ((UInt8) -> Void)?

  package func reach(_ moment: UInt8) {
    course.reach(moment)
    watch?(moment)
  }

  /// Throws if the request is to fail.
  private func admit(
    _ request: FaultPlan.Request, _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64
  ) throws(StorageError) {
    guard let number = course.error(of: request, at: offset, count: count) else { return }
    var error = StorageError(
      operation, name: name, offset: request == .flush ? nil : offset, errno: number,
      detail: FileStorage.reason(number))
    error.isInjected = true
    throw error
  }

  /// The aligned range around one, in pieces that are not too long.
  private func pieces(_ offset: UInt64, _ count: UInt64) -> [Range<UInt64>] {
    let end = (offset &+ count &+ (plan.alignment - 1)) & ~(plan.alignment - 1)
    var pieces: [Range<UInt64>] = []
    var at = offset & ~(plan.alignment - 1)
    while at < end {
      let next = min(end, plan.longest.map { at &+ max($0, plan.alignment) } ?? end)
      pieces.append(at..<next)
      at = next
    }
    return pieces
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    for piece in pieces(offset, UInt64(buffer.count)) {
      try admit(.read, .read, piece.lowerBound, piece.upperBound - piece.lowerBound)
    }
    try unsafe base.read(at: offset, into: buffer)
  }

  /// Runs a change with the moments around it.
  private func change(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ body: () throws(StorageError) -> Void
  ) throws(StorageError) {
    for moment in moments.before(kind, tag) { reach(moment) }
    defer {
      changes += 1
      if kind == .write || kind == .zero { reach(moments.behindWrite) }
    }
    try body()
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.write, tag) { () throws(StorageError) in
      let pieces = pieces(offset, UInt64(bytes.count))
      guard let start = pieces.first?.lowerBound, let end = pieces.last?.upperBound,
        pieces.count > 1 || end - start != UInt64(bytes.count)
      else {
        try admit(.write, .write, offset, UInt64(bytes.count))
        return try unsafe base.write(bytes, at: offset, tag: tag)
      }
      // What an aligned request reaches over is read first and written again.
      var whole = try base.bytes(at: start, count: Int(end - start))
      for edge in [start, end - plan.alignment]
      where edge < offset || edge + plan.alignment > offset + UInt64(bytes.count) {
        try admit(.read, .read, edge, plan.alignment)
      }
      unsafe whole.replaceSubrange(Int(offset - start)..<Int(offset - start) + bytes.count, with: bytes)
      for piece in pieces {
        try admit(.write, .write, piece.lowerBound, piece.upperBound - piece.lowerBound)
        try base.write(
          Array(whole[Int(piece.lowerBound - start)..<Int(piece.upperBound - start)]), at: piece.lowerBound,
          tag: tag)
      }
    }
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.zero, tag) { () throws(StorageError) in
      try admit(.zero, .zero, offset, count)
      try base.writeZeroes(at: offset, count: count, tag: tag)
    }
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.punch, tag) { () throws(StorageError) in
      try admit(.punch, .punch, offset, count)
      try base.punch(at: offset, count: count, tag: tag)
    }
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.truncate, tag) { () throws(StorageError) in try base.truncate(to: length, tag: tag) }
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.truncate, tag) { () throws(StorageError) in
      try base.allocate(at: offset, count: count, tag: tag)
    }
  }

  package func flush() throws(StorageError) {
    let now = changes
    guard now != flushedChanges else { return }
    try admit(.flush, .flush, 0, 0)
    try base.flush()
    flushedChanges = now
  }
}
