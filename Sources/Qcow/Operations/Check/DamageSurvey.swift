// What the findings of a check add up to: clusters without an owner, what a file that was cut short has lost,
// and what the repair of the genuine tool would do about the rest.

import QcowFormat
import Storage

/// What is lost of the disk because the file ends too early.
package struct CutShort: Equatable, Sendable {
  /// Bytes from the end of the file to the end of the last cluster that was there.
  package var missing: UInt64 = 0
  /// The first parts of the disk that are lost, in bytes.
  package var guests: [Range<UInt64>] = []
  /// How many there are in all.
  package var guestCount: UInt64 = 0

  mutating func add(_ guest: Range<UInt64>) {
    if let last = guests.last, UInt64(guests.count) == guestCount, last.upperBound == guest.lowerBound {
      guests[guests.count - 1] = last.lowerBound..<guest.upperBound
      return
    }
    guestCount += 1
    if guests.count < LeakedData.listLimit { guests.append(guest) }
  }

  /// "the file ends 128 KiB before its last cluster; lost: guest 0x30000 to 0x4ffff".
  package var description: String {
    let bytes = missing % 1024 == 0 ? "\(missing / 1024) KiB" : "\(missing) bytes"
    let start = "the file ends \(bytes) before its last cluster"
    guard !guests.isEmpty else { return start }
    return start + "; lost: guest " + LeakedData.list(guests.map(LeakedData.words), guestCount)
  }
}

/// What `qemu-img check -r all` would do.
package struct RepairForecast: Equatable, Sendable {
  /// Refcounts and COPIED flags that it sets.
  package var set: UInt64 = 0
  /// Clusters without an owner, which it gives back.
  package var freed: UInt64 = 0
  /// Of these: they hold data.
  package var lost: UInt64 = 0
  /// Errors that it leaves as they are.
  package var left: UInt64 = 0

  /// One sentence; advice only where there is something to be gained.
  package var description: String {
    var parts: [String] = []
    if set > 0 { parts.append("set \(counted(set, "refcount")) or \(worded(set, "flag"))") }
    if freed > 0 {
      parts.append(
        "give back \(counted(freed, "cluster")) without an owner"
          + (lost > 0 ? ", of which \(lost) \(worded(lost, "holds", "hold")) data" : ""))
    }
    guard !parts.isEmpty else {
      return "no repair mends \(worded(left, "this error", "these \(left) errors"))"
    }
    if left > 0 { parts.append("leave \(counted(left, "error")) as \(worded(left, "it is", "they are"))") }
    let last = parts.removeLast()
    let all = parts.isEmpty ? last : parts.joined(separator: ", ") + " and " + last
    return "a repair (-r all) would \(all); copy the image first"
  }
}

/// Adds findings up.
struct DamageSurvey {
  var leaks = LeakList()
  var cut = CutShort()
  /// Findings that set counts and flags right, and the others.
  private(set) var settable: UInt64 = 0
  private(set) var left: UInt64 = 0

  mutating func add(_ finding: CheckFinding) {
    switch finding.kind {
    case .refcountWrong(_, let refcount, let references):
      if refcount < references { settable += 1 } else { leaks.add(finding) }
    case .copiedWrongL1, .copiedWrongL2, .refcountBlockShared, .refcountBlockOutside: settable += 1
    default: if finding.severity == .corruption { left += 1 }
    }
  }
}

extension ImageCheck {
  /// Remembers a reference behind the end of the file, if the cluster was there once: its count says so, or
  /// the block with its count is gone with it.
  func noteBeyondEnd(_ offset: UInt64, _ size: UInt64, _ owner: CheckOwner, _ guest: Range<UInt64>?) {
    let cluster = geometry.wholeClusters(offset)
    guard offset >= fileLength, offset < Geometry.hostOffsetLimit, sought.isEmpty else { return }
    do throws(CheckRefcounts.Failure) {
      let index = geometry.refcountTableIndex(of: HostCluster(cluster))
      guard let block = try refcounts.block(index) else { return }
      if block < fileLength, try refcounts.refcount(of: cluster) == 0 { return }
    } catch { return }
    let end = geometry.roundUp(offset &+ min(size, Geometry.hostOffsetLimit))
    survey.cut.missing = max(survey.cut.missing, end - min(end, storage.length))
    if let guest = guest ?? guestRange(of: owner), !owner.isOfSnapshot {
      let size = geometry.virtualSize
      if guest.lowerBound < size { survey.cut.add(guest.lowerBound..<min(guest.upperBound, size)) }
    }
  }

  /// Bytes of leaked clusters that are looked at for a note.
  private static let noteLimit: UInt64 = 1 << 30

  /// Tells what is lost, what may be, and what a repair would do.
  func noteDamage(_ report: (CheckNote) -> Void) {
    if survey.cut.missing > 0 { report(.cutShort(survey.cut)) }
    let data = leakedData(limit: Self.noteLimit)
    if let data { report(.leakedData(data)) }
    guard result.corruptions > 0 || data != nil else { return }
    report(
      .repair(
        RepairForecast(
          set: survey.settable, freed: result.leaks, lost: min(data?.clusters ?? 0, result.leaks),
          left: survey.left)))
  }
}

extension CheckOwner {
  /// The structure belongs to a snapshot and not to the active disk.
  var isOfSnapshot: Bool {
    switch self {
    case .l1Table(let snapshot), .l1Entry(_, let snapshot), .l2Table(_, let snapshot),
      .l2Entry(_, _, let snapshot):
      return snapshot != nil
    default: return false
    }
  }
}
