// Damage that a repair knows how to set right, one kind after the other, and the bytes of an image with the places
// of its tables, which it is done to.

import TestSupport

/// One way to damage an image that a repair knows.
enum KnownDamage: String, CaseIterable {
  case leak, countTooHigh, countTooLow, countMissing, twoEntries, flagMissing, l1FlagMissing, entryLost
  case tableLost, emptyMisaligned, dataMisaligned, reservedBit, blockOutside, blockTwice, blockLost
  case snapshotShort, dirty, corrupt, behindEnd, blockMisaligned

  /// Damages the image; false if it has nothing of that kind.
  func apply(_ image: inout RepairImage, _ random: inout SplitMix64) -> Bool {
    let entries = image.entries(plain: true)
    func entry() -> Int? { entries.isEmpty ? nil : entries[Int(random.below(UInt64(entries.count)))] }
    func used() -> Int? {
      entry().map { Int(image.number($0, 8) & RepairImage.offsetMask) / image.clusterSize }
    }
    switch self {
    case .leak:
      guard let free = (1..<image.clusters).last(where: { image.count($0) == 0 }) else { return false }
      return image.setCount(free, 1)
    case .countTooHigh:
      return used().map { image.setCount($0, min(image.count($0) + 1, image.maximum)) } ?? false
    case .countTooLow:
      guard let cluster = (1..<image.clusters).first(where: { image.count($0) > 1 }) else { return false }
      return image.setCount(cluster, image.count(cluster) - 1)
    case .countMissing: return used().map { image.setCount($0, 0) } ?? false
    case .twoEntries:
      guard entries.count > 1, let (a, b) = entry().flatMap({ a in entry().map { (a, $0) } }), a != b else {
        return false
      }
      return image.set(a, image.number(b, 8), 8)
    case .flagMissing: return entry().map { image.set($0, image.number($0, 8) ^ 1 << 63, 8) } ?? false
    case .l1FlagMissing:
      return image.l1Entries.first.map { image.set($0, image.number($0, 8) ^ 1 << 63, 8) } ?? false
    case .entryLost: return entry().map { image.set($0, 0, 8) } ?? false
    case .tableLost: return image.l1Entries.last.map { image.set($0, 0, 8) } ?? false
    case .emptyMisaligned:
      guard image.number(4, 4) > 2, let at = entry() else { return false }
      if image.isExtended { _ = image.set(at + 8, 3 << 32, 8) }
      return image.set(at, image.number(at, 8) | 0x200 | (image.isExtended ? 0 : 1), 8)
        && image.clusterSize > 512
    case .dataMisaligned:
      return entry().map { image.set($0, image.number($0, 8) | 0x200, 8) && image.clusterSize > 512 } ?? false
    case .reservedBit: return entry().map { image.set($0, image.number($0, 8) | 4, 8) } ?? false
    case .blockOutside:
      return image.set(image.table, UInt64(image.clusters + 7) * UInt64(image.clusterSize), 8)
    case .blockTwice: return image.set(image.table + 8, image.number(image.table, 8), 8)
    case .blockLost: return image.set(image.table, 0, 8)
    case .snapshotShort:
      guard image.number(60, 4) == 1, image.number(4, 4) > 2 else { return false }
      return image.set(Int(image.number(64, 8)) + 36, 8, 4)
    case .dirty, .corrupt:
      guard image.number(4, 4) > 2 else { return false }
      return image.set(79, image.number(79, 1) | (self == .dirty ? 1 : 2), 1)
    case .behindEnd: return image.setCount(image.clusters + 3, 1)
    case .blockMisaligned:
      return image.clusterSize > 512 && image.set(image.table, image.number(image.table, 8) | 512, 8)
    }
  }
}

/// The bytes of an image, and where its tables lie.
struct RepairImage {
  static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  private(set) var bytes: [UInt8]

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func number(_ at: Int, _ width: Int) -> UInt64 {
    guard at >= 0, at <= bytes.count - width else { return 0 }
    return bytes[at..<at + width].reduce(0) { $0 << 8 | UInt64($1) }
  }

  mutating func set(_ at: Int, _ value: UInt64, _ width: Int) -> Bool {
    guard at >= 0, at <= bytes.count - width, number(at, width) != value else { return false }
    for i in 0..<width { bytes[at + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i))) }
    return true
  }

  var clusterSize: Int { 1 << Int(number(20, 4)) }
  var clusters: Int { (bytes.count + clusterSize - 1) / clusterSize }
  var table: Int { Int(clamping: number(48, 8)) }
  var snapshots: UInt64 { number(60, 4) }
  var snapshotTableCluster: Int { Int(clamping: number(64, 8)) / clusterSize }
  var isExtended: Bool { number(4, 4) > 2 && number(79, 1) & 16 != 0 }
  private var width: Int { number(4, 4) > 2 ? 1 << Int(number(96, 4)) : 16 }
  var maximum: UInt64 { width == 64 ? .max : 1 << UInt64(width) - 1 }

  /// The image has an extension of bitmaps that counts.
  var hasBitmaps: Bool {
    guard number(4, 4) > 2, number(95, 1) & 1 != 0 else { return false }
    var at = Int(number(100, 4))
    while number(at, 4) != 0 {
      if number(at, 4) == 0x2385_2875 { return true }
      at += 8 + (Int(number(at + 4, 4)) + 7) & ~7
    }
    return false
  }

  /// What the genuine repair makes of an image with snapshots and bitmaps when it opens it.
  var withoutSnapshots: [UInt8] {
    var copy = self
    _ = copy.set(60, 0, 4)
    _ = copy.set(64, 0, 8)
    return copy.bytes
  }

  /// Entries of snapshots that have nothing, each with so many bytes of extra data, in new clusters at the end of
  /// the file. `lastSaid` is what the last one says of its extra data.
  mutating func addSnapshotTable(_ extra: [Int], lastSaid: UInt32? = nil) {
    func append(_ value: UInt64, _ width: Int) {
      for i in (0..<width).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * i))) }
    }
    func pad(to unit: Int) { bytes.append(contentsOf: repeatElement(0, count: -bytes.count & (unit - 1))) }
    pad(to: clusterSize)
    let start = bytes.count
    for (index, size) in extra.enumerated() {
      pad(to: 8)
      let (id, name) = (Array("\(index + 1)".utf8), Array("snap".utf8))
      append(0, 8)
      append(0, 4)
      append(UInt64(id.count), 2)
      append(UInt64(name.count), 2)
      append(1_700_000_000, 4)
      append(0, 16)
      append(UInt64(index == extra.count - 1 ? lastSaid ?? UInt32(size) : UInt32(size)), 4)
      let known: [UInt64] = [0, number(24, 8), .max]
      bytes.append(
        contentsOf: (0..<size).map {
          $0 < 24 ? UInt8(truncatingIfNeeded: known[$0 / 8] >> UInt64(56 - $0 % 8 * 8)) : 0x55
        })
      bytes += id + name
    }
    pad(to: clusterSize)
    _ = set(60, UInt64(extra.count), 4)
    _ = set(64, UInt64(start), 8)
    for cluster in start / clusterSize..<bytes.count / clusterSize { _ = setCount(cluster, 1) }
  }

  /// Entries of the L1 table that name one.
  var l1Entries: [Int] {
    (0..<Int(number(36, 4))).map { Int(number(40, 8)) + 8 * $0 }.filter {
      number($0, 8) & Self.offsetMask != 0
    }
  }

  /// Entries of the L2 tables with a cluster.
  func entries(plain: Bool) -> [Int] {
    l1Entries.flatMap { entry in
      let table = Int(number(entry, 8) & Self.offsetMask)
      return stride(from: table, to: min(bytes.count, table + clusterSize), by: isExtended ? 16 : 8).filter {
        let raw = number($0, 8)
        return raw & Self.offsetMask != 0 && (!plain || raw & (1 << 62 | 1) == 0)
      }
    }
  }

  private func place(_ cluster: Int) -> (byte: Int, shift: Int)? {
    guard table >= 0, table < bytes.count else { return nil }
    let perBlock = clusterSize * 8 / width
    let block = Int(clamping: number(table + 8 * (cluster / perBlock), 8) & ~511)
    guard block != 0, block < bytes.count else { return nil }
    let bit = cluster % perBlock * width
    return (block + bit / 8, bit % 8)
  }

  /// The refcount table lies where one can.
  var hasReadableCounts: Bool {
    (9...21).contains(number(20, 4)) && number(96, 4) <= 6 && table > 0 && table % clusterSize == 0
  }

  func content(of cluster: Int) -> [UInt8] {
    Array(bytes[cluster * clusterSize..<min(bytes.count, (cluster + 1) * clusterSize)])
  }

  func count(_ cluster: Int) -> UInt64 {
    guard let place = place(cluster) else { return 0 }
    if width >= 8 { return number(place.byte, width / 8) }
    return number(place.byte, 1) >> UInt64(place.shift) & maximum
  }

  mutating func setCount(_ cluster: Int, _ value: UInt64) -> Bool {
    guard let place = place(cluster) else { return false }
    if width >= 8 { return set(place.byte, value, width / 8) }
    let old = number(place.byte, 1)
    return set(place.byte, old & ~(maximum << UInt64(place.shift)) | value << UInt64(place.shift), 1)
  }
}
