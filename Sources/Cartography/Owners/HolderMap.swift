// Which of the disk and its snapshots lead to each cluster of the file: one bit for each of them, found by going through
// the tables of all, in slices. What any two have in common, what one has alone, and the sets that there are follow.

package import Qcow
import QcowFormat
import Storage

/// The holders of every cluster of a file.
package final class HolderMap: Work {
  /// Snapshots that are told apart at most, and bytes of bits of all together.
  package static let maximumSnapshots = 24
  private static let maximumBytes: UInt64 = 40 << 20
  private static let maximumSets = 1 << 12

  /// The holders: the disk as it is now, then the snapshots by their index.
  package let snapshots: Range<Int>
  /// Why this is not all; nil if it is.
  package private(set) var remark: String?
  /// By holder and holder, the clusters that both lead to; tables are counted too. A holder with itself: what nobody
  /// else leads to.
  package private(set) var together: [[UInt64]]
  /// The clusters of content of every set of holders, bit 0 for the disk, bit n + 1 for snapshot n.
  package private(set) var sets: [UInt32: UInt64] = [:]

  private let image: Image
  private let geometry: Geometry
  private let decoder: EntryDecoder
  private let roots: DiskRoots
  private let tables: TableReader
  private let clusters: UInt64
  private let count: Int
  /// A bit for each cluster, one list after the other; and those of clusters that are tables.
  private var bits: [[UInt64]] = []
  private var tableBits: [UInt64] = []
  private enum Phase { case walking, counting, done }
  private var phase = Phase.walking
  private var holder = 0
  private var index: UInt64 = 0
  private var at: UInt64 = 0
  private var word = 0

  /// Starts over the bytes of the image as they are.
  package init(_ image: Image) {
    self.image = image
    geometry = image.geometry
    decoder = EntryDecoder(
      geometry: image.geometry, version: image.header.version, fileLength: image.storage.length,
      unallocated: .none, belowEnd: 0, hasExternalData: image.hasExternalData)
    roots = DiskRoots(image)
    tables = TableReader(of: image)
    clusters = image.geometry.clustersCovering(image.storage.length)
    let bytes = max(8, clusters / 8)
    let room = Int(clamping: Self.maximumBytes / bytes)
    snapshots = 0..<min(image.snapshots.count, Self.maximumSnapshots, max(0, room - 2))
    count = room < 2 ? 0 : snapshots.count + 1
    together = Array(repeating: Array(repeating: 0, count: count), count: count)
    if count == 0 {
      remark = "the file has too many clusters for telling their holders apart"
      phase = .done
    } else if snapshots.count < image.snapshots.count {
      remark = "only the first \(counted(snapshots.count, "snapshot")) are told apart"
    }
  }

  private var words: Int { Int(clamping: clusters / 64 + 1) }
  package var isDone: Bool { phase == .done }
  /// The holders can be asked for.
  package var isKnown: Bool { isDone && count > 0 }

  package var progress: Double {
    switch phase {
    case .walking:
      0.9 * (Double(holder) + Double(index) / Double(max(1, roots.entries(snapshot)))) / Double(max(1, count))
    case .counting: 0.9 + 0.1 * Double(word) / Double(max(1, words))
    case .done: 1
    }
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while phase != .done {
      switch phase {
      case .walking: for _ in 0..<64 where phase == .walking { walk() }
      case .counting: countWords()
      case .done: break
      }
      if clock.now >= end { break }
    }
    return isDone
  }

  // MARK: The tables

  private var snapshot: Int? { holder == 0 ? nil : holder - 1 }

  private func walk() {
    if bits.isEmpty {
      bits = Array(repeating: Array(repeating: 0, count: words), count: count)
      tableBits = Array(repeating: 0, count: words)
    }
    if index == 0, at == 0 {
      let root = roots.clusters(snapshot)
      for cluster in root { insert(cluster, isTable: true) }
    }
    guard index < roots.entries(snapshot) else {
      (holder, index, at) = (holder + 1, 0, 0)
      if holder >= count { phase = .counting }
      return
    }
    guard let table = roots.table(snapshot, index) else {
      index += 1
      return
    }
    if at == 0 { insert(table >> UInt64(geometry.clusterBits), isTable: true) }
    let piece = Int(min(UInt64(TableReader.pieceSize), geometry.clusterSize - at))
    if let bytes = unsafe tables.bytes(at: table + at, count: piece) {
      let size = geometry.l2EntrySize
      for entry in 0..<piece / size {
        let word = unsafe bytes.loadUnaligned(fromByteOffset: entry * size, as: UInt64.self)
        if word == 0 { continue }
        switch decoder.reference(of: UInt64(bigEndian: word)) {
        case .none: continue
        case .cluster(let cluster): insert(cluster, isTable: false)
        case .compressed(let clusters): for cluster in clusters { insert(cluster, isTable: false) }
        }
      }
    } else if remark == nil {
      remark = "some tables cannot be read, and what they lead to is not known"
    }
    at += UInt64(TableReader.pieceSize)
    if at >= geometry.clusterSize { (index, at) = (index + 1, 0) }
  }

  private func insert(_ cluster: UInt64, isTable: Bool) {
    guard cluster < clusters else { return }
    let word = Int(truncatingIfNeeded: cluster >> 6)
    bits[holder][word] |= 1 << (cluster & 63)
    if isTable { tableBits[word] |= 1 << (cluster & 63) }
  }

  // MARK: What they have in common

  private func countWords() {
    let end = min(words, word + 2048)
    while word < end {
      var (any, several) = (UInt64(0), UInt64(0))
      for holder in 0..<count {
        several |= any & bits[holder][word]
        any |= bits[holder][word]
      }
      if any != 0 {
        for first in 0..<count where bits[first][word] != 0 {
          together[first][first] += UInt64((bits[first][word] & ~several).nonzeroBitCount)
          for second in 0..<first {
            let both = UInt64((bits[first][word] & bits[second][word]).nonzeroBitCount)
            together[first][second] += both
            together[second][first] += both
          }
        }
        split(word, any & ~tableBits[word]) { set, bits in
          if sets[set] != nil || sets.count < Self.maximumSets {
            sets[set, default: 0] += UInt64(bits.nonzeroBitCount)
          }
        }
      }
      word += 1
    }
    if word >= words { phase = .done }
  }

  /// Calls `body` for each set of holders that clusters of a word have, and the bits of these.
  private func split(_ word: Int, _ wanted: UInt64, _ body: (_ set: UInt32, _ bits: UInt64) -> Void) {
    var left = wanted
    while left != 0 {
      let bit = left & (~left &+ 1)
      var (set, alike) = (UInt32(0), left)
      for holder in 0..<count {
        if bits[holder][word] & bit != 0 {
          set |= 1 << UInt32(holder)
          alike &= bits[holder][word]
        } else {
          alike &= ~bits[holder][word]
        }
      }
      body(set, alike)
      left &= ~alike
    }
  }

  // MARK: Answers

  /// The holders of a cluster; nobody before all is known.
  package func set(of cluster: UInt64) -> UInt32 {
    guard isKnown, cluster < clusters else { return 0 }
    var set: UInt32 = 0
    for holder in 0..<count where bits[holder][Int(cluster >> 6)] >> (cluster & 63) & 1 != 0 {
      set |= 1 << UInt32(holder)
    }
    return set
  }

  /// How many clusters of content in a range each set of holders has.
  func sets(in range: Range<UInt64>) -> [UInt32: UInt64] {
    let range = range.clamped(to: 0..<clusters)
    guard isKnown, !range.isEmpty else { return [:] }
    var found: [UInt32: UInt64] = [:]
    let last = range.upperBound - 1
    for word in Int(range.lowerBound >> 6)...Int(last >> 6) {
      var wanted = ~tableBits[word]
      if word == Int(range.lowerBound >> 6) { wanted &= UInt64.max << (range.lowerBound & 63) }
      if word == Int(last >> 6) { wanted &= UInt64.max >> (63 - last & 63) }
      var any: UInt64 = 0
      for holder in 0..<count { any |= bits[holder][word] }
      split(word, wanted & any) { found[$0, default: 0] += UInt64($1.nonzeroBitCount) }
    }
    return found
  }
}

/// The L1 tables of the disk and of its snapshots, entry by entry.
struct DiskRoots {
  /// Entries of an L1 table of a snapshot that are followed at most: more than the format allows.
  private static let maximumEntries: UInt64 = 1 << 22

  private let image: Image
  private let reader: TableReader
  private var geometry: Geometry { image.geometry }

  init(_ image: Image) {
    self.image = image
    reader = TableReader(of: image)
  }

  /// Entries that can be read; nil for the disk as it is now.
  func entries(_ snapshot: Int?) -> UInt64 {
    guard let snapshot else { return UInt64(image.l1Count) }
    guard image.snapshots.indices.contains(snapshot) else { return 0 }
    let entry = image.snapshots[snapshot]
    let length = image.storage.length
    guard geometry.isAligned(entry.l1TableOffset), entry.l1TableOffset < length else { return 0 }
    return min(UInt64(entry.l1Size), Self.maximumEntries, (length - entry.l1TableOffset) / 8)
  }

  /// The L2 table of an entry; nil if there is none that could be read.
  func table(_ snapshot: Int?, _ index: UInt64) -> UInt64? {
    let found: HostOffset?
    if let snapshot {
      guard
        let bytes = unsafe reader.bytes(at: image.snapshots[snapshot].l1TableOffset &+ index &* 8, count: 8)
      else { return nil }
      found = L1Entry(raw: UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self))).table
    } else {
      found = index < UInt64(image.l1Count) ? image.l1Entry(Int(index)).table : nil
    }
    guard let found, geometry.isAligned(found.value), found.value < image.storage.length else { return nil }
    return found.value
  }

  /// The clusters of the L1 table itself; none where it does not lie as it should.
  func clusters(_ snapshot: Int?) -> Range<UInt64> {
    let start = snapshot.map { image.snapshots[$0].l1TableOffset } ?? image.header.l1TableOffset
    let count = geometry.clustersCovering(entries(snapshot) * 8)
    guard count > 0, geometry.isAligned(start) else { return 0..<0 }
    let first = geometry.cluster(of: HostOffset(start)).value
    return first..<first + count
  }
}
