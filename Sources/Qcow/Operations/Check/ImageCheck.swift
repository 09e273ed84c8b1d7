// The check of an image: opens it as a check does, counts every reference, compares with the refcounts, and
// looks at the COPIED flags, a small piece at a time. Findings are told as they are made, in the order in which
// users of QEMU see them; nothing is changed.

import Glibc
package import QcowFormat
package import Storage

/// One check of one image.
///
/// Every phase is a type of its own: ``SnapshotTableCheck``, ``ReferenceWalk`` with a ``ReferenceCounter``,
/// ``RefcountComparison``, ``CopiedFlagCheck``. This one lets them work one after the other.
package final class ImageCheck {
  let image: CheckedImage
  /// The owners of all clusters, once they are counted.
  let references: ReferenceCounter
  private let bitmaps: [BitmapDirectoryEntry]
  /// The snapshot table as it was read, or as it was given.
  private(set) var snapshots: SnapshotTable
  private let reader: CheckReader
  private let refcounts: CheckRefcounts
  private let log: CheckLog
  private let namesOwners: Bool
  private let judgesFlags: Bool
  private let readsSnapshots: Bool
  private var result = CheckResult()

  /// Opens the image with the checks that an open makes, but for those that a check makes itself. `report` is
  /// called by ``run()`` for every finding. With `namesOwners` findings on refcounts come with the owners of
  /// their cluster, for which the tables are read a second time. `workLimit` is what may be read of tables; the
  /// default is more than any sound image needs. Without `judgesFlags` the COPIED flags are not looked at: a
  /// repair sets refcounts right first. `mender` is asked about damage that a repair can set right while the
  /// references are counted, and says whether it has; it tells that itself. `snapshots` is the snapshot table
  /// that a repair is about to write; without it the one in the file is read.
  ///
  /// - Throws: As opening the image does.
  package init(
    _ storage: any Storage, namesOwners: Bool = false, workLimit: ByteCount? = nil, judgesFlags: Bool = true,
    snapshots: SnapshotTable? = nil, mender: ((CheckFinding) -> Bool)? = nil,
    report: @escaping (CheckFinding) -> Void
  ) throws(ImageError) {
    image = try CheckedImage(storage)
    self.namesOwners = namesOwners
    self.judgesFlags = judgesFlags
    readsSnapshots = snapshots == nil
    self.snapshots = snapshots ?? SnapshotTable()
    let allocated = ByteCount(storage.allocatedBytes)
    let work = CheckWork(limit: workLimit ?? CheckWork.limit(allocatedBytes: allocated))
    let memory = CheckMemory(allocated: allocated)
    reader = CheckReader(storage, work, largest: Int(image.geometry.clusterSize))
    bitmaps = try BitmapReading.directory(image.opened, reader)
    log = CheckLog(work, waitsForOwners: namesOwners, mender: mender, report: report)
    refcounts = CheckRefcounts(
      image, CheckReader(storage, work, largest: 1 << 18), clusters: image.countableClusters, memory)
    references = ReferenceCounter(image, refcounts, memory, log)
  }

  /// The header of the image.
  package var header: Header { image.header }
  /// A bitmaps extension is there, but a program without support for bitmaps wrote to the image.
  package var hasStaleBitmaps: Bool { image.opened.extensions.hasStaleBitmaps }
  var storage: any Storage { image.storage }
  var opened: OpenedTables { image.opened }

  /// The name of the backing file's format if there is no such format: nobody can open the image together
  /// with what lies below it.
  package var unknownBackingFormat: String? {
    guard opened.backingFileName != nil, let word = opened.extensions.backingFormat, !word.isEmpty,
      !LayerName.known.contains(word)
    else { return nil }
    return word
  }

  // MARK: The check, piece by piece

  /// What a check is at.
  package enum Phase: CaseIterable, Sendable {
    case snapshots
    /// All references are counted.
    case references
    /// The counts are compared with the refcounts.
    case refcounts
    /// The owners of clusters with wrong counts are looked for.
    case owners
    case flags
    /// The findings are complete. The owners of clusters with an owner too many are looked for.
    case overlaps
    /// It is looked what leaked clusters hold.
    case leaks
    case end
  }

  /// What it is at now.
  package private(set) var phase = Phase.snapshots
  private var counting: ReferenceWalk<ReferenceCounter>?
  private var comparison: RefcountComparison?
  private var search: ReferenceWalk<OwnerSearch>?
  private var flags: CopiedFlagCheck?
  private var leaking: LeakSurvey?
  private var holders: [HostCluster: [CheckOwner]] = [:]
  private var leakedRows: [Range<HostCluster>]?
  private var leaked: LeakedData?

  /// How far it is in its phase, 0 ... 1.
  package var phaseProgress: Double {
    switch phase {
    case .snapshots: 0
    case .references: counting?.progress ?? 0
    case .refcounts: comparison?.progress ?? 0
    case .owners, .overlaps: search?.progress ?? 0
    case .flags: flags?.progress ?? 0
    case .leaks: leaking?.progress ?? 0
    case .end: 1
    }
  }

  /// What is known so far; complete once ``phase`` is behind ``Phase/flags``.
  package var current: CheckResult {
    var result = result
    result.corruptions = log.corruptions
    result.leaks = log.leaks
    result.checkErrors = log.checkErrors
    result.allocatedClusters = references.allocation.allocated
    result.fragmentedClusters = references.allocation.fragmented
    result.compressedClusters = references.allocation.compressed
    return result
  }

  /// All findings are made.
  package var hasFindings: Bool { [.overlaps, .leaks, .end].contains(phase) }

  /// Makes the check.
  package func run() -> CheckResult {
    while !hasFindings { _ = step() }
    return current
  }

  /// Does a small piece; false if nothing is left.
  package func step() -> Bool {
    guard phase != .end else { return false }
    let isNote = hasFindings
    do throws(CheckStop) {
      if isNote { try stepNotes() } else { try stepFindings() }
    } catch {
      // What stopped neither phase of the findings can only be a limit of this program; what is known is told.
      if isNote { return leavePhase() }
      if let severity = error.counts { log.count(severity) }
      result.failure = error
      phase = .end
    }
    return phase != .end
  }

  private func leavePhase() -> Bool {
    if phase == .overlaps { holders = search?.visitor.found ?? [:] }
    phase = phase == .overlaps ? .leaks : .end
    (search, leaking) = (nil, nil)
    return phase != .end
  }

  private func stepFindings() throws(CheckStop) {
    switch phase {
    case .snapshots:
      if readsSnapshots { snapshots = try SnapshotTableCheck(image: image, reader: reader, log: log).read() }
      guard image.fileClusters <= CheckedImage.countable else {
        throw CheckStop(EFBIG, counts: .checkError)
      }
      result.totalClusters = image.geometry.clusterCount
      counting = makeWalk(references)
      phase = .references
    case .references:
      if try counting?.step() == true { return }
      counting = nil
      comparison = RefcountComparison(image, references, refcounts, log)
      phase = .refcounts
    case .refcounts:
      if try comparison?.step() == true { return }
      if namesOwners {
        search = makeSearch(log.waitingClusters)
        phase = .owners
      } else {
        beginFlags()
      }
    case .owners:
      if try search?.step() == true { return }
      log.tellWaiting(owners: search?.visitor.found ?? [:], image.geometry)
      search = nil
      beginFlags()
    case .flags:
      if try flags?.step() == true { return }
      flags = nil
      result.imageEndOffset = comparison?.highestEnd.value
      comparison = nil
      phase = .overlaps
    case .overlaps, .leaks, .end: return
    }
  }

  private func beginFlags() {
    if judgesFlags {
      flags = CopiedFlagCheck(
        image: image, reader: reader, refcounts: refcounts, log: log, suspects: references.suspects)
    }
    phase = .flags
  }

  private func makeWalk<Visitor: ReferenceVisitor>(_ visitor: Visitor) -> ReferenceWalk<Visitor> {
    ReferenceWalk(image: image, snapshots: snapshots, bitmaps: bitmaps, reader: reader, visitor: visitor)
  }

  /// A walk over all references for the owners of clusters; nil if there is nothing to look for.
  private func makeSearch(_ clusters: [HostCluster]) -> ReferenceWalk<OwnerSearch>? {
    clusters.isEmpty ? nil : makeWalk(OwnerSearch(of: clusters, end: references.end))
  }

  // MARK: What no finding tells

  /// Rows of refcounts behind the end that are told at most.
  private static let maximumRows = 16
  /// Bytes of leaked clusters that are looked at for a note.
  private static let noteLimit = ByteCount(1 << 30)

  private func stepNotes() throws(CheckStop) {
    if phase == .overlaps {
      if search == nil { search = makeSearch(references.overlaps.clusters.sorted()) }
      if try search?.step() == true { return }
    } else {
      if leaking == nil { leaking = leakSurvey(limit: Self.noteLimit) }
      if leaking?.step() == true { return }
      leaked = leaking?.result
      leakedRows = leaking?.kept
    }
    _ = leavePhase()
  }

  /// Tells the notes; after ``run()``, or when nothing is left to ``step()``.
  package func notes(_ report: (CheckNote) -> Void) {
    image.notes(bitmaps).forEach(report)
    while step() {}
    guard result.failure == nil else { return }
    references.odd.notes(version: header.version).forEach(report)
    let overlaps = references.overlaps
    for cluster in overlaps.clusters.sorted() { report(.overlap(cluster, owners: holders[cluster] ?? [])) }
    if !overlaps.isComplete { report(.moreOverlaps) }
    for row in refcounts.rows(from: references.end, atMost: Self.maximumRows) {
      report(.refcountsBehindEnd(row))
    }
    log.survey.notes(current, leaked).forEach(report)
  }

  /// A leaked cluster may be the last copy of data; nil before that has been looked at. True for all if there are too
  /// many of them to look at each.
  package func holdsData(_ cluster: HostCluster) -> Bool? {
    guard phase == .end, result.failure == nil else { return nil }
    guard leaked != nil else { return false }
    return leakedRows.map { $0.holds(cluster) } ?? true
  }

  /// The cluster is counted more often than it is used; a block that cannot be read counts nothing.
  func countsTooMuch(_ cluster: HostCluster) -> Bool {
    ((try? refcounts.refcount(of: cluster)) ?? 0) > references.tally.count(of: cluster)
  }

  /// What the repair needs to know of leaked clusters: a look at each.
  func leakSurvey(limit: ByteCount = ByteCount(UInt64.max)) -> LeakSurvey {
    LeakSurvey(image, reader, log.survey.leaks, compressed: references.compressedTally, limit: limit)
  }

  /// Looks at the bytes of leaked clusters; nil if they hold nothing. After ``run()``, which must have
  /// come to its end.
  ///
  /// Reads at most about `limit` bytes of clusters; what is not looked at counts as data.
  package func leakedData(limit: ByteCount = ByteCount(UInt64.max)) -> LeakedData? {
    var survey = leakSurvey(limit: limit)
    return survey.run()
  }
}
