// The image that is being explored: a scratch overlay above its file, the engine on the overlay, and
// the atlas beside it. Every change goes through here, so that it can be told, taken back and saved.

package import Cartography
package import QcowFormat
package import Qcow
package import Storage

/// Opens an image, for the first time or again.
package typealias SessionOpener = () throws(ImageError) -> Session

/// An open image with its generations.
package final class Session {
  /// What happens to the file.
  package enum Mode: String, Sendable {
    /// Never touched until `:w`.
    case scratch
    case readOnly = "ro"
    /// Saved after every operation.
    case readWrite = "rw"
  }

  /// The files of the image with all changes.
  package let imageFiles: ImageFiles
  /// The same as one history.
  package var overlays: FileSet { imageFiles.set }
  /// The image as it is now.
  package let scene: Scene
  /// What happens to the file.
  package let mode: Mode
  /// File name as shown; "demo" for the built-in image.
  package let title: String
  /// The image has a file that `:w` can save to.
  package var hasFile: Bool { saver.hasFile }
  let files: any SessionFiles
  /// Follows the file, which another program writes; nil if nobody is expected to.
  package private(set) var follower: Follower?
  private let saver: SessionSaver
  /// The image file with all changes.
  package var overlay: OverlayStorage { overlays.files[0] }
  /// The changes of the external data file; nil for images without one, and if it is not open.
  package var dataOverlay: OverlayStorage? { imageFiles[0, .data] }
  /// The image as it is now.
  package var image: Image { scene.image }
  /// The counts of both maps.
  package var atlas: Atlas { scene.atlas }
  /// Finds who uses a host cluster.
  package var owners: Owners { scene.owners }
  /// Names the bytes of the file.
  package var byteMap: ByteMap { scene.byteMap }
  /// The map of the external data file; nil without one.
  package var dataMap: DataFileMap? { scene.dataMap }

  /// What was done, oldest first, with what undo needs; parallel to ``OverlayStorage/applied``.
  package internal(set) var done: [Step] = []
  /// The oldest of them, of which nothing is kept any more.
  package internal(set) var forgotten = ForgottenSteps()
  /// Steps that were taken back, the newest last.
  package internal(set) var undone: [Step] = []
  /// Changes with every change of the image.
  package internal(set) var revision = 0
  private weak var watch: OperationWatch?
  /// What it does for guests.
  package var sharing: Sharing { Sharing(session: self) }
  /// Guests use the disk; nil while nobody does.
  package internal(set) var live: LiveDisk?
  /// Guests wrote to a scratch file, which is gone at the end.
  package internal(set) var holdsGuestWrites = false
  /// Puts the image in order batch by batch; nil if that is not under way.
  package internal(set) var defrag: Relocating?

  /// One operation.
  package typealias Step = SessionStep

  /// Opens the image on `base`, which is never written; `layers` opens what it names. Who has other wishes says them
  /// with `opening`.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be opened.
  package init(
    _ base: any Storage, title: String, mode: Mode, files: any SessionFiles, hasFile: Bool = true,
    layers: ChainOpener? = nil, backing: (any GuestLayer)? = nil, dataFile: (any Storage)? = nil,
    secret: Secret? = nil,
    policies: Policies = Policies(), opening: Image.Options? = nil
  ) throws(ImageError) {
    var options = opening ?? Image.Options()
    options.writable = mode != .readOnly
    options.cache = .writeback
    // Undo reads the refcounts from the disk again, so they must be there after every operation.
    options.lazyRefcounts = false
    // Looking at a damaged image must not change it; requests that meet damage fail and are taken back.
    options.marksCorruption = false
    options.repairsDirty = false
    if opening == nil {
      options.secret = secret
      options.backing = backing
      options.dataFile = dataFile.map { OverlayStorage(base: $0) }
      options.policies = policies
    }
    let overlay = OverlayStorage(base: base)
    layers?.wrap = { file, _ in OverlayStorage(base: file) }
    let image: Image
    (image, openingProblem) = try ImageOpening.session(on: overlay, options, layers)
    let imageFiles = ImageFiles(image, on: overlay)
    self.imageFiles = imageFiles
    // What is opened later takes part in the history.
    layers?.wrap = { [weak imageFiles] file, kind in
      imageFiles?.overlay(over: file, kind) ?? OverlayStorage(base: file)
    }
    scene = Scene(image)
    self.mode = mode
    self.title = title
    self.files = files
    saver = SessionSaver(imageFiles, title: title, files: files, hasFile: hasFile)
    if let seen = base as? SeenStorage { follower = Follower(self, seen) }
    // What opening itself changed is the first generation's base, not a step of the user's.
    imageFiles.set.settle()
  }

  /// When the next snapshot says that it was taken; nil for the moment at which it is.
  var nextTime: SnapshotTime?

  /// What was made of the file before it could be opened; nil for an image that was opened as it is.
  package var salvaged: Salvage?

  /// Why the image is open for looking only although changes were asked for, or without some of its parts.
  package let openingProblem: String?

  /// The sizes of the image.
  package var geometry: Geometry { image.geometry }
  /// How many steps lie behind the present state.
  package var generation: Int { done.count }
  /// Steps that are known, those that were taken back included.
  package var generations: Int { done.count + undone.count }
  /// The files are not as they are shown.
  package var hasUnsavedChanges: Bool {
    follower == nil && (holdsGuestWrites || sharing.hasGuestWrites || overlays.hasUnsavedChanges)
  }
  /// The state of the file now; nil if it is gone.
  var identity: FileIdentity? { files.identity() }

  /// Why requests that change are refused; nil if they are not.
  package var refusal: String? {
    if live != nil { return "guests use the disk; \(CommandID.serve) stop ends that" }
    if let looked = overlay.base as? any LookedAtStorage { return looked.refusal }
    if mode == .readOnly, openingProblem == nil {
      return "the image is open read-only; start without --ro to change it"
    }
    if let reason = openingProblem ?? image.readOnlyReason { return "this image is only read: \(reason)" }
    return nil
  }

  /// What the title shows in brackets: the mode, and a policy that is not QEMU's.
  package var modeName: String {
    guard refusal == nil || live != nil else {
      return Mode.readOnly.rawValue + (follower == nil ? "" : ", followed")
    }
    var policy = image.policy == .qemu ? "" : ", \(image.policy.rawValue)"
    if case .unverified = image.pinState { policy += image.policy == .pinned ? ", unverified" : "" }
    return mode.rawValue + (live == nil ? "" : ", served") + policy
      + (image.discardGranularity == .cluster ? "" : ", fine discards")
  }

  /// Changes who may change the mapping, from the next operation on.
  ///
  /// - Throws: ``ImageError`` for a policy that the image does not allow.
  package func setPolicy(_ policy: MappingPolicy) throws(ImageError) {
    if let refusal { throw ImageError(.readOnly, refusal) }
    try image.choosePolicy(policy)
  }

  // MARK: Operations

  /// Does a request as one step of undo.
  ///
  /// - Throws: ``ImageError`` for what cannot be done; then nothing has changed.
  @discardableResult
  package func run(_ request: Request) throws(ImageError) -> Step? {
    stopDefrag()
    try check(request)
    return try record(Deed(request)) { () throws(ImageError) in try perform(request) }
  }

  /// Does a change of the image as one step of undo.
  /// - Throws: ``ImageError``; nothing was changed then.
  @discardableResult
  package func run(_ change: any Change) throws(ImageError) -> Step? {
    stopDefrag()
    try check(change)
    let (change, time) = timed(change)
    return try record(Deed(change), time: time) { () throws(ImageError) in try change.run(on: image) }
  }

  /// Does something as one operation on the overlay, with its line in the log, or not at all.
  func record(
    _ deed: Deed, group: Int? = nil, time: SnapshotTime? = nil, _ body: () throws(ImageError) -> Void
  ) throws(ImageError) -> Step? {
    let before = image.session
    let circumstances = Circumstances(image, time)
    let watch = begin(deed)
    var told: Narration?
    do throws(ImageError) {
      try watched(watch) { () throws(ImageError) in
        try body()
        try image.flush()
        told = try narrate(watch, before)
      }
    } catch {
      try rollback(to: before)
      throw reason(watch, error)
    }
    // A repair writes what it has counted, also where the same is there already.
    if deed.mendsCounts, overlays.pending.parts.allSatisfy({ $0.operation.changesNothing }) {
      try rollback(to: before)
      return nil
    }
    guard let operations = overlays.commit(), let told else { return nil }
    let step = Step(
      operations: operations, title: deed.title, range: deed.range, before: before, after: image.session,
      narration: told, circumstances: circumstances, group: group)
    done.append(step)
    undone = []
    saver.lookAtNewFiles()
    follow(step, undone: false)
    try saveIfWritingThrough()
    return step
  }

  /// The maps show what a step did, or that it was taken back.
  private func follow(_ step: Step, undone: Bool) {
    if step.before.backing != step.after.backing {
      // Every place without an entry may mean something else.
      atlas.restart()
    } else if let operation = step.operations[.image] {
      atlas.update(with: operation, undone: undone)
    }
    revision += 1
  }

  /// The watch that requests are done under; nil between them.
  private func begin(_ deed: Deed) -> OperationWatch {
    overlays.begin(deed.title, isLong: deed.isLong)
    let watch = OperationWatch(
      files, atlas, looksForHarm: !deed.mendsCounts, mayOverwriteShared: deed.writesSharedTables)
    self.watch = watch
    return watch
  }

  /// The story of the open operation.
  private func narrate(
    _ watch: OperationWatch, _ before: Image.SessionState
  ) throws(ImageError) -> Narration? {
    guard let pending = overlay.pending else { return nil }
    guard
      var told = Narration(
        pending, data: dataOverlay?.pending, title: pending.title, length: overlay.length,
        geometry: geometry, unless: { watch.asksNowAndThen() })
    else { throw Self.cancelled }
    for (_, file, words, operation) in imageFiles.below(overlays.pending) {
      told.add(operation, to: words, ByteText.lastPart(of: file.name), length: file.length)
    }
    if before.backing.layer !== image.backing {
      func name(_ layer: (any GuestLayer)?) -> String {
        layer.map { Escaping.human(ByteText.lastPart(of: $0.layerName)) } ?? "none"
      }
      told.append("header: backing file \(name(before.backing.layer)) -> \(name(image.backing))")
    }
    return told
  }

  /// Drops the open operation from all files, and what is known of them besides.
  func rollback(to state: Image.SessionState) throws(ImageError) {
    let dropped = overlays.pending
    overlays.rollback()
    try restore(state, without: dropped)
  }

  /// Does a request and takes it back at once.
  ///
  /// - Throws: ``ImageError`` for what cannot be done.
  package func preview(_ request: Request) throws(ImageError) -> Narration? {
    stopDefrag()
    try check(request)
    return try preview(Deed(request)) { () throws(ImageError) in try perform(request) }
  }

  /// Does a change of the image and takes it back at once.
  /// - Throws: ``ImageError`` if it cannot be done.
  package func preview(_ change: any Change) throws(ImageError) -> Narration? {
    stopDefrag()
    try check(change)
    return try preview(Deed(change)) { () throws(ImageError) in try change.run(on: image) }
  }

  /// Does something and takes it back at once.
  func preview(
    _ deed: Deed, _ body: () throws(ImageError) -> Void
  ) throws(ImageError) -> Narration? {
    let before = image.session
    var files: [(before: PageLayer, isImage: Bool)] = [(overlay.layer, true)]
    if let dataOverlay { files.append((dataOverlay.layer, false)) }
    let watch = begin(deed)
    var told: Narration?
    var failure: ImageError?
    do throws(ImageError) {
      try watched(watch) { () throws(ImageError) in
        try body()
        try image.flush()
        told = try narrate(watch, before)
        told?.set(givenBack: givenBack(files))
      }
    } catch {
      failure = error
    }
    try rollback(to: before)
    if let failure { throw reason(watch, failure) }
    return told
  }

  /// Bytes that the host keeps for what the open operation gives back to it, each counted once; nil if the host does
  /// not tell. `files` are the files before it, the image file and its data file.
  private func givenBack(_ files: [(before: PageLayer, isImage: Bool)]) -> UInt64? {
    var bytes: UInt64 = 0
    for (before, isImage) in files {
      let events = (isImage ? overlay : dataOverlay)?.pending?.events ?? []
      for range in Narration.returned(by: events) {
        guard let kept = before.keptBytes(in: range) else { return nil }
        bytes += kept
      }
    }
    return bytes
  }

  /// Takes the newest operation back.
  ///
  /// - Throws: ``ImageError`` if the state before cannot be had.
  package func undo() throws(ImageError) -> Step? {
    if follower != nil, let refusal { throw ImageError(.readOnly, refusal) }
    stopDefrag()
    var last: Step?
    if !done.isEmpty, done.count <= overlays.forgotten { throw forgotten.refusal(overlays) }
    while let step = done.last, last == nil || last?.group != nil && last?.group == step.group,
      done.count > overlays.forgotten,
      try replayed({ () throws(StorageError) in try overlays.undo() }, stopsBehind: last)
    {
      done.removeLast()
      undone.append(step)
      try restore(step.before, without: step.operations)
      follow(step, undone: true)
      last = step
    }
    guard let last else { return nil }
    sharing.heldWasUndone()
    try saveIfWritingThrough()
    return last
  }

  /// Takes one operation back or forth; false if Esc came between two that belong together: then the first
  /// of them stay as they are, and the next time goes on.
  private func replayed(
    _ replay: () throws(StorageError) -> Void, stopsBehind last: Step?
  ) throws(ImageError) -> Bool {
    let watch = OperationWatch(files, atlas, looksForHarm: false)
    if last != nil, watch.asks(0) { return false }
    do throws(ImageError) {
      return try watched(watch) { () throws(ImageError) in
        do throws(StorageError) { try replay() } catch { throw ImageError(error) }
        return true
      }
    } catch { throw reason(watch, error) }
  }

  /// Does the step again that was taken back last; nil if there is none.
  ///
  /// - Throws: ``ImageError`` if the state afterwards cannot be had.
  package func redo() throws(ImageError) -> Step? {
    stopDefrag()
    var last: Step?
    while let step = undone.last, last == nil || last?.group != nil && last?.group == step.group,
      try replayed({ () throws(StorageError) in try overlays.redo() }, stopsBehind: last)
    {
      undone.removeLast()
      done.append(step)
      try restore(step.after, without: step.operations)
      follow(step, undone: false)
      last = step
    }
    guard let last else { return nil }
    sharing.heldWasRedone()
    try saveIfWritingThrough()
    return last
  }

  /// Esc ended the work, so that there is nothing to be told but that.
  static func isCancellation(_ error: ImageError) -> Bool { error.description == cancelled.description }
  static let cancelled = ImageError(.invalidRequest, "given up; nothing was changed")

  private func check(_ request: Request) throws(ImageError) {
    if let refusal { throw ImageError(.readOnly, refusal) }
    try requests.check(request)
  }

  private func check(_ change: any Change) throws(ImageError) {
    if mode == .readOnly || openingProblem != nil || live != nil, let refusal {
      throw ImageError(.readOnly, refusal)
    }
    if let reason = change.refusal(of: image) {
      throw ImageError(image.isWritable ? .unsupported : .readOnly, reason)
    }
  }

  /// The guest's side of the image.
  private var requests: GuestRequests { GuestRequests(image) }

  /// Does a request under the watch, which hears Esc between its pieces.
  private func perform(_ request: Request) throws(ImageError) {
    let isWhole = try requests.perform(request) { watch?.asks($0) == true }
    if !isWhole { throw Self.cancelled }
  }

  /// Reads a range in pieces.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, and for damage.
  package func read(_ request: Request) throws(ImageError) -> ReadResult {
    guard let result = try requests.read(request, unless: files.shouldCancel) else { throw Self.cancelled }
    return result
  }

  /// Reads all again that an operation had changed or that was taken back; `operation` is nil if that was in
  /// the image alone.
  func restore(_ state: Image.SessionState, without operation: FileOperation? = nil) throws(ImageError) {
    // The chain of that state, before anything looks at layers by their depth.
    image.session.backing = state.backing
    if let operation { try imageFiles.reloadLayers(of: image, behind: operation) }
    try image.reload()
    image.session = state
  }

  // MARK: Saving

  /// What another program did to the file since it was opened or saved, in words; nil if nothing is known.
  package var changeByOthers: String? { follower == nil && live == nil ? saver.changeByOthers : nil }
  /// What the files are now is what this session made of them.
  func takeFilesAsTheyAre() { saver.lookAtIdentities() }

  /// Saves to the image file, unless somebody else changed it.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be written; the next save goes on from there.
  package func save() throws(ImageError) {
    // An image that a step has made one that is only read, as without its layer, is saved all the same.
    if mode == .readOnly || openingProblem != nil || live != nil, let refusal {
      throw ImageError(.readOnly, refusal)
    }
    if holdsGuestWrites { throw Sharing.refusalOfSaving }
    try saver.check()
    try storeBitmaps()
    let watch = OperationWatch(files, atlas, looksForHarm: false)
    do throws(ImageError) {
      try saver.save(under: watch)
    } catch {
      guard watch.isStopped else { throw error }
      // Operations that the files hold completely.
      let saved = done.count { overlays.holds($0.operations) }
      throw ImageError(
        .storage,
        "saving was given up: the file holds \(saved) of \(done.count) operations and perhaps "
          + "part of the next, as after a power cut: at worst with leaks; \(CommandID.save) goes on")
    }
  }

  /// Writes all that the session shows to a new file; holes stay holes.
  ///
  /// - Throws: ``ImageError`` for a file that exists or cannot be written.
  package func saveCopy(_ path: String, replacing: Bool) throws(ImageError) {
    try saver.checkCopy()
    try storeBitmaps()
    try saver.saveCopy(path, replacing: replacing)
  }

  /// Writes the image as it was at a generation to a new file, from which somebody can go on; bytes of it.
  ///
  /// - Throws: ``ImageError`` for a generation that there is not, and as ``saveCopy(_:replacing:)``.
  package func fork(_ generation: Int, to path: String, replacing: Bool) throws(ImageError) -> UInt64 {
    guard let views = overlays.views(at: HistoryMoment(generation: generation)) else {
      if (0..<overlays.forgotten).contains(generation) { throw forgotten.refusal(overlays) }
      throw ImageError(.invalidRequest, "there are generations 0 to \(generations)")
    }
    if generation == self.generation {
      try saveCopy(path, replacing: replacing)
      return overlay.length
    }
    try saver.checkCopy()
    try saver.saveCopy(of: views[0], path, replacing: replacing)
    return views[0].length
  }

  /// What a verb would write to a new file from what is shown, in sentences.
  ///
  /// - Throws: ``ImageError`` with the reason if it cannot be done.
  func foretold(
    _ verb: any NewFileVerb, of scene: Scene, replacing: Bool
  ) throws(ImageError) -> [String] {
    if let refusal = verb.refusal(of: scene) { throw ImageError(.unsupported, refusal) }
    if !replacing, files.names(beginningWith: verb.target).contains(verb.target) {
      throw ImageError(.option, "'\(verb.target)' exists; a ! behind the command replaces it")
    }
    var isStopped = false
    do throws(ImageError) {
      return try verb.foretold(of: scene) { done in
        isStopped = files.shouldCancel(done)
        return isStopped
      }
    } catch { throw isStopped ? Self.cancelled : error }
  }

  /// Writes a new file from what is shown, unsaved changes included; says what was written.
  ///
  /// - Throws: ``ImageError`` for a file that exists or what can be neither read nor written; the file then is
  ///   removed again.
  func write(_ verb: any NewFileVerb, of scene: Scene, replacing: Bool) throws(ImageError) -> String {
    stopDefrag()
    if let refusal = verb.refusal(of: scene) { throw ImageError(.unsupported, refusal) }
    guard !verb.target.isEmpty else { throw ImageError(.option, "the new file needs a name") }
    return try saver.writeNew(verb.target, replacing: replacing) { file throws(ImageError) in
      try verb.write(scene, to: file, unless: files.shouldCancel)
    }
  }

  /// Persistent bitmaps go to the image with what they recorded, as when it is closed: a file in which they are in
  /// use is trusted by nobody. That belongs to the operation before it, and is taken back with it.
  func storeBitmaps() throws(ImageError) {
    guard image.hasUnstoredBitmaps, let last = done.indices.last else { return }
    let group = done[last].group ?? revision
    done[last].group = group
    _ = try record(.storingBitmaps, group: group) { () throws(ImageError) in try image.storeBitmaps() }
  }

  func saveIfWritingThrough() throws(ImageError) {
    guard live == nil, mode == .readWrite, hasFile, hasUnsavedChanges else { return }
    try save()
  }
}
