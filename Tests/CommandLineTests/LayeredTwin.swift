// A chain of images as a test keeps it beside the files: raw bytes of every disk and of every snapshot, and what is
// known of each file so that steps which make sense can be drawn. It knows nothing of clusters in files.

import EngineSupport
import Foundation
import TestSupport

/// A disk of raw bytes.
struct TwinDisk {
  private(set) var bytes: [UInt8]
  /// After a change below it: what each of its sectors may read as now. Until somebody looks it is not known.
  var mayRead: [[UInt8]] = []

  /// Bytes that a smaller size has cut off, at their places. What the last cluster holds of them shows again when the
  /// disk grows, with both tools.
  private var cut: [UInt8] = []

  init(size: UInt64) { bytes = [UInt8](repeating: 0, count: Int(size)) }
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var size: UInt64 { UInt64(bytes.count) }

  mutating func fill(_ offset: UInt64, _ count: UInt64, _ byte: UInt8) {
    bytes.withUnsafeMutableBytes { bytes in
      guard count > 0, let start = bytes.baseAddress else { return }
      memset(start + Int(offset), Int32(byte), Int(count))
    }
  }

  /// Makes it smaller or larger. `cluster` is the size of a cluster in bytes.
  mutating func resize(to size: UInt64, cluster: UInt64) {
    if size < self.size {
      cut = bytes + cut.dropFirst(bytes.count)
      bytes.removeLast(Int(self.size - size))
    } else {
      let (old, end) = (bytes.count, Int(min(size, (self.size + cluster - 1) / cluster * cluster)))
      bytes += [UInt8](repeating: 0, count: Int(size - self.size))
      guard old < min(end, cut.count) else { return }
      var stale = bytes
      stale.replaceSubrange(old..<min(end, cut.count), with: cut[old..<min(end, cut.count)])
      mayRead = [bytes, stale]
    }
  }

  /// Takes the bytes of another disk, as far as this one goes.
  mutating func take(_ other: [UInt8]) {
    let count = min(bytes.count, other.count)
    bytes.replaceSubrange(..<count, with: other[..<count])
  }

  /// A layer below changed: every sector reads as before, as one of `others`, or as zeroes behind their end.
  mutating func loosen(_ others: [[UInt8]]) {
    mayRead = [bytes] + others + [[UInt8](repeating: 0, count: bytes.count)]
  }

  /// Takes what was read; the first sector that may not be so is returned.
  mutating func settle(_ read: [UInt8]) -> Int? {
    defer { mayRead = [] }
    var wrong: Int?
    for start in stride(from: 0, to: read.count, by: 512) where wrong == nil {
      let range = start..<min(start + 512, read.count)
      if !mayRead.contains(where: { Self.same($0, read, range) }) { wrong = start }
    }
    bytes = read
    return wrong
  }

  private static func same(_ a: [UInt8], _ b: [UInt8], _ range: Range<Int>) -> Bool {
    guard a.count >= range.upperBound, b.count >= range.upperBound else { return false }
    return a.withUnsafeBytes { a in
      b.withUnsafeBytes { b in
        guard let a = a.baseAddress, let b = b.baseAddress else { return true }
        return memcmp(a + range.lowerBound, b + range.lowerBound, range.count) == 0
      }
    }
  }

  /// Runs of one byte: every sector holds one byte again and again.
  var runs: [(start: Int, count: Int, byte: UInt8)] {
    var runs: [(start: Int, count: Int, byte: UInt8)] = []
    bytes.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: 512) {
        let (byte, count) = (bytes[start], min(512, bytes.count - start))
        if let last = runs.last, last.byte == byte {
          runs[runs.count - 1].count += count
        } else {
          runs.append((start, count, byte))
        }
      }
    }
    return runs
  }
}

/// One file of a chain.
struct TwinLayer {
  struct Snapshot {
    var id: Int
    var name: String
    var disk: TwinDisk
  }

  var name: String
  /// None for a raw file.
  var features: Set<ImageFeature>?
  var clusterSize: UInt64 = 65536
  var disk: TwinDisk
  var snapshots: [Snapshot] = []

  var isRaw: Bool { features == nil }
  var format: String { isRaw ? "raw" : "qcow2" }
  func has(_ feature: ImageFeature) -> Bool { features?.contains(feature) == true }

  /// The words that name it for both tools.
  var target: [String] {
    has(.encryption) ? GenuineEncryption.object + ["--image-opts", GenuineEncryption.options(name)] : [name]
  }
  var ioTarget: [String] { has(.encryption) ? target : ["-f", format, name] }

  /// What a request does that went through.
  mutating func apply(_ request: GuestRequest) {
    switch request {
    case .write(let offset, let count, let byte), .compress(let offset, let count, let byte):
      disk.fill(offset, count, byte)
    case .zero(let offset, let count, _): disk.fill(offset, count, 0)
    case .discard(let offset, let count):
      // Old images above others cannot say that something reads as zeroes.
      if has(.version2), has(.backing) { return }
      // A raw file has no clusters.
      if isRaw { return disk.fill(offset, count, 0) }
      // Only whole clusters lose their data; the end of the disk counts as the end of its cluster.
      let first = (offset + clusterSize - 1) / clusterSize * clusterSize
      let end = offset + count == disk.size ? disk.size : (offset + count) / clusterSize * clusterSize
      if first < end { disk.fill(first, end - first, 0) }
    case .flush, .compressMixed: break
    }
  }
}

/// The files of a session: a chain, the lowest first, and one image that stands alone.
struct LayeredTwin {
  var chain: [TwinLayer] = []
  var side: TwinLayer?

  var all: [TwinLayer] { chain + (side.map { [$0] } ?? []) }
  var top: TwinLayer {
    get { chain[chain.count - 1] }
    set { chain[chain.count - 1] = newValue }
  }

  mutating func change(_ name: String, _ body: (inout TwinLayer) -> Void) {
    for index in chain.indices where chain[index].name == name { return body(&chain[index]) }
    if var side, side.name == name {
      body(&side)
      self.side = side
    }
  }

  /// What the snapshots of a layer read may now come from `others` instead of what was below it.
  mutating func loosenSnapshots(_ name: String, _ others: [[UInt8]]) {
    change(name) { layer in
      for index in layer.snapshots.indices { layer.snapshots[index].disk.loosen(others) }
    }
  }
}
