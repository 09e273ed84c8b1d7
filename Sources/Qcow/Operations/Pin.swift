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
    package var clusters: UInt64

    package init(guest: GuestOffset, host: HostOffset, clusters: UInt64) {
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

  mutating func addMoved(_ guest: UInt64, _ host: UInt64, clusterSize: UInt64) {
    moved += 1
    if let last = runs.last, UInt64(runs.count) == runCount,
      last.guest.value + last.clusters * clusterSize == guest,
      last.host.value + last.clusters * clusterSize == host
    {
      runs[runs.count - 1].clusters += 1
      return
    }
    runCount += 1
    guard runs.count < Self.runLimit else { return }
    runs.append(Run(guest: GuestOffset(guest), host: HostOffset(host), clusters: 1))
  }
}

extension Image {
  /// What the image says of its mapping.
  package enum PinState: Equatable, Sendable {
    case none
    /// Only writers that honour the pin have written.
    case kept(PinExtension)
    /// Another program has written since; the clusters may have moved.
    case unverified(PinExtension)
  }

  /// Whether the image is pinned, and whether that has been looked at since others wrote.
  package var pinState: PinState {
    guard let pin = extensions.pin, header.version >= 3, !hasExternalData else { return .none }
    return header.autoclear.contains(.pinned) ? .kept(pin) : .unverified(pin)
  }

  /// Where the clusters have their places: as the image says, or as it was found to be mapped.
  package var pin: PinExtension? {
    guard header.version >= 3, !hasExternalData else { return nil }
    return extensions.pin ?? measuredPin
  }

  /// Discards and unmapping zero-writes keep the host cluster.
  var keepsHost: Bool { options.discardNoUnref || policy.keepsHost }

  /// Changes who may change the mapping; nil for what the image asks for.
  ///
  /// - Throws: ``ImageError`` for a policy that the image does not allow.
  package func choosePolicy(_ wanted: MappingPolicy?) throws(ImageError) {
    guard let wanted else {
      policy = pin == nil ? .qemu : .pinned
      return
    }
    if wanted.keepsHost && header.version < 3 {
      throw ImageError(
        .option, "the policy '\(wanted.rawValue)' needs a version 3 image; version 2 has no zero flag")
    }
    if wanted == .pinned && pin == nil { measuredPin = try measurePin().pin }
    policy = wanted
  }

  /// Makes the pin a property of the image, after a look at all its clusters.
  ///
  /// The bit that vouches for it is only set when every cluster is at its place or has none.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be pinned, and for what cannot be read or written.
  package func setPin() throws(ImageError) -> PlacesReport {
    try requireWritable()
    let (pin, report) = try knownOrMeasuredPin()
    if extensions.pin == nil || (report.moved == 0) != header.autoclear.contains(.pinned) {
      try flush()
      try tables.rewriteHeader(.pin) {
        $0.extensions.pin = pin
        if report.moved == 0 {
          $0.header.autoclear.insert(.pinned)
        } else {
          $0.header.autoclear.remove(.pinned)
        }
      }
      try flushStorage()
    }
    policy = .pinned
    return report
  }

  /// Looks at all clusters of a pinned image, or of one that could be pinned. Writes nothing.
  ///
  /// - Throws: ``ImageError`` for an image that is not pinned, and for what cannot be read.
  package func checkPin() throws(ImageError) -> PlacesReport {
    try knownOrMeasuredPin().report
  }

  /// The pin that the image has or could have, and where its clusters are.
  private func knownOrMeasuredPin() throws(ImageError) -> (pin: PinExtension, report: PlacesReport) {
    guard let known = extensions.pin else { return try measurePin() }
    return (known, try places(shift: known.shift))
  }

  /// Removes the pin; the clusters stay where they are.
  ///
  /// - Throws: ``ImageError`` for an image that is not pinned, and for what cannot be written.
  package func removePin() throws(ImageError) {
    try requireWritable()
    guard extensions.pin != nil else { throw ImageError(.option, "the image is not pinned") }
    try tables.rewriteHeader(.pin) {
      $0.extensions.pin = nil
      $0.header.autoclear.remove(.pinned)
    }
    measuredPin = nil
    try flushStorage()
    policy = .qemu
  }

  // MARK: Finding the shift

  /// The one shift of all mapped clusters, or a fitting one for an image without any, and the look at
  /// all places that it takes.
  ///
  /// Linear in the L2 tables. Throws if the clusters have different shifts.
  private func measurePin() throws(ImageError) -> (pin: PinExtension, report: PlacesReport) {
    guard header.version >= 3 else {
      throw ImageError(.option, "pinning needs a version 3 image")
    }
    guard !hasExternalData else {
      throw ImageError(.option, "an external data file has every cluster at its guest offset already")
    }
    // The shift that more than half of the clusters have survives this count, if there is one.
    var candidate: UInt64?
    var votes: UInt64 = 0
    var mapped: UInt64 = 0
    try forMappedEntries { (guest, entry) in
      guard !entry.isCompressed, geometry.hasHost(entry) else { return }
      mapped += 1
      let shift = entry.offsetBits &- guest
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
      let layout = try ContiguousLayout(geometry, size: size).shift
      let shift = max(layout, geometry.roundUp(storage.length))
      return (PinExtension(shift: shift, reserve: size), try places(shift: shift))
    }
    guard shift >= geometry.clusterSize, shift < Geometry.hostOffsetLimit,
      size <= Geometry.hostOffsetLimit - shift
    else {
      throw ImageError(
        .option, "the clusters do not lie in guest order behind the tables; " + Self.putInOrder)
    }
    let report = try places(shift: shift)
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

  /// Compares where every cluster is with where it would be at guest + shift.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func places(shift: UInt64) throws(ImageError) -> PlacesReport {
    var report = PlacesReport(shift: shift)
    // Behind the end of the file nothing is in use.
    let end = geometry.roundUp(storage.length)
    var next: UInt64 = 0
    func countTaken(upTo guest: UInt64) throws(ImageError) {
      let limit = min(guest, end > shift ? end - shift : 0)
      while next < limit {
        let place = HostCluster((next + shift) >> UInt64(geometry.clusterBits))
        if try refcountBlockOffset(geometry.refcountTableIndex(of: place)) == nil {
          // Without a block nothing that it would count is in use.
          let behind =
            (place.value >> UInt64(geometry.refcountBlockBits) + 1) << UInt64(geometry.refcountBlockBits)
          let end = geometry.roundDown(behind << UInt64(geometry.clusterBits) - shift)
          next = min(limit, max(end, next + geometry.clusterSize))
          continue
        }
        if try refcount(of: place) != 0 { report.taken += 1 }
        next += geometry.clusterSize
      }
    }
    try forMappedEntries { (guest, entry) throws(ImageError) in
      try countTaken(upTo: guest)
      if entry.isCompressed {
        report.compressed += 1
      } else if geometry.hasHost(entry) {
        if entry.offsetBits == guest &+ shift {
          report.inPlace += 1
        } else {
          report.addMoved(guest, entry.offsetBits, clusterSize: geometry.clusterSize)
        }
      } else {
        return
      }
      next = guest + geometry.clusterSize
    }
    try countTaken(upTo: geometry.virtualSize)
    return report
  }

  /// Calls `body` with the guest offset of every cluster of the disk whose entry is not empty.
  private func forMappedEntries(
    _ body: (_ guest: UInt64, _ entry: L2Entry) throws(ImageError) -> Void
  ) throws(ImageError) {
    var next: UInt64 = 0
    _ = try walkDescriptors(&next, upTo: geometry.clusterCount) { (guest, entry) throws(ImageError) in
      try body(guest << UInt64(geometry.clusterBits), entry)
      return true
    }
  }
}
