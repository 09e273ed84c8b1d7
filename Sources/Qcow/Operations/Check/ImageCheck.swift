// The check of an image: opens it as a check does, counts every reference, compares with the refcounts, and
// looks at the COPIED flags. Findings are told as they are made, in the order in which users of QEMU see them;
// nothing is changed.

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

  /// Makes the check.
  package func run() -> CheckResult {
    do throws(CheckStop) {
      try runPhases()
    } catch {
      if let severity = error.counts { log.count(severity) }
      result.failure = error
    }
    result.corruptions = log.corruptions
    result.leaks = log.leaks
    result.checkErrors = log.checkErrors
    result.allocatedClusters = references.allocation.allocated
    result.fragmentedClusters = references.allocation.fragmented
    result.compressedClusters = references.allocation.compressed
    return result
  }

  private func runPhases() throws(CheckStop) {
    if readsSnapshots { snapshots = try SnapshotTableCheck(image: image, reader: reader, log: log).read() }
    guard image.fileClusters <= CheckedImage.countable else {
      throw CheckStop(EFBIG, counts: .checkError)
    }
    result.totalClusters = image.geometry.clusterCount
    try walk(references)
    var comparison = RefcountComparison(image, references, refcounts, log)
    let end = try comparison.run()
    if namesOwners {
      let search = OwnerSearch(of: log.waitingClusters, end: references.end)
      try follow(search)
      log.tellWaiting(owners: search.found, image.geometry)
    }
    if judgesFlags {
      try CopiedFlagCheck(image: image, reader: reader, refcounts: refcounts, log: log)
        .run(suspects: references.suspects)
    }
    result.imageEndOffset = end.value
  }

  private func walk(_ visitor: some ReferenceVisitor) throws(CheckStop) { try makeWalk(visitor).run() }

  private func makeWalk<Visitor: ReferenceVisitor>(_ visitor: Visitor) -> ReferenceWalk<Visitor> {
    ReferenceWalk(image: image, snapshots: snapshots, bitmaps: bitmaps, reader: reader, visitor: visitor)
  }

  /// Walks all references again, if there is something to look for.
  private func follow(_ search: OwnerSearch) throws(CheckStop) {
    if search.isNeeded { try walk(search) }
  }

  // MARK: What no finding tells

  /// Rows of refcounts behind the end that are told at most.
  private static let maximumRows = 16
  /// Bytes of leaked clusters that are looked at for a note.
  private static let noteLimit = ByteCount(1 << 30)

  /// Tells the notes; after ``run()``.
  package func notes(_ report: (CheckNote) -> Void) {
    image.notes(bitmaps).forEach(report)
    guard result.failure == nil else { return }
    references.odd.notes(version: header.version).forEach(report)
    let overlaps = references.overlaps
    let clusters = overlaps.clusters.sorted()
    let search = OwnerSearch(of: clusters, end: references.end)
    // What stopped neither phase can only be a limit of this program here; what is known is told.
    try? follow(search)
    for cluster in clusters { report(.overlap(cluster, owners: search.found[cluster] ?? [])) }
    if !overlaps.isComplete { report(.moreOverlaps) }
    for row in refcounts.rows(from: references.end, atMost: Self.maximumRows) {
      report(.refcountsBehindEnd(row))
    }
    log.survey.notes(result, leakedData(limit: Self.noteLimit)).forEach(report)
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
