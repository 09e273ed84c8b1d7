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
    for row in rowsWithData() { data.add(row) }
    for cluster in streamsWithoutEntry { data.add(cluster..<cluster + 1) }
    data.clusters += leaks.left
    guard data.clusters > 0 else { return nil }
    findGuests()
    return data
  }

  /// Leaked clusters that hold data, as rows in rising order.
  private mutating func rowsWithData() -> [Range<HostCluster>] {
    var rows: [Range<HostCluster>] = []
    for run in leaks.runs {
      var cluster = run.lowerBound
      while cluster < run.upperBound {
        if holdsData(cluster) { rows.add(cluster) }
        cluster = cluster + 1
      }
    }
    return rows
  }

  /// Clusters of streams that count one more than there are; they may hold one whose entry is lost.
  private var streamsWithoutEntry: [HostCluster] {
    leaks.overcounted.filter { compressed?.count(of: $0) ?? 0 > 0 }
  }

  /// Everything whose count must stay if nothing may be lost, as rows in rising order; nil if there are too
  /// many leaks to name them all.
  mutating func rowsToKeep() -> [Range<HostCluster>]? {
    guard leaks.left == 0 else { return nil }
    let streams = streamsWithoutEntry.map { $0..<$0 + 1 }
    return (rowsWithData() + streams).sorted { $0.lowerBound < $1.lowerBound }
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

  private mutating func findGuests() {
    guard let disk = try? Image(image.storage), !image.hasDataFile else { return }
    if data.runs.first.contains(where: { holdsTable($0) }) {
      addMissingTables(disk)
      if !data.guests.isEmpty { return data.hint = .missingTable }
    }
    let strays = addNeighbours(disk)
    if !data.guests.isEmpty { return data.hint = .neighbours }
    for stray in strays { data.guests.add(stray) }
    if !data.guests.isEmpty { return data.hint = .strayBits }
    addMissingTables(disk)
    if !data.guests.isEmpty { data.hint = .noTable }
  }

  /// One of the first clusters of a run reads like an L2 table.
  private func holdsTable(_ run: Range<HostCluster>) -> Bool {
    let count = min(64, run.upperBound - run.lowerBound)
    return (0..<count.value).contains { looksLikeTable(run.lowerBound + ClusterCount($0)) }
  }

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

  private mutating func addMissingTables(_ disk: Image) {
    let all = GuestOffset(0)..<GuestOffset(geometry.virtualSize)
    for index in 0..<Int(geometry.l1Entries(for: geometry.virtualSize)) {
      guard index >= disk.l1Count || disk.l1Entry(index).table == nil else { continue }
      data.guests.add(geometry.guestRange(l1Index: index).clamped(to: all))
    }
  }

  /// Adds the unmapped part of the disk between the neighbours of each run in the file, and returns parts
  /// whose entries have bits without a meaning.
  private mutating func addNeighbours(_ disk: Image) -> [Range<GuestOffset>] {
    let geometry = geometry
    var sought: Set<HostCluster> = []
    for run in data.runs.first {
      if let before = Self.before(run) { sought.insert(before) }
      sought.insert(run.upperBound)
    }
    var guests: [HostCluster: GuestCluster] = [:]
    var strays: [Range<GuestOffset>] = []
    var next = GuestCluster(0)
    let zeroFlag = geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag
    _ = try? disk.l2.walkDescriptors(&next, upTo: GuestCluster(geometry.clusterCount)) { guest, entry in
      guard !entry.isCompressed else { return true }
      let host = HostOffset(entry.offsetBits)
      if host.value == 0 {
        if entry.descriptor & ~zeroFlag != 0, strays.count <= RunList<GuestOffset>.limit {
          strays.append(geometry.start(of: guest)..<geometry.start(of: guest + 1))
        }
        return true
      }
      let cluster = geometry.cluster(of: host)
      if sought.contains(cluster) { guests[cluster] = guest }
      return true
    }
    for run in data.runs.first {
      let count = run.upperBound - run.lowerBound
      var start: GuestCluster?
      if let before = Self.before(run), let guest = guests[before] {
        start = guest + 1
      } else if let after = guests[run.upperBound], after.value >= count.value {
        start = GuestCluster(after.value - count.value)
      }
      guard let start, (start + count).value <= geometry.clusterCount, isUnmapped(disk, start, count) else {
        continue
      }
      let end = min(geometry.start(of: start + count), GuestOffset(geometry.virtualSize))
      data.guests.add(geometry.start(of: start)..<end)
    }
    return strays
  }

  /// The cluster in front of a run.
  private static func before(_ run: Range<HostCluster>) -> HostCluster? {
    run.lowerBound.value > 0 ? HostCluster(run.lowerBound.value - 1) : nil
  }

  private func isUnmapped(_ disk: Image, _ start: GuestCluster, _ count: ClusterCount) -> Bool {
    for number in Set([0, count.value / 2, count.value - 1]) {
      guard let entry = try? disk.l2Entry(at: geometry.start(of: start + ClusterCount(number))),
        !entry.isCompressed, entry.offsetBits == 0
      else { return false }
    }
    return true
  }
}
