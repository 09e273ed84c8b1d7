// The guest's clusters in the order of the file, kept up to date by the engine's stream of events: which
// guest cluster lies where, which host clusters hold tables, and where a row of the disk breaks.

import QcowFormat
package import Qcow
package import Storage

/// What a cluster of the file is in the picture of the order.
package enum FileOrderState: UInt8, MapState {
  case free
  /// Holds a guest cluster, and the host cluster before does not hold another one than its predecessor.
  case inOrder
  /// Holds a guest cluster that does not follow the one in the host cluster before.
  case outOfOrder
  /// In use, and by no guest cluster.
  case table

  package var importance: Int { Int(rawValue) }
  package var rank: Int { Int(rawValue) }
  package static var stateCount: Int { 4 }
  package static var slotCount: Int { 4 }
  package var isBackground: Bool { self == .free }
  package var isFilled: Bool { self == .inOrder || self == .outOfOrder }
}

/// A part of the file in one cell.
package struct FileOrderCell: Equatable, Sendable {
  /// How many clusters are in which state.
  package var counts: StateCounts<FileOrderState>
  /// The first guest cluster of a few that were looked at; nil if the cell has none.
  package var guest: UInt64?
}

/// A map of an image without snapshots, compressed clusters and external data.
///
/// It is fed with the tags that the image notes (``Storage/note(_:)``) from the moment it was made.
package final class FileOrderMap {
  /// Guest clusters that a map can have: 2^24.
  package static let maximumClusters: UInt64 = 1 << 24
  /// Host clusters that a map follows; what lies behind is counted and not drawn.
  private static let maximumHostClusters: UInt64 = 1 << 26
  /// Host clusters that are looked at to name the guest cluster of a cell.
  private static let probes: UInt64 = 16

  /// Guest cluster + 1 per host cluster; 0 for none.
  private var guests: [UInt32] = []
  private var isUsed: [Bool] = []
  /// Brought up to date when it is drawn.
  private var pyramid: Pyramid<FileOrderState>
  /// Clusters of each state by the leaf of the pyramid. What is free is not counted.
  private var leafCounts: [SIMD4<UInt32>] = []
  /// Which leaves the pyramid may have otherwise, and whether there are any.
  private var changedLeaves: [Bool] = []
  private var hasChangedLeaves = false
  /// The leaves are counted; not so while the map is made.
  private var isCounted = false
  private let clusterBits: UInt64
  private let guestClusters: UInt64
  /// Host offset minus guest offset of the places; nil if the image has none.
  package let shift: UInt64?

  /// Guest clusters with a host cluster.
  package private(set) var mapped: UInt64 = 0
  /// Those of them that are not at guest + ``shift``; 0 without a shift.
  package private(set) var away: UInt64 = 0
  /// Host clusters in use.
  package private(set) var used: UInt64 = 0
  /// Host clusters taken and given back since the map was made.
  package private(set) var taken: UInt64 = 0
  /// Clusters given back since the start.
  package private(set) var freed: UInt64 = 0
  /// First host cluster behind all that were ever in use.
  package private(set) var end: UInt64 = 0

  /// Looks at all clusters of the image once; linear in them.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package init(_ image: Image, shift: UInt64?) throws(ImageError) {
    let geometry = image.geometry
    clusterBits = UInt64(geometry.clusterBits)
    guestClusters = geometry.clusterCount
    self.shift = shift
    guard guestClusters <= Self.maximumClusters else {
      throw ImageError(.unsupported, "the disk has more than \(Self.maximumClusters) clusters")
    }
    let fileClusters = geometry.clustersCovering(image.storage.length)
    let shape = Pyramid<FileOrderState>.shape(for: max(fileClusters, guestClusters))
    pyramid = Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits)
    let end = HostCluster(min(fileClusters, Self.maximumHostClusters))
    let rows = RefcountRows(image)
    var cluster = HostCluster(0)
    while cluster < end {
      cluster = cluster + (try rows.clusters(from: cluster, limit: end - cluster, areFree: true))
      let row = try rows.clusters(from: cluster, limit: end - cluster, areFree: false)
      for number in cluster.value..<(cluster + row).value { use(number, true) }
      cluster = cluster + row
    }
    for l1Index in 0..<image.l1Count {
      guard let bytes = try image.l2TableBytes(l1Index: l1Index) else { continue }
      let first = geometry.guestRange(l1Index: l1Index).lowerBound
      var guest = geometry.cluster(of: first).value
      for offset in stride(from: 0, to: bytes.count, by: geometry.l2EntrySize) where guest < guestClusters {
        let raw = unsafe bytes.withUnsafeBytes {
          unsafe $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        }
        map(guest, from: 0, to: UInt64(bigEndian: raw))
        guest += 1
      }
    }
    countLeaves()
  }

  /// Counts every leaf; from now on changes are followed one by one.
  private func countLeaves() {
    isCounted = true
    let bits = UInt64(pyramid.clusterBits)
    leafCounts = Array(repeating: .zero, count: pyramid.leafCount)
    for host in 0..<min(end, UInt64(guests.count)) {
      let state = state(host)
      if state != .free { leafCounts[Int(host >> bits)][Int(state.rawValue)] &+= 1 }
    }
    changedLeaves = Array(repeating: true, count: pyramid.leafCount)
    hasChangedLeaves = true
  }

  /// Brings the pyramid up to date.
  private func settle() {
    guard hasChangedLeaves else { return }
    hasChangedLeaves = false
    for leaf in changedLeaves.indices where changedLeaves[leaf] {
      var counts = StateCounts<FileOrderState>()
      for state in 0..<FileOrderState.slotCount { counts[raw: state] = UInt64(leafCounts[leaf][state]) }
      pyramid.setLeaf(leaf, counts)
      changedLeaves[leaf] = false
    }
  }

  /// Bytes of clusters that hold no guest data.
  package var tableBytes: UInt64 { (used - min(used, mapped)) << clusterBits }

  // MARK: Events

  /// Follows a change that the image made.
  package func follow(_ tag: WriteTag) {
    switch tag.target {
    case .l2Table where tag.index < guestClusters:
      map(tag.index, from: tag.before.0, to: tag.after.0)
    case .refcountBlock:
      let (before, after) = (tag.before.0, tag.after.0)
      if before == 0 && after > 0 {
        taken &+= 1
        use(tag.index, true)
      } else if before > 0 && after == 0 {
        // What is taken back because the allocation is tried elsewhere was never given to anybody.
        if tag.why == .retry { taken &-= 1 } else { freed &+= 1 }
        use(tag.index, false)
      }
    default: break
    }
  }

  private func host(_ descriptor: UInt64) -> UInt64? {
    let offset = descriptor & L2Entry.offsetMask
    return offset == 0 || descriptor & L2Entry.compressedFlag != 0 ? nil : offset >> clusterBits
  }

  private func map(_ guest: UInt64, from old: UInt64, to new: UInt64) {
    let before = host(old)
    let after = host(new)
    guard before != after else { return }
    let place = shift.map { guest &+ $0 >> clusterBits }
    if let before {
      mapped &-= 1
      if let place, place != before { away &-= 1 }
      // Somebody else may be there already.
      if guestIn(before) == guest { setGuest(before, nil) }
    }
    if let after {
      mapped &+= 1
      if let place, place != after { away &+= 1 }
      setGuest(after, guest)
    }
  }

  // MARK: Host clusters

  private func guestIn(_ host: UInt64) -> UInt64? {
    guard host < UInt64(guests.count), guests[Int(host)] != 0 else { return nil }
    return UInt64(guests[Int(host)]) - 1
  }

  private func state(_ host: UInt64) -> FileOrderState {
    guard host < UInt64(guests.count) else { return .free }
    guard let guest = guestIn(host) else { return isUsed[Int(host)] ? .table : .free }
    guard host > 0, let before = guestIn(host - 1) else { return .inOrder }
    return guest == before + 1 ? .inOrder : .outOfOrder
  }

  private func use(_ host: UInt64, _ nowUsed: Bool) {
    if nowUsed { used &+= 1 } else { used &-= 1 }
    guard reach(host) else { return }
    guard isCounted else { return isUsed[Int(host)] = nowUsed }
    let old = state(host)
    isUsed[Int(host)] = nowUsed
    recount(host, old)
  }

  private func setGuest(_ host: UInt64, _ guest: UInt64?) {
    guard reach(host) else { return }
    let number = guest.map { UInt32(truncatingIfNeeded: $0 + 1) } ?? 0
    guard isCounted else { return guests[Int(host)] = number }
    let old = state(host)
    let oldNext = state(host + 1)
    guests[Int(host)] = number
    recount(host, old)
    if host + 1 < UInt64(guests.count) { recount(host + 1, oldNext) }
  }

  /// Makes room for a host cluster; false if it lies too far behind.
  private func reach(_ host: UInt64) -> Bool {
    guard host < Self.maximumHostClusters else { return false }
    end = max(end, host + 1)
    guard host >= UInt64(guests.count) else { return true }
    let count = Int(min(Self.maximumHostClusters, max(host + 1, UInt64(guests.count) * 2, 1024)))
    guests.append(contentsOf: repeatElement(0, count: count - guests.count))
    isUsed.append(contentsOf: repeatElement(false, count: count - isUsed.count))
    if UInt64(count) > pyramid.capacity {
      let (bits, leafBits) = Pyramid<FileOrderState>.grownShape(
        pyramid.clusterBits, pyramid.leafBits, UInt64(count))
      pyramid = Pyramid(clusterBits: bits, leafBits: leafBits)
      if isCounted { countLeaves() }
    }
    return true
  }

  private func recount(_ host: UInt64, _ old: FileOrderState) {
    let new = state(host)
    guard new != old else { return }
    let leaf = Int(host >> UInt64(pyramid.clusterBits))
    // Free clusters are not counted: what is not counted is free.
    if old != .free { leafCounts[leaf][Int(old.rawValue)] &-= 1 }
    if new != .free { leafCounts[leaf][Int(new.rawValue)] &+= 1 }
    changedLeaves[leaf] = true
    hasChangedLeaves = true
  }

  // MARK: Drawing

  /// The cell with number `index` when a cell stands for 2^`bits` host clusters. Takes a bounded number of
  /// steps, whatever the cell stands for.
  package func cell(_ index: UInt64, bits: Int) -> FileOrderCell {
    let first = index << UInt64(bits)
    let count: UInt64 = 1 << UInt64(bits)
    var counts = StateCounts<FileOrderState>()
    if bits >= pyramid.clusterBits {
      settle()
      counts = pyramid.node(level: bits - pyramid.clusterBits, index)
    } else {
      for host in first..<first + count where state(host) != .free { counts[state(host)] += 1 }
    }
    guard counts[.inOrder] + counts[.outOfOrder] > 0 else { return FileOrderCell(counts: counts) }
    let step = max(1, count / Self.probes)
    var host = first
    while host < first + count, host < UInt64(guests.count) {
      if let guest = guestIn(host) { return FileOrderCell(counts: counts, guest: guest) }
      host += step
    }
    return FileOrderCell(counts: counts)
  }
}
