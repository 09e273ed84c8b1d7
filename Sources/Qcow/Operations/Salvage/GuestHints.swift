// Structures of a guest's disk that say where on the disk they are: copies of superblocks, allocation groups, and
// partition tables at both ends. They place L2 tables when nothing else does.

import QcowFormat
import Storage

/// What a guest's own structures say of places on its disk.
struct GuestHints {
  /// More are not kept: the first ones are spread over the file as well as the later ones.
  private static let maximum = 1 << 14

  /// A structure that knows its place.
  struct Hint: Equatable {
    /// Where it is on the disk, or behind the start of its partition.
    var guest: UInt64
    /// Its place is told from the start of the disk.
    var isAbsolute: Bool
    /// Where it lies in its host cluster.
    var inCluster: UInt64
  }

  /// By host cluster.
  private(set) var hints: [HostCluster: Hint] = [:]
  /// Where partitions may begin, in bytes of the disk.
  private(set) var starts: Set<UInt64> = [0, 63 * 512, 1 << 20]
  /// Bytes of the disk, as a partition table tells.
  private(set) var diskSize: UInt64?

  /// Looks for such structures in a host cluster.
  mutating func look(_ bytes: UnsafeRawBufferPointer, in cluster: HostCluster) {
    var at = 0
    while at + 512 <= bytes.count {
      let word = unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
      // "EFI PART" and "XFSB".
      if word == 0x5452_4150_2049_4645 {
        unsafe partitionTable(bytes, at, cluster)
      } else if UInt32(truncatingIfNeeded: word) == 0x4253_4658 {
        unsafe allocationGroup(bytes, at, cluster)
      }
      if at & 1023 == 0, at + 1024 <= bytes.count, unsafe bytes[at + 56] == 0x53,
        unsafe bytes[at + 57] == 0xef
      {
        unsafe superblock(bytes, at, cluster)
      }
      if unsafe bytes[at + 510] == 0x55, unsafe bytes[at + 511] == 0xaa { unsafe bootRecord(bytes, at) }
      at += 512
    }
  }

  private mutating func add(_ guest: GuestOffset, isAbsolute: Bool, _ at: Int, _ cluster: HostCluster) {
    guard hints.count < Self.maximum || hints[cluster] != nil, guest.value < 1 << 62 else { return }
    // The start of the disk counts more than that of a file system.
    if let old = hints[cluster], old.isAbsolute { return }
    hints[cluster] = Hint(guest: guest.value, isAbsolute: isAbsolute, inCluster: UInt64(at))
  }

  private mutating func partitionTable(_ bytes: UnsafeRawBufferPointer, _ at: Int, _ cluster: HostCluster) {
    let own = unsafe bytes.little(at + 24, 8)
    let other = unsafe bytes.little(at + 32, 8)
    guard own > 0, own < 1 << 50, other < 1 << 50 else { return }
    diskSize = max(diskSize ?? 0, (max(own, other) + 1) * 512)
    add(GuestOffset(own * 512), isAbsolute: true, at, cluster)
    // The entries follow the first table.
    var entry = at + 512
    while own == 1, entry + 128 <= min(bytes.count, at + 512 * 33) {
      let start = unsafe bytes.little(entry + 32, 8)
      if start > 0, start < 1 << 50, starts.count < 64 { starts.insert(start * 512) }
      entry += 128
    }
  }

  private mutating func bootRecord(_ bytes: UnsafeRawBufferPointer, _ at: Int) {
    for entry in 0..<4 {
      let place = at + 446 + 16 * entry
      let start = unsafe bytes.little(place + 8, 4)
      let isEntry = unsafe bytes[place] & 0x7f == 0 && bytes[place + 4] != 0
      if isEntry, start > 0, starts.count < 64 { starts.insert(start * 512) }
    }
  }

  /// The superblock of ext, in group 0 or a copy of it in a later one.
  private mutating func superblock(_ bytes: UnsafeRawBufferPointer, _ at: Int, _ cluster: HostCluster) {
    let shift = unsafe bytes.little(at + 24, 4)
    let perGroup = unsafe bytes.little(at + 32, 4)
    let first = unsafe bytes.little(at + 20, 4)
    let group = unsafe bytes.little(at + 90, 2)
    guard shift <= 6, perGroup > 0, perGroup <= 1 << 20, first <= 1, unsafe bytes.little(at, 4) > 0 else {
      return
    }
    let blockSize: UInt64 = 1024 << shift
    let place = group == 0 ? 1024 : (first + group * perGroup) * blockSize
    add(GuestOffset(place), isAbsolute: false, at, cluster)
  }

  /// The superblock of XFS at the start of an allocation group, whose number stands in the next sector.
  private mutating func allocationGroup(_ bytes: UnsafeRawBufferPointer, _ at: Int, _ cluster: HostCluster) {
    let blockSize = unsafe UInt64(bytes.big(at + 4))
    let blocks = unsafe UInt64(bytes.big(at + 84))
    let sector = unsafe Int(bytes.big(at + 102) >> 16)
    let next = at + (sector >= 512 && sector <= 32768 ? sector : 512)
    guard unsafe bytes.big(next) == 0x5841_4746, blockSize <= 65536 else { return }
    let number = unsafe UInt64(bytes.big(next + 8))
    add(GuestOffset(number &* blocks &* blockSize), isAbsolute: false, at, cluster)
  }

  /// Numbers of L1 entries whose table can have the structure in its entry `l2Index`, one for every place where
  /// its partition may begin.
  func l1Indexes(_ hint: Hint, l2Index: Int, _ geometry: Geometry) -> [Int] {
    var result: [Int] = []
    for start in hint.isAbsolute ? [0] : starts.sorted() {
      let place = start &+ hint.guest
      guard place >= hint.inCluster else { continue }
      let guest = GuestOffset(place - hint.inCluster)
      guard geometry.isAligned(guest.value), geometry.l2Index(of: guest) == l2Index else { continue }
      let index = geometry.l1Index(of: guest)
      if !result.contains(index) { result.append(index) }
    }
    return result
  }
}

extension UnsafeRawBufferPointer {
  /// A number of `width` bytes, the lowest first; 0 where it is not whole.
  fileprivate func little(_ at: Int, _ width: Int) -> UInt64 {
    guard at >= 0, at <= count - width else { return 0 }
    var value: UInt64 = 0
    for index in (0..<width).reversed() { value = unsafe value << 8 | UInt64(self[at + index]) }
    return value
  }

  /// A number of four bytes, the highest first; 0 where it is not whole.
  fileprivate func big(_ at: Int) -> UInt32 {
    guard at >= 0, at <= count - 4 else { return 0 }
    return unsafe UInt32(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }
}
