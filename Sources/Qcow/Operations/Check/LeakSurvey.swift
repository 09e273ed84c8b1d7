// Looks at what leaked clusters hold. A count without a reference says that nothing points to a cluster, not
// that nobody needs it: a lost table or entry leaves its data as leaks, and they may be the last copy.

import QcowFormat
import Storage

/// Reads the leaked clusters of a check that came to its end, and looks for the part of the disk that lost them.
struct LeakSurvey {
  private let image: CheckedImage
  private let geometry: Geometry
  private let reader: CheckReader
  private let leaks: LeakList
  /// Owners that are compressed clusters; nil if there are none.
  private let compressed: HostTally?
  private var buffer: [UInt8]
  /// Bytes that may still be read.
  private var left: ByteCount
  private var data: LeakedData

  /// Reads at most about `limit` bytes of clusters; what is not looked at counts as data.
  init(
    _ image: CheckedImage, _ reader: CheckReader, _ leaks: LeakList, compressed: HostTally?, limit: ByteCount
  ) {
    self.image = image
    geometry = image.geometry
    self.reader = reader
    self.leaks = leaks
    self.compressed = compressed
    buffer = [UInt8](repeating: 0, count: Int(min(geometry.clusterSize, 1 << 16)))
    left = limit
    data = LeakedData(geometry)
  }

  /// What they hold; nil if they hold nothing.
  mutating func run() -> LeakedData? {
    while step() {}
    return result
  }

  // MARK: Piece by piece

  /// What comes next.
  private enum Stage {
    /// The clusters of a run, from one on.
    case bytes(Int, HostCluster?)
    /// A cluster of a row that may hold an L2 table.
    case tables(Int, UInt64)
    /// The entries of the disk, for neighbours.
    case neighbours
    case end
  }

  private var stage = Stage.bytes(0, nil)
  private var found: [Range<HostCluster>] = []
  /// How many clusters have been looked at.
  private var looked: UInt64 = 0
  private var neighbours: NeighbourSearch?

  /// What they hold, once nothing is left; nil if they hold nothing.
  var result: LeakedData? { data.clusters > 0 ? data : nil }
  /// Rows whose count must stay if nothing may be lost, once nothing is left; nil if there are too many leaks to
  /// name them all.
  var kept: [Range<HostCluster>]? {
    leaks.left == 0 ? (found + streamsWithoutEntry.map { $0..<$0 + 1 }).sorted(by: Self.isBefore) : nil
  }
  /// How far it is, 0 ... 1.
  var progress: Double {
    // The bytes take most of the time.
    switch stage {
    case .bytes: 0.8 * Double(looked) / Double(max(1, leakedClusters))
    case .tables: 0.8
    case .neighbours: 0.8 + 0.2 * (neighbours?.progress ?? 0)
    case .end: 1
    }
  }

  private var leakedClusters: UInt64 {
    leaks.runs.reduce(0) { $0 + ($1.upperBound - $1.lowerBound).value }
  }

  private static func isBefore(_ a: Range<HostCluster>, _ b: Range<HostCluster>) -> Bool {
    a.lowerBound < b.lowerBound
  }

  /// Looks at a cluster, or at some entries of the disk; false if nothing is left.
  mutating func step() -> Bool {
    switch stage {
    case .bytes(let index, let cluster):
      guard leaks.runs.indices.contains(index) else {
        endBytes()
        return true
      }
      let run = leaks.runs[index]
      let at = cluster ?? run.lowerBound
      if holdsData(at) { found.add(at) }
      looked += 1
      stage = at + 1 < run.upperBound ? .bytes(index, at + 1) : .bytes(index + 1, nil)
    case .tables(let index, let number):
      guard data.runs.first.indices.contains(index) else {
        beginNeighbours()
        return true
      }
      let run = data.runs.first[index]
      guard number < min(64, (run.upperBound - run.lowerBound).value) else {
        stage = .tables(index + 1, 0)
        return true
      }
      stage = .tables(index, number + 1)
      guard looksLikeTable(run.lowerBound + ClusterCount(number)) else { return true }
      if let disk = try? Image(image.storage) { addMissingTables(disk) }
      if data.guests.isEmpty {
        beginNeighbours()
      } else {
        data.hint = .missingTable
        stage = .end
      }
    case .neighbours:
      if neighbours?.step() == true { return true }
      endNeighbours()
    case .end: return false
    }
    return true
  }

  private mutating func endBytes() {
    for row in found { data.add(row) }
    for cluster in streamsWithoutEntry { data.add(cluster..<cluster + 1) }
    data.clusters += leaks.left
    stage = data.clusters > 0 && !image.hasDataFile ? .tables(0, 0) : .end
  }

  private mutating func beginNeighbours() {
    neighbours = (try? Image(image.storage)).map { NeighbourSearch($0, data.runs.first) }
    stage = neighbours == nil ? .end : .neighbours
  }

  private mutating func endNeighbours() {
    stage = .end
    guard let neighbours else { return }
    for guest in neighbours.guests { data.guests.add(guest) }
    if !data.guests.isEmpty { return data.hint = .neighbours }
    for stray in neighbours.strays { data.guests.add(stray) }
    if !data.guests.isEmpty { return data.hint = .strayBits }
    addEmptyTables(neighbours.disk)
    if !data.guests.isEmpty { return data.hint = .emptyTable }
    addMissingTables(neighbours.disk)
    if !data.guests.isEmpty { data.hint = .noTable }
  }

  /// Clusters of streams that count one more than there are; they may hold one whose entry is lost.
  private var streamsWithoutEntry: [HostCluster] {
    leaks.overcounted.filter { compressed?.count(of: $0) ?? 0 > 0 }
  }

  private mutating func holdsData(_ cluster: HostCluster) -> Bool {
    let start = geometry.start(of: cluster).value
    let end = min(start &+ geometry.clusterSize, image.storage.length)
    var at = start
    // What a cluster with data holds mostly begins with it.
    var step = min(4096, buffer.count)
    while at < end {
      let extent = image.storage.extent(at: at)
      if extent.isHole {
        at = max(at + 1, extent.end)
        continue
      }
      let count = Int(min(UInt64(step), end - at))
      guard left >= ByteCount(count) else { return true }
      left = left - ByteCount(count)
      guard isZero(at: HostOffset(at), count) else { return true }
      at += UInt64(count)
      step = buffer.count
    }
    return false
  }

  /// False also for bytes that cannot be read.
  private mutating func isZero(at offset: HostOffset, _ count: Int) -> Bool {
    let storage = image.storage
    return unsafe buffer.withUnsafeMutableBytes { bytes in
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count])
      do throws(StorageError) {
        try unsafe storage.read(at: offset.value, into: piece)
        return UnsafeRawBufferPointer(piece).isZero
      } catch { return false }
    }
  }

  // MARK: Whose they may be

  /// Every entry of the cluster could be one of an L2 table, and one at least maps a leaked cluster.
  private func looksLikeTable(_ cluster: HostCluster) -> Bool {
    let place = geometry.start(of: cluster)
    guard let bytes = unsafe try? reader.bytes(at: place, count: Int(geometry.clusterSize))
    else { return false }
    var isUsed = false
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = unsafe CheckReader.word(bytes, geometry.l2EntryOffset(index) / 8)
      if raw == 0 { continue }
      let entry = L2Entry(descriptor: raw)
      if entry.isCompressed {
        guard !entry.isCopied, geometry.compressedExtent(of: raw).offset < image.fileEnd else {
          return false
        }
        continue
      }
      let host = HostOffset(entry.offsetBits)
      guard raw & L2Entry.reservedMask == 0, geometry.isAligned(host.value), host < image.fileEnd
      else { return false }
      if host.value != 0 && leaks.contains(geometry.cluster(of: host)) { isUsed = true }
    }
    return isUsed
  }

  /// Parts of the disk whose table has no entry and lies directly in front of a row: their clusters came behind it.
  private mutating func addEmptyTables(_ disk: Image) {
    let inFront = Set(data.runs.first.map(\.lowerBound.value).filter { $0 > 0 }.map { $0 - 1 })
    let all = GuestOffset(0)..<GuestOffset(geometry.virtualSize)
    for index in 0..<min(disk.l1Count, Int(geometry.l1Entries(for: geometry.virtualSize))) {
      guard let table = disk.l1Entry(index).table, inFront.contains(geometry.cluster(of: table).value),
        table < image.fileEnd, !holdsData(geometry.cluster(of: table))
      else { continue }
      data.guests.add(geometry.guestRange(l1Index: index).clamped(to: all))
    }
  }

  private mutating func addMissingTables(_ disk: Image) {
    let all = GuestOffset(0)..<GuestOffset(geometry.virtualSize)
    for index in 0..<Int(geometry.l1Entries(for: geometry.virtualSize)) {
      guard index >= disk.l1Count || disk.l1Entry(index).table == nil else { continue }
      data.guests.add(geometry.guestRange(l1Index: index).clamped(to: all))
    }
  }
}
