// What leaked clusters hold. A count without a reference says that nothing points to a cluster, not that
// nobody needs it: a lost table or entry leaves its data as leaks, and they may be the last copy.

import QcowFormat
import Storage

/// Leaked clusters whose bytes are not all zero, and the part of the disk that they may belong to.
package struct LeakedData: Equatable, Sendable {
  /// Why a part of the disk may have lost them.
  package enum Hint: Equatable, Sendable {
    /// It has no L2 table, and one of the clusters reads like one.
    case missingTable
    /// The clusters in front of and behind them in the file are its neighbours.
    case neighbours
    /// Its entries have bits that mean nothing.
    case strayBits
    /// It has no L2 table.
    case noTable
    case unknown
  }

  /// Clusters that hold data, and clusters of compressed data that are counted more often than used.
  package var clusters: UInt64 = 0
  /// The first ``listLimit`` runs of them, in host clusters.
  package var runs: [Range<UInt64>] = []
  /// Rows of such clusters.
  package var runCount: UInt64 = 0
  /// Where they may come from.
  package var hint = Hint.unknown
  /// The first ``listLimit`` parts of the disk that may have lost them, in bytes.
  package var guests: [Range<UInt64>] = []
  /// How many there are in all.
  package var guestCount: UInt64 = 0
  let clusterSize: UInt64

  /// More are counted and not named.
  package static let listLimit = 4

  init(clusterSize: UInt64) { self.clusterSize = clusterSize }

  mutating func addHost(_ cluster: UInt64) {
    clusters += 1
    if let last = runs.last, UInt64(runs.count) == runCount, last.upperBound == cluster {
      runs[runs.count - 1] = last.lowerBound..<cluster + 1
      return
    }
    runCount += 1
    if runs.count < Self.listLimit { runs.append(cluster..<cluster + 1) }
  }

  mutating func addGuest(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    if let last = guests.last, UInt64(guests.count) == guestCount, last.upperBound == range.lowerBound {
      guests[guests.count - 1] = last.lowerBound..<range.upperBound
      return
    }
    guestCount += 1
    if guests.count < Self.listLimit { guests.append(range) }
  }

  /// "3 clusters without an owner hold data (host 0x50000 to 0x7ffff); they may be the last copy of guest
  /// 0x0 to 0x1fffffff, which has no L2 table".
  package var description: String {
    let places = runs.map { Self.words($0.lowerBound * clusterSize..<$0.upperBound * clusterSize) }
    var text =
      "\(counted(clusters, "cluster")) without an owner \(worded(clusters, "holds", "hold")) data"
      + " (host \(Self.list(places, runCount)))"
    text += "; \(worded(clusters, "it", "they")) may be the last copy of "
    guard !guests.isEmpty else { return text + "some part of the disk" }
    text += "guest " + Self.list(guests.map(Self.words), guestCount)
    switch hint {
    case .missingTable, .noTable: return text + ", which has no L2 table"
    case .neighbours: return text + ", whose neighbours lie beside \(worded(clusters, "it", "them"))"
    case .strayBits: return text + ", whose entries have bits that mean nothing"
    case .unknown: return text
    }
  }

  static func words(_ range: Range<UInt64>) -> String {
    "0x\(String(range.lowerBound, radix: 16)) to 0x\(String(range.upperBound - 1, radix: 16))"
  }

  static func list(_ parts: [String], _ count: UInt64) -> String {
    let more = count - min(count, UInt64(parts.count))
    return parts.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
  }
}

/// Collects the leaked clusters of a check.
struct LeakList {
  private static let maximum = 1 << 16
  /// Rising runs of host clusters without a reference.
  private(set) var runs: [Range<UInt64>] = []
  /// Clusters with fewer references than their count.
  private(set) var overcounted: [UInt64] = []
  /// Leaked clusters for which there was no room.
  private(set) var left: UInt64 = 0

  mutating func add(_ finding: CheckFinding) {
    guard case .refcountWrong(let cluster, let refcount, let references) = finding.kind,
      refcount > references
    else { return }
    if references > 0 {
      if overcounted.count < Self.maximum { overcounted.append(cluster) } else { left += 1 }
    } else if let last = runs.last, last.upperBound == cluster {
      runs[runs.count - 1] = last.lowerBound..<cluster + 1
    } else if runs.count < Self.maximum {
      runs.append(cluster..<cluster + 1)
    } else {
      left += 1
    }
  }

  func contains(_ cluster: UInt64) -> Bool {
    var low = 0
    var high = runs.count
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].upperBound <= cluster { low = middle + 1 } else { high = middle }
    }
    return low < runs.count && runs[low].contains(cluster)
  }
}

extension ImageCheck {
  /// Looks at the bytes of leaked clusters; nil if they hold nothing. After ``run()``, which must have
  /// come to its end.
  ///
  /// Reads at most about `limit` bytes of clusters; what is not looked at counts as data.
  package func leakedData(limit: UInt64 = .max) -> LeakedData? {
    let leaks = survey.leaks
    var data = LeakedData(clusterSize: geometry.clusterSize)
    var left = limit
    var buffer = [UInt8](repeating: 0, count: Int(min(geometry.clusterSize, 1 << 16)))
    for run in leaks.runs {
      for cluster in run where holdsData(cluster, &buffer, &left) { data.addHost(cluster) }
    }
    // A cluster of streams that counts one more than there are may hold one whose entry is lost.
    for cluster in leaks.overcounted where compressedTally?.count(of: cluster) ?? 0 > 0 {
      data.addHost(cluster)
    }
    data.clusters += leaks.left
    guard data.clusters > 0 else { return nil }
    findGuests(&data, leaks)
    return data
  }

  private func holdsData(_ cluster: UInt64, _ buffer: inout [UInt8], _ left: inout UInt64) -> Bool {
    let start = geometry.byteCount(ofClusters: cluster)
    let end = min(start &+ geometry.clusterSize, storage.length)
    var at = start
    // What a cluster with data holds mostly begins with it.
    var step = min(4096, buffer.count)
    while at < end {
      let extent = storage.extent(at: at)
      if extent.isHole {
        at = max(at + 1, extent.end)
        continue
      }
      let count = Int(min(UInt64(step), end - at))
      guard left >= UInt64(count) else { return true }
      left -= UInt64(count)
      var isZero = true
      unsafe buffer.withUnsafeMutableBytes { bytes in
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count])
        do throws(StorageError) {
          try unsafe storage.read(at: at, into: piece)
          isZero = UnsafeRawBufferPointer(piece).isZero
        } catch { isZero = false }
      }
      guard isZero else { return true }
      at += UInt64(count)
      step = buffer.count
    }
    return false
  }

  // MARK: Whose they may be

  private func findGuests(_ data: inout LeakedData, _ leaks: LeakList) {
    guard let image = try? Image(storage), !hasDataFile else { return }
    let hasTable = data.runs.contains { run in
      run.prefix(64).contains { looksLikeTable($0, leaks) }
    }
    if hasTable {
      addMissingTables(image, &data)
      if !data.guests.isEmpty { return data.hint = .missingTable }
    }
    let strays = addNeighbours(image, &data)
    if !data.guests.isEmpty { return data.hint = .neighbours }
    for stray in strays { data.addGuest(stray) }
    if !data.guests.isEmpty { return data.hint = .strayBits }
    addMissingTables(image, &data)
    if !data.guests.isEmpty { data.hint = .noTable }
  }

  /// Every entry of the cluster could be one of an L2 table, and one at least maps a leaked cluster.
  private func looksLikeTable(_ cluster: UInt64, _ leaks: LeakList) -> Bool {
    let place = geometry.byteCount(ofClusters: cluster)
    guard let bytes = unsafe try? reader.bytes(at: place, count: Int(geometry.clusterSize))
    else { return false }
    var isUsed = false
    for index in 0..<geometry.l2EntriesPerTable {
      let raw = unsafe CheckReader.word(bytes, geometry.l2EntryOffset(index) / 8)
      if raw == 0 { continue }
      let entry = L2Entry(descriptor: raw)
      if entry.isCompressed {
        guard !entry.isCopied, geometry.compressedExtent(of: raw).offset.value < fileLength else {
          return false
        }
        continue
      }
      guard raw & L2Entry.reservedMask == 0, geometry.isAligned(entry.offsetBits),
        entry.offsetBits < fileLength
      else { return false }
      if entry.offsetBits != 0 && leaks.contains(geometry.wholeClusters(entry.offsetBits)) { isUsed = true }
    }
    return isUsed
  }

  private func addMissingTables(_ image: Image, _ data: inout LeakedData) {
    let bytes = geometry.bytesPerL2Table
    for index in 0..<Int(geometry.l1Entries(for: geometry.virtualSize)) {
      guard index >= image.l1Count || image.l1Entry(index).table == nil else { continue }
      let start = UInt64(index) * bytes
      data.addGuest(start..<min(start + bytes, geometry.virtualSize))
    }
  }

  /// Adds the unmapped part of the disk between the neighbours of each run in the file, and returns parts
  /// whose entries have bits without a meaning.
  private func addNeighbours(_ image: Image, _ data: inout LeakedData) -> [Range<UInt64>] {
    func place(_ cluster: UInt64) -> UInt64 { geometry.byteCount(ofClusters: cluster) }
    var sought: Set<UInt64> = []
    for run in data.runs {
      if run.lowerBound > 0 { sought.insert(run.lowerBound - 1) }
      sought.insert(run.upperBound)
    }
    var guests: [UInt64: UInt64] = [:]
    var strays: [Range<UInt64>] = []
    var next = GuestCluster(0)
    let zeroFlag = geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag
    _ = try? image.l2.walkDescriptors(&next, upTo: GuestCluster(geometry.clusterCount)) { cluster, entry in
      let guest = cluster.value
      guard !entry.isCompressed else { return true }
      if entry.offsetBits == 0 {
        if entry.descriptor & ~zeroFlag != 0, strays.count <= LeakedData.listLimit {
          strays.append(place(guest)..<place(guest + 1))
        }
        return true
      }
      let host = geometry.wholeClusters(entry.offsetBits)
      if sought.contains(host) { guests[host] = guest }
      return true
    }
    for run in data.runs {
      let count = UInt64(run.count)
      var start: UInt64?
      if run.lowerBound > 0, let before = guests[run.lowerBound - 1] {
        start = before + 1
      } else if let after = guests[run.upperBound], after >= count {
        start = after - count
      }
      guard let start, start + count <= geometry.clusterCount, isUnmapped(image, start, count) else {
        continue
      }
      data.addGuest(place(start)..<min(place(start + count), geometry.virtualSize))
    }
    return strays
  }

  private func isUnmapped(_ image: Image, _ start: UInt64, _ count: UInt64) -> Bool {
    for guest in Set([start, start + count / 2, start + count - 1]) {
      guard let entry = try? image.l2Entry(at: geometry.start(of: GuestCluster(guest))),
        !entry.isCompressed, entry.offsetBits == 0
      else { return false }
    }
    return true
  }
}
