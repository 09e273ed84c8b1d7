// Makes a damaged image readable without a change of its file: what is destroyed is looked for by its shape, and
// written anew into an overlay above the file. From there on it is an image like any other.

import QcowFormat
package import Storage

/// Salvages one image. Nothing but the overlay is written.
package final class Salvage {
  /// What the user knows better.
  package struct Options: Sendable {
    /// As a power of two; nil to find it out.
    package var clusterBits: Int?
    /// Bytes of the disk; nil to find it out.
    package var size: UInt64?

    package init() {}
  }

  /// Memory for what is written anew.
  package static let memoryLimit = 96 << 20

  /// The file with everything that was written anew.
  package let overlay: OverlayStorage
  /// What was found.
  package private(set) var report = SalvageReport()
  private let options: Options
  private var candidates: TableCandidates?
  private var tell: (UInt64) -> Bool = { _ in true }
  /// Where the next new structure goes: behind the end of the file.
  private var nextPlace: UInt64 = 0

  package init(_ overlay: OverlayStorage, _ options: Options = Options()) {
    self.overlay = overlay
    self.options = options
  }

  /// Finds and rebuilds what is destroyed. `tell` hears how many bytes of the file were walked through and ends
  /// the walk by answering false.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` if there is nothing that looks like an image, and what the host says.
  package func run(_ tell: @escaping (UInt64) -> Bool = { _ in true }) throws(ImageError) {
    self.tell = tell
    do throws(StorageError) {
      if try !readHeader() { try rebuildHeader() }
      guard report.header.clusterBits != 0 else { return }
    } catch { throw ImageError(error) }
    guard report.headerSource == .found || candidates?.tables.isEmpty == false else {
      throw ImageError(
        .corrupt, "nothing in the file looks like a table of an image", at: .header, HostOffset(0))
    }
    do throws(StorageError) {
      try salvageSnapshots()
      try salvageL1()
      try salvageRefcounts()
    } catch { throw ImageError(error) }
    if let candidates { report.candidates = listed(candidates) }
  }

  /// What the walk through the file has found, for people.
  private func listed(_ found: TableCandidates) -> [SalvageReport.Candidate] {
    let header = report.header
    let most = SalvageReport.maximumCandidates
    let tables = found.l1.prefix(most).map {
      SalvageReport.Candidate(
        kind: .l1Table, place: $0.place, entries: $0.entries, leading: $0.leading,
        isTaken: $0.place.value == header.l1TableOffset)
    }
    func others(_ kind: SalvageReport.Candidate.Kind, _ places: [HostOffset], _ taken: HostOffset?)
      -> [SalvageReport.Candidate]
    {
      places.prefix(most).map {
        SalvageReport.Candidate(kind: kind, place: $0, entries: 0, leading: 0, isTaken: $0 == taken)
      }
    }
    return tables
      + others(
        .snapshotTable, found.snapshotTables,
        header.snapshotCount > 0 ? HostOffset(header.snapshotsOffset) : nil)
      + others(
        .encryptionHeader, found.encryptionHeaders,
        report.headerSource == .rebuilt ? found.encryptionHeaders.first : nil)
  }

  /// The image above the file, for reading alone.
  ///
  /// - Throws: ``ImageError`` if it still cannot be opened.
  package func open() throws(ImageError) -> Image {
    var options = Image.Options()
    options.standsAlone = true
    return try Image.lookedAt(options) { (options) throws(ImageError) in
      try Image(self.overlay, options: options)
    }
  }

  private var geometry: Geometry { report.header.geometry }
  private var limits: ShapeLimits {
    ShapeLimits(geometry, version: report.header.version, fileLength: overlay.base.length)
  }

  /// The limits of the file before it was cut short: the refcount table says how far it counted. Nil if the file
  /// reaches as far, or no refcount table is in it.
  private func reach() throws(StorageError) -> ShapeLimits? {
    let header = report.header
    guard report.headerSource == .found, limits.isPlace(header.refcountTableOffset) else { return nil }
    let words = try words(
      HostOffset(header.refcountTableOffset),
      Int(geometry.byteCount(ofClusters: UInt64(header.refcountTableClusters)) / 8))
    guard let last = words.lastIndex(where: { $0 != 0 }) else { return nil }
    let end = geometry.start(of: geometry.firstCluster(ofBlock: last + 1)).value
    guard end > overlay.base.length else { return nil }
    return ShapeLimits(geometry, version: header.version, fileLength: end)
  }

  // MARK: The header

  /// Takes the header of the file; false if it is none.
  private func readHeader() throws(StorageError) -> Bool {
    let bytes = try overlay.bytes(at: 0, count: Header.version3Length)
    do throws(FormatError) {
      let header = try Header(parsing: bytes)
      try header.checkTables(forCheck: true)
      guard header.cryptMethod <= 2, header.incompatible.subtracting(.known).isEmpty,
        header.l1TableOffset < overlay.length || header.l1Size == 0
      else { return false }
      try header.checkCompression()
      report.header = header
    } catch { return false }
    nextPlace = geometry.roundUp(overlay.length)
    return true
  }

  private func rebuildHeader() throws(StorageError) {
    report.headerSource = .rebuilt
    let guess = try guessSizes()
    report.sizes = guess.scores
    var header = Header()
    header.clusterBits = UInt32(options.clusterBits ?? guess.scores.first?.clusterBits ?? 16)
    if guess.isExtended, header.clusterBits >= 14 { header.incompatible.insert(.extendedL2) }
    header.size = options.size ?? 0
    report.header = header
    nextPlace = geometry.roundUp(overlay.length)
    let found = try scanned()
    let best = found.l1.first
    let perTable = geometry.bytesPerL2Table
    let entries = UInt64(best?.entries ?? found.tables.count)
    let size = options.size ?? found.hints.diskSize ?? min(max(entries, 1), 1 << 22) * perTable
    header.size = min(size & ~511, UInt64(4 << 20) * perTable, 1 << 62)
    let needed = geometry.l1Entries(for: header.size)
    header.l1Size = UInt32(clamping: min(max(needed, best == nil ? 0 : entries), 4 << 20))
    if let best {
      header.l1TableOffset = best.place.value
      report.l1Source = .candidate(best.place)
      if needed > entries { report.notes.append("the L1 table in the file may have been longer") }
    }
    report.header = header
  }

  /// The words of the file that look like entries, of the sectors that there are.
  private func guessSizes() throws(StorageError) -> SizeGuess {
    var guess = SizeGuess(fileLength: ByteCount(overlay.length))
    let window = ReadWindow(overlay, longest: 1 << 16)
    var offset: UInt64 = 0
    while offset < overlay.length, !guess.isDone {
      if let end = window.endOfHole(at: offset), end > offset {
        offset = max(offset + 512, end & ~511)
        continue
      }
      unsafe guess.look(try window.bytes(at: offset, count: 512))
      offset += 512
      if offset & (1 << 24 - 1) == 0, !tell(offset) { break }
    }
    return guess
  }

  /// The walk through the file, done once.
  private func scanned() throws(StorageError) -> TableCandidates {
    if let candidates { return candidates }
    var found = TableCandidates(geometry)
    try found.scan(overlay, limits, tell)
    if found.isIncomplete { report.notes.append("more clusters look like tables than could be looked at") }
    candidates = found
    return found
  }

  // MARK: Snapshots

  /// Snapshots that can be read, for their L1 tables.
  private var snapshots: [SnapshotEntry] = []

  private func salvageSnapshots() throws(StorageError) {
    let header = report.header
    if report.headerSource == .found {
      guard header.snapshotCount > 0 else { return }
      if let found = try readSnapshots(HostOffset(header.snapshotsOffset), Int(header.snapshotCount)) {
        snapshots = found
        return
      }
    }
    // An older table of as many snapshots, or the longest one there is.
    var best: (place: HostOffset, list: [SnapshotEntry])?
    for place in try scanned().snapshotTables {
      guard let list = try readSnapshots(place, nil) else { continue }
      if header.snapshotCount == 0 || list.count == Int(header.snapshotCount),
        list.count >= best?.list.count ?? 1
      {
        best = (place, list)
      }
    }
    if let best {
      snapshots = best.list
      report.header.snapshotsOffset = best.place.value
      report.header.snapshotCount = UInt32(best.list.count)
      report.snapshotSource = .candidate(best.place)
    } else if report.headerSource == .found {
      report.header.snapshotsOffset = 0
      report.header.snapshotCount = 0
      report.snapshotSource = .missing
    }
    if report.headerSource == .rebuilt, options.size == nil, candidates?.hints.diskSize == nil {
      // The disk was at least as large when a snapshot was taken.
      let size = snapshots.compactMap(\.diskSize).max() ?? 0
      if size <= UInt64(4 << 20) * geometry.bytesPerL2Table {
        report.header.size = max(report.header.size, size & ~511)
        let needed = geometry.l1Entries(for: report.header.size)
        report.header.l1Size = max(report.header.l1Size, UInt32(clamping: needed))
      }
    }
  }

  /// The snapshots at a place; nil unless all of them can be snapshots.
  private func readSnapshots(_ place: HostOffset, _ count: Int?) throws(StorageError) -> [SnapshotEntry]? {
    guard limits.isPlace(place.value) else { return nil }
    let length = Int(min(1 << 20, overlay.length - place.value))
    let bytes = try overlay.bytes(at: place.value, count: length)
    var result: [SnapshotEntry] = []
    var at = 0
    while result.count < count ?? 256 {
      guard let entry = try? SnapshotEntry(parsing: bytes, at: at, index: result.count),
        !entry.storedID.isEmpty, limits.isPlace(entry.l1TableOffset) || entry.l1Size == 0,
        UInt64(entry.l1Size) * 8 <= overlay.length
      else { break }
      result.append(entry)
      at += entry.entrySize
    }
    guard count == nil || result.count == count else { return nil }
    return result.isEmpty ? nil : result
  }

  /// Entries of the L1 tables of snapshots, the newest first.
  private func olderTables() throws(StorageError) -> [(index: Int, cluster: HostCluster)] {
    var result: [(index: Int, cluster: HostCluster)] = []
    for snapshot in snapshots.reversed() where result.count < 1 << 18 {
      let words = try words(HostOffset(snapshot.l1TableOffset), Int(snapshot.l1Size))
      for (index, word) in words.enumerated() where word & L1Entry.reservedMask == 0 {
        let offset = word & L1Entry.offsetMask
        if limits.isPlace(offset) { result.append((index, geometry.cluster(of: HostOffset(offset)))) }
      }
    }
    return result
  }

  private func words(_ place: HostOffset, _ count: Int) throws(StorageError) -> [UInt64] {
    guard place.value < overlay.length else { return [] }
    let bytes = try overlay.bytes(at: place.value, count: min(count, 4 << 20) * 8)
    return (0..<bytes.count / 8).map { BigEndian.u64(bytes, $0 * 8) }
  }

  // MARK: The L1 table

  private func salvageL1() throws(StorageError) {
    let header = report.header
    let stored = try words(
      HostOffset(header.l1TableOffset), header.l1TableOffset == 0 ? 0 : Int(header.l1Size))
    let padded = stored + [UInt64](repeating: 0, count: max(0, Int(header.l1Size) - stored.count))
    let reach = try reach()
    let survey = try L1Survey(padded, limits, reach: reach, overlay)
    let isKnown = report.headerSource == .found
    var placing = TablePlacing(geometry, l1Count: isKnown || options.size != nil ? Int(header.l1Size) : nil)
    for (index, verdict) in survey.verdicts.enumerated() where [.good, .damaged, .zeroed].contains(verdict) {
      let offset = survey.words[index] & L1Entry.offsetMask
      placing.put(geometry.cluster(of: HostOffset(offset)), at: index, .entry)
    }
    let entriesAreLost = survey.isDestroyed || survey.count(.invalid) > 0
    if entriesAreLost { try infer(&placing, survey) } else { try takeOlder(&placing, survey) }
    try writeL1(placing, survey)
    if report.headerSource == .rebuilt, options.size == nil, candidates?.hints.diskSize == nil {
      report.notes.append("the size of the disk is not known; it is as large as its tables can map")
    }
    try mendTables(placing, survey, reach)
  }

  /// Gives tables that nothing leads to their places.
  private func infer(_ placing: inout TablePlacing, _ survey: L1Survey) throws(StorageError) {
    var found = try scanned()
    let older = try olderTables()
    if report.headerSource == .found {
      let known = try KnownStructures(report.header, limits, overlay)
      try found.drop { cluster throws(StorageError) in
        if known.contains(cluster) { return true }
        return try self.isFree(cluster)
      }
      found.dropL1 { known.contains($0) }
    }
    let others = try otherL1(found, older)
    try placing.placeByHints(found, overlay)
    try placing.placeByCopies(others, found, overlay)
    placing.placeByOrder(found)
    report.unplaced = placing.unplaced
  }

  /// What every L1 table but the active one leads to: those of snapshots, then what else looks like one.
  private func otherL1(
    _ found: TableCandidates, _ older: [(index: Int, cluster: HostCluster)]
  ) throws(StorageError) -> [(index: Int, cluster: HostCluster)] {
    var result = older
    for table in found.l1.prefix(64) where table.place.value != report.header.l1TableOffset {
      for (index, word) in try words(table.place, table.entries).enumerated() {
        let cluster = geometry.cluster(of: HostOffset(word & L1Entry.offsetMask))
        if word & L1Entry.reservedMask == 0, found.contains(cluster) { result.append((index, cluster)) }
      }
    }
    return result
  }

  /// Tables that were overwritten are replaced by those that a snapshot has.
  private func takeOlder(_ placing: inout TablePlacing, _ survey: L1Survey) throws(StorageError) {
    guard survey.count(.lost) > 0, !snapshots.isEmpty else { return }
    let window = ReadWindow(overlay, longest: Int(geometry.clusterSize))
    for (index, cluster) in try olderTables() where survey.verdicts.indices.contains(index) {
      guard survey.verdicts[index] == .lost, placing.placed[index] == nil else { continue }
      let place = geometry.start(of: cluster).value
      let fit = unsafe ShapeFit(try window.bytes(at: place, count: Int(geometry.clusterSize)), limits)
      if !fit.isUniform, fit.canBe(.l2Table) { placing.put(cluster, at: index, .copy) }
    }
  }

  private func writeL1(_ placing: TablePlacing, _ survey: L1Survey) throws(StorageError) {
    var count = Int(report.header.l1Size)
    if let last = placing.placed.keys.max() { count = max(count, last + 1) }
    if report.headerSource == .rebuilt, options.size == nil, candidates?.hints.diskSize == nil {
      report.header.size = max(report.header.size, min(UInt64(count) * geometry.bytesPerL2Table, 1 << 62))
    }
    var words = [UInt64](repeating: 0, count: count)
    for table in placing.placed.values {
      report.tables[table.evidence, default: 0] += 1
      words[table.l1Index] =
        table.evidence == .entry
        ? survey.words[table.l1Index] : L1Entry(table: table.table, copied: false).raw
    }
    for index in survey.verdicts.indices where placing.placed[index] == nil {
      switch survey.verdicts[index] {
      case .lost: report.lose(geometry.guestRange(l1Index: index), .table)
      case .invalid: report.lose(geometry.guestRange(l1Index: index), .entry)
      default: break
      }
    }
    let listed = placing.placed.values.filter { $0.evidence != .entry }.sorted { $0.l1Index < $1.l1Index }
    report.placed = Array(listed.prefix(SalvageReport.maximumListed))
    guard words != survey.words || report.headerSource == .rebuilt else { return }
    if words != survey.words || report.header.l1TableOffset == 0 {
      if case .candidate = report.l1Source {} else { report.l1Source = .rebuilt }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(count * 8)
      for word in words { BigEndian.append(word, width: 8, to: &bytes) }
      report.header.l1TableOffset = try append(bytes)
    }
    report.header.l1Size = UInt32(clamping: count)
  }

  /// Writes a new structure behind the end of the file, in the overlay alone; returns its place.
  private func append(_ bytes: [UInt8]) throws(StorageError) -> UInt64 {
    let place = nextPlace
    let whole = geometry.roundUp(UInt64(max(1, bytes.count)))
    try overlay.write(bytes, at: place, tag: WriteTag(.file, .repair))
    if place + whole > overlay.length {
      try overlay.truncate(to: place + whole, tag: WriteTag(.file, .repair))
    }
    nextPlace = place + whole
    return place
  }

  // MARK: L2 tables

  /// Takes entries that cannot be any out of damaged tables.
  private func mendTables(
    _ placing: TablePlacing, _ survey: L1Survey, _ reach: ShapeLimits?
  ) throws(StorageError) {
    let size = geometry.l2EntrySize
    var isFull = false
    for index in survey.verdicts.indices {
      guard placing.placed[index]?.evidence == .entry else { continue }
      if survey.verdicts[index] == .zeroed { report.lose(geometry.guestRange(l1Index: index), .zeroed) }
      guard survey.verdicts[index] == .damaged else { continue }
      let table = survey.words[index] & L1Entry.offsetMask
      var bytes = try overlay.bytes(at: table, count: Int(geometry.clusterSize))
      for entry in 0..<geometry.l2EntriesPerTable {
        let at = entry * size
        let isGood = unsafe bytes[at..<at + size].withUnsafeBytes { unsafe limits.canBeL2Entry($0) }
        guard !isGood else { continue }
        let wasGood =
          reach.map { reach in
            unsafe bytes[at..<at + size].withUnsafeBytes { unsafe reach.canBeL2Entry($0) }
          } ?? false
        for byte in at..<at + size { bytes[byte] = 0 }
        report.lose(geometry.guestRange(l1Index: index, l2Index: entry), wasGood ? .behindEnd : .entries)
      }
      guard !isFull else { continue }
      do throws(StorageError) { try overlay.write(bytes, at: table, tag: WriteTag(.file, .repair)) } catch {
        isFull = true
        report.notes.append("not all damaged tables could be mended: \(error.detail)")
      }
    }
  }

  // MARK: Refcounts

  private var blockWindow: ReadWindow?

  /// The refcounts are there and say that nobody uses the cluster.
  private func isFree(_ cluster: HostCluster) throws(StorageError) -> Bool {
    let header = report.header
    let index = geometry.refcountTableIndex(of: cluster)
    guard UInt64(index) * 8 < geometry.byteCount(ofClusters: UInt64(header.refcountTableClusters)) else {
      return false
    }
    let window = blockWindow ?? ReadWindow(overlay.base, longest: Int(geometry.clusterSize))
    blockWindow = window
    let entry = RefcountTableEntry(
      raw: BigEndian.u64(try overlay.bytes(at: header.refcountTableOffset &+ UInt64(index) &* 8, count: 8), 0)
    )
    guard entry.reservedBits == 0, let block = entry.block, limits.isPlace(block.value) else { return false }
    let bytes = unsafe try window.bytes(at: block.value, count: Int(geometry.clusterSize))
    let fit = unsafe ShapeFit(bytes, limits)
    guard !fit.isZero, fit.refcounts.isLikely else { return false }
    let codec = RefcountCodec(order: geometry.refcountOrder)
    return unsafe codec.value(in: bytes, at: geometry.refcountBlockIndex(of: cluster)) == 0
  }

  /// Reading needs no refcounts; an image must name some all the same.
  private func salvageRefcounts() throws(StorageError) {
    let header = report.header
    let bytes = Int(geometry.byteCount(ofClusters: UInt64(header.refcountTableClusters)))
    if report.headerSource == .found, header.refcountTableClusters > 0,
      limits.isPlace(header.refcountTableOffset)
    {
      let table = try overlay.bytes(at: header.refcountTableOffset, count: bytes)
      let fit = unsafe table.withUnsafeBytes { unsafe ShapeFit($0, limits) }
      if !fit.isZero, fit.canBe(.refcountTable) { return try writeHeader() }
    }
    report.refcountSource = .missing
    report.header.refcountTableOffset = try append([UInt8](repeating: 0, count: 8))
    report.header.refcountTableClusters = 1
    if report.headerSource == .rebuilt { report.header.refcountOrder = 4 }
    try writeHeader()
  }

  /// The first cluster in the overlay: fields that changed, or all of it.
  private func writeHeader() throws(StorageError) {
    guard !report.isWhole else { return }
    if report.headerSource == .rebuilt {
      try describeData()
      var bytes = report.header.encodedFields()
      if report.header.cryptMethod == 2, let place = candidates?.encryptionHeaders.first {
        BigEndian.append(UInt64(HeaderExtension.encryptionType), width: 4, to: &bytes)
        BigEndian.append(16, width: 4, to: &bytes)
        BigEndian.append(place.value, width: 8, to: &bytes)
        let sectors = BigEndian.u32(try overlay.bytes(at: place.value + 104, count: 4), 0)
        BigEndian.append(UInt64(sectors) * 512, width: 8, to: &bytes)
      }
      bytes += [UInt8](repeating: 0, count: max(0, Int(geometry.clusterSize) - bytes.count))
      try overlay.write(bytes, at: 0, tag: WriteTag(.file, .repair))
      return
    }
    // Whatever else is in the first cluster stays.
    let fields = report.header.encodedFields()
    try overlay.write(Array(fields[36..<72]), at: 36, tag: WriteTag(.file, .repair))
  }

  /// What the header says of data: whether they are encrypted, and how they are compressed.
  private func describeData() throws(StorageError) {
    if candidates?.encryptionHeaders.isEmpty == false { report.header.cryptMethod = 2 }
    for table in report.placed.map(\.table)
      + (candidates?.tables.prefix(64).map {
        geometry.start(of: $0.cluster)
      } ?? [])
    {
      let bytes = try overlay.bytes(at: table.value, count: Int(geometry.clusterSize))
      for index in 0..<geometry.l2EntriesPerTable {
        let word = BigEndian.u64(bytes, geometry.l2EntryOffset(index))
        guard word & L2Entry.compressedFlag != 0, limits.isStream(word) else { continue }
        let stream = geometry.compressedExtent(of: word).offset
        guard BigEndian.u32(try overlay.bytes(at: stream.value, count: 4), 0) == 0x28b5_2ffd else { return }
        report.header.compressionType = 1
        report.header.incompatible.insert(.compressionType)
        return
      }
    }
  }
}
