// Counts the references of an image: how many owners every cluster has, which clusters have one too many, and
// what the tables of the active disk add up to.

import QcowFormat
import Storage

/// The visitor that counts.
final class ReferenceCounter: ReferenceVisitor {
  private(set) var end: HostCluster
  let tally: HostTally
  /// Owners that are compressed clusters, which may share; made when there is one.
  private(set) var compressedTally: HostTally?
  /// Clusters with several owners of which one at least may not share.
  private(set) var overlaps = OverlapNotes()
  /// Entries of the active disk that the genuine check does not judge.
  private(set) var odd = OddEntries()
  /// What the active L2 tables allocate.
  private(set) var allocation = AllocationTally()
  /// By index into the active L1 table: its L2 table may have a wrong COPIED flag.
  private(set) var suspects: [Bool]

  private let image: CheckedImage
  private let geometry: Geometry
  let refcounts: CheckRefcounts
  private let memory: CheckMemory
  private let log: CheckLog

  init(_ image: CheckedImage, _ refcounts: CheckRefcounts, _ memory: CheckMemory, _ log: CheckLog) {
    self.image = image
    geometry = image.geometry
    self.refcounts = refcounts
    self.memory = memory
    self.log = log
    end = HostCluster(image.fileClusters.value)
    tally = HostTally(
      clusters: ClusterCount(image.countableClusters.value + 1), maximum: geometry.maximumRefcount,
      memory: memory)
    suspects = Array(repeating: false, count: image.opened.l1.count)
  }

  // MARK: What a walk hands over

  @inline(__always)
  func claim(
    _ first: HostCluster, _ count: ClusterCount, _ sharing: ReferenceSharing, _ guest: Range<GuestOffset>?,
    _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    let behind = first + count
    end = max(end, behind)
    var wasOwned = false
    var at = first
    while true {
      at = at + (try tally.add(at, behind - at, wasOwned: &wasOwned))
      guard at < behind else { break }
      let place = geometry.start(of: at)
      try log.tell(
        CheckFinding(
          .tooManyReferences(offset: place.value), at: place, owner(at - first),
          guest: guest ?? owner(at - first).guestRange(geometry)))
      at = at + 1
    }
    // Once there are more than can be named, nothing is to be learned from another one.
    if overlaps.isComplete && (wasOwned && sharing == .exclusive || sharing == .compressed) {
      try judge(first, count, sharing)
    }
  }

  /// Clusters below `behind` are counted.
  func reached(_ behind: HostCluster) { end = max(end, behind) }

  func passEnd(
    _ offset: HostOffset, _ size: ByteCount, _ owner: CheckOwner, _ guest: Range<GuestOffset>?
  ) throws(CheckStop) {
    log.survey.notePassedEnd(offset, size, owner, guest, image, refcounts)
    try log.tell(
      CheckFinding(.beyondEnd(offset: offset.value, size: size.value), at: nil, owner, guest: guest))
  }

  func visitBlock(_ index: Int, _ cluster: HostCluster, at place: HostOffset) throws(CheckStop) {
    let references = tally.count(of: cluster)
    guard references != 1 else { return }
    try log.tell(
      CheckFinding(
        .refcountBlockShared(index: index, references: references), at: place, .refcountTableEntry(index)))
  }

  func tell(_ finding: CheckFinding) throws(CheckStop) { try log.tell(finding) }

  func mend(_ finding: CheckFinding) -> Bool {
    guard log.mend(finding) else { return false }
    // The file may be longer now.
    let clusters = ClusterCount(geometry.clustersCovering(image.storage.length))
    if HostCluster(clusters.value) > end {
      end = HostCluster(clusters.value)
      tally.grow(to: clusters)
    }
    return true
  }

  @inline(__always)
  func isCopiedRight(_ isCopied: Bool, _ clusters: Range<HostCluster>) -> Bool {
    if image.hasDataFile { return isCopied }
    return (isCopied ? refcounts.areAllOne(clusters) : refcounts.isNoneOne(clusters)) ?? false
  }

  func finishTable(l1Index: Int, _ facts: TableFacts) {
    allocation += facts.tally
    odd += facts.odd
    if facts.isSuspect && suspects.indices.contains(l1Index) { suspects[l1Index] = true }
  }

  /// Remembers clusters that have got an owner that must not share them.
  private func judge(
    _ first: HostCluster, _ count: ClusterCount, _ sharing: ReferenceSharing
  ) throws(CheckStop) {
    let clusters = first.value..<first.value + count.value
    guard sharing == .compressed else {
      for cluster in clusters.lazy.map(HostCluster.init) where tally.count(of: cluster) > 1 {
        overlaps.add(cluster)
      }
      return
    }
    let compressed =
      compressedTally
      ?? HostTally(
        clusters: ClusterCount(image.countableClusters.value + 1), maximum: .max, memory: memory)
    compressedTally = compressed
    var ignored = false
    _ = try compressed.add(first, count, wasOwned: &ignored)
    for cluster in clusters.lazy.map(HostCluster.init)
    where tally.count(of: cluster) > compressed.count(of: cluster) {
      overlaps.add(cluster)
    }
  }

  // MARK: A repair takes more

  /// Gives a cluster that is counted one more owner. Throws if there is no memory for that.
  func add(_ cluster: HostCluster) throws(CheckStop) {
    var ignored = false
    _ = try tally.add(cluster, 1, wasOwned: &ignored)
  }
}
