// The engine itself plays the requests of a trace on the image in memory, under one policy; the bytes of the guest are
// not kept. What it changes in the tables is counted.

import Qcow
import QcowFormat
import Storage

/// One policy that the requests are played under.
final class DiscardTrial {
  /// Bytes of memory for L2 tables.
  private static let tableMemory = ByteCount(4 << 20)

  let policy: DiscardPolicy
  private(set) var outcome = DiscardOutcome()
  private let original: Image
  private let zeroes: UntouchedZeroes
  private var image: Image?
  private var isDiscarding = false

  init(_ policy: DiscardPolicy, of original: Image, _ zeroes: UntouchedZeroes) {
    self.policy = policy
    self.original = original
    self.zeroes = zeroes
  }

  /// Begins with the image as it is; what was counted stays. Throws ``ImageError`` if requests cannot be played on it.
  func begin() throws(ImageError) {
    image = nil
    let scratch = ScratchStorage(original.storage) { $0.target != .data && $0.target != .compressedData }
    scratch.follow = { [unowned self] in follow($0) }
    let data = original.hasExternalData ? original.dataStorage.map { ScratchStorage($0) { _ in false } } : nil
    image = try Trial.open(
      original, on: scratch, data: data, policy.policies, tableMemory: Self.tableMemory)
  }

  func end() { image = nil }

  /// Plays a request that lies on the disk.
  func play(_ request: Request, line: UInt64) {
    guard let image else { return }
    let (offset, count) = (GuestOffset(request.offset), ByteCount(request.length))
    do throws(ImageError) {
      switch request.kind {
      case .discard:
        isDiscarding = true
        defer { isDiscarding = false }
        try image.discard(at: offset, count: count)
      case .zero(let mayUnmap): try image.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
      case .write:
        guard zeroes.grow(to: Int(request.length)) else {
          throw ImageError(.invalidRequest, "there is no memory for a write of \(request.length) bytes")
        }
        try unsafe zeroes.withBytes(Int(request.length)) { (bytes) throws(ImageError) in
          try unsafe image.write(bytes, at: offset)
        }
      case .read: break
      }
    } catch {
      outcome.failures += 1
      if outcome.firstFailure == nil { outcome.firstFailure = "line \(line): \(error.description)" }
    }
  }

  private func follow(_ tag: WriteTag) {
    switch tag.target {
    case .l2Table:
      entryChanged(Self.entry(tag.before), Self.entry(tag.after))
    case .refcountBlock where isDiscarding && tag.before.0 > 0 && tag.after.0 == 0 && tag.why != .retry:
      outcome.freed += 1
    default: break
    }
  }

  private func entryChanged(_ old: L2Entry, _ new: L2Entry) {
    let geometry = original.geometry
    let (was, isNow) = (isMapped(old), isMapped(new))
    if was != isNow { outcome.mappedChange += isNow ? 1 : -1 }
    guard isDiscarding else { return }
    let (before, after) = (held(old), held(new))
    outcome.dataBytes.value += geometry.byteCount(ofSubclusters: UInt64((before & ~after).nonzeroBitCount))
    if was && !isNow { outcome.unmapped += 1 }
    if was && isNow && before != 0 && after == 0 { outcome.kept += 1 }
  }

  private static func entry(_ words: (UInt64, UInt64)) -> L2Entry {
    L2Entry(descriptor: words.0, bitmap: SubclusterBitmap(raw: words.1))
  }

  private func isMapped(_ entry: L2Entry) -> Bool { entry.isCompressed || original.geometry.hasHost(entry) }

  /// The subclusters whose bytes are in the image, as bits.
  private func held(_ entry: L2Entry) -> UInt32 {
    let geometry = original.geometry
    let all = geometry.hasExtendedL2 ? UInt32.max : 1
    if entry.isCompressed { return all }
    guard geometry.hasHost(entry) else { return 0 }
    if geometry.hasExtendedL2 { return entry.bitmap.allocated }
    return original.header.version >= 3 && entry.descriptor & L2Entry.zeroFlag != 0 ? 0 : 1
  }
}
