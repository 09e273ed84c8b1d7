// What is looked at before a cluster moves: the image must be one that can be put in order, and sound.
// Leaked clusters are no obstacle, because an interrupted run leaves some; they are given back first.

import QcowFormat
package import Storage

/// The outcome of looking at an image before its clusters are moved.
package struct RelocationCheck {
  /// Clusters that are claimed and that nothing uses.
  package let leaks: UInt64
  private let check: ImageCheck
  private let hasCountsBehindEnd: Bool

  /// Looks at the whole image and changes nothing. Throws with the reason if it cannot be put in order.
  package init(_ storage: any Storage) throws(ImageError) {
    check = try ImageCheck(storage) { _ in }
    if let reason = Self.refusal(check) { throw ImageError(.unsupported, reason) }
    let result = check.run()
    let advice = "run qatlas check, and qemu-img check -r all to repair it"
    if let failure = result.failure {
      let detail = failure.detail ?? FileStorage.reason(failure.error)
      throw ImageError(.corrupt, "the image cannot be checked (\(detail)): \(advice)")
    }
    guard result.corruptions == 0, result.checkErrors == 0 else {
      throw ImageError(
        .corrupt, "the image has \(result.corruptions + result.checkErrors) errors: \(advice)")
    }
    var note: String?
    var countsBehindEnd = false
    check.notes { found in
      switch found {
      case .overlap(let cluster, _):
        note = note ?? "host cluster \(hex(cluster.value)) has several owners: \(advice)"
      case .moreOverlaps: break
      case .zeroFlagInVersion2(let guest, _):
        note = note ?? "the entry of guest offset \(hex(guest)) has a flag that version 2 lacks"
      case .refcountsBehindEnd: countsBehindEnd = true
      default: break
      }
    }
    if let note { throw ImageError(.corrupt, note) }
    leaks = result.leaks
    hasCountsBehindEnd = countsBehindEnd
  }

  /// Why an image of this kind is left alone; nil if it may be put in order.
  private static func refusal(_ check: ImageCheck) -> String? {
    let header = check.header
    if header.incompatible.contains(.corrupt) {
      return "the image is marked as corrupt: run qatlas check, and qemu-img check -r all to repair it"
    }
    if header.incompatible.contains(.dirty) {
      return "the image was not closed cleanly: run qemu-img check -r all first"
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
  package func dropLeaks(on storage: any Storage) throws(ImageError) {
    guard leaks > 0 || hasCountsBehindEnd else { return }
    try Image.correctRefcounts(storage, by: check, clearsBehindEnd: true)
    do throws(StorageError) { try storage.flush() } catch { throw ImageError(error) }
  }
}
