// Looks over the shoulder of an operation: hears Esc between its accesses to the file, and stops it
// before it takes, frees or overwrites a host cluster that the scan knows to be somebody else's.

import Cartography
import Qcow
import QcowFormat
import Storage

/// The watch of one operation.
final class OperationWatch: OverlayWatch {
  /// What an operation was about to do to a cluster that others use.
  struct Harm: Equatable {
    enum Kind { case take, free, overwrite }
    var kind: Kind
    var cluster: UInt64
  }

  private let files: any SessionFiles
  private let atlas: Atlas
  /// The scan found that owners and refcounts disagree somewhere, or has not looked everywhere yet.
  private let looksForHarm: Bool
  /// Clusters that belong to more than one may be written: tables of snapshots.
  private let mayOverwriteShared: Bool
  private let clusterBits: UInt64
  /// How often this operation has taken one from a refcount.
  private var released: [UInt64: UInt64] = [:]
  private var lastQuestion: ContinuousClock.Instant?

  /// How much of the operation is done, 0 ... 1, for the bar.
  var progress = 0.0
  private(set) var isStopped = false
  private(set) var harm: Harm?

  init(
    _ files: any SessionFiles, _ atlas: Atlas, looksForHarm: Bool = true, mayOverwriteShared: Bool = false
  ) {
    self.files = files
    self.mayOverwriteShared = mayOverwriteShared
    self.atlas = atlas
    clusterBits = UInt64(atlas.image.geometry.clusterBits)
    self.looksForHarm = looksForHarm && atlas.mayHoldConflicts
  }

  /// Hears Esc between accesses to the external data file, whose clusters the scan does not count.
  private final class DataWatch: OverlayWatch {
    unowned let watch: OperationWatch
    init(_ watch: OperationWatch) { self.watch = watch }
    func willAccess() throws(StorageError) { try watch.willAccess() }
    func willChange(at offset: UInt64, count: UInt64, tag: WriteTag) {}
    func noted(_ tag: WriteTag) {}
  }

  /// Does `body` under the watch; throws what stopped it.
  func over<T>(_ overlays: FileSet, _ body: () throws(ImageError) -> T) throws(ImageError) -> T {
    if looksForHarm { atlas.knowUsers { self.asksNowAndThen() } }
    if isStopped { throw Self.stopped }
    let dataWatch = DataWatch(self)
    for (number, file) in overlays.files.enumerated() { file.watch = number == 0 ? self : dataWatch }
    overlays.watchOfNew = dataWatch
    defer {
      for file in overlays.files { file.watch = nil }
      overlays.watchOfNew = nil
    }
    let result = try body()
    // A change in memory may have been the last one.
    if harm != nil || isStopped { throw Self.stopped }
    return result
  }

  /// Stands for the reason that the watch itself has.
  static let stopped = ImageError(.invalidRequest, "stopped")

  // MARK: Being asked

  /// Asks at once; true if the work is to end.
  func asks(_ done: Double) -> Bool {
    progress = done
    guard !isStopped else { return true }
    isStopped = files.shouldCancel(done)
    return isStopped
  }

  /// Asks if that was some time ago, for loops that are short most of the time.
  func asksNowAndThen() -> Bool {
    guard !isStopped else { return true }
    let now = ContinuousClock.now
    guard let last = lastQuestion else {
      lastQuestion = now
      return false
    }
    guard last.duration(to: now) >= .milliseconds(20) else { return false }
    lastQuestion = now
    return asks(progress)
  }

  func willAccess() throws(StorageError) {
    if harm != nil || asksNowAndThen() { throw StorageError(.write, name: "", detail: "stopped") }
  }

  // MARK: Harm

  /// Users of a cluster that the scan knows of and this operation has not released.
  private func users(_ cluster: UInt64) -> UInt64 {
    let known = atlas.knownUsers(of: cluster)
    return known - min(known, released[cluster] ?? 0)
  }

  func noted(_ tag: WriteTag) {
    guard looksForHarm, harm == nil, tag.target == .refcountBlock else { return }
    let (before, after) = (tag.before.0, tag.after.0)
    if after < before { released[tag.index, default: 0] += before - after }
    guard before == 0 || after == 0, before != after, users(tag.index) > 0 else { return }
    harm = Harm(kind: after == 0 ? .free : .take, cluster: tag.index)
  }

  func willChange(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard looksForHarm, !mayOverwriteShared, harm == nil, tag.target == .data || tag.target == .l2Table,
      count > 0
    else { return }
    for cluster in offset >> clusterBits...(offset + count - 1) >> clusterBits where users(cluster) > 1 {
      harm = Harm(kind: .overwrite, cluster: cluster)
      return try willAccess()
    }
  }
}

extension Session {
  /// Does `body` under a watch, and says in words why it was stopped.
  func watched<T>(
    _ watch: OperationWatch, _ body: () throws(ImageError) -> T
  ) throws(ImageError) -> T {
    image.hearsProgress = { watch.progress = $0 }
    defer { image.hearsProgress = nil }
    return try watch.over(overlays, body)
  }

  /// The error that people see, once the image is back as it was.
  func reason(_ watch: OperationWatch, _ error: ImageError) -> ImageError {
    if watch.isStopped { return Self.cancelled }
    guard let harm = watch.harm else { return error }
    return ImageError(
      .corrupt, refusal(of: harm), at: harm.kind == .overwrite ? .data : .refcountBlock, index: harm.cluster,
      geometry.start(of: HostCluster(harm.cluster)))
  }

  private func refusal(of harm: OperationWatch.Harm) -> String {
    let bits = UInt64(geometry.clusterBits)
    let place = "host cluster 0x\(Notation.hex(harm.cluster << bits))"
    let list = owners.owners(of: HostCluster(harm.cluster))
    let users = list.owners.filter { !$0.isRemark }
    let told = users.prefix(2).map(user)
    let more = users.count > told.count ? " and \(users.count - told.count) more" : ""
    let names = told.isEmpty ? "something that the scan found" : told.joined(separator: " and ") + more
    switch harm.kind {
    case .take:
      return "refused: \(place) has refcount \(list.refcount.map(String.init) ?? "0"), "
        + "and the new bytes would go there, but \(names) uses it; the refcounts must be repaired first"
    case .free:
      return "refused: this would free \(place), which also belongs to others: \(names)"
    case .overwrite:
      return "refused: this would write to \(place), which belongs to more than one: \(names)"
    }
  }

  /// "guest 0x30000..0x3ffff (L2[3] of the L2 table at 0x40000)".
  private func user(_ owner: Owner) -> String {
    let text = owner.text(snapshots: image.snapshots)
    guard let guest = owner.guest else { return text }
    let end = guest.value + (geometry.clusterSize - 1)
    return "guest 0x\(Notation.hex(guest.value))..0x\(Notation.hex(end)) (\(text))"
  }
}
