// Compares the bytes of one host cluster with what the tables say of it. Bytes that could be several tables are
// told apart by where their entries lead; a look at a cluster costs a bounded number of further ones.

import Qcow
import QcowFormat
import Storage

/// Judges clusters of an image whose atlas is complete.
final class ClaimCheck {
  /// Entries of a table that are followed.
  private static let followed = 16
  /// Bytes of a table that an entry leads to which are looked at.
  private static let targetBytes = 1 << 16

  /// Clusters of which the owners are asked for.
  private static let maximumAsked = 1 << 10
  /// Clusters without an owner that are looked at for tables.
  private static let lookedAtLost = 1024

  private let atlas: Atlas
  private var lostTables: Bool?
  /// Clusters whose owners were asked for.
  private var versionsAsked = 0
  /// What the refcount table, and the tables of bitmaps, say of other clusters can be believed.
  var hasRefcountTable = true
  var hasBitmaps = true
  /// Every refcount block looked at was one.
  var hasRefcounts = true {
    didSet { blocks.storedCountsAreSound = hasRefcounts && hasRefcountTable }
  }
  private let limits: ShapeLimits
  private let blocks: BlockUsers
  private let window: ReadWindow
  private let tableWindow: ReadWindow
  private let owners: Owners
  private var image: Image { atlas.image }

  init(_ atlas: Atlas) {
    self.atlas = atlas
    let image = atlas.image
    limits = ShapeLimits(
      image.geometry, version: image.header.version, fileLength: image.storage.length,
      dataLength: image.hasExternalData ? image.dataStorage?.length : nil)
    blocks = BlockUsers(atlas)
    window = ReadWindow(image.storage, longest: Self.targetBytes)
    tableWindow = ReadWindow(image.storage, longest: Int(image.geometry.clusterSize))
    owners = Owners(atlas, maximumOwners: 4, maximumSnapshots: 4)
  }

  /// What the bytes look like, and whether they can be what is claimed; nil for bytes of which that need not be
  /// known.
  func judge(
    _ bytes: UnsafeRawBufferPointer, _ claim: Claim, _ state: HostState
  ) throws(StorageError) -> (shape: ClusterShape, isBroken: Bool) {
    var part = unsafe bytes
    switch claim {
    case .l1Table(_, let entries), .bitmapTable(let entries):
      unsafe part = UnsafeRawBufferPointer(rebasing: bytes[..<min(bytes.count, max(0, entries) * 8)])
    default: break
    }
    let fit = unsafe ShapeFit(part, limits)
    guard let wanted = claim.shape else {
      let found = unsafe structure(part, fit)
      return (unsafe found ?? ClusterShape.content(part), found != nil)
    }
    var isBroken = unsafe try !holds(claim, state, part, fit)
    if case .bitmapTable = claim, fit.pointers.places == 0, part.count < bytes.count {
      // "All ones" over and over, and on behind the end of the table.
      isBroken = unsafe isBroken || blocks.matchesAny(bytes)
    }
    guard isBroken else { return (fit.isZero ? .zeroes : wanted, false) }
    // What does not belong there may be longer than what does.
    let whole = unsafe part.count == bytes.count ? fit : ShapeFit(bytes, limits)
    return (unsafe name(bytes, whole, not: wanted), true)
  }

  // MARK: Structures

  private func holds(
    _ claim: Claim, _ state: HostState, _ bytes: UnsafeRawBufferPointer, _ fit: ShapeFit
  ) throws(StorageError) -> Bool {
    switch claim {
    case .header: return fit.named == .header
    case .l1Table(let first, _):
      guard fit.canBe(.l1Table), unsafe state != .l1Table || flagsAgree(bytes) else { return false }
      return try unsafe leads(bytes, from: first, toTables: true) { (_, offset) throws(StorageError) in
        try self.looksLikeL2(offset)
      }
    case .l2Table:
      guard fit.canBe(.l2Table) else { return false }
      if unsafe fit.score(.l1Table) >= ShapeFit.enough && targets(bytes).table != nil { return false }
      // Of refcounts of 64 bits most are 1, which is a cluster of zeroes.
      let isOnlyZero = fit.pointers.l2Entries > 0 && fit.pointers.zeroEntries == fit.pointers.l2
      return unsafe !(isOnlyZero && blocks.matchesAny(bytes))
    case .refcountTable(let first):
      if fit.isZero { return first > 0 || blocks.areUnknown }
      guard fit.canBe(.refcountTable) else { return false }
      // The header is in use, so that the first clusters are counted.
      if first == 0, unsafe bytes.loadUnaligned(as: UInt64.self) == 0 { return false }
      return try unsafe leads(bytes, from: first, toTables: false) { (index, offset) throws(StorageError) in
        try self.looksLikeBlock(index, offset)
      }
    case .refcountBlock(let index):
      guard fit.isZero || fit.canBe(.refcountBlock), fit.named == nil else { return false }
      return unsafe blocks.agrees(bytes, index)
    case .snapshotTable(let isFirst):
      return isFirst ? fit.named == .snapshotTable : true
    case .bitmapDirectory(let isFirst):
      return isFirst ? fit.named == .bitmapDirectory : true
    case .bitmapTable:
      guard fit.canBe(.bitmapTable) else { return false }
      return try unsafe !leadsElsewhere(bytes)
    case .crypto(let isFirst):
      return isFirst ? fit.named == .encryptionHeader : true
    case .content: return true
    }
  }

  /// What an entry leads to.
  private enum Target {
    /// What it should.
    case right
    /// Bytes that are something else.
    case wrong
    /// No place of the file, or one that is said to be another structure.
    case elsewhere
    case unknown
  }

  /// Follows some entries of a table: false if more lead to something else than to what it should be. `judges`
  /// gets the number of an entry and its place; `toTables` if that should be an L2 table.
  private func leads(
    _ bytes: UnsafeRawBufferPointer, from first: Int, toTables: Bool,
    judges: (_ index: Int, _ offset: UInt64) throws(StorageError) -> Target
  ) throws(StorageError) -> Bool {
    var (right, wrong) = (0, 0)
    var isElsewhere = false
    var sample = unsafe EntrySample(bytes, step: 8, most: Self.followed)
    while let (index, word) = unsafe sample.next(bytes) {
      switch try judges(first + index, word & L1Entry.offsetMask) {
      case .right: right += 1
      case .wrong: wrong += 1
      case .elsewhere:
        wrong += 1
        isElsewhere = true
      case .unknown: break
      }
    }
    if wrong == 0 || right > wrong { return true }
    // A table with hardly an entry may be right and lead to one that was overwritten. If it was itself, the tables
    // that it led to have no owner now.
    guard right > 0 || wrong < 4, !isElsewhere else { return false }
    guard toTables else { return true }
    return try !hasLostTables()
  }

  private func looksLikeL2(_ offset: UInt64) throws(StorageError) -> Target {
    guard limits.isPlace(offset) else { return .elsewhere }
    let (fit, agreement) = try target(offset)
    if !fit.isZero, fit.canBe(.l2Table), fit.pointers.zeroEntries < fit.pointers.l2Entries {
      return agreement.isLikely || !hasRefcounts || !hasRefcountTable ? .right : .wrong
    }
    if hasBitmaps, isBitmap(offset) { return .elsewhere }
    // Another table has it for data, and it is not what that table says only if it is a table to the eye.
    if facts(offset)?.health == .mixed, try !leadsLikeL2(offset) { return .elsewhere }
    if let state = state(offset), state.isMetadata, state != .l2Table, state != .snapshotTables,
      state != .refcountBlock || hasRefcountTable, state != .bitmap || hasBitmaps
    {
      return .elsewhere
    }
    return fit.isZero ? .unknown : fit.canBe(.l2Table) ? .right : .wrong
  }

  /// There are entries of an L2 table that agree with the refcounts.
  private func leadsLikeL2(_ offset: UInt64) throws(StorageError) -> Bool {
    guard limits.isPlace(offset) else { return false }
    let (fit, agreement) = try target(offset)
    return !fit.isZero && fit.canBe(.l2Table) && agreement.total > 0 && agreement.isLikely
  }

  private func looksLikeBlock(_ index: Int, _ offset: UInt64) throws(StorageError) -> Target {
    guard limits.isPlace(offset) else { return .elsewhere }
    let size = Int(image.geometry.clusterSize)
    let bytes = unsafe try window.bytes(at: offset, count: min(size, Self.targetBytes))
    let fit = unsafe ShapeFit(bytes, limits)
    let hasOthers = atlas.knownUsers(of: image.geometry.cluster(of: HostOffset(offset)).value) > 1
    if fit.isZero { return hasOthers ? .elsewhere : .unknown }
    if unsafe fit.canBe(.refcountBlock) && fit.named == nil && blocks.agrees(bytes, index) { return .right }
    // Somebody else's cluster: the entry is wrong, not what lies there.
    return hasOthers ? .elsewhere : .wrong
  }

  /// Whether some cluster without an owner looks like an L2 table. Looks at a bounded number of them, once.
  private func hasLostTables() throws(StorageError) -> Bool {
    if let lostTables { return lostTables }
    var left = Self.lookedAtLost
    var clusters: [UInt64] = []
    atlas.hostRuns { first, count, facts in
      guard facts.state == .leaked, left > 0 else { return }
      let taken = min(count, UInt64(left))
      left -= Int(taken)
      clusters += first..<first + taken
    }
    var found = false
    for cluster in clusters where !found {
      let start = image.geometry.start(of: HostCluster(cluster)).value
      guard start < image.storage.length else { continue }
      found = try isLostTable(start)
    }
    lostTables = found
    return found
  }

  /// The cluster looks like an L2 table, and what its entries lead to is lost with it, or is taken by a table that
  /// is none; bytes of a guest that only look like a table lead anywhere.
  private func isLostTable(_ start: UInt64) throws(StorageError) -> Bool {
    let (fit, agreement) = try target(start)
    guard !fit.isUniform, fit.named == nil, fit.score(.l2Table) >= ShapeFit.enough else { return false }
    return agreement.total > 0 && agreement.isLikely && agreement.leaked * 2 > agreement.total
  }

  private func target(_ offset: UInt64) throws(StorageError) -> (ShapeFit, Agreement) {
    let count = min(Int(image.geometry.clusterSize), Self.targetBytes)
    let bytes = unsafe try window.bytes(at: offset, count: count)
    return unsafe (ShapeFit(bytes, limits), agreement(bytes, step: image.geometry.l2EntrySize))
  }

  // MARK: Entries and refcounts

  private var areCounted: Bool { hasRefcountTable && hasRefcounts && !blocks.areUnknown }

  /// Entries of the active L1 table have the COPIED flag exactly if their table has one owner; at least half of
  /// some do.
  private func flagsAgree(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard areCounted else { return true }
    var (total, right) = (0, 0)
    var sample = unsafe EntrySample(bytes, step: 8, most: Self.followed)
    while let (_, word) = unsafe sample.next(bytes) {
      total += 1
      let count = facts(word & L1Entry.offsetMask)?.refcount ?? 0
      if count > 0, (word & L1Entry.copiedFlag != 0) == (count == 1) { right += 1 }
    }
    return right * 2 >= total
  }

  /// What the refcounts say of the clusters that some entries of a table lead to, or their users where the
  /// refcounts cannot be believed.
  private struct Agreement {
    var total = 0
    /// In use, and with the COPIED flag exactly if once; tables of snapshots need not have it.
    var right = 0
    /// Without an owner, or with one that took them for tables.
    var leaked = 0

    /// Most entries agree, if there are any to ask.
    var isLikely: Bool { right * 3 >= total * 2 }
  }

  /// Asks the refcounts whether the bytes can be a table with entries of `step` bytes.
  private func agreement(_ bytes: UnsafeRawBufferPointer, step: Int) -> Agreement {
    var result = Agreement()
    guard !image.hasExternalData else { return result }
    let hasSnapshots = image.header.snapshotCount > 0
    let areCounted = areCounted
    var sample = unsafe EntrySample(bytes, step: step, most: Self.followed)
    while let (_, word) = unsafe sample.next(bytes) {
      let isCompressed = word & L2Entry.compressedFlag != 0
      let offset =
        isCompressed
        ? image.geometry.roundDown(image.geometry.compressedExtent(of: word).offset.value)
        : word & L1Entry.offsetMask
      guard isCompressed || offset != 0 else { continue }
      result.total += 1
      guard let facts = facts(offset) else { continue }
      let cluster = image.geometry.cluster(of: HostOffset(offset)).value
      let count = areCounted ? facts.refcount : atlas.knownUsers(of: cluster)
      guard count > 0 else { continue }
      let isRight = word & L2Entry.copiedFlag != 0 ? count == 1 : count > 1 || hasSnapshots
      if isCompressed || isRight { result.right += 1 }
      if facts.state == .leaked || facts.state == .l2Table || facts.state == .snapshotTables {
        result.leaked += 1
      }
    }
    return result
  }

  private func state(_ offset: UInt64) -> HostState? { facts(offset)?.state }

  private func facts(_ offset: UInt64) -> HostFacts? {
    guard limits.isPlace(offset) else { return nil }
    return atlas.hostFacts(of: image.geometry.cluster(of: HostOffset(offset)).value)
  }

  /// Most entries of a table of a bitmap lead to clusters that sound tables have given to others.
  private func leadsElsewhere(_ bytes: UnsafeRawBufferPointer) throws(StorageError) -> Bool {
    var (total, taken) = (0, 0)
    var sample = unsafe EntrySample(bytes, step: 8, most: Self.followed)
    while let (_, word) = unsafe sample.next(bytes) {
      guard limits.isPlace(word & L1Entry.offsetMask) else { continue }
      total += 1
      let cluster = image.geometry.cluster(of: HostOffset(word & L1Entry.offsetMask))
      guard atlas.knownUsers(of: cluster.value) > 1 else { continue }
      let others = owners.owners(of: cluster).owners.filter {
        if case .bitmap = $0 { false } else { !$0.isRemark }
      }
      // No two entries of bitmaps share a cluster.
      var isTaken = others.isEmpty
      for owner in others where !isTaken { isTaken = try hasSoundTable(owner) }
      if isTaken { taken += 1 }
    }
    return taken * 2 > total
  }

  /// The owner has the cluster by a table that looks like one.
  private func hasSoundTable(_ owner: Owner) throws(StorageError) -> Bool {
    switch owner {
    case .data(_, _, let table, _), .compressed(_, _, let table, _), .snapshotData(_, _, _, let table, _):
      let size = Int(image.geometry.clusterSize)
      let bytes = unsafe try tableWindow.bytes(at: table.value, count: size)
      return unsafe try holds(.l2Table, .l2Table, bytes, ShapeFit(bytes, limits))
    case .refcountBlock: return hasRefcountTable
    case .l2Table(let index):
      guard let table = image.l1Entry(index).table else { return false }
      if areCounted, !image.l1Entry(index).isCopied, facts(table.value)?.refcount == 1 { return false }
      return try leadsLikeL2(table.value)
    case .snapshotL2(let snapshot, let index):
      guard image.snapshots.indices.contains(snapshot) else { return false }
      let place = image.snapshots[snapshot].l1TableOffset &+ UInt64(index) &* 8
      let word = BigEndian.u64(try image.storage.bytes(at: place, count: 8), 0)
      return try leadsLikeL2(word & L1Entry.offsetMask)
    case .l1Table, .refcountTable, .snapshotL1, .snapshotTable: return true
    default: return false
    }
  }

  // MARK: Where entries lead

  /// What some entries of a table lead to, as the tables say it.
  private struct Targets {
    var total = 0
    var tables = 0
    var blocks = 0
    var bitmaps = 0
    var inUse = 0
    /// Clusters without an owner.
    var lost = 0
    /// Entries that the refcount table has in the same place.
    var equal = 0

    /// The table of the image that has such entries; nil for an L2 table.
    var table: ClusterShape? {
      if tables * 2 > total { return .l1Table }
      if blocks * 2 > total, equal * 2 > total { return .refcountTable }
      return bitmaps * 2 > total ? .bitmapTable : nil
    }
  }

  private func targets(_ bytes: UnsafeRawBufferPointer, step: Int = 8) -> Targets {
    var result = Targets()
    var sample = unsafe EntrySample(bytes, step: step, most: Self.followed)
    while let (index, word) = unsafe sample.next(bytes) {
      guard word & L2Entry.compressedFlag == 0, limits.isPlace(word & L1Entry.offsetMask) else { continue }
      result.total += 1
      if index < image.refcountTableCount, image.refcountTableEntry(index).raw == word { result.equal += 1 }
      guard let facts = facts(word & L1Entry.offsetMask) else { continue }
      switch facts.state {
      case .l2Table, .snapshotTables: result.tables += 1
      case .refcountBlock where hasRefcountTable: result.blocks += 1
      case .bitmap where hasBitmaps: result.bitmaps += 1
      case .refcountBlock where isBitmap(word & L1Entry.offsetMask): result.bitmaps += 1
      case .refcountBlock, .bitmap: result.inUse += 1
      case .leaked: result.lost += 1
      case .data, .compressed, .hole, .vmState: result.inUse += 1
      default: break
      }
    }
    return result
  }

  /// A bitmap has the cluster too.
  private func isBitmap(_ offset: UInt64) -> Bool {
    let cluster = image.geometry.cluster(of: HostOffset(offset))
    guard atlas.knownUsers(of: cluster.value) > 1 else { return false }
    return owners.owners(of: cluster).owners.contains { if case .bitmap = $0 { true } else { false } }
  }

  /// A structure of this very image among the bytes of a guest; nil if they are none.
  private func structure(_ bytes: UnsafeRawBufferPointer, _ fit: ShapeFit) -> ClusterShape? {
    guard !fit.isUniform else { return nil }
    switch fit.named {
    case .header:
      // A guest may keep images of its own; this one's header names this one's tables.
      let header = unsafe try? Header(parsing: Array(bytes.prefix(Header.version3Length)))
      let own = image.header
      return header?.l1TableOffset == own.l1TableOffset && header?.size == own.size
        && header?.refcountTableOffset == own.refcountTableOffset ? .header : nil
    case .encryptionHeader:
      // A guest may have encrypted volumes of its own.
      return unsafe isOwnEncryptionHeader(bytes) ? .encryptionHeader : nil
    case .snapshotTable, .bitmapDirectory:
      let place = unsafe UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
      let expected: HostState = fit.named == .snapshotTable ? .snapshotTables : .bitmap
      return state(place) == expected ? fit.named : nil
    default: break
    }
    let pointers = fit.pointers
    if fit.score(.l1Table) >= ShapeFit.enough, fit.hasDistinctPlaces,
      let table = unsafe targets(bytes).table
    {
      return table
    }
    if fit.score(.l2Table) >= ShapeFit.enough, unsafe isL2(bytes, pointers, fit) { return .l2Table }
    return fit.refcounts.isPossible && (unsafe blocks.matchesAny(bytes)) ? .refcountBlock : nil
  }

  /// The bytes begin as the header of LUKS that the image names.
  private func isOwnEncryptionHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
    // Behind it are the keys.
    let length = 592
    guard bytes.count >= length, let place = image.extensions.encryption?.offset,
      place < image.storage.length, let own = try? image.storage.bytes(at: place, count: length)
    else { return false }
    for index in 0..<length where unsafe bytes[index] != own[index] { return false }
    return true
  }

  private func isL2(_ bytes: UnsafeRawBufferPointer, _ pointers: PointerTally, _ fit: ShapeFit) -> Bool {
    if pointers.zeroEntries == pointers.l2Entries {
      return pointers.l2Entries >= 8 && !image.geometry.hasExtendedL2
    }
    if pointers.places == 0, pointers.compressed > 3 { return true }
    let found = unsafe targets(bytes, step: image.geometry.l2EntrySize)
    guard pointers.places == 0 || fit.hasDistinctPlaces && found.inUse * 10 >= found.total * 9 else {
      return false
    }
    if pointers.places > 0, pointers.copied + pointers.compressed > 0 || pointers.l2Entries > 1 {
      return found.total > 0 && (unsafe agreement(bytes, step: image.geometry.l2EntrySize).isLikely)
    }
    return unsafe isVersion(bytes)
  }

  /// Of hardly any entries it needs more: a table of the image leads to the same cluster by the entry of the same
  /// number, as another version of the table would.
  private func isVersion(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard versionsAsked < Self.maximumAsked else { return false }
    versionsAsked += 1
    var sample = unsafe EntrySample(bytes, step: image.geometry.l2EntrySize, most: 4)
    while let (index, word) = unsafe sample.next(bytes) {
      let offset =
        word & L2Entry.compressedFlag != 0
        ? image.geometry.compressedExtent(of: word).offset.value : word & L1Entry.offsetMask
      let isSame = owners.owners(of: image.geometry.cluster(of: HostOffset(offset))).owners.contains {
        switch $0 {
        case .data(_, index, _, _), .compressed(_, index, _, _), .snapshotData(_, _, index, _, _): true
        default: false
        }
      }
      guard isSame else { return false }
    }
    return true
  }

  /// The best name for bytes that are not what they should be.
  private func name(_ bytes: UnsafeRawBufferPointer, _ fit: ShapeFit, not wanted: ClusterShape)
    -> ClusterShape
  {
    if fit.isZero { return .zeroes }
    if let named = fit.named, named != wanted { return named }
    if fit.score(.l1Table) >= ShapeFit.enough, fit.hasDistinctPlaces || fit.pointers.places == 1 {
      if let table = unsafe targets(bytes).table, table != wanted { return table }
    }
    let pointers = fit.pointers
    if wanted == .bitmapTable, pointers.places > 0, unsafe targets(bytes).table == .l1Table {
      return .l1Table
    }
    if wanted == .bitmapDirectory || wanted == .snapshotTable, pointers.places > 0 {
      // What their tables lead to has no owner without them.
      let found = unsafe targets(bytes)
      if found.lost * 2 > found.total { return wanted == .bitmapDirectory ? .bitmapTable : .l1Table }
    }
    if wanted != .l2Table, !fit.isUniform, fit.score(.l2Table) >= ShapeFit.enough {
      let isOnlyZero = pointers.zeroEntries == pointers.l2
      return unsafe isOnlyZero && blocks.matchesAny(bytes) ? .refcountBlock : .l2Table
    }
    if wanted != .refcountBlock, !fit.isUniform {
      if unsafe blocks.matchesAny(bytes) { return .refcountBlock }
      if image.geometry.refcountOrder >= 4, fit.refcounts.isLikely { return .refcountBlock }
    }
    return unsafe ClusterShape.content(bytes)
  }
}

/// Some entries of a table that are not zero, spread over all of them.
struct EntrySample {
  private let step: Int
  private let stride: Int
  private var at = 0
  private var seen = 0

  /// At most `most` entries of `step` bytes, of which the first word is looked at.
  init(_ bytes: UnsafeRawBufferPointer, step: Int, most: Int) {
    self.step = step
    var count = 0
    var at = 0
    while at + 8 <= bytes.count {
      if unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self) != 0 { count += 1 }
      at += step
    }
    stride = max(1, (count + most - 1) / most)
  }

  /// The next entry: its number in the table, and its first word.
  mutating func next(_ bytes: UnsafeRawBufferPointer) -> (index: Int, word: UInt64)? {
    while at + 8 <= bytes.count {
      let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      let index = at / step
      at += step
      guard word != 0 else { continue }
      seen += 1
      if (seen - 1) % stride == 0 { return (index, word) }
    }
    return nil
  }
}
