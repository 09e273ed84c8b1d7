// One history over several files: the image file and the files that it points into. An operation is a step
// in all of them or in some, and goes back and forth, is saved and is looked at as a whole.

/// Numbers events in the order in which they happen.
package final class EventClock {
  private var last: UInt64 = 0
  package init() {}
  /// The next number; the first is 1.
  func next() -> UInt64 {
    last += 1
    return last
  }
}

/// Which file of a set; the image file is 0.
package struct FileNumber: Hashable, Comparable, Sendable {
  /// 0 is the image, then what it names in the order of opening.
  package let value: Int
  package init(_ value: Int) { self.value = value }
  /// The image file itself.
  package static let image = FileNumber(0)
  package static func < (a: FileNumber, b: FileNumber) -> Bool { a.value < b.value }
}

/// An event and the file that it happened to.
package struct FileEvent {
  /// The file that was changed.
  package let file: FileNumber
  /// What was changed in it.
  package let event: StorageEvent

  package init(file: FileNumber, event: StorageEvent) {
    self.file = file
    self.event = event
  }
}

/// What one operation did to the files of a set.
package struct FileOperation {
  /// What it did to each file, in the order of the files; files that it left alone are not there.
  package let parts: [(file: FileNumber, operation: StorageOperation)]
  /// Stays the same when the operation is taken back and done again; no other operation of the set has it.
  package let id: Int

  /// What it did to one file; nil if it left that alone.
  package subscript(file: FileNumber) -> StorageOperation? { parts.first { $0.file == file }?.operation }

  /// How many events there are in all files.
  package var eventCount: Int { parts.reduce(0) { $0 + $1.operation.events.count } }

  /// All events in the order in which they happened.
  package var events: [FileEvent] {
    guard parts.count > 1 else {
      return parts.flatMap { part in part.operation.events.map { FileEvent(file: part.file, event: $0) } }
    }
    return parts.flatMap { part in part.operation.events.map { FileEvent(file: part.file, event: $0) } }
      .sorted { $0.event.order < $1.event.order }
  }
}

/// Overlays over several files, as one.
package final class FileSet {
  /// The image file first, and every other file behind those whose tables point into it.
  package private(set) var files: [OverlayStorage]
  /// Operations whose effect is in place, oldest first.
  package private(set) var applied: [FileOperation] = []
  /// Operations taken back, the next one to redo last.
  package private(set) var undone: [FileOperation] = []
  private var nextID = 1
  /// How many operations the files have forgotten, and up to where that reaches.
  private var known = (inFiles: 0, operations: 0)
  /// Files that the set had when the open operation began.
  private var filesBefore: Int?
  /// Looks over the shoulder of files that join the set while an operation is under way.
  package weak var watchOfNew: (any OverlayWatch)?

  /// A set of one file at least; the overlays must not have been changed yet.
  package init(_ image: OverlayStorage, _ others: [OverlayStorage] = []) {
    files = [image] + others
    guard !others.isEmpty else { return }
    let clock = EventClock()
    for file in files { file.clock = clock }
  }

  /// Lets another file join; one that joins in an operation that is dropped leaves with it.
  package func add(_ file: OverlayStorage) {
    let clock = files[0].clock ?? EventClock()
    for file in files + [file] { file.clock = clock }
    if let title = files[0].pending?.title { file.begin(title) }
    file.watch = watchOfNew
    files.append(file)
  }

  /// The overlay of a file; nil for a number that no file has.
  package subscript(file: FileNumber) -> OverlayStorage? {
    files.indices.contains(file.value) ? files[file.value] : nil
  }

  /// The files below do not hold what the set shows.
  package var hasUnsavedChanges: Bool { files.contains { $0.hasUnsavedChanges } }

  /// The files below hold all of an operation.
  package func holds(_ operation: FileOperation) -> Bool {
    operation.parts.allSatisfy { part in files[part.file.value].holds(part.operation) }
  }

  /// How many of the oldest operations can no longer be taken back, because their memory was needed.
  package var forgotten: Int {
    let now = files.reduce(0) { $0 + $1.forgotten }
    if now != known.inFiles {
      let last = applied.lastIndex { $0.parts.contains { $0.operation.isFinal } }
      known = (now, last.map { $0 + 1 } ?? 0)
    }
    return known.operations
  }

  // MARK: Operations

  /// Starts an operation in all files; see ``OverlayStorage/begin(_:isLong:)``.
  package func begin(_ title: String, isLong: Bool = false) {
    filesBefore = files.count
    for file in files { file.begin(title, isLong: isLong) }
  }

  /// Ends the open operation; nil if it did nothing.
  @discardableResult
  package func commit() -> FileOperation? {
    filesBefore = nil
    let parts = files.enumerated().compactMap { index, file in
      file.commit().map { (file: FileNumber(index), operation: $0) }
    }
    guard !parts.isEmpty else { return nil }
    // What was undone in the files that this one left alone cannot be done again either.
    for file in files { file.dropUndone() }
    undone = []
    let operation = FileOperation(parts: parts, id: nextID)
    nextID += 1
    applied.append(operation)
    return operation
  }

  /// What the open operation did so far.
  package var pending: FileOperation {
    FileOperation(
      parts: files.enumerated().compactMap { index, file in
        file.pending.map { (file: FileNumber(index), operation: $0) }
      }, id: nextID)
  }

  /// Makes what was changed so far the beginning of the history instead of a step of it.
  package func settle() { for file in files { file.commit() } }

  /// Nothing of the past is known any more, because the files have passed it on.
  package func forgetHistory() {
    (applied, undone, known) = ([], [], (0, 0))
  }

  /// Drops the open operation as if it had never been.
  package func rollback() {
    for file in files { file.rollback() }
    if let filesBefore { files.removeLast(files.count - filesBefore) }
    filesBefore = nil
  }

  /// Takes the newest operation back in all files, or in none.
  /// - Throws: what the watch of a file throws to stop it.
  @discardableResult
  package func undo() throws(StorageError) -> FileOperation? {
    guard let operation = applied.last, forgotten < applied.count else { return nil }
    try inAll(operation) { (file) throws(StorageError) in
      _ = try file.undo()
    } back: { (file) throws(StorageError) in
      _ = try file.redo()
    }
    applied.removeLast()
    undone.append(operation)
    return operation
  }

  /// Does the operation again that was taken back last, in all files or in none.
  /// - Throws: what the watch of a file throws to stop it.
  @discardableResult
  package func redo() throws(StorageError) -> FileOperation? {
    guard let operation = undone.last else { return nil }
    try inAll(operation) { (file) throws(StorageError) in
      _ = try file.redo()
    } back: { (file) throws(StorageError) in
      _ = try file.undo()
    }
    undone.removeLast()
    applied.append(operation)
    return operation
  }

  private func inAll(
    _ operation: FileOperation, _ body: (OverlayStorage) throws(StorageError) -> Void,
    back: (OverlayStorage) throws(StorageError) -> Void
  ) throws(StorageError) {
    var finished: [OverlayStorage] = []
    for part in operation.parts {
      let file = files[part.file.value]
      do throws(StorageError) { try body(file) } catch {
        // What puts things back is not stopped.
        for file in finished.reversed() {
          let watch = file.watch
          file.watch = nil
          defer { file.watch = watch }
          try back(file)
        }
        throw error
      }
      finished.append(file)
    }
  }

  // MARK: Saving

  /// Brings the files below to the state shown; `targets` are those files, nil for those that are not to be
  /// saved.
  ///
  /// Bytes are in a file before a table of another one says that they are the guest's, and no table says so
  /// any more when they go. So a crash at any point leaves for every request the guest's old bytes or its
  /// new ones, and never what a file held where the guest had nothing.
  /// - Throws: what a target throws. The next save goes on from there.
  package func save(to targets: [(any Storage)?]) throws(StorageError) {
    let changed = zip(files, targets).enumerated().compactMap { index, pair in
      pair.1.flatMap { index == 0 || pair.0.hasUnsavedChanges ? (file: pair.0, target: $0) : nil }
    }
    try save(changed[...])
  }

  private func save(_ list: ArraySlice<(file: OverlayStorage, target: any Storage)>) throws(StorageError) {
    guard let first = list.first else { return }
    let others = list.dropFirst()
    try first.file.takeBack(on: first.target)
    if let next = others.first {
      // Nothing else orders writes to two files.
      try first.target.flush()
      try save(others)
      try next.target.flush()
    }
    try first.file.bringForward(on: first.target)
  }

  // MARK: Moments of the past

  /// The operation behind a moment of the history, of those in place and those taken back.
  private func operation(_ number: Int) -> FileOperation? {
    if applied.indices.contains(number) { return applied[number] }
    let behind = undone.count - 1 - (number - applied.count)
    return number >= applied.count && behind >= 0 ? undone[behind] : nil
  }

  /// What all files showed at a moment, in the order of ``files``; nil if there is no such moment. Its
  /// events are counted over all files.
  package func views(at moment: HistoryMoment) -> [GenerationView]? {
    let count = applied.count + undone.count
    guard moment.generation >= forgotten, moment.generation <= count, moment.events >= 0 else { return nil }
    var places = files.map { file in file.applied.count - applied.count { $0[number(of: file)] != nil } }
    for number in 0..<moment.generation {
      for part in operation(number)?.parts ?? [] { places[part.file.value] += 1 }
    }
    var events = files.map { _ in 0 }
    if moment.events > 0 {
      guard let next = operation(moment.generation), moment.events <= next.eventCount else { return nil }
      for event in next.events.prefix(moment.events) { events[event.file.value] += 1 }
    }
    var views: [GenerationView] = []
    for (index, file) in files.enumerated() {
      guard let view = file.view(at: HistoryMoment(generation: places[index], events: events[index])) else {
        return nil
      }
      views.append(view)
    }
    return views
  }

  private func number(of file: OverlayStorage) -> FileNumber {
    FileNumber(files.firstIndex { $0 === file } ?? 0)
  }
}
