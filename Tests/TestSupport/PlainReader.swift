// A second reader of qcow2, written from the format's text alone, slow and simple: what every guest
// cluster and every host cluster of a small image is. Tests compare pictures with it; it shares nothing
// with the program.

import Foundation

/// The facts of one image file.
package struct PlainReader {
  private let bytes: [UInt8]
  private let path: String

  package let version: UInt64
  package let clusterBits: UInt64
  package let size: UInt64
  package let isDirty: Bool
  package let isCorrupt: Bool
  package let hasExternalData: Bool
  package let hasExtendedL2: Bool
  package let backingName: String?
  package let isEncrypted: Bool
  /// Clusters of the external data file that the disk uses; empty without one.
  package private(set) var dataClusters: Set<UInt64> = []
  /// Clusters of the file, the last one possibly cut.
  package let fileClusters: UInt64
  /// Letters of the subclusters of guest clusters with an entry, 1 or 32 each: `#` data, `s` shared,
  /// `c` compressed, `z` zero, `Z` zero with a cluster, `p` never written, `!` impossible, blank for not
  /// allocated.
  package private(set) var guest: [UInt64: [Character]] = [:]
  /// The letter of every host cluster of the file: what it is.
  package private(set) var roles: [Character] = []
  /// What is wrong with host clusters: `!` in conflict, `X` leaked; also of those behind the end.
  package private(set) var faults: [UInt64: Character] = [:]
  /// L2 entries by guest cluster: where each lies, and its descriptor.
  package private(set) var entries: [UInt64: (address: UInt64, descriptor: UInt64)] = [:]
  package private(set) var refcounts: [UInt64] = []
  /// Clusters that only snapshots, or the disk and snapshots, lead to.
  package private(set) var snapshotOnly: Set<UInt64> = []
  package private(set) var shared: Set<UInt64> = []
  /// The refcounts are not kept up.
  package private(set) var isStale = false

  private enum Kind { case table, data, compressed }
  private var owners: [UInt64: [Kind]] = [:]
  private var structures: [UInt64: [Character]] = [:]
  private var l2Tables: Set<UInt64> = []
  private var active: [UInt64: Int] = [:]
  private var machineState: Set<UInt64> = []

  package init(_ path: String) throws {
    self.path = path
    let content = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    bytes = content
    func word(_ at: Int, _ width: Int) -> UInt64 {
      (0..<width).reduce(0) { $0 << 8 | (at + $1 < content.count ? UInt64(content[at + $1]) : 0) }
    }
    guard word(0, 4) == 0x5146_49fb else { throw TestFailure("\(path) is no qcow2 image") }
    version = word(4, 4)
    clusterBits = word(20, 4)
    size = word(24, 8)
    let incompatible = version >= 3 ? word(72, 8) : 0
    isDirty = incompatible & 1 != 0
    isCorrupt = incompatible & 2 != 0
    hasExternalData = incompatible & 4 != 0
    hasExtendedL2 = incompatible & 16 != 0
    isEncrypted = word(32, 4) != 0
    let nameOffset = Int(word(8, 8))
    let nameLength = Int(word(16, 4))
    backingName =
      nameOffset == 0
      ? nil : String(decoding: content[nameOffset..<nameOffset + nameLength], as: UTF8.self)
    fileClusters = (UInt64(content.count) + (1 << clusterBits) - 1) >> clusterBits
    read(word, refcountOrder: version >= 3 ? word(96, 4) : 4, headerLength: version >= 3 ? word(100, 4) : 72)
  }

  private var clusterSize: UInt64 { 1 << clusterBits }
  private let addressMask: UInt64 = 0x00ff_ffff_ffff_fe00

  private mutating func own(_ offset: UInt64, _ count: UInt64, _ letter: Character) {
    guard count > 0 else { return }
    for cluster in offset >> clusterBits...(offset + count - 1) >> clusterBits {
      owners[cluster, default: []].append(.table)
      structures[cluster, default: []].append(letter)
    }
  }

  private mutating func read(
    _ word: (Int, Int) -> UInt64, refcountOrder: UInt64, headerLength: UInt64
  ) {
    own(0, clusterSize, "H")
    let l1Count = word(36, 4)
    let l1Offset = word(40, 8)
    own(l1Offset, l1Count * 8, "1")
    // Refcounts.
    let tableOffset = word(48, 8)
    let tableClusters = word(56, 4)
    own(tableOffset, tableClusters << clusterBits, "T")
    let bits = 1 << refcountOrder
    let perBlock = (clusterSize * 8) >> refcountOrder
    refcounts = Array(repeating: 0, count: Int(fileClusters))
    isStale = true
    for index in 0..<(tableClusters << clusterBits) / 8 {
      let block = word(Int(tableOffset + index * 8), 8) & addressMask
      guard block != 0 else { continue }
      isStale = false
      own(block, clusterSize, "B")
      for number in 0..<perBlock where index * perBlock + number < fileClusters {
        let at = number * UInt64(bits)
        let value: UInt64
        if bits >= 8 {
          value = word(Int(block + at / 8), bits / 8)
        } else {
          value = word(Int(block + at / 8), 1) >> (at % 8) & (1 << UInt64(bits) - 1)
        }
        refcounts[Int(index * perBlock + number)] = value
      }
    }
    isStale = isStale || isDirty
    // Snapshots, with their L1 tables.
    var tables: [(l1: UInt64, count: UInt64, disk: UInt64, isActive: Bool)] = [
      (l1Offset, l1Count, size, true)
    ]
    var at = word(64, 8)
    let snapshotsStart = at
    for _ in 0..<word(60, 4) {
      let extra = word(Int(at) + 36, 4)
      let disk = extra >= 16 ? word(Int(at) + 48, 8) : size
      let l1 = word(Int(at), 8)
      let count = word(Int(at) + 8, 4)
      tables.append((l1, count, disk, false))
      own(l1, count * 8, "l")
      at += 40 + extra + word(Int(at) + 12, 2) + word(Int(at) + 14, 2)
      at = (at + 7) & ~7
    }
    if at > snapshotsStart { own(snapshotsStart, at - snapshotsStart, "S") }
    // Header extensions: bitmaps and encryption.
    var extensionAt = Int(headerLength)
    while word(extensionAt, 4) != 0 {
      let data = extensionAt + 8
      switch word(extensionAt, 4) {
      case 0x2385_2875: readBitmaps(word, word(data, 4), word(data + 8, 8), word(data + 16, 8))
      case 0x0537_be77: own(word(data, 8), word(data + 8, 8), "K")
      default: break
      }
      extensionAt = data + (Int(word(extensionAt + 4, 4)) + 7) / 8 * 8
    }
    for table in tables { walk(word, table) }
    name()
    judgeGuest(word, l1Offset, l1Count)
  }

  private mutating func readBitmaps(
    _ word: (Int, Int) -> UInt64, _ count: UInt64, _ length: UInt64, _ offset: UInt64
  ) {
    own(offset, length, "M")
    var at = Int(offset)
    for _ in 0..<count {
      let table = word(at, 8)
      let entries = word(at + 8, 4)
      own(table, entries * 8, "M")
      for index in 0..<entries {
        let data = word(Int(table + index * 8), 8) & addressMask
        if data != 0 { own(data, clusterSize, "M") }
      }
      at += (24 + Int(word(at + 18, 2)) + Int(word(at + 20, 4)) + 7) / 8 * 8
    }
  }

  private var entrySize: UInt64 { hasExtendedL2 ? 16 : 8 }
  private var perTable: UInt64 { clusterSize / entrySize }

  private func streamClusters(_ descriptor: UInt64) -> ClosedRange<UInt64> {
    let x = 62 - (clusterBits - 8)
    let offset = descriptor & (1 << x - 1)
    let sectors = descriptor >> x & (1 << (clusterBits - 8) - 1)
    return offset >> clusterBits...((offset / 512 + sectors + 1) * 512 - 1) >> clusterBits
  }

  /// Counts what one L1 table leads to.
  private mutating func walk(
    _ word: (Int, Int) -> UInt64, _ table: (l1: UInt64, count: UInt64, disk: UInt64, isActive: Bool)
  ) {
    let needed = (table.disk + (perTable << clusterBits) - 1) / (perTable << clusterBits)
    for index in 0..<table.count {
      let l2 = word(Int(table.l1 + index * 8), 8) & addressMask
      guard l2 != 0 else { continue }
      owners[l2 >> clusterBits, default: []].append(.table)
      if table.isActive {
        l2Tables.insert(l2 >> clusterBits)
      } else if !l2Tables.contains(l2 >> clusterBits) {
        structures[l2 >> clusterBits] = ["l"]
      }
      guard l2 + clusterSize <= UInt64(bytes.count) + clusterSize, !hasExternalData else { continue }
      for number in 0..<perTable {
        let descriptor = word(Int(l2 + number * entrySize), 8)
        var reached: [(UInt64, Kind)] = []
        if descriptor >> 62 & 1 != 0 {
          reached = streamClusters(descriptor).map { ($0, .compressed) }
        } else if descriptor & addressMask != 0, descriptor & addressMask % clusterSize == 0 {
          reached = [((descriptor & addressMask) >> clusterBits, .data)]
        }
        for (cluster, kind) in reached {
          owners[cluster, default: []].append(kind)
          if table.isActive { active[cluster, default: 0] += 1 }
          if index >= needed { machineState.insert(cluster) }
        }
      }
    }
  }

  private func isHole(_ cluster: UInt64) -> Bool { Self.isHole(path, cluster, clusterBits) }

  /// The host keeps nothing of a cluster of the data file `d.raw` beside the image.
  package func isHoleOfData(_ cluster: UInt64) -> Bool {
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    return Self.isHole(folder.appendingPathComponent("d.raw").path, cluster, clusterBits)
  }

  private static func isHole(_ path: String, _ cluster: UInt64, _ clusterBits: UInt64) -> Bool {
    let file = open(path, O_RDONLY)
    defer { close(file) }
    let length = UInt64(max(0, lseek(file, 0, 2)))
    let found = lseek(file, off_t(cluster << clusterBits), 3)
    return found < 0 || UInt64(found) >= min(length, (cluster + 1) << clusterBits)
  }

  private mutating func name() {
    for cluster in 0..<fileClusters {
      let list = owners[cluster] ?? []
      let refcount = refcounts[Int(cluster)]
      if list.isEmpty {
        roles.append(refcount == 0 ? "." : "X")
        if refcount > 0 { faults[cluster] = "X" }
        continue
      }
      let isMixed = Set(list).count > 1 || (structures[cluster]?.count ?? 0) > 1
      if let letter = structures[cluster]?.first {
        roles.append(letter)
      } else if l2Tables.contains(cluster) {
        roles.append("2")
      } else if list.allSatisfy({ $0 == .compressed }) {
        roles.append("c")
      } else {
        roles.append(machineState.contains(cluster) ? "V" : isHole(cluster) ? "o" : "#")
        let mine = active[cluster] ?? 0
        if mine == 0 { snapshotOnly.insert(cluster) } else if mine < list.count { shared.insert(cluster) }
      }
      if isMixed || refcount < list.count && !isStale {
        faults[cluster] = "!"
      } else if refcount > list.count {
        faults[cluster] = "X"
      }
    }
    for cluster in owners.keys where cluster >= fileClusters { faults[cluster] = "!" }
  }

  private mutating func judgeGuest(_ word: (Int, Int) -> UInt64, _ l1: UInt64, _ count: UInt64) {
    let clusters = (size + clusterSize - 1) >> clusterBits
    for index in 0..<count {
      let raw = word(Int(l1 + index * 8), 8)
      let l2 = raw & addressMask
      guard l2 != 0 else { continue }
      for number in 0..<perTable where index * perTable + number < clusters {
        let place = l2 + number * entrySize
        let descriptor = word(Int(place), 8)
        let bitmap = hasExtendedL2 ? word(Int(place) + 8, 8) : 0
        guard descriptor != 0 || bitmap != 0 else { continue }
        let cluster = index * perTable + number
        entries[cluster] = (place, descriptor)
        if hasExternalData, descriptor >> 63 != 0 {
          dataClusters.insert((descriptor & addressMask) >> clusterBits)
        }
        guest[cluster] = letters(descriptor, bitmap)
      }
    }
  }

  private func letters(_ descriptor: UInt64, _ bitmap: UInt64) -> [Character] {
    let count = hasExtendedL2 ? 32 : 1
    func all(_ letter: Character) -> [Character] { Array(repeating: letter, count: count) }
    if descriptor >> 62 & 1 != 0 {
      return all(streamClusters(descriptor).contains { faults[$0] == "!" } ? "!" : "c")
    }
    let offset = descriptor & addressMask
    if offset % clusterSize != 0 { return all("!") }
    let isCopied = descriptor >> 63 != 0
    let cluster = offset >> clusterBits
    let hasHost = offset != 0 || hasExternalData && isCopied
    if hasHost && !hasExternalData && faults[cluster] == "!" { return all("!") }
    let refcount = Int(cluster) < refcounts.count ? refcounts[Int(cluster)] : 0
    let data: Character = !isCopied && refcount > 1 ? "s" : "#"
    guard hasExtendedL2 else {
      if descriptor & 1 != 0 { return [hasHost ? "Z" : "z"] }
      return [hasHost ? data : " "]
    }
    let allocated = bitmap & 0xffff_ffff
    let zero = bitmap >> 32
    if allocated & zero != 0 || allocated != 0 && !hasHost { return all("!") }
    return (0..<32).map { bit in
      if allocated >> UInt64(bit) & 1 != 0 { return data }
      if zero >> UInt64(bit) & 1 != 0 { return hasHost ? "Z" : "z" }
      return hasHost && allocated == 0 ? "p" : " "
    }
  }

  /// The letter of the guest map for a row of clusters; `belowEnd` is where a layer below ends.
  package func guestCell(_ clusters: Range<UInt64>, belowEnd: UInt64) -> Character {
    let units: UInt64 = hasExtendedL2 ? 32 : 1
    var counts: [Character: UInt64] = [:]
    let end = min(clusters.upperBound, (size + clusterSize - 1) >> clusterBits)
    let known = guest.keys.filter { clusters.contains($0) }
    for cluster in known {
      for (number, letter) in (guest[cluster] ?? []).enumerated() {
        let at = cluster << clusterBits + UInt64(number) * (clusterSize / units)
        counts[letter == " " ? at < belowEnd ? ":" : "." : letter, default: 0] += 1
      }
    }
    let below = min(end, max(clusters.lowerBound, (belowEnd + clusterSize - 1) >> clusterBits))
    let knownBelow = UInt64(known.filter { $0 < below }.count)
    counts[":", default: 0] += (below - clusters.lowerBound - knownBelow) * units
    counts[".", default: 0] += (end - below - (UInt64(known.count) - knownBelow)) * units
    let total = (end - clusters.lowerBound) * units
    if counts["!"] ?? 0 > 0 { return "!" }
    for group in [["s", "#", "c"], ["Z", "z", "p"], [":", "."]] as [[Character]] {
      guard let best = group.max(by: { (counts[$0] ?? 0) < (counts[$1] ?? 0) }), counts[best] ?? 0 > 0 else {
        continue
      }
      let filled = ["s", "#", "c"].reduce(0) { $0 + (counts[$1] ?? 0) }
      guard best == "#", filled < total else { return best }
      return Character(String(max(1, min(9, filled * 10 / total))))
    }
    return " "
  }

  /// The letter of the host map for a row of clusters.
  package func hostCell(_ clusters: Range<UInt64>) -> Character {
    let range = clusters.lowerBound..<min(clusters.upperBound, max(fileClusters, end))
    let marks = range.compactMap { faults[$0] }
    if marks.contains("!") { return "!" }
    if marks.contains("X") { return "X" }
    var counts: [Character: Int] = [:]
    for cluster in range where cluster < fileClusters { counts[roles[Int(cluster)], default: 0] += 1 }
    let used = counts.filter { $0.key != "." }
    let order = Array(".oc#VKMlS21BTH")
    guard
      let best = used.max(by: {
        ($0.value, order.firstIndex(of: $0.key) ?? 0) < ($1.value, order.firstIndex(of: $1.key) ?? 0)
      })
    else { return counts.isEmpty ? " " : "." }
    let sum = used.values.reduce(0, +)
    let total = counts.values.reduce(0, +)
    guard "#coV".contains(best.key), sum < total else { return best.key }
    return Array(":-=+*%@")[max(1, min(7, sum * 8 / total)) - 1]
  }

  /// One behind the last host cluster that has an owner.
  package var end: UInt64 { owners.keys.max().map { $0 + 1 } ?? 0 }

  /// Who leads to a host cluster, as often as they do.
  package func ownerCount(_ cluster: UInt64) -> Int { owners[cluster]?.count ?? 0 }
}
