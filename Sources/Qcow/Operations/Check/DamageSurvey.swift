// What the findings of a check add up to: clusters without an owner, what a file that was cut short has lost,
// and what a repair would do about the rest.

import QcowFormat
import Storage

/// What is lost of the disk because the file ends too early.
package struct CutShort: Equatable, Sendable {
  /// Bytes from the end of the file to the end of the last cluster that was there.
  var missing: ByteCount = 0
  /// The parts of the disk that are lost.
  var guests = RunList<GuestOffset>()
  /// What is missing of the cluster that the file ends in; nil if it ends behind a cluster, or in a free one.
  var tail: Range<HostOffset>?

  /// "the file ends 128 KiB before its last cluster; lost: guest 0x30000 to 0x4ffff", with a tail also
  /// ", and host 0xf4240 to 0xfffff of the cluster that it ends in".
  package var description: String {
    let bytes = missing.value % 1024 == 0 ? "\(missing.value / 1024) KiB" : "\(missing.value) bytes"
    let start = "the file ends \(bytes) before its last cluster"
    var lost = guests.isEmpty ? [] : ["guest " + guests.words(\.value)]
    if let tail {
      let (first, last) = (tail.lowerBound.value, tail.upperBound.value - 1)
      let words = "0x\(String(first, radix: 16)) to 0x\(String(last, radix: 16))"
      lost.append("host \(words) of the cluster that it ends in")
    }
    return lost.isEmpty ? start : start + "; lost: " + lost.joined(separator: ", and ")
  }
}

/// What a repair would do, and where the genuine one would do something else.
package struct RepairForecast: Equatable, Sendable {
  /// Refcounts and COPIED flags that it sets.
  var set: UInt64 = 0
  /// Entries that it mends.
  var mended: UInt64 = 0
  /// Clusters without an owner and without data, which it gives back.
  var freed: UInt64 = 0
  /// Clusters without an owner that hold data. They keep their count; the genuine repair gives them back.
  var kept: UInt64 = 0
  /// Errors that it leaves as they are.
  var left: UInt64 = 0

  /// Clusters without an owner that hold data.
  package var leakedData: UInt64 { kept }

  /// What a repair of that kind would do, one or two sentences.
  package func description(of repair: Repair) -> String {
    var parts: [String] = []
    let isAll = repair.scope == .all
    if isAll, set > 0 { parts.append("set \(counted(set, "refcount")) or \(worded(set, "flag"))") }
    if isAll, mended > 0 { parts.append("mend \(counted(mended, "entry", "entries"))") }
    if freed > 0 { parts.append("give back \(counted(freed, "cluster")) without an owner") }
    let lost = worded(kept, "the cluster that holds data", "the \(kept) clusters that hold data")
    if kept > 0 { parts.append((repair.dropsLeaks ? "give up " : "keep ") + lost) }
    let others = left + (isAll ? 0 : set + mended)
    if others > 0 {
      parts.append("leave \(counted(others, "error")) as \(worded(others, "it is", "they are"))")
    }
    guard let last = parts.popLast() else { return "it would do nothing" }
    let all = parts.isEmpty ? last : parts.joined(separator: ", ") + " and " + last
    return "it would \(all); copy the image first"
      + (kept > 0 && repair.dropsLeaks
        ? ". The data of \(worded(kept, "that cluster", "these clusters")) is then lost" : "")
  }

  /// One or two sentences; advice only where there is something to be gained.
  package var description: String {
    var parts: [String] = []
    if set > 0 { parts.append("set \(counted(set, "refcount")) or \(worded(set, "flag"))") }
    if mended > 0 { parts.append("mend \(counted(mended, "entry", "entries"))") }
    if freed > 0 { parts.append("give back \(counted(freed, "cluster")) without an owner") }
    if kept > 0 {
      parts.append(
        "keep \(worded(kept, "the cluster that holds data", "the \(kept) clusters that hold data"))")
    }
    guard !parts.isEmpty else {
      return "no repair mends \(worded(left, "this error", "these \(left) errors"))"
    }
    if left > 0 { parts.append("leave \(counted(left, "error")) as \(worded(left, "it is", "they are"))") }
    let last = parts.removeLast()
    let all = parts.isEmpty ? last : parts.joined(separator: ", ") + " and " + last
    let them = worded(kept, "it", "them")
    return "a repair (-r all) would \(all); copy the image first"
      + (kept > 0 ? ". qemu-img check -r gives \(them) back, and so does --drop-leaks here" : "")
  }
}

/// Adds findings up.
struct DamageSurvey {
  private(set) var leaks = LeakList()
  private var cut = CutShort()
  /// Findings that a repair sets right in counts and flags and in entries, and the others.
  private var settable: UInt64 = 0
  private var mendable: UInt64 = 0
  private var left: UInt64 = 0

  mutating func add(_ finding: CheckFinding) {
    switch finding.remedy {
    case .set: settable += 1
    case .mended: mendable += 1
    case .freed: leaks.add(finding)
    case .stays: if finding.severity == .corruption { left += 1 }
    }
  }

  /// Remembers a reference behind the end of the file, if the cluster was there once: its count says so, or
  /// the block with its count is gone with it.
  mutating func notePassedEnd(
    _ offset: HostOffset, _ size: ByteCount, _ owner: CheckOwner, _ guest: Range<GuestOffset>?,
    _ image: CheckedImage, _ refcounts: CheckRefcounts
  ) {
    let geometry = image.geometry
    guard offset >= image.fileEnd, offset.value < Geometry.hostOffsetLimit else { return }
    do throws(CheckRefcounts.Failure) {
      let cluster = geometry.cluster(of: offset)
      guard let block = try refcounts.block(of: cluster) else { return }
      if block < image.fileEnd, try refcounts.refcount(of: cluster) == 0 { return }
    } catch { return }
    let end = geometry.roundUp(offset.value &+ min(size.value, Geometry.hostOffsetLimit))
    let length = image.storage.length
    cut.missing = max(cut.missing, ByteCount(end - min(end, length)))
    if cut.tail == nil, !geometry.isAligned(length), case let here = geometry.cluster(of: HostOffset(length)),
      (try? refcounts.refcount(of: here)) ?? 0 > 0
    {
      cut.tail = HostOffset(length)..<geometry.start(of: here + 1)
    }
    guard let guest = guest ?? owner.guestRange(geometry), !owner.isOfSnapshot else { return }
    let disk = GuestOffset(0)..<GuestOffset(geometry.virtualSize)
    cut.guests.add(guest.clamped(to: disk))
  }

  /// What is lost, what may be, and what a repair would do. `data` is what the leaked clusters hold.
  func notes(_ result: CheckResult, _ data: LeakedData?) -> [CheckNote] {
    var notes: [CheckNote] = []
    if cut.missing > 0 { notes.append(.cutShort(cut)) }
    if let data { notes.append(.leakedData(data)) }
    guard result.corruptions > 0 || data != nil else { return notes }
    let kept = min(data?.clusters ?? 0, result.leaks)
    notes.append(
      .repair(
        RepairForecast(
          set: settable, mended: mendable, freed: result.leaks - kept, kept: kept, left: left)))
    return notes
  }
}
