// Everything about one address: which entries lead from the guest to the host there, what they
// say in full, and what lies at the end of the way.

package import QcowFormat
package import Qcow
import Storage

/// The answer to "Where is it?" for one guest offset or one host offset.
package struct Place: Sendable {
  /// One entry on the way, with the bytes it is made of.
  package struct Step<Entry: Sendable>: Sendable {
    /// Number in its table.
    package var index: Int
    /// Where the entry lies in the file.
    package var address: HostOffset
    /// What it says.
    package var entry: Entry
    /// Refcount of the cluster it points to; nil if it points nowhere or the count is unreadable.
    package var targetRefcount: UInt64?
  }

  /// Where the next guest cluster lies.
  package enum Next: Equatable, Sendable {
    /// Directly behind this one.
    case inOrder(HostOffset)
    case elsewhere(HostOffset)
    case notMapped
    case compressed
    /// This is the last cluster of the disk, or the first one where the one before is asked for.
    case endOfDisk
    /// This cluster has no host cluster to compare with.
    case unknown
  }

  /// The asked guest offset, or for a host offset that of its first owner on the disk.
  package var guest: GuestOffset?
  /// The cluster of the disk that ``guest`` is in.
  package var cluster: GuestCluster?
  /// Bytes from the start of that cluster.
  package var byteInCluster: UInt64 = 0
  /// The L1 entry on the way; nil without a place on the disk.
  package var l1: Step<L1Entry>?
  /// The L2 entry on the way; nil without an L2 table.
  package var l2: Step<L2Entry>?
  /// Where the bitmap of an extended entry lies.
  package var bitmapAddress: HostOffset?
  /// What the L2 entry means.
  package var mapping: ClusterMapping?
  /// State of every subcluster, 1 or 32 of them.
  package var subclusters: [GuestState] = []
  /// Which of them the guest offset is in.
  package var subcluster = 0
  /// The host cluster, or the compressed stream.
  package var hostRange: Range<HostOffset>?
  /// The byte the guest offset is mapped to, or the asked host offset.
  package var host: HostOffset?
  /// Refcount of the host cluster; nil in an external data file, which has none.
  package var refcount: UInt64?
  /// ``host`` is a place in the external data file, not in the image file.
  package var isInDataFile = false
  /// Where the next guest cluster lies.
  package var next = Next.unknown
  /// Where the guest cluster before lies; in order if that is directly before this one.
  package var previous = Next.unknown
  /// Layers of the chain, this image included.
  package var layerCount = 1
  /// Which layer answers where this image says nothing and has another one below.
  package var answer: LayerAnswer?
  /// Up to 16 bytes at ``host``.
  package var bytes: [UInt8] = []
  /// What the host cluster is, if the place was asked for by a host offset.
  package var hostState: HostState?
  /// Whether it is in order, if the scan has been there.
  package var health: HostHealth?
  /// Why the entry, or the table it is in, cannot be right, as far as is known.
  package var conflict: Conflict?
  /// The same of the L2 table the entry is in.
  package var tableConflict: Conflict?
  /// Who owns the host cluster, if the place was asked for by a host offset.
  package var owners: [Owner] = []
  /// What kept the answer from being complete, in words.
  package var problem: String?

  /// The state at the guest offset.
  package var state: GuestState? {
    subclusters.indices.contains(subcluster) ? subclusters[subcluster] : nil
  }

  /// Where the disks of snapshots have the byte, if the place was asked for by a host offset: the snapshot's index
  /// and the byte, of a compressed stream the first one.
  package var inSnapshots: [(snapshot: Int, guest: GuestOffset)] {
    owners.compactMap { owner in
      guard case .snapshotData(let index, _, _, _, let start) = owner else { return nil }
      guard let host, let range = hostRange, hostState != .compressed else { return (index, start) }
      return (index, start + (host - range.lowerBound))
    }
  }

  /// The place of a byte of the virtual disk.
  package static func guest(_ offset: GuestOffset, in atlas: Atlas) -> Place {
    var place = Place()
    place.fillGuest(offset, atlas)
    place.askLayers(atlas.image)
    place.readBytes(atlas.image)
    return place
  }

  private mutating func askLayers(_ image: Image) {
    layerCount = image.layers.count
    guard let guest, image.backing != nil, problem == nil else { return }
    switch state {
    case .some(.none), .below, .missing, .preallocated:
      do throws(ImageError) { answer = try image.answer(at: guest) } catch { problem = error.description }
    default: break
    }
  }

  /// The place of a byte of the file, with its owners.
  package static func host(_ offset: HostOffset, in owners: Owners) -> Place {
    let atlas = owners.atlas
    let geometry = atlas.image.geometry
    // No file reaches further, and the end of the cluster must be a number.
    let offset = HostOffset(min(offset.value, UInt64(Int64.max)))
    let cluster = geometry.cluster(of: offset)
    let list = owners.owners(of: cluster)
    var place = Place()
    var users = list.owners
    // Of several streams in a cluster the one that covers the byte is meant.
    if case .compressed = users.first, let here = owners.stream(at: offset)?.stream?.owner,
      let index = users.firstIndex(of: here)
    {
      users.insert(users.remove(at: index), at: 0)
    }
    if let start = users.lazy.compactMap(\.guest).first {
      var inside = geometry.offsetInCluster(offset.value)
      if case .compressed = users.first(where: { $0.guest != nil }) { inside = 0 }
      place.fillGuest(min(start + inside, GuestOffset(max(1, geometry.virtualSize) - 1)), atlas)
    }
    place.host = offset
    place.hostRange = geometry.start(of: cluster)..<geometry.start(of: cluster) + geometry.clusterSize
    place.refcount = list.refcount
    place.hostState = list.state
    place.health = list.facts?.health
    place.owners = users
    if !list.isComplete { place.problem = "not all owners have been found yet" }
    place.layerCount = atlas.image.layers.count
    place.readBytes(atlas.image)
    return place
  }

  /// The place of a byte of the external data file, with the guest clusters that use it.
  package static func dataFile(_ offset: HostOffset, in map: DataFileMap, _ atlas: Atlas) -> Place {
    let geometry = atlas.image.geometry
    let offset = HostOffset(min(offset.value, UInt64(Int64.max)))
    let cluster = geometry.cluster(of: offset)
    let list = map.owners(of: cluster)
    var place = Place()
    if let start = list.owners.lazy.compactMap(\.guest).first {
      let inside = geometry.offsetInCluster(offset.value)
      place.fillGuest(min(start + inside, GuestOffset(max(1, geometry.virtualSize) - 1)), atlas)
    }
    place.isInDataFile = true
    place.host = offset
    place.hostRange = geometry.start(of: cluster)..<geometry.start(of: cluster) + geometry.clusterSize
    place.hostState = list.state
    place.owners = list.owners
    if !list.isComplete { place.problem = "not all owners have been found yet" }
    place.layerCount = atlas.image.layers.count
    place.readBytes(atlas.image)
    return place
  }

  private mutating func fillGuest(_ offset: GuestOffset, _ atlas: Atlas) {
    let image = atlas.image
    let geometry = image.geometry
    guard offset.value < geometry.virtualSize else {
      problem = "the disk ends at 0x" + Notation.hex(geometry.virtualSize)
      return
    }
    guest = offset
    cluster = geometry.cluster(of: offset)
    byteInCluster = geometry.offsetInCluster(offset.value)
    subcluster = geometry.subcluster(of: offset).value
    let l1Index = geometry.l1Index(of: offset)
    let l1Entry = image.l1Entry(l1Index)
    tableConflict = atlas.tableConflict(l1Index)
    l1 = Step(
      index: l1Index, address: HostOffset(image.header.l1TableOffset) + UInt64(l1Index) * 8, entry: l1Entry,
      targetRefcount: l1Entry.table.flatMap { Self.refcount(of: $0, image) })
    var entry = L2Entry.empty
    do throws(ImageError) {
      entry = try image.l2Entry(at: offset)
    } catch {
      problem = error.description
      subclusters = Array(repeating: .bad, count: geometry.subclustersPerCluster)
      return
    }
    let target = atlas.survey.entries.target(of: entry)
    conflict = target.conflict
    subclusters =
      l1Entry.table == nil || atlas.survey.entries.isTable(l1Entry.table)
      ? atlas.survey.currentEntries.states(of: entry, at: geometry.roundDown(offset.value), target)
      : Array(repeating: .bad, count: geometry.subclustersPerCluster)
    guard let table = l1Entry.table else { return }
    let index = geometry.l2Index(of: offset)
    let address = table + UInt64(index * geometry.l2EntrySize)
    if geometry.hasExtendedL2 { bitmapAddress = address + 8 }
    let meaning = geometry.mapping(of: entry, version: image.header.version)
    mapping = meaning
    switch meaning {
    case .data(let start), .zeroMapped(let start), .subclusters(let start?, _):
      hostRange = start..<start + geometry.clusterSize
      host = start + byteInCluster
    case .compressed(let extent):
      hostRange = extent.offset..<extent.offset + extent.byteCount
      host = extent.offset
    case .unallocated, .zero, .subclusters, .invalid: break
    }
    isInDataFile = geometry.hasExternalData && host != nil
    if let start = hostRange?.lowerBound, !isInDataFile { refcount = Self.refcount(of: start, image) }
    l2 = Step(index: index, address: address, entry: entry, targetRefcount: refcount)
    next = Self.neighbour(offset, meaning, image, isBehind: true)
    previous = Self.neighbour(offset, meaning, image, isBehind: false)
  }

  /// Where the cluster behind the one of `offset` lies, or the one before it.
  private static func neighbour(
    _ offset: GuestOffset, _ mapping: ClusterMapping, _ image: Image, isBehind: Bool
  ) -> Next {
    let geometry = image.geometry
    let own = geometry.roundDown(offset.value)
    guard isBehind || own > 0 else { return .endOfDisk }
    let start = GuestOffset(isBehind ? own + geometry.clusterSize : own - geometry.clusterSize)
    guard start.value < geometry.virtualSize else { return .endOfDisk }
    guard let entry = try? image.l2Entry(at: start) else { return .unknown }
    func place(_ mapping: ClusterMapping) -> HostOffset? {
      switch mapping {
      case .data(let host), .zeroMapped(let host): host
      case .subclusters(let host, _): host
      default: nil
      }
    }
    let other = geometry.mapping(of: entry, version: image.header.version)
    if case .compressed = other { return .compressed }
    guard let there = place(other) else { return .notMapped }
    guard let here = place(mapping) else { return .elsewhere(there) }
    let (low, high) = isBehind ? (here, there) : (there, here)
    return high == low + geometry.clusterSize ? .inOrder(there) : .elsewhere(there)
  }

  private static func refcount(of offset: HostOffset, _ image: Image) -> UInt64? {
    try? image.refcount(of: image.geometry.cluster(of: offset))
  }

  private mutating func readBytes(_ image: Image) {
    // The external data file may not be open.
    let file = isInDataFile ? image.dataStorage : image.storage
    guard let host, let file, host.value < file.length else { return }
    let count = Int(min(16, file.length - host.value))
    do throws(StorageError) {
      bytes = try file.bytes(at: host.value, count: count)
    } catch {
      problem = error.description
    }
  }
}
