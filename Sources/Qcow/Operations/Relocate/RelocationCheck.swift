// What is looked at before a cluster moves: the image must be one that can be put in order, and sound.
// Leaked clusters are no obstacle if they hold nothing or are what an interrupted run left; they are given
// back first. Others may be the last copy of somebody's data.

import QcowFormat
package import Storage

/// The outcome of looking at an image before its clusters are moved.
package struct RelocationCheck {
  /// Clusters that are claimed and that nothing uses.
  package let leaks: UInt64
  /// There is something for ``dropLeaks(on:)`` to do.
  package var hasLeaks: Bool { leaks > 0 || hasCountsBehindEnd }
  private let check: ImageCheck
  private let hasCountsBehindEnd: Bool

  /// Looks at the whole image and changes nothing. Throws with the reason if it cannot be put in order,
  /// or if clusters without an owner hold data, unless `dropsLeaks` says that they may go.
  ///
  /// - Throws: ``ImageError`` for an image that is damaged or cannot be put in order.
  package init(_ storage: any Storage, dropsLeaks: Bool = false) throws(ImageError) {
    var first: CheckFinding?
    check = try ImageCheck(storage) { finding in
      if first == nil, finding.severity != .leak, finding.severity != .remark { first = finding }
    }
    if let reason = Self.refusal(check) { throw ImageError(.unsupported, reason) }
    let result = check.run()
    if let failure = result.failure {
      let detail = failure.detail ?? FileStorage.reason(failure.error)
      throw ImageError(.corrupt, "the image cannot be checked (\(detail))", at: first)
    }
    let advice = "'qatlas check --details' says where"
    guard result.corruptions == 0, result.checkErrors == 0 else {
      let count = result.corruptions + result.checkErrors
      throw ImageError(.corrupt, "the image has \(counted(count, "error")); \(advice)", at: first)
    }
    let geometry = check.header.geometry
    var note: ImageError?
    var countsBehindEnd = false
    check.notes { found in
      switch found {
      case .overlap(let cluster, _):
        note =
          note
          ?? ImageError(
            .corrupt, "host cluster \(hex(cluster.value)) has several owners; \(advice)", at: .refcountBlock,
            index: cluster.value, geometry.start(of: cluster))
      case .moreOverlaps: break
      case .zeroFlagInVersion2(let guest, _):
        note =
          note
          ?? ImageError(
            .corrupt, "the entry of guest offset \(hex(guest.value)) has a flag that version 2 lacks",
            at: .l2Table,
            index: UInt64(geometry.l2Index(of: guest)))
      case .refcountsBehindEnd: countsBehindEnd = true
      default: break
      }
    }
    if let note { throw note }
    leaks = result.leaks
    hasCountsBehindEnd = countsBehindEnd
    guard leaks > 0, !dropsLeaks, !Self.areLeftOver(check), let data = check.leakedData() else { return }
    throw ImageError(
      .corrupt,
      data.description + ". Nothing was changed. Copy the image first; with --drop-leaks "
        + worded(data.clusters, "it is", "they are") + " given back and lost", at: .refcountBlock)
  }

  /// True if an interrupted relocation left the leaks: the disk maps exactly what it mapped when that
  /// began, and no entry has been lost since.
  private static func areLeftOver(_ check: ImageCheck) -> Bool {
    guard let before = check.opened.extensions.relocation,
      let image = try? Image(check.storage), let now = try? image.l2.mappingNow()
    else { return false }
    return before == now
  }

  /// Why an image of this kind is left alone; nil if it may be put in order.
  private static func refusal(_ check: ImageCheck) -> String? {
    let header = check.header
    if header.incompatible.contains(.corrupt) {
      return "the image is marked as corrupt; 'qatlas check --details' says what is wrong with it"
    }
    if header.incompatible.contains(.dirty) {
      return
        "the image was not closed cleanly; the next program that opens it for writing sets its refcounts right"
    }
    if header.incompatible.contains(.externalDataFile) {
      return "the data lies in an external data file, where every cluster has its fixed place"
    }
    if header.cryptMethod != 0 {
      return "the image is encrypted, and its bytes depend on where they lie"
    }
    if header.snapshotCount > 0 {
      return "the image has \(header.snapshotCount) internal snapshots, which share clusters with the disk"
    }
    if check.opened.extensions.bitmaps != nil || check.hasStaleBitmaps {
      return "the image has persistent bitmaps, whose clusters this version does not move"
    }
    return nil
  }

  /// Gives back what is leaked, on `storage`, which the check was made on. No image may be open on it.
  ///
  /// - Throws: What the host says.
  package func dropLeaks(on storage: any Storage) throws(ImageError) {
    guard hasLeaks else { return }
    let repair = ImageRepair(storage)
    try repair.correctRefcounts(by: check, clearsBehindEnd: true)
    // A count that sank to 1 makes the only owner free to write in place.
    try repair.correctCopiedFlags()
    do throws(StorageError) { try storage.flush() } catch { throw ImageError(error) }
  }
}
