// A repair that is tried out: it is done to a copy in memory, every byte that it writes is kept beside what was there,
// and the copy is checked again. Nothing else is changed.

package import Qcow
import QcowFormat
package import Storage

/// What a repair would write, and what a check would say afterwards.
package final class RepairPlan {
  /// One change of the file.
  package enum Write: Equatable, Sendable {
    /// Bytes that become others, and what the repair means them to be.
    case bytes(ByteChange, Structure)
    /// A range that is given back to the host, in bytes of the file.
    case freed(Range<UInt64>)
    /// The length of the file.
    case length(before: UInt64, after: UInt64)
  }

  /// Writes that are listed.
  package static let limit = 4096

  /// The repair that was tried out.
  package let change: Repair
  /// What it writes, in its order, the first ``limit``.
  package let writes: [Write]
  /// There are more.
  package let isCut: Bool
  /// Requests to the file, and the bytes that they write.
  package let requests: Int
  /// See ``requests``.
  package let bytes: UInt64
  /// What the repair says of what it leaves; nil if it leaves nothing.
  package let remark: String?
  /// The check of the repaired copy, which goes on in slices.
  package let second: CheckScan
  /// The repaired copy.
  package let copy: OverlayStorage

  /// Hears Esc between the accesses of the repair.
  private final class Watch: OverlayWatch {
    let stops: () -> Bool
    private(set) var isStopped = false
    private var last = ContinuousClock.now
    init(_ stops: @escaping () -> Bool) { self.stops = stops }

    func willAccess() throws(StorageError) {
      let now = ContinuousClock.now
      if !isStopped, last.duration(to: now) >= .milliseconds(20) {
        last = now
        isStopped = stops()
      }
      if isStopped { throw StorageError(.write, name: "", detail: "stopped") }
    }
    func willChange(at offset: UInt64, count: UInt64, tag: WriteTag) {}
    func noted(_ tag: WriteTag) {}
  }

  /// Tries a repair out on a copy of an image whose file reads as `storage`. `stops` is asked now and then whether to
  /// give it up.
  ///
  /// - Throws: ``ImageError`` as the repair does, and nil in its place if it was given up.
  package init?(
    _ change: Repair, of image: Image, on storage: any Storage, stops: @escaping () -> Bool
  ) throws(ImageError) {
    self.change = change
    copy = OverlayStorage(base: storage)
    var options = image.options
    options.writable = true
    options.repairsDirty = false
    options.marksCorruption = false
    options.lazyRefcounts = false
    options.cache = .writeback
    options.layers = nil
    options.backing = image.backing
    // The repair does not look at the guest's bytes in a file of their own; nothing may reach that file.
    options.dataFile = image.hasExternalData ? image.dataStorage.map { OverlayStorage(base: $0) } : nil
    let watch = Watch(stops)
    let (opened, _) = try ImageOpening.session(on: copy, options, nil)
    _ = copy.commit()
    var told: String?
    opened.report = { told = $0 }
    copy.watch = watch
    copy.begin(change.commandLine)
    do throws(ImageError) {
      try change.run(on: opened)
      try opened.flush()
    } catch {
      if watch.isStopped { return nil }
      throw error
    }
    copy.watch = nil
    remark = told
    var (writes, isCut, requests, bytes): ([Write], Bool, Int, UInt64) = ([], false, 0, 0)
    for event in copy.commit()?.events ?? [] where event.kind != .note && event.kind != .flush {
      requests += 1
      if event.kind == .write { bytes += event.count }
      let room = Self.limit - writes.count
      switch event.kind {
      case .punch: if room > 0 { writes.append(.freed(event.offset..<event.offset + event.count)) }
      case .truncate:
        if room > 0 { writes.append(.length(before: event.lengthBefore, after: event.lengthAfter)) }
      default:
        let (changes, isMore) = ByteChange.changes(of: event, limit: max(0, room))
        writes += changes.map { .bytes($0, event.tag.target) }
        if isMore { isCut = true }
      }
      if room <= 0 { isCut = true }
    }
    (self.writes, self.isCut, self.requests, self.bytes) = (writes, isCut, requests, bytes)
    second = try CheckScan(copy, image.geometry)
  }
}
