// Looks at one image of many: opens it as every listing does, counts what its tables say, and checks it. The figures
// are those of the atlas, of the fragmentation and of the check; this only lets them work one after the other.

package import Qcow
import QcowFormat
import Storage

/// One look at one image, in slices. It reads tables alone, and takes no more memory than its largest part.
///
/// Not safe for use from two threads at once; several of them may be under way on a thread each.
package final class FleetSurvey: Work {
  private enum Phase { case opening, atlas, order, check, done }

  /// What is known so far.
  package private(set) var row: FleetRow
  private let policy: ChainPolicy
  private var phase = Phase.opening
  /// The state of the image and of the files below it when they were opened; nil for what has no such state.
  private var before: [FileIdentity?] = []
  private var isRepeatable = true
  private var opened: ImageOpening.Opened?
  private var image: Image?
  private var atlas: Atlas?
  private var order: FragmentationScan?
  private var check: ImageCheck?

  /// A look at the file at `path` that has not begun. `policy` says what may be opened besides.
  package init(_ path: String, _ policy: ChainPolicy) {
    row = FleetRow(path)
    self.policy = policy
  }

  /// Looks at a file from beginning to end.
  package static func row(of path: String, _ policy: ChainPolicy) -> FleetRow {
    let survey = FleetSurvey(path, policy)
    Scheduler.finish(survey)
    return survey.row
  }

  package var progress: Double {
    switch phase {
    case .opening: 0
    case .atlas: 0.1 + 0.3 * (atlas?.progress ?? 0)
    case .order: 0.4 + 0.3 * (order?.progress ?? 0)
    case .check: 0.7 + 0.3 * (check?.phaseProgress ?? 0)
    case .done: 1
    }
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard phase != .done else { return true }
    let clock = ContinuousClock()
    let start = clock.now
    let end = start.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      switch phase {
      case .opening: open()
      case .atlas: if atlas?.step(budgetNanoseconds: budgetNanoseconds) != false { finishAtlas() }
      case .order: if order?.step(budgetNanoseconds: budgetNanoseconds) != false { finishOrder() }
      case .check:
        // The findings alone: what leaked clusters hold is no part of the row.
        guard let check, !check.hasFindings, check.step() else {
          finishCheck()
          break
        }
      case .done: break
      }
    } while phase != .done && clock.now < end
    let spent = start.duration(to: clock.now).components
    row.seconds += Double(spent.seconds) + Double(spent.attoseconds) / 1e18
    return phase == .done
  }

  // MARK: Opening

  private func open() {
    if let state = FileStorage.identity(path: row.path), let regular = FleetStamp.regular(row.path) {
      row.modified = FleetStamp.modified(state)
      before = [regular]
    } else {
      isRepeatable = false
    }
    do throws(ImageOpening.Failure) { try open(policy) } catch {
      if case .file(let reason) = error, reason.operation == .lock {
        row.isLocked = true
        var policy = policy
        policy.forcesShare = true
        do throws(ImageOpening.Failure) { try open(policy) } catch { return fail(error) }
      } else {
        return fail(error)
      }
    }
    if phase == .opening { end() }
  }

  private func fail(_ error: ImageOpening.Failure) {
    switch error {
    case .file(let reason):
      // Of the host, not of the bytes: it may be another answer the next time.
      isRepeatable = false
      row.error = reason.description
    case .image(let reason):
      if reason.code == .storage { isRepeatable = false }
      row.error = reason.description
    }
    // A check opens more than a guest would.
    if let opened, row.isImage, beginCheck(opened) { return }
    end()
  }

  private func open(_ policy: ChainPolicy) throws(ImageOpening.Failure) {
    var opening = ImageOpening(row.path, policy)
    opening.policy.needsNoLayer = true
    opening.reach = .file
    opening.demand = .look
    let opened = try opening.open()
    self.opened = opened
    row.bytes = opened.storage.length
    row.hostBytes = opened.storage.allocatedBytes
    do throws(ImageError) {
      row.format = try FileFormat.name(of: opened.storage)
      guard row.isImage else {
        if row.format == "raw" { row.virtualSize = RawLayer(opened.storage).virtualSize }
        return
      }
      let image = try Image.lookedAt(Image.Options()) { options throws(ImageError) in
        try opened.chain.openImage(on: opened.storage, options)
      }
      self.image = image
      describe(image)
    } catch { throw .image(error) }
    guard let image else { return }
    atlas = Atlas(image, for: .totals)
    phase = .atlas
  }

  private func describe(_ header: Header) {
    row.version = header.version
    row.isDirty = header.incompatible.contains(.dirty)
    row.isCorrupt = header.incompatible.contains(.corrupt)
    row.features = (0..<64).filter { header.incompatible.rawValue >> UInt64($0) & 1 != 0 }.map { bit in
      FeatureName.standard.first { $0.kind == FeatureName.Kind.incompatible.rawValue && Int($0.bit) == bit }?
        .name ?? "bit \(bit)"
    }
    row.clusterSize = header.geometry.clusterSize
    row.virtualSize = header.geometry.virtualSize
    row.isEncrypted = header.cryptMethod != 0
  }

  private func describe(_ image: Image) {
    describe(image.header)
    // Of a table that cannot be read nobody knows what it holds.
    row.snapshots = image.snapshots.count == image.header.snapshotCount ? image.snapshots.count : nil
    if let damage = image.damageText { row.notes.append(damage) }
    row.backing = image.backingFileName
    for layer in image.layers.dropFirst() {
      row.chain.append(layer.layerName)
      before.append(layer.isMissing ? nil : FleetStamp.regular(layer.layerName))
    }
    row.chainProblem = image.missingLayer?.reason
    row.parent = row.chain.first.map { path in
      (try? HostFile.find(path)).map { ByteText.text($0.path) } ?? path
    }
    guard image.hasExternalData else { return }
    let data = image.dataStorage
    row.dataFile = data?.name ?? image.extensions.dataFileName ?? ""
    row.dataHostBytes = data?.allocatedBytes
    if data == nil { row.notes.append("its data file was not opened") }
    before.append(data.flatMap { FleetStamp.regular($0.name) })
  }

  // MARK: Figures

  private func finishAtlas() {
    guard let atlas, let image else { return end() }
    let ladder = SizeLadder(atlas, blocks: nil)
    let totals = atlas.totals
    // What damaged entries lead to is not known, nor how much of it there is.
    let hasL1 = image.header.l1TableOffset &+ UInt64(image.header.l1Size) * 8 <= image.storage.length
    if hasL1, totals.bad == 0, !atlas.isPartial {
      row.mapped = ladder[.mapped]?.bytes
      row.zero = (totals.guest[.zero] &+ totals.guest[.zeroKept]) << UInt64(image.geometry.subclusterBits)
      row.compressed = ladder[.compressed]?.bytes ?? 0
    } else {
      row.notes.append("what is mapped is not known: tables are damaged")
    }
    if row.snapshots != nil { row.snapshotBytes = ladder[.snapshots]?.bytes ?? 0 }
    let layout = FileLayout(atlas)
    row.leaked = layout.couldFree
    row.freeInside = layout.couldCompact
    row.freeAtEnd = layout.couldCut
    row.notes += [atlas.partialReason, atlas.staleness?.text].compactMap { $0 }
    self.atlas = nil
    order = FragmentationScan(image, .runs)
    phase = .order
  }

  private func finishOrder() {
    if let result = order?.result {
      row.runs = result.all.runs.count
      row.bestRuns = result.all.bestPossible
      row.fragmented = result.tally.percentage
      if let reason = result.partialReason, !row.notes.contains(reason) { row.notes.append(reason) }
    }
    order = nil
    image = nil
    guard let opened else { return end() }
    if !beginCheck(opened) { end() }
  }

  /// False if there is nothing to be checked, which the row then says.
  private func beginCheck(_ opened: ImageOpening.Opened) -> Bool {
    guard !row.isLocked else {
      row.unchecked = "another program writes it"
      return false
    }
    do throws(ImageError) {
      let check = try ImageCheck(opened.storage) { _ in }
      if row.version == nil { describe(check.header) }
      self.check = check
    } catch {
      row.unchecked = error.description
      forgetReclaimable()
      return false
    }
    phase = .check
    return true
  }

  private func finishCheck() {
    row.check = check?.current
    check = nil
    if row.hasErrors { forgetReclaimable() }
    end()
  }

  /// What looks unused in an image with errors may be what lost its table.
  private func forgetReclaimable() {
    guard row.reclaimable != nil else { return }
    (row.leaked, row.freeInside, row.freeAtEnd) = (nil, nil, nil)
    row.notes.append("what could be given back is not known: the image has errors")
  }

  // MARK: The end

  private func end() {
    phase = .done
    if row.check == nil, row.unchecked == nil, row.isImage { row.unchecked = row.error }
    (opened, image, atlas, order, check) = (nil, nil, nil, nil, nil)
    guard isRepeatable, !row.isLocked else { return }
    let files = [row.path] + row.chain + (row.dataFile.map { [$0] } ?? [])
    // A damaged image may have come no further than its own file.
    guard files.count == before.count else { return }
    var words: [String] = []
    for (path, state) in zip(files, before) {
      guard let state else {
        words.append(FleetStamp.closed)
        continue
      }
      // Changed while it was looked at, or so shortly before that the next change may have the same time.
      guard FleetStamp.isSettled(state), FleetStamp.regular(path) == state else { return }
      words.append(FleetStamp.word(of: state))
    }
    row.stamp = words.joined(separator: " ")
  }
}
