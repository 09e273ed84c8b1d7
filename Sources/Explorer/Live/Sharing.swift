// A session while guests use its disk: changes reach the file at once and leave no history, but for a request that is
// held up, which is done like an operation of the user's, looked at, taken back or let go.

package import Cartography
import Live
package import Qcow
import QcowFormat
import Storage

/// What a session does for guests.
package struct Sharing {
  let session: Session

  private var image: Image { session.image }
  private var overlays: FileSet { session.overlays }
  private var imageFiles: ImageFiles { session.imageFiles }
  private var files: any SessionFiles { session.files }
  private var atlas: Atlas { session.atlas }
  private var live: LiveDisk? { session.live }

  /// Begins to share the disk: what is written goes to the file in a session that saves by itself, and to a scratch file
  /// otherwise. The history ends here.
  ///
  /// - Throws: ``ImageError`` for a disk that cannot be shared, or a host that has no room.
  package func begin() throws(ImageError) {
    if let reason = refusalOfServing { throw ImageError(.unsupported, reason) }
    session.stopDefrag()
    let live = LiveDisk(session)
    guard session.refusal == nil else {
      session.live = live
      return
    }
    // What opening counted must be there before anything is passed on.
    while !atlas.isDone {
      if files.shouldCancel(atlas.progress) { throw Session.cancelled }
      atlas.step(budgetNanoseconds: 20_000_000)
    }
    try image.flush()
    do throws(StorageError) {
      for (file, part) in imageFiles.all where part.depth == 0 {
        let isImage = part.kind == .image
        try file.passThrough(to: try target(of: file, part)) { [weak live] event in
          if isImage { live?.take(event) } else { live?.count(event, isData: true) }
        }
      }
    } catch {
      // What was changed before is in the file or the scratch file by now, or still kept here.
      if overlays.files.contains(where: \.passesThrough) { forgetHistory() }
      for file in overlays.files { file.stopPassing() }
      throw ImageError(error)
    }
    forgetHistory()
    session.live = live
    session.revision += 1
  }

  private func target(of file: OverlayStorage, _ part: ImageFiles.Part) throws(StorageError) -> any Storage {
    guard savesItself else { return SpilledStorage(file.base, in: try files.scratchFile()) }
    return part.kind == .image ? try files.openForSaving() : try files.openForSaving(file.base, part.kind)
  }

  /// Guests wrote to a scratch file that they use.
  var hasGuestWrites: Bool { live.map { !savesItself && $0.figures != LiveFigures() } ?? false }

  /// Why the explorer stays with the image: guests use it. nil if none does.
  var refusalOfLeaving: String? {
    live == nil ? nil : "guests use the disk; \(CommandID.serve) stop ends that first"
  }

  /// Why a scratch disk that guests wrote is not saved.
  static let refusalOfSaving = ImageError(
    .readOnly, "guests wrote to a scratch file; \(CommandID.save) FILE saves a copy of what you see")

  /// Changes of guests reach the image file.
  package var savesItself: Bool { session.mode == .readWrite && session.hasFile }

  /// Why the disk cannot be shared; nil if it can.
  package var refusalOfServing: String? {
    if live != nil { return "the disk is served already" }
    if session.follower != nil { return "the file is another program's and only followed" }
    if session.salvaged != nil { return "a salvaged image is only looked at" }
    return nil
  }

  /// Ends sharing, once no client uses the disk any more; what they did stays.
  ///
  /// - Throws: ``ImageError`` if the last tables cannot be written.
  package func end() throws(ImageError) {
    guard let live else { return }
    live.gate.openWide()
    try letThrough()
    if image.isWritable { try image.flush() }
    _ = live.look(session)
    for file in overlays.files { file.stopPassing() }
    if hasGuestWrites { session.holdsGuestWrites = true }
    session.live = nil
    session.takeFilesAsTheyAre()
    atlas.restart()
    session.revision += 1
  }

  // MARK: Requests that are held up

  /// Does a request so that it can be dropped: `keepsIf` is shown what it did. What is kept reaches the file.
  ///
  /// - Throws: ``ImageError`` as the request of a guest would.
  func tryOut(
    _ body: () throws(ImageError) -> Void, keepsIf: ([StorageEvent]) -> Bool
  ) throws(ImageError) {
    // Dropping it reads the tables from the file again, so all of them must be there.
    try image.flush()
    let before = image.session
    overlays.begin("")
    var failure: ImageError?
    do throws(ImageError) {
      try body()
      try image.flush()
    } catch { failure = error }
    let events = overlays.pending.events.map(\.event)
    guard keepsIf(events) else {
      try session.rollback(to: before)
      return try letThrough()
    }
    try letThrough()
    if let failure { throw failure }
  }

  /// Does the request that is held up, and keeps it from the file: as an operation that can be looked at step by step and
  /// taken back.
  ///
  /// - Throws: ``ImageError`` if none is held up, and what it throws itself; nothing was changed then.
  package func doHeld() throws(ImageError) {
    guard let live, let held = live.gate.held, !held.isDone else {
      throw ImageError(.invalidRequest, "no request is held up that could be done")
    }
    try image.flush()
    catchUp()
    let request = held.request
    live.gate.held?.isDone = true
    do throws(ImageError) {
      let step = try session.record(Deed(guest: request)) { () throws(ImageError) in
        try live.shared.perform(request)
      }
      // Nothing changed, as a read.
      if step == nil { try letThrough() }
    } catch {
      // The guest hears of it when the request is let go, and then fails by itself.
      live.gate.held?.isDone = false
      try letThrough()
      throw error
    }
  }

  /// The maps follow what came before.
  func catchUp() {
    guard let live else { return }
    if live.look(session).hasChanges { session.revision += 1 }
    while atlas.partsBehind > 0, !atlas.step(budgetNanoseconds: 20_000_000) {}
  }

  /// What the request that is held up would do; nil if it would change nothing.
  ///
  /// - Throws: ``ImageError`` as the request would.
  package func previewHeld() throws(ImageError) -> Narration? {
    guard let live, let held = live.gate.held, !held.isDone, held.request.changes, image.isWritable
    else { return nil }
    try image.flush()
    catchUp()
    let request = held.request
    defer { try? letThrough() }
    return try session.preview(Deed(guest: request)) { () throws(ImageError) in
      try live.shared.perform(request)
    }
  }

  /// The request that is held up was done and is taken back: it will be done when it is let go.
  func heldWasUndone() { live?.gate.held?.isDone = false }
  func heldWasRedone() { live?.gate.held?.isDone = true }

  /// What was kept from the files reaches them, and further changes are passed on again.
  ///
  /// - Throws: ``ImageError`` if a file takes no more.
  func letThrough() throws(ImageError) {
    guard let live, overlays.files.contains(where: \.isHeldBack) else { return }
    let wasShown = !session.done.isEmpty
    do throws(StorageError) {
      // Bytes before the tables that name them.
      for (index, file) in overlays.files.enumerated().reversed() where file.passesThrough {
        for event in try file.release() {
          if wasShown || index > 0 { live.count(event, isData: index > 0) } else { live.take(event) }
        }
      }
    } catch { throw ImageError(error) }
    overlays.forgetHistory()
    forgetHistory()
  }

  private func forgetHistory() {
    overlays.forgetHistory()
    session.done = []
    session.undone = []
    session.forgotten = ForgottenSteps()
  }
}
