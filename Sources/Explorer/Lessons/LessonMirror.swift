// Keeps the image of the explorer equal to the files of a lesson. What the explorer has a command for is done with it,
// so that log, steps and undo are those of any session; what else happens to the files is written as it was.

import Cartography
import Course
import Qcow
import QcowFormat
import Storage

/// The way from the stage of a lesson to the session that is on the screen.
struct LessonMirror {
  private let explorer: Explorer
  private var session: Session { explorer.session }

  init(_ explorer: Explorer) { self.explorer = explorer }

  // MARK: A session on the files

  /// Goes on with a session on the files of a stage, as if it had been opened now.
  ///
  /// - Throws: `CommandError` for a file that cannot be opened.
  func replace(_ stage: LessonStage, _ title: String) throws(CommandError) {
    let new: Session
    do throws(ImageError) { new = try Self.session(stage, title, explorer.desk.files) } catch {
      throw CommandError("the file of the lesson cannot be opened: \(error.description)")
    }
    explorer.desk.replaceSession(new)
  }

  private static func session(
    _ stage: LessonStage, _ title: String, _ files: any SessionFiles
  ) throws(ImageError) -> Session {
    let bench = stage.bench.copy()
    guard let base = bench.files[stage.current] else {
      throw ImageError(.unsupported, "there is no file '\(stage.current)'")
    }
    var options = bench.options(stage.options)
    if let probe = try? bench.open(stage.current, isReadOnly: true), let name = probe.extensions.dataFileName,
      let data = bench.files[name]
    {
      options.dataFile = OverlayStorage(base: data)
    }
    let session = try Session(
      base, title: stage.current == "disk" ? title : "\(title): \(stage.current)",
      mode: stage.isReadOnly ? .readOnly : .scratch, files: files, hasFile: false, opening: options)
    WrongOrder.switchOn(stage.wrongOrders, in: session.image)
    return session
  }

  // MARK: Equal files

  /// The files of a stage with those on the screen among them.
  func files(of stage: LessonStage) -> Workbench {
    var files = stage.bench.copy().files
    files[stage.current] = Self.copy(session.overlay, stage.current)
    if let data = session.dataOverlay, let name = session.image.extensions.dataFileName {
      files[name] = Self.copy(data, name)
    }
    return Workbench(files)
  }

  private static func copy(_ storage: any Storage, _ name: String) -> MemoryStorage {
    let copy = MemoryStorage(name: name)
    try? copy.truncate(to: storage.length, tag: .untagged)
    var at: UInt64 = 0
    while at < storage.length {
      let extent = storage.extent(at: at)
      let end = min(storage.length, max(at + 1, extent.end))
      while !extent.isHole, at < end {
        let count = min(end - at, 1 << 20)
        if let bytes = try? storage.bytes(at: at, count: Int(count)) { try? copy.write(bytes, at: at) }
        at += count
      }
      at = end
    }
    return copy
  }

  /// All bytes of files are those of a stage, but for dates.
  func isEqual(_ files: Workbench, _ stage: LessonStage) -> Bool {
    let other = stage.copy()
    other.replaceFiles(by: files)
    return other.digest == stage.digest
  }

  /// What is on the screen is what a stage has.
  func shows(_ stage: LessonStage) -> Bool { isEqual(to: stage) }

  private func isEqual(to stage: LessonStage) -> Bool { isEqual(files(of: stage), stage) }

  // MARK: Operations

  /// A line goes on with another file or other layers, or opens the same one with other options.
  private static func opens(_ line: String) -> Bool {
    let words = line.split(separator: " ")
    return words.first == "open" || words.first == "rebase" || words.first == "reopen" && words.count > 1
  }

  /// Does what a stage has done with lines.
  ///
  /// - Throws: `CommandError` for a file that cannot be opened.
  func follow(_ lines: [String], _ stage: LessonStage, _ title: String) throws(CommandError) {
    WrongOrder.switchOn(stage.wrongOrders, in: session.image)
    guard !lines.isEmpty else { return }
    if lines.contains(where: Self.opens) { return try replace(stage, title) }
    let count = session.done.count
    if lines.count == 1, submit(lines[0], stage), isEqual(to: stage) { return }
    while session.done.count > count, (try? session.undo()) != nil {}
    if isEqual(to: stage) { return }
    if record(lines.joined(separator: "; "), stage), isEqual(to: stage) {
      explorer.desk.change = session.done.last?.narration
      // What was written as it was may be anything.
      session.atlas.restart()
      explorer.desk.current.imageChanged(at: nil)
      return
    }
    try replace(stage, title)
  }

  /// Does a line as the explorer's own command; false if it has none for it.
  private func submit(_ line: String, _ stage: LessonStage) -> Bool {
    let words = line.split(separator: " ").map(String.init)
    guard let verb = words.first, line.split(separator: ";").count == 1 else { return false }
    var own = line
    switch verb {
    case "undo":
      let times = words.count > 1 ? Int(words[1]) ?? 1 : 1
      for _ in 0..<min(times, 1000) where (try? session.undo()) == nil { return false }
      explorer.desk.change = nil
      explorer.desk.current.imageChanged(at: nil)
      return true
    case "write", "discard": break
    case "policy": break
    case "set": break
    case "resize": own = words.filter { $0 != "--shrink" }.joined(separator: " ")
    default: return false
    }
    do throws(CommandError) { try explorer.submit(own) } catch { return false }
    return true
  }

  /// Writes what a stage has written, in its order, as one step; false if that is no image any more.
  private func record(_ line: String, _ stage: LessonStage) -> Bool {
    guard let target = stage.bench.files[stage.current], session.refusal == nil else { return false }
    let writes = (try? stage.moment.stepRecord())?.writes ?? []
    let data = session.image.extensions.dataFileName.flatMap { stage.bench.files[$0] }
    let step = try? session.record(Deed(lesson: line)) { () throws(ImageError) in
      do throws(StorageError) {
        for write in writes {
          for note in write.notes { session.overlay.note(note.tag) }
          for event in write.events { try event.redo(on: session.overlay) }
          if write.isFlushed { try session.overlay.flush() }
        }
        try Self.copyDifferences(target, to: session.overlay)
        if let data, let overlay = session.dataOverlay { try Self.copyDifferences(data, to: overlay) }
      } catch { throw ImageError(error) }
      try session.image.reload()
    }
    return step != nil
  }

  /// Writes the words in which one file differs from the other.
  private static func copyDifferences(
    _ source: any Storage, to target: any Storage
  ) throws(StorageError) {
    if target.length != source.length { try target.truncate(to: source.length, tag: .untagged) }
    var at: UInt64 = 0
    while at < source.length {
      let (one, other) = (source.extent(at: at), target.extent(at: at))
      let end = min(source.length, max(at + 1, min(one.end, other.end)))
      if one.isHole && other.isHole {
        at = end
        continue
      }
      let count = Int(min(end - at, 4096))
      let (wanted, found) = (try source.bytes(at: at, count: count), try target.bytes(at: at, count: count))
      if wanted != found {
        let first = zip(wanted, found).prefix { $0 == $1 }.count
        let last = count - zip(wanted.reversed(), found.reversed()).prefix { $0 == $1 }.count
        try target.write(Array(wanted[first..<last]), at: at + UInt64(first))
      }
      at += UInt64(count)
    }
  }

  /// Takes back what was done since a stage was as it is, or begins anew on its files.
  ///
  /// - Throws: `CommandError` for a file that cannot be opened.
  func goBack(to stage: LessonStage, _ title: String) throws(CommandError) {
    for _ in 0...session.done.count {
      if isEqual(to: stage) {
        WrongOrder.switchOn(stage.wrongOrders, in: session.image)
        explorer.desk.change = nil
        session.atlas.restart()
        explorer.desk.current.imageChanged(at: nil)
        return
      }
      guard session.image.extensions.dataFileName == nil || session.dataOverlay != nil,
        (try? session.undo()) != nil
      else { break }
    }
    try replace(stage, title)
  }
}
