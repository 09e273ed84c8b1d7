// The check of an image: opens it as a check does, counts every reference, compares with the
// refcounts, and looks at the COPIED flags. Findings are told as they are made, in the order in which
// users of QEMU see them; nothing is changed.

import Glibc
package import QcowFormat
package import Storage

/// One check of one image.
package final class ImageCheck {
  /// The header of the image.
  package let header: Header
  /// Its cluster size and what follows from it.
  package let geometry: Geometry
  /// A bitmaps extension is there, but a program without support for bitmaps wrote to the image.
  package let hasStaleBitmaps: Bool

  let storage: any Storage
  let opened: OpenedTables
  /// Bytes of the file, rounded up to whole sectors.
  let fileLength: UInt64
  /// Clusters of the file, the last one possibly cut by its end.
  let fileClusters: UInt64
  let hasDataFile: Bool
  let bitmaps: [BitmapDirectoryEntry]
  var snapshots: [SnapshotEntry] = []
  /// Bytes of the snapshot table up to the end of its last name.
  var snapshotTableSize: UInt64 = 0

  let work: CheckWork
  let memory: CheckMemory
  let reader: CheckReader
  let refcounts: CheckRefcounts
  /// Clusters that are counted, one more than the file has if a reference needed it.
  var countedClusters: UInt64 = 0
  var tally: HostTally
  /// Owners that are compressed clusters, which may share; made when there is one.
  var compressedTally: HostTally?
  /// By index into the active L1 table: its L2 table may have a wrong COPIED flag.
  var suspects: [Bool]
  var hasSaidUnusableBlock = false

  var result = CheckResult()
  /// What the findings add up to.
  var survey = DamageSurvey()
  let report: (CheckFinding) -> Void

  /// Owners are looked for where a refcount is wrong, at the price of a second walk.
  let namesOwners: Bool
  /// Findings that wait for their owners.
  private var waiting: [CheckFinding] = []
  private static let maximumWaiting = 1 << 16

  /// Clusters with several owners of which one at least may not share.
  var overlaps = OverlapNotes()
  /// Entries that the genuine check does not judge.
  var odd = OddEntries()
  /// Clusters whose owners are looked for, in rising order; empty while references are counted.
  var sought: [UInt64] = []
  var found: [UInt64: [CheckOwner]] = [:]

  /// Opens the image with the checks that an open makes, but for those that a check makes itself. `report` is
  /// called by ``run()`` for every finding. With `namesOwners` findings on refcounts come with the owners of
  /// their cluster, for which the tables are read a second time. `workLimit` is in bytes of tables; the
  /// default is more than any sound image needs.
  ///
  /// - Throws: As opening the image does.
  package init(
    _ storage: any Storage, namesOwners: Bool = false, workLimit: UInt64? = nil,
    report: @escaping (CheckFinding) -> Void
  ) throws(ImageError) {
    self.storage = storage
    self.namesOwners = namesOwners
    self.report = report
    opened = try OpenedTables(storage, writable: false, forCheck: true)
    header = opened.header
    geometry = opened.header.geometry
    hasStaleBitmaps = opened.extensions.hasStaleBitmaps
    hasDataFile = header.incompatible.contains(.externalDataFile)
    fileLength = (min(storage.length, UInt64(Int64.max) - 511) + 511) & ~511
    fileClusters = geometry.clustersCovering(fileLength)
    work = CheckWork(limit: workLimit ?? CheckWork.limit(allocatedBytes: storage.allocatedBytes))
    // An image that really has so many clusters keeps at least eight bytes for each on the host.
    memory = CheckMemory(limit: max(96 << 20, storage.allocatedBytes / 16))
    reader = CheckReader(storage, work, largest: Int(geometry.clusterSize))
    bitmaps = try BitmapReading.directory(opened, reader)
    let counted = min(fileClusters, UInt64(Int32.max))
    refcounts = CheckRefcounts(
      table: opened.refcountTable, geometry, CheckReader(storage, work, largest: 1 << 18),
      clusters: counted, memory)
    tally = HostTally(clusters: counted + 1, maximum: geometry.maximumRefcount, memory: memory)
    suspects = Array(repeating: false, count: opened.l1.count)
  }

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
      try readSnapshotTable()
      // What the genuine tool can count.
      guard fileClusters <= UInt64(Int32.max) else {
        result.checkErrors += 1
        throw CheckStop(EFBIG)
      }
      result.totalClusters = geometry.clustersCovering(geometry.virtualSize)
      countedClusters = fileClusters
      try countReferences()
      let end = try compareRefcounts()
      try tellWaiting()
      try checkCopiedFlags()
      result.imageEndOffset = end
    } catch {
      result.failure = error
    }
    return result
  }

  private func tellWaiting() throws(CheckStop) {
    let clusters = waiting.compactMap { finding -> UInt64? in
      guard case .refcountWrong(let cluster, _, let references) = finding.kind else { return nil }
      return references > 0 ? cluster : nil
    }
    try findOwners(of: clusters)
    for finding in waiting {
      var finding = finding
      if case .refcountWrong(let cluster, _, _) = finding.kind { finding.owners = found[cluster] ?? [] }
      finding.guest = finding.owners.first.flatMap(guestRange)
      report(finding)
    }
    waiting = []
    found = [:]
  }

  /// The part of the disk that an owner maps.
  func guestRange(of owner: CheckOwner) -> Range<UInt64>? {
    switch owner {
    case .l1Entry(let index, _), .l2Table(let index, _):
      return geometry.guestRange(l1Index: index)
    case .l2Entry(let l1Index, let l2Index, _):
      let start = geometry.guestOffset(l1Index: l1Index, l2Index: l2Index).value
      return start..<start &+ geometry.clusterSize
    default: return nil
    }
  }

  /// Walks all references again and remembers the owners of some clusters, given in rising order.
  func findOwners(of clusters: [UInt64]) throws(CheckStop) {
    found = [:]
    guard !clusters.isEmpty else { return }
    sought = clusters
    defer { sought = [] }
    try countReferences()
  }

  /// Counts and reports a finding; while owners are sought nothing is told twice.
  func tell(_ finding: CheckFinding) throws(CheckStop) {
    guard sought.isEmpty else { return }
    switch finding.severity {
    case .corruption: result.corruptions += 1
    case .leak: result.leaks += 1
    case .checkError: result.checkErrors += 1
    case .remark: break
    }
    survey.add(finding)
    // Printing is slow; what a damaged image may cause of it is bounded like everything else.
    try work.take(512)
    if case .refcountWrong = finding.kind, namesOwners, waiting.count < Self.maximumWaiting {
      waiting.append(finding)
    } else {
      report(finding)
    }
  }
}
