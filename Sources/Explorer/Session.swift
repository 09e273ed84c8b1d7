// The image that is being explored: a scratch overlay above its file, the engine on the overlay, and
// the atlas beside it. Every change goes through here, so that it can be told, taken back and saved.

package import Cartography
package import QcowFormat
package import Qcow
package import Storage

/// What the explorer needs from the host, and may not do itself.
package protocol SessionFiles: AnyObject {
  /// The state of the image file now; nil if it is gone or there is none.
  func identity() -> FileIdentity?
  /// The image file for writing, locked against other programs.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened for writing or is another one by now.
  func openForSaving() throws(StorageError) -> any Storage
  /// The state of the external data file that is open as `file`, now; nil if it is gone.
  func identity(ofData file: any Storage) -> FileIdentity?
  /// The same file for writing, locked; after ``openForSaving()``, and closed with the image file.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened for writing.
  func openDataForSaving(_ file: any Storage) throws(StorageError) -> any Storage
  /// The save is over; other programs may write again if the mode allows it.
  func closeAfterSaving()
  /// A new file; an existing one is refused unless `replacing`.
  ///
  /// - Throws: ``StorageError`` for a path that exists, unless it may be replaced, or cannot be made.
  func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage
  /// What was begun with ``create(_:replacing:)`` cannot be finished: removes the file if it was made
  /// then; false if it is there, and incomplete.
  func removeUnfinished() -> Bool
  /// Writes a small text file.
  ///
  /// - Throws: ``StorageError`` for a path that exists or cannot be written.
  func writeText(_ text: String, to path: String) throws(StorageError)
  /// Names in a directory that begin with a prefix, for completion.
  func names(beginningWith prefix: String) -> [String]
  /// Long work asks this between its pieces, with its share done; true gives it up.
  func shouldCancel(_ progress: Double) -> Bool
  /// A line of the command history to keep for the next session.
  func remember(_ line: String)
}

extension SessionFiles {
  package func closeAfterSaving() {}
  package func removeUnfinished() -> Bool { false }
  package func identity(ofData file: any Storage) -> FileIdentity? { nil }
  package func openDataForSaving(_ file: any Storage) throws(StorageError) -> any Storage {
    throw StorageError(.open, name: file.name, detail: "the external data file cannot be written here")
  }
}

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

  /// The image file and, if there is one and it is open, the external data file, with all changes.
  package let overlays: FileSet
  /// The image as it is now.
  package let scene: Scene
  /// What happens to the file.
  package let mode: Mode
  /// File name as shown; "demo" for the built-in image.
  package let title: String
  /// The image has a file that `:w` can save to.
  package let hasFile: Bool
  private let files: any SessionFiles
  private var identity: FileIdentity?
  private var dataIdentity: FileIdentity?
  /// The image file with all changes.
  package var overlay: OverlayStorage { overlays.files[0] }
  /// The changes of the external data file; nil for images without one, and if it is not open.
  package var dataOverlay: OverlayStorage? { overlays[FileNumber(1)] }
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
  /// Steps that were taken back, the newest last.
  package internal(set) var undone: [Step] = []
  /// Changes with every change of the image.
  package internal(set) var revision = 0
  private weak var watch: OperationWatch?
  /// Puts the image in order batch by batch; nil if that is not under way.
  package internal(set) var defrag: Relocating?

  /// One operation.
  package struct Step {
    /// What it did to the bytes.
    package let operations: FileOperation
    /// The line that asks for it.
    package let title: String
    /// The first guest byte that it is about, in bytes; nil if it is about the image as a whole.
    package let place: UInt64?
    /// What was known besides the file before it.
    package let before: Image.SessionState
    /// The same afterwards.
    package let after: Image.SessionState
    /// What it did in words.
    package let narration: Narration
    /// Steps in a row that are done and taken back together have the same number.
    package var group: Int?
  }

  /// Opens the image on `base`, which is never written; `layers` opens what it names.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be opened.
  package init(
    _ base: any Storage, title: String, mode: Mode, files: any SessionFiles, hasFile: Bool = true,
    layers: ChainOpener? = nil, backing: (any GuestLayer)? = nil, dataFile: (any Storage)? = nil,
    secret: Secret? = nil,
    policies: Policies = Policies()
  ) throws(ImageError) {
    var options = Image.Options()
    options.writable = mode != .readOnly
    options.cache = .writeback
    // Undo reads the refcounts from the disk again, so they must be there after every operation.
    options.lazyRefcounts = false
    // Looking at a damaged image must not change it; requests that meet damage fail and are taken back.
    options.marksCorruption = false
    options.repairsDirty = false
    options.secret = secret
    options.backing = backing
    options.dataFile = dataFile.map { OverlayStorage(base: $0) }
    options.policies = policies
    let overlay = OverlayStorage(base: base)
    layers?.wrapData = { OverlayStorage(base: $0) }
    let image: Image
    (image, openingProblem) = try Self.open(overlay, options, layers)
    let data = image.hasExternalData ? image.dataStorage as? OverlayStorage : nil
    overlays = FileSet(overlay, data.map { [$0] } ?? [])
    scene = Scene(image)
    self.mode = mode
    self.title = title
    self.hasFile = hasFile
    self.files = files
    identity = files.identity()
    dataIdentity = data.flatMap { files.identity(ofData: $0.base) }
    // What opening itself changed is the first generation's base, not a step of the user's.
    overlays.settle()
  }

  /// Opens the image for changes, else for looking, else without the parts that are damaged.
  ///
  /// - Returns: the image, and why it is less than what was asked for.
  private static func open(
    _ overlay: OverlayStorage, _ options: Image.Options, _ layers: ChainOpener?
  ) throws(ImageError) -> (Image, String?) {
    func attempt(_ options: Image.Options) throws(ImageError) -> Image {
      if let layers { return try layers.openImage(on: overlay, options) }
      return try Image(overlay, options: options)
    }
    do throws(ImageError) {
      let image = try attempt(options)
      guard image.hasSnapshotsBehindEnd else { return (image, nil) }
      let looked = try Image.lookedAt(options, attempt)
      return (looked, looked.damageText)
    } catch {
      let image = try Image.lookedAt(options, attempt)
      return (image, image.damageText ?? error.description)
    }
  }

  /// Why the image is open for looking only although changes were asked for, or without some of its parts.
  package let openingProblem: String?

  /// The sizes of the image.
  package var geometry: Geometry { image.geometry }
  /// How many steps lie behind the present state.
  package var generation: Int { done.count }
  /// Steps that are known, those that were taken back included.
  package var generations: Int { done.count + undone.count }
  /// The files are not as they are shown.
  package var hasUnsavedChanges: Bool { overlays.hasUnsavedChanges }

  /// Why requests that change are refused; nil if they are not.
  package var refusal: String? {
    if mode == .readOnly, openingProblem == nil {
      return "the image is open read-only; start without --ro to change it"
    }
    if let reason = openingProblem ?? image.readOnlyReason { return "this image is only read: \(reason)" }
    return nil
  }

  /// What the title shows in brackets: the mode, and a policy that is not QEMU's.
  package var modeName: String {
    guard refusal == nil else { return Mode.readOnly.rawValue }
    var policy = image.policy == .qemu ? "" : ", \(image.policy.rawValue)"
    if case .unverified = image.pinState { policy += image.policy == .pinned ? ", unverified" : "" }
    return mode.rawValue + policy + (image.discardGranularity == .cluster ? "" : ", fine discards")
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
    return try record(Deed(change)) { () throws(ImageError) in try change.run(on: image) }
  }

  /// What is about to be done, as far as the log and the watch care.
  struct Deed {
    let title: String
    let place: UInt64?
    /// It may take long, and is dropped in an instant.
    let isLong: Bool
    /// Clusters that belong to more than one are written by right.
    let writesSharedTables: Bool

    init(_ request: Request) {
      title = request.commandLine
      place = request.offset
      isLong = request.length > 8 * Session.piece
      writesSharedTables = false
    }

    /// What saving does before it saves.
    static let storingBitmaps = Deed("store bitmaps")

    private init(_ title: String) {
      self.title = title
      place = nil
      isLong = true
      writesSharedTables = false
    }

    init(_ change: any Change) {
      title = change.commandLine
      place = nil
      isLong = true
      writesSharedTables = type(of: change).words.writesSharedTables
    }
  }

  /// Does something as one operation on the overlay, with its line in the log, or not at all.
  func record(
    _ deed: Deed, group: Int? = nil, _ body: () throws(ImageError) -> Void
  ) throws(ImageError) -> Step? {
    let before = image.session
    let watch = begin(deed)
    var told: Narration?
    do throws(ImageError) {
      try watched(watch) { () throws(ImageError) in
        try body()
        try image.flush()
        told = try narrate(watch)
      }
    } catch {
      overlays.rollback()
      try restore(before)
      throw reason(watch, error)
    }
    guard let operations = overlays.commit(), let told else { return nil }
    let step = Step(
      operations: operations, title: deed.title, place: deed.place, before: before, after: image.session,
      narration: told, group: group)
    done.append(step)
    undone = []
    if let operation = operations[.image] { atlas.update(with: operation, undone: false) }
    revision += 1
    try saveIfWritingThrough()
    return step
  }

  /// The watch that requests are done under; nil between them.
  private func begin(_ deed: Deed) -> OperationWatch {
    overlays.begin(deed.title, isLong: deed.isLong)
    let watch = OperationWatch(files, atlas, mayOverwriteShared: deed.writesSharedTables)
    self.watch = watch
    return watch
  }

  /// The story of the open operation.
  private func narrate(_ watch: OperationWatch) throws(ImageError) -> Narration? {
    guard let pending = overlay.pending else { return nil }
    guard
      let told = Narration(
        pending, data: dataOverlay?.pending, title: pending.title, length: overlay.length,
        geometry: geometry, unless: { watch.asksNowAndThen() })
    else { throw Self.cancelled }
    return told
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

  private func preview(
    _ deed: Deed, _ body: () throws(ImageError) -> Void
  ) throws(ImageError) -> Narration? {
    let before = image.session
    let watch = begin(deed)
    var told: Narration?
    var failure: ImageError?
    do throws(ImageError) {
      try watched(watch) { () throws(ImageError) in
        try body()
        try image.flush()
        told = try narrate(watch)
      }
    } catch {
      failure = error
    }
    overlays.rollback()
    try restore(before)
    if let failure { throw reason(watch, failure) }
    return told
  }

  /// Takes the newest operation back.
  ///
  /// - Throws: ``ImageError`` if the state before cannot be had.
  package func undo() throws(ImageError) -> Step? {
    stopDefrag()
    var last: Step?
    while let step = done.last, last == nil || last?.group != nil && last?.group == step.group,
      try replayed({ () throws(StorageError) in try overlays.undo() }, stopsBehind: last)
    {
      done.removeLast()
      undone.append(step)
      try restore(step.before)
      if let operation = step.operations[.image] { atlas.update(with: operation, undone: true) }
      revision += 1
      last = step
    }
    guard let last else { return nil }
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
      try restore(step.after)
      if let operation = step.operations[.image] { atlas.update(with: operation, undone: false) }
      revision += 1
      last = step
    }
    guard let last else { return nil }
    try saveIfWritingThrough()
    return last
  }

  /// What a read found.
  package struct ReadResult: Equatable, Sendable {
    /// The byte that all of the range is; nil if it differs.
    package var uniform: UInt8?
    /// The first byte that is not the expected one.
    package var firstDifference: UInt64?
    /// Up to 16 bytes from the start.
    package var first: [UInt8]
  }

  /// Reads a range in pieces.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, and for damage.
  package func read(_ request: Request) throws(ImageError) -> ReadResult {
    try checkRange(request)
    guard case .read(let expected, _) = request.kind else {
      return ReadResult(uniform: nil, firstDifference: nil, first: [])
    }
    var buffer = [UInt8](repeating: 0, count: Int(min(request.length, Self.piece)))
    var result = ReadResult(uniform: nil, firstDifference: nil, first: [])
    var isUniform = true
    var at: UInt64 = 0
    while at < request.length {
      let count = Int(min(UInt64(buffer.count), request.length - at))
      var failure: ImageError?
      unsafe buffer.withUnsafeMutableBytes { bytes in
        do throws(ImageError) {
          unsafe try image.read(
            at: GuestOffset(request.offset + at),
            into: UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count]))
        } catch { failure = error }
      }
      if let failure { throw failure }
      if at == 0 {
        result.first = Array(buffer.prefix(min(count, 16)))
        result.uniform = buffer.first
      }
      unsafe buffer.withUnsafeBytes { bytes in
        let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<count])
        if isUniform, let first = result.uniform, unsafe piece.firstIndex(otherThan: first) != nil {
          isUniform = false
        }
        if let expected, result.firstDifference == nil,
          let index = unsafe piece.firstIndex(otherThan: expected)
        {
          result.firstDifference = request.offset + at + UInt64(index)
        }
      }
      at += UInt64(count)
      if at < request.length, files.shouldCancel(Double(at) / Double(request.length)) { throw Self.cancelled }
    }
    if !isUniform { result.uniform = nil }
    return result
  }

  /// Bytes per call into the engine for long requests; whole clusters of every size.
  fileprivate static let piece: UInt64 = 8 << 20
  /// Esc ended the work, so that there is nothing to be told but that.
  static func isCancellation(_ error: ImageError) -> Bool { error.description == cancelled.description }
  static let cancelled = ImageError(.invalidRequest, "given up; nothing was changed")

  private func check(_ request: Request) throws(ImageError) {
    if let refusal { throw ImageError(.readOnly, refusal) }
    try checkRange(request)
  }

  private func check(_ change: any Change) throws(ImageError) {
    if mode == .readOnly || openingProblem != nil, let refusal { throw ImageError(.readOnly, refusal) }
    if let reason = change.refusal(of: image) {
      throw ImageError(image.isWritable ? .unsupported : .readOnly, reason)
    }
  }

  private func checkRange(_ request: Request) throws(ImageError) {
    let size = geometry.virtualSize
    guard request.offset < size, request.length <= size - request.offset else {
      throw ImageError(
        .invalidRequest,
        "the range 0x\(Notation.hex(request.offset)) +\(Notation.compact(request.length)) reaches behind the end "
          + "of the disk at 0x\(Notation.hex(size))")
    }
  }

  /// Requests up to 64 MiB go to the engine in one call, as a guest would send them. Longer ones are
  /// cut at whole multiples, so that Esc is heard between the pieces.
  private func perform(_ request: Request) throws(ImageError) {
    let step = request.length <= 8 * Self.piece ? request.length : Self.piece
    var pattern: [UInt8] = []
    if case .write(let byte) = request.kind { pattern = Array(repeating: byte, count: Int(step)) }
    var at: UInt64 = 0
    while at < request.length {
      // The first piece ends at a multiple, the others are whole.
      let rest = step - (step == request.length ? 0 : (request.offset + at) % step)
      let count = min(request.length - at, rest)
      let start = GuestOffset(request.offset + at)
      switch request.kind {
      case .write:
        var failure: ImageError?
        unsafe pattern.withUnsafeBytes { bytes in
          do throws(ImageError) {
            unsafe try image.write(UnsafeRawBufferPointer(rebasing: bytes[0..<Int(count)]), at: start)
          } catch { failure = error }
        }
        if let failure { throw failure }
      case .zero(let mayUnmap): try image.writeZeroes(at: start, count: count, mayUnmap: mayUnmap)
      case .discard: try image.discard(at: start, count: count)
      case .read: return
      }
      at += count
      if at < request.length, watch?.asks(Double(at) / Double(request.length)) == true {
        throw Self.cancelled
      }
    }
  }

  func restore(_ state: Image.SessionState) throws(ImageError) {
    try image.reload()
    image.session = state
  }

  // MARK: Saving

  /// Saves to the image file, unless somebody else changed it.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be written; the next save goes on from there.
  package func save() throws(ImageError) {
    if let refusal { throw ImageError(.readOnly, refusal) }
    guard hasFile else {
      throw ImageError(.readOnly, "the demo image has no file; \(CommandID.save) FILE saves a copy")
    }
    if let difference = changeByOthers {
      throw ImageError(
        .storage, "not saved: \(difference); \(CommandID.save) FILE saves a copy of what you see")
    }
    try storeBitmaps()
    let watch = OperationWatch(files, atlas, looksForHarm: false)
    do throws(ImageError) {
      try watched(watch) { () throws(ImageError) in
        do throws(StorageError) {
          let target = try files.openForSaving()
          defer {
            lookAtIdentities()
            files.closeAfterSaving()
          }
          let data = try dataOverlay.map { overlay throws(StorageError) in
            try files.openDataForSaving(overlay.base)
          }
          try overlays.save(to: [target, data])
        } catch { throw ImageError(error) }
      }
    } catch {
      guard watch.isStopped else { throw error }
      throw ImageError(
        .storage,
        "saving was given up: the file holds \(savedCount) of \(done.count) operations and perhaps "
          + "part of the next, as after a power cut: at worst with leaks; \(CommandID.save) goes on")
    }
    lookAtIdentities()
  }

  /// Persistent bitmaps go to the image with what they recorded, as when it is closed: a file in which they are in
  /// use is trusted by nobody. That belongs to the operation before it, and is taken back with it.
  private func storeBitmaps() throws(ImageError) {
    guard image.hasUnstoredBitmaps, let last = done.indices.last else { return }
    let group = done[last].group ?? revision
    done[last].group = group
    _ = try record(.storingBitmaps, group: group) { () throws(ImageError) in try image.storeBitmaps() }
  }

  /// Operations that the files hold completely.
  private var savedCount: Int { done.count { overlays.holds($0.operations) } }

  private func lookAtIdentities() {
    identity = files.identity()
    dataIdentity = dataOverlay.flatMap { files.identity(ofData: $0.base) }
  }

  /// What another program did to the file since it was opened or saved, in words; nil if nothing is known.
  package var changeByOthers: String? {
    guard hasFile else { return nil }
    if let text = difference(identity, files.identity(), "the file", title) { return text }
    guard let file = dataOverlay?.base else { return nil }
    return difference(
      dataIdentity, files.identity(ofData: file), "the data file", ByteText.lastPart(of: file.name))
  }

  /// What is different about a file since it was opened or saved, in words.
  private func difference(
    _ before: FileIdentity?, _ now: FileIdentity?, _ file: String, _ name: String
  ) -> String? {
    guard let before else { return nil }
    guard let now else { return "\(file) is gone" }
    if now == before { return nil }
    if now.inode != before.inode || now.device != before.device {
      return "another file has taken the name '\(name)' since it was opened"
    }
    if now.size != before.size {
      return "\(file) was changed by another program: \(before.size) bytes before, \(now.size) now"
    }
    if now.modifiedSeconds != before.modifiedSeconds || now.modifiedNanoseconds != before.modifiedNanoseconds
    {
      return "\(file) was changed by another program since it was opened or saved"
    }
    return nil
  }

  /// Writes all that the session shows to a new file; holes stay holes.
  ///
  /// - Throws: ``ImageError`` for a file that exists or cannot be written.
  package func saveCopy(_ path: String, replacing: Bool) throws(ImageError) {
    if let dataOverlay, dataOverlay.hasUnsavedChanges {
      throw ImageError(
        .storage,
        "not saved: a copy would name the same external data file, which lacks the changes; "
          + "\(CommandID.save) saves both files"
      )
    }
    try storeBitmaps()
    let target: any Storage
    do throws(StorageError) { target = try files.create(path, replacing: replacing) } catch {
      throw ImageError(error)
    }
    do throws(StorageError) {
      try target.truncate(to: overlay.length, tag: .untagged)
      var at: UInt64 = 0
      while at < overlay.length {
        let extent = overlay.extent(at: at)
        let end = min(max(extent.end, at + 1), overlay.length)
        if !extent.isHole { try copy(at..<end, to: target) }
        at = end
        if at < overlay.length, files.shouldCancel(Double(at) / Double(overlay.length)) {
          throw StorageError(.write, name: path, detail: "given up")
        }
      }
      try target.flush()
    } catch {
      var error = error
      if !files.removeUnfinished() { error.detail += "; the file is incomplete" }
      throw ImageError(error)
    }
  }

  private func copy(_ range: Range<UInt64>, to target: any Storage) throws(StorageError) {
    var at = range.lowerBound
    while at < range.upperBound {
      let count = Int(min(1 << 20, range.upperBound - at))
      let bytes = try overlay.bytes(at: at, count: count)
      if !bytes.allSatisfy({ $0 == 0 }) { try target.write(bytes, at: at) }
      at += UInt64(count)
      if files.shouldCancel(Double(at) / Double(max(1, overlay.length))) {
        throw StorageError(.write, name: target.name, detail: "given up")
      }
    }
  }

  func saveIfWritingThrough() throws(ImageError) {
    guard mode == .readWrite, hasFile, hasUnsavedChanges else { return }
    try save()
  }
}
