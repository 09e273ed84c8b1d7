// Pinning: choosing the policy, finding the shift of an image, and looking whether every cluster is at
// its place.

package import QcowFormat
import Storage

/// What a look at all L2 tables says about the places of guest clusters.
package struct PlacesReport: Equatable, Sendable {
  /// Clusters of the guest that follow each other here and there, away from their places.
  package struct Run: Equatable, Sendable {
    /// The first byte of the disk.
    package var guest: GuestOffset
    /// Where it lies.
    package var host: HostOffset
    /// Clusters of the run.
    package var clusters: ClusterCount

    package init(guest: GuestOffset, host: HostOffset, clusters: ClusterCount) {
      self.guest = guest
      self.host = host
      self.clusters = clusters
    }
  }

  /// Host offset minus guest offset, in bytes.
  package var shift: UInt64
  /// Mapped clusters at guest + shift.
  package var inPlace: UInt64 = 0
  /// Mapped clusters anywhere else.
  package var moved: UInt64 = 0
  /// The first ``runLimit`` runs of those.
  package var runs: [Run] = []
  /// Rows of clusters that are elsewhere.
  package var runCount: UInt64 = 0
  /// Clusters whose data is compressed, which have no place.
  package var compressed: UInt64 = 0
  /// Clusters without a host cluster whose place somebody else uses.
  package var taken: UInt64 = 0

  /// More are counted and not listed.
  package static let runLimit = 4096

  /// Mapped clusters that have a place.
  package var mapped: UInt64 { inPlace + moved }
  /// Nothing is away from its place, and nothing will have to be.
  package var isTrue: Bool { moved == 0 && compressed == 0 && taken == 0 }

  mutating func addMoved(_ guest: GuestOffset, _ host: HostOffset, _ geometry: Geometry) {
    moved += 1
    if let last = runs.last, UInt64(runs.count) == runCount,
      last.guest + geometry.bytes(last.clusters) == guest, last.host + geometry.bytes(last.clusters) == host
    {
      runs[runs.count - 1].clusters += 1
      return
    }
    runCount += 1
    guard runs.count < Self.runLimit else { return }
    runs.append(Run(guest: guest, host: host, clusters: 1))
  }
}

/// What an image says of its mapping.
package enum PinState: Equatable, Sendable {
  case none
  /// Only writers that honour the pin have written.
  case kept(PinExtension)
  /// Another program has written since; the clusters may have moved.
  case unverified(PinExtension)
}

/// Chooses who may change the mapping of an image, and sets, looks at and removes its pin.
struct Pinning {
  private let rules: MappingRules
  private let l2: L2Tables
  private let refcounts: RefcountBlocks
  private let tables: TableWriter

  init(_ rules: MappingRules, _ l2: L2Tables, _ refcounts: RefcountBlocks) {
    self.rules = rules
    self.l2 = l2
    self.refcounts = refcounts
    tables = l2.tables
  }

  private var geometry: Geometry { tables.geometry }

  var state: PinState {
    guard let pin = tables.extensions.pin, tables.header.version >= 3, !l2.hasExternalData else {
      return .none
    }
    return tables.header.autoclear.contains(.pinned) ? .kept(pin) : .unverified(pin)
  }

  /// Changes who may change the mapping; nil for what the image asks for. Throws ``ImageError/Code/option`` if
  /// the image cannot have it, and as ``places(shift:)``.
  func choosePolicy(_ wanted: MappingPolicy?) throws(ImageError) {
    guard let wanted else {
      rules.policy = rules.pin == nil ? .qemu : .pinned
      return
    }
    if wanted.keepsHost && tables.header.version < 3 {
      throw ImageError(
        .option, "the policy '\(wanted.rawValue)' needs a version 3 image; version 2 has no zero flag")
    }
    if wanted == .pinned && rules.pin == nil { rules.measuredPin = try measure().pin }
    rules.policy = wanted
  }

  /// Makes the pin a property of the image, after a look at all its clusters.
  ///
  /// The bit that vouches for it is only set when every cluster is at its place or has none. Throws
  /// ``ImageError/Code/option`` if the image cannot have one, and as ``GuestWriter``.
  func set(_ writer: GuestWriter) throws(ImageError) -> PlacesReport {
    let (pin, report) = try knownOrMeasured()
    if tables.extensions.pin == nil || (report.moved == 0) != tables.header.autoclear.contains(.pinned) {
      try writer.editor.flush()
      try tables.rewriteHeader(.pin) {
        $0.extensions.pin = pin
        if report.moved == 0 {
          $0.header.autoclear.insert(.pinned)
        } else {
          $0.header.autoclear.remove(.pinned)
        }
      }
      try writer.allocator.health.flushStorage()
    }
    rules.policy = .pinned
    return report
  }

  /// Removes the pin; the clusters stay where they are. Throws ``ImageError/Code/option`` without one, and what
  /// the host says.
  func remove(_ writer: GuestWriter) throws(ImageError) {
    guard tables.extensions.pin != nil else { throw ImageError(.option, "the image is not pinned") }
    try tables.rewriteHeader(.pin) {
      $0.extensions.pin = nil
      $0.header.autoclear.remove(.pinned)
    }
    rules.measuredPin = nil
    try writer.allocator.health.flushStorage()
    rules.policy = .qemu
  }

  /// The pin that the image has or could have, and where its clusters are. Throws ``ImageError/Code/option`` if
  /// it could have none, and as ``places(shift:)``.
  func knownOrMeasured() throws(ImageError) -> (pin: PinExtension, report: PlacesReport) {
    guard let known = tables.extensions.pin else { return try measure() }
    return (known, try places(shift: ByteCount(known.shift)))
  }

  // MARK: Finding the shift

  /// The one shift of all mapped clusters, or a fitting one for an image without any, and the look at
  /// all places that it takes.
  ///
  /// Linear in the L2 tables. Throws ``ImageError/Code/option`` if the clusters have different shifts.
  private func measure() throws(ImageError) -> (pin: PinExtension, report: PlacesReport) {
    guard tables.header.version >= 3 else {
      throw ImageError(.option, "pinning needs a version 3 image")
    }
    guard !l2.hasExternalData else {
      throw ImageError(.option, "an external data file has every cluster at its guest offset already")
    }
    // The shift that more than half of the clusters have survives this count, if there is one.
    var candidate: UInt64?
    var votes: UInt64 = 0
    var mapped: UInt64 = 0
    try forMappedEntries { (guest, entry) in
      guard !entry.isCompressed, geometry.hasHost(entry) else { return }
      mapped += 1
      let shift = entry.offsetBits &- guest.value
      if shift == candidate {
        votes += 1
      } else if votes == 0 {
        candidate = shift
        votes = 1
      } else {
        votes -= 1
      }
    }
    let size = geometry.virtualSize
    guard let shift = candidate else {
      let layout = try ContiguousLayout(geometry, size: ByteCount(size)).shift
      let shift = max(layout, geometry.roundUp(tables.storage.length))
      return (PinExtension(shift: shift, reserve: size), try places(shift: ByteCount(shift)))
    }
    guard shift >= geometry.clusterSize, shift < Geometry.hostOffsetLimit,
      size <= Geometry.hostOffsetLimit - shift
    else {
      throw ImageError(
        .option, "the clusters do not lie in guest order behind the tables; " + Self.putInOrder)
    }
    let report = try places(shift: ByteCount(shift))
    guard report.moved == 0 else {
      throw ImageError(
        .option,
        "the mapping has no single shift: \(report.inPlace) of \(mapped) mapped clusters have the shift \(hex(shift)); "
          + Self.putInOrder)
    }
    return (PinExtension(shift: shift, reserve: size), report)
  }

  private static let putInOrder = "'qatlas defrag --contiguous' puts them in order"

  // MARK: Looking at places

  /// Compares where every cluster is with where it would be at guest + shift. Throws
  /// ``ImageError/Code/corrupt`` for tables that cannot be followed, and what the host says.
  func places(shift wanted: ByteCount) throws(ImageError) -> PlacesReport {
    let shift = wanted.value
    var report = PlacesReport(shift: shift)
    // Behind the end of the file nothing is in use.
    let end = geometry.roundUp(tables.storage.length)
    var next: UInt64 = 0
    func countTaken(upTo guest: GuestOffset) throws(ImageError) {
      let limit = min(guest.value, end > shift ? end - shift : 0)
      while next < limit {
        let place = geometry.cluster(of: HostOffset(next + shift))
        let block = geometry.refcountTableIndex(of: place)
        if try refcounts.place(ofBlock: block) == nil {
          // Without a block nothing that it would count is in use.
          let behind = geometry.start(of: geometry.firstCluster(ofBlock: block + 1))
          let end = geometry.roundDown(behind.value - shift)
          next = min(limit, max(end, next + geometry.clusterSize))
          continue
        }
        if try refcounts.count(of: place) != 0 { report.taken += 1 }
        next += geometry.clusterSize
      }
    }
    try forMappedEntries { (guest, entry) throws(ImageError) in
      try countTaken(upTo: guest)
      if entry.isCompressed {
        report.compressed += 1
      } else if geometry.hasHost(entry) {
        if entry.offsetBits == guest.value &+ shift {
          report.inPlace += 1
        } else {
          report.addMoved(guest, HostOffset(entry.offsetBits), geometry)
        }
      } else {
        return
      }
      next = guest.value + geometry.clusterSize
    }
    try countTaken(upTo: GuestOffset(geometry.virtualSize))
    return report
  }

  /// Calls `body` with the guest offset of every cluster of the disk whose entry is not empty.
  private func forMappedEntries(
    _ body: (_ guest: GuestOffset, _ entry: L2Entry) throws(ImageError) -> Void
  ) throws(ImageError) {
    var next = GuestCluster(0)
    _ = try l2.walkDescriptors(&next, upTo: GuestCluster(geometry.clusterCount)) {
      (guest, entry) throws(ImageError) in
      try body(geometry.start(of: guest), entry)
      return true
    }
  }
}
