// The order of the clusters on both sides: where in the file each part of the disk is, and where on the disk each part
// of the file. What is kept are sums per leaf of both maps and one window of the file, so that memory does not grow
// with the image; each window of a large file takes a pass over the tables that lead there.

import QcowFormat
import Qcow
import Storage

/// The order, found behind the scan of an atlas.
package final class OrderSheet: LensSheet {
  /// Clusters of the file of which the guest cluster of each is at hand: 16 MiB.
  private static let windowBits: UInt64 = 22

  /// The mapped clusters of a leaf.
  private struct Leaf {
    /// The place on the other side of the first and of the last of them, + 1; 0 for none.
    var first: UInt64 = 0
    var last: UInt64 = 0
    /// How many lie on the other side in front of the one before them.
    var back: UInt64 = 0

    /// Adds the next one, behind `previous`.
    mutating func add(_ place: UInt64, behind previous: UInt64) {
      if first == 0 { first = place + 1 }
      last = place + 1
      if previous > place + 1 { back += 1 }
    }
  }

  private enum Phase { case waiting, disk, window(Int, leaf: Int, isFirst: Bool), done }

  private let atlas: Atlas
  private let tables: TableReader
  private let clusters: UInt64
  /// Clusters of the file that holds the content.
  private var fileClusters: UInt64 = 0
  private var guestLeaves: [Leaf] = []
  private var hostLeaves: [Leaf] = []
  private var phase = Phase.waiting
  private var nextLeaf = 0
  private var previous: UInt64 = 0
  private var window: [UInt32] = []
  /// The window that is whole, and the one that somebody wants to see.
  private var shown: Int?
  private var wanted: Int?
  private var guestMemo = CellMemo()
  private var hostMemo = CellMemo()

  /// Begins nothing yet.
  package init(_ atlas: Atlas) {
    self.atlas = atlas
    tables = TableReader(of: atlas.image)
    clusters = atlas.image.geometry.clusterCount
  }

  package var subject: String { "" }
  private var image: Image { atlas.image }
  private var geometry: Geometry { image.geometry }
  private var survey: Survey { atlas.survey }
  /// More than this is not kept in a window.
  private var isTooLarge: Bool { clusters >= UInt64(UInt32.max) || hostLeafBits > Self.windowBits }
  private var guestLeafBits: UInt64 { survey.guest.leafBits }
  private let externalLeafBits: UInt64 = 9
  /// The data file has leaves of its own.
  private var hostLeafBits: UInt64 {
    guard geometry.hasExternalData else { return survey.host.leafBits }
    var bits = externalLeafBits
    while fileClusters >> bits > 1 << 15 { bits += 1 }
    return bits
  }
  private var windowCount: Int {
    Int(clamping: (fileClusters + (1 << Self.windowBits) - 1) >> Self.windowBits)
  }
  private var leafCount: Int { Int(clamping: (clusters + (1 << guestLeafBits) - 1) >> guestLeafBits) }

  package var progress: Double {
    switch phase {
    case .waiting: 0
    case .disk: 0.3 * Double(nextLeaf) / Double(max(1, leafCount))
    case .window(let number, let leaf, let isFirst):
      isFirst
        ? 0.3 + 0.7 * (Double(number) + Double(leaf) / Double(max(1, leafCount)))
          / Double(max(1, windowCount)) : 1
    case .done: 1
    }
  }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    // Cells that were too dear for one picture are asked for again by the next.
    let isBehind = guestMemo.isBehind || hostMemo.isBehind
    guestMemo.replenish()
    hostMemo.replenish()
    // Signatures and tables are known then.
    guard atlas.isDone else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      switch phase {
      case .waiting: begin()
      case .disk: lookAtDisk()
      case .window(let number, let leaf, let isFirst): fill(number, leaf, isFirst)
      case .done:
        guard let number = wanted, number != shown else { return !isBehind }
        wanted = nil
        begin(window: number, isFirst: false)
      }
    } while clock.now < end
    if case .done = phase { return !isBehind && (wanted == nil || wanted == shown) }
    return false
  }

  private func begin() {
    fileClusters =
      geometry.hasExternalData
      ? geometry.clustersCovering(image.dataStorage?.length ?? 0) : atlas.hostClusters
    guard !isTooLarge else {
      phase = .done
      return
    }
    guestLeaves = Array(repeating: Leaf(), count: leafCount)
    hostLeaves = Array(
      repeating: Leaf(), count: Int(clamping: (fileClusters + (1 << hostLeafBits) - 1) >> hostLeafBits))
    phase = .disk
  }

  // MARK: Entries

  /// Calls `body` for the clusters of a range of the disk that have a place in the file, in order.
  private func forEachPair(in range: Range<UInt64>, _ body: (_ guest: UInt64, _ host: UInt64) -> Void) {
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let size = UInt64(geometry.l2EntrySize)
    let bits = UInt64(geometry.clusterBits)
    var at = range.lowerBound
    while at < range.upperBound {
      let stop = min(range.upperBound, (at / perTable + 1) * perTable)
      guard let table = image.l1Entry(Int(at / perTable)).table, survey.entries.isTable(table) else {
        at = stop
        continue
      }
      while at < stop {
        let count = min(stop - at, UInt64(TableReader.pieceSize) / size)
        if let bytes = unsafe tables.bytes(at: table.value + at % perTable * size, count: Int(count * size)) {
          for index in 0..<Int(count) {
            let word = unsafe bytes.loadUnaligned(
              fromByteOffset: index * Int(size), as: UInt64.self)
            if word == 0 { continue }
            let entry = L2Entry(descriptor: UInt64(bigEndian: word))
            let place: UInt64
            if entry.isCompressed {
              if geometry.hasExternalData { continue }
              place = geometry.compressedExtent(of: entry.descriptor).offset.value
            } else {
              guard geometry.hasHost(entry), geometry.isAligned(entry.offsetBits) else { continue }
              place = entry.offsetBits
            }
            if place >> bits < fileClusters { body(at + UInt64(index), place >> bits) }
          }
        }
        at += count
      }
    }
  }

  private func clusters(ofLeaf leaf: Int) -> Range<UInt64> {
    let start = UInt64(leaf) << guestLeafBits
    return min(start, clusters)..<min(clusters, start + 1 << guestLeafBits)
  }

  /// An entry of the leaf may lead somewhere.
  private func isUsed(_ leaf: Int) -> Bool {
    geometry.hasExternalData
      || survey.guest.signatures.indices.contains(leaf)
        && survey.guest.signatures[leaf] != HostSignature()
  }

  private func lookAtDisk() {
    for _ in 0..<64 {
      guard nextLeaf < leafCount else {
        begin(window: 0, isFirst: true)
        return
      }
      if isUsed(nextLeaf) {
        var leaf = Leaf()
        var before = previous
        forEachPair(in: clusters(ofLeaf: nextLeaf)) { _, host in
          leaf.add(host, behind: before)
          before = host + 1
        }
        guestLeaves[nextLeaf] = leaf
        previous = before
        nextLeaf += 1
        return
      }
      nextLeaf += 1
    }
  }

  // MARK: Windows

  private func begin(window number: Int, isFirst: Bool) {
    guard number < windowCount else {
      phase = .done
      return
    }
    if isFirst && number == 0 { previous = 0 }
    shown = nil
    window = Array(repeating: 0, count: range(ofWindow: number).count)
    phase = .window(number, leaf: 0, isFirst: isFirst)
  }

  private func range(ofWindow number: Int) -> Range<UInt64> {
    let start = UInt64(number) << Self.windowBits
    return min(start, fileClusters)..<min(fileClusters, start + 1 << Self.windowBits)
  }

  private func mayLead(_ leaf: Int, to range: Range<UInt64>) -> Bool {
    guard isUsed(leaf), !geometry.hasExternalData, !range.isEmpty else { return isUsed(leaf) }
    let bits = survey.entries.decoder.regionBits
    let regions = range.lowerBound >> bits...(range.upperBound - 1) >> bits
    return regions.count >= 256 || regions.contains { survey.guest.signatures[leaf].contains($0) }
  }

  private func fill(_ number: Int, _ first: Int, _ isFirst: Bool) {
    let range = range(ofWindow: number)
    var leaf = first
    var steps = 0
    while leaf < leafCount, steps < 256 {
      steps += 1
      guard mayLead(leaf, to: range) else {
        leaf += 1
        continue
      }
      forEachPair(in: clusters(ofLeaf: leaf)) { guest, host in
        guard range.contains(host) else { return }
        let at = Int(host - range.lowerBound)
        // Of several the first on the disk.
        if window[at] == 0 { window[at] = UInt32(truncatingIfNeeded: guest + 1) }
      }
      leaf += 1
      break
    }
    guard leaf >= leafCount else {
      phase = .window(number, leaf: leaf, isFirst: isFirst)
      return
    }
    shown = number
    hostMemo.forget()
    guard isFirst else {
      phase = .done
      return
    }
    sumUp(range)
    begin(window: number + 1, isFirst: true)
    // The last window stays.
    if case .done = phase { shown = number }
  }

  private func sumUp(_ range: Range<UInt64>) {
    var before = previous
    for (index, guest) in window.enumerated() where guest != 0 {
      hostLeaves[Int((range.lowerBound + UInt64(index)) >> hostLeafBits)].add(
        UInt64(guest) - 1, behind: before)
      before = UInt64(guest)
    }
    previous = before
  }

  // MARK: Answers

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    let bits = UInt64(geometry.clusterBits)
    let range =
      bytes.lowerBound >> bits..<min(clusters, max(bytes.lowerBound >> bits + 1, bytes.upperBound >> bits))
    guard !range.isEmpty, !isTooLarge else { return .unknown }
    switch phase {
    case .waiting: return .unknown
    case .disk where Int((range.upperBound - 1) >> guestLeafBits) >= nextLeaf: return .unknown
    default: break
    }
    let leaf = range.lowerBound >> guestLeafBits
    if range.upperBound - range.lowerBound >= 1 << guestLeafBits || guestLeafBits == 0 {
      let last = (range.upperBound - 1) >> guestLeafBits
      return cell(guestLeaves[Int(leaf)...Int(last)], of: fileClusters)
    }
    return guestMemo.cell(range, cost: 1 << Int(guestLeafBits)) {
      // From the start of the leaf on, so that the one before is known.
      var before = guestLeaves[..<Int(leaf)].last { $0.last != 0 }?.last ?? 0
      var found = Leaf()
      forEachPair(in: leaf << guestLeafBits..<range.upperBound) { guest, host in
        if guest >= range.lowerBound { found.add(host, behind: before) }
        before = host + 1
      }
      return cell([found], of: fileClusters)
    }
  }

  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell {
    guard isData == geometry.hasExternalData else { return .nothing }
    guard !isTooLarge else { return .unknown }
    let range = clusters.clamped(to: 0..<fileClusters)
    guard !range.isEmpty else { return atlas.isDone ? .nothing : .unknown }
    switch phase {
    case .waiting, .disk: return .unknown
    case .window(let number, _, true) where range.upperBound > UInt64(number) << Self.windowBits:
      return .unknown
    default: break
    }
    let leaf = range.lowerBound >> hostLeafBits
    let last = (range.upperBound - 1) >> hostLeafBits
    if UInt64(range.count) >= 1 << hostLeafBits || hostLeafBits == 0 {
      return cell(hostLeaves[Int(leaf)...Int(last)], of: self.clusters)
    }
    if hostLeaves[Int(leaf)].first == 0 { return .nothing }
    let number = Int(range.lowerBound >> Self.windowBits)
    guard shown == number else {
      wanted = number
      return .unknown
    }
    return hostMemo.cell(range, cost: 1 << Int(hostLeafBits)) {
      var before = hostLeaves[..<Int(leaf)].last { $0.last != 0 }?.last ?? 0
      var found = Leaf()
      let start = UInt64(number) << Self.windowBits
      for cluster in leaf << hostLeafBits..<range.upperBound {
        let guest = UInt64(window[Int(cluster - start)])
        guard guest != 0 else { continue }
        if cluster >= range.lowerBound { found.add(guest - 1, behind: before) }
        before = guest
      }
      return cell([found], of: self.clusters)
    }
  }

  private func cell(_ leaves: ArraySlice<Leaf>, of count: UInt64) -> LensCell {
    guard let first = leaves.first(where: { $0.first != 0 }) else { return .nothing }
    return LensCell(.place(first.first - 1, of: count), isMixed: leaves.contains { $0.back > 0 })
  }
}
