// Puts an image in order in place. The image itself is the state: every step leaves a sound image with
// leaks at most, and whoever starts again goes on from what is there. No journal is needed.

package import QcowFormat
import Storage

/// What a relocation has to do, counted before it begins. Numbers of clusters, and bytes.
package struct RelocationForecast: Equatable, Sendable {
  /// Standard data clusters that lie where they should, and those that do not.
  package var inPlace: UInt64 = 0
  /// Data clusters that are elsewhere.
  package var toMove: UInt64 = 0
  /// Of those: they lie where others should, and could have to get out of the way first.
  package var inTheWay: UInt64 = 0
  /// Compressed clusters that stay.
  package var streamsInPlace: UInt64 = 0
  /// Compressed clusters that are elsewhere.
  package var streamsToMove: UInt64 = 0
  /// Bytes of their streams.
  package var streamBytesToMove: UInt64 = 0
  /// Tables, in clusters.
  package var tablesToMove: UInt64 = 0
  /// Bytes that will be copied, roughly: what waits for its place is copied twice.
  package var bytesToCopy: UInt64 = 0
  /// Bytes that may be needed for a while behind the end of the file, at most.
  package var spaceNeeded: UInt64 = 0
  /// Bytes of the file now.
  package var lengthBefore: UInt64 = 0
  /// The length does not change on a volume, however early the data ends.
  package var lengthAfter: UInt64 = 0
  package var hasFixedLength = false
  /// Behind the last cluster in use when all is in order, in bytes.
  package var dataEnd: UInt64 = 0
  /// Host cluster of the first mapped cluster, or the shift.
  package var base: UInt64 = 0
}

/// How far a relocation is, in bytes that are where they should be or will be.
package struct RelocationProgress: Equatable, Sendable {
  /// Bytes moved so far.
  package var done: UInt64 = 0
  /// Bytes to move in all.
  package var total: UInt64 = 0
  /// 0 to 100.
  package var percent: Double { total == 0 ? 100 : min(100, Double(done) * 100 / Double(total)) }
}

/// A relocation of one image, batch by batch. The image must have passed a ``RelocationCheck``, its leaks
/// must be dropped, and nothing else may use it until the last step is done.
///
/// It only touches the image's own tables and clusters, so layers below need not be open.
package final class Relocation {
  enum Phase: Int, Comparable {
    case blocks, streamsOut, front, tablesOut, tables, data, streamsAside, streams, refcountTable, end, done
    static func < (a: Phase, b: Phase) -> Bool { a.rawValue < b.rawValue }
  }

  /// The image that is put in order.
  package let image: Image
  /// What is moved.
  package let scope: RelocationScope
  /// What will be done.
  package let forecast: RelocationForecast
  /// How far it is.
  package internal(set) var progress = RelocationProgress()
  let places: RelocationPlaces
  let inventory: Inventory
  let mover: ClusterMover
  /// Clusters of one batch.
  let batch: ClusterCount
  var phase = Phase.blocks
  var position = WalkPosition()
  /// Streams passed in the walk of this phase, and where the next one belongs.
  var streamIndex = 0
  var streamPlaces: StreamPlaces
  /// Free places of data clusters that lie elsewhere.
  var openSlots: [HostCluster] = []
  /// No free place is unknown.
  var hasFoundOpenSlots = false
  /// Data clusters that lie where others should; nil if they have not been counted.
  var strayClusters: ClusterCount?

  /// What is copied between two flushes of a file of so many bytes unless something else is asked for: as much more
  /// is needed behind the file for a while.
  package static func usualBatch(_ length: ByteCount) -> ByteCount {
    ByteCount(min(max(32 << 20, length.value / 16), 128 << 20))
  }

  /// Looks at everything and plans; changes nothing. `batchBytes` are copied between two flushes, nil for what is
  /// usual (``usualBatch(_:)``).
  ///
  /// - Throws: ``ImageError/Code/noSpace`` if there is no place for the tables, ``ImageError/Code/corrupt``
  ///   for streams that cannot be read, and what the host says.
  package init(
    _ image: Image, layout: TargetLayout, scope: RelocationScope = .everything,
    batchBytes: ByteCount? = nil
  ) throws(ImageError) {
    self.image = image
    self.scope = scope
    let batchBytes = batchBytes ?? Self.usualBatch(ByteCount(image.storage.length))
    batch = ClusterCount(min(max(1, image.geometry.wholeClusters(batchBytes.value)), 1 << 16))
    var isPacked = false
    if case .packed = layout { isPacked = true }
    inventory = try Inventory(image, packed: isPacked)
    let planner = RelocationPlanner(image, inventory)
    places = try planner.places(layout, scope)
    mover = ClusterMover(image.editor, image.reader.streams, beyond: places.end)
    forecast = try planner.forecast(places, scope, batch)
    streamPlaces = StreamPlaces(image.geometry, from: places.data.upperBound)
    progress.total =
      image.geometry.byteCount(ofClusters: forecast.toMove + forecast.tablesToMove)
      + forecast.streamBytesToMove
  }

  /// Does one batch and leaves the image sound on disk. False if there is nothing left to do.
  ///
  /// - Throws: ``ImageError/Code/readOnly``, ``ImageError/Code/corrupt`` for what is not as it was planned,
  ///   and what the host says.
  package func step() throws(ImageError) -> Bool {
    guard image.options.writable, image.storage.isWritable else {
      throw ImageError(.readOnly, "the image is open read-only")
    }
    if phase == .blocks { try begin() }
    while phase != .done {
      if try work() { return true }
      try advance()
    }
    try setMark(nil)
    return false
  }

  private func begin() throws(ImageError) {
    mover.allocator.byteCursor = HostOffset(0)
    image.reader.streams.forget()
    try image.l2.cache.flush()
    try image.refcounts.cache.flush()
    if forecast.toMove + forecast.streamsToMove + forecast.tablesToMove > 0 { try setMark(inventory.mapping) }
    guard !image.header.autoclear.subtracting(.known).isEmpty else { return }
    try image.tables.rewriteHeader { $0.header.autoclear.formIntersection(.known) }
  }

  /// Writes into the header what is mapped, so that whoever goes on after an interruption can tell what
  /// it left from what somebody lost; nil takes that away again.
  private func setMark(_ mark: RelocationExtension?) throws(ImageError) {
    guard image.extensions.relocation != mark else { return }
    do throws(ImageError) {
      try image.tables.rewriteHeader(.move) { $0.extensions.relocation = mark }
    } catch {
      // No room in a small header: the image can do without, an interruption then takes --drop-leaks.
      guard case .format(.headerFull) = error.code else { throw error }
      return
    }
    try mover.flushStorage()
  }

  /// One batch of the phase; false if it has none left.
  private func work() throws(ImageError) -> Bool {
    switch phase {
    case .blocks: return try makeBlocks()
    case .streamsOut: return try moveStreamsOut()
    case .front: return try clearFront()
    case .tablesOut: return try moveTablesOut()
    case .tables: return try placeTables()
    case .data: return try moveData()
    case .streamsAside: return try moveStreamsAside()
    case .streams: return try placeStreams()
    case .refcountTable: return try placeRefcountTable()
    case .end: return try cut()
    case .done: return false
    }
  }

  private func advance() throws(ImageError) {
    repeat { phase = Phase(rawValue: phase.rawValue + 1) ?? .done } while !isPart(phase)
    position = WalkPosition()
    streamIndex = 0
    streamPlaces = StreamPlaces(image.geometry, from: places.data.upperBound)
    mover.rewind()
    try image.l2.cache.flush()
    try image.refcounts.cache.flush()
  }

  private func isPart(_ phase: Phase) -> Bool {
    guard scope == .dataOnly else { return true }
    return [.streamsOut, .tablesOut, .data, .done].contains(phase)
  }

  // MARK: In front

  /// Makes the refcount blocks that count what will be in place.
  private func makeBlocks() throws(ImageError) -> Bool {
    for index in places.blocks.indices where places.blocks[index] {
      // Making one may need another one first.
      var attempts = 0
      while try image.refcounts.place(ofBlock: index) == nil {
        mover.allocator.cursor = places.end
        try mover.allocator.makeBlock(for: image.geometry.firstCluster(ofBlock: index))
        attempts += 1
        guard attempts < 64 else { throw ImageError(.noSpace, "no place found for a refcount block") }
      }
    }
    return false
  }

  /// Data in front of where it should begin makes room for the tables.
  private func clearFront() throws(ImageError) -> Bool {
    var waiting: [ClusterMove] = []
    var direct: [ClusterMove] = []
    let more = try image.l2.walkEntries(&position) { (guest, entry) throws(ImageError) in
      guard case .data(let host, let rank) = entry, host < self.places.metadataEnd else { return true }
      let slot = self.places.slot(rank: rank, guest: guest)
      if try self.mover.refcount(slot) == 0 {
        direct.append(ClusterMove(guest: guest, from: host, to: slot))
      } else {
        waiting.append(ClusterMove(guest: guest, from: host, to: HostCluster(0)))
      }
      return ClusterCount(direct.count + waiting.count) < self.batch
    }
    try mover.move(direct)
    count(clusters: direct.count)
    try moveBeyond(waiting)
    return more || !direct.isEmpty || !waiting.isEmpty
  }

  /// Moves clusters behind everything, where they wait for their places.
  func moveBeyond(_ moves: [ClusterMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    var moves = moves
    var first = try mover.claimBeyond(ClusterCount(moves.count))
    for index in moves.indices {
      moves[index].to = first
      first = first + 1
    }
    try mover.move(moves, areClaimed: true)
  }

  func count(clusters: Int) {
    progress.done += image.geometry.byteCount(ofClusters: UInt64(clusters))
  }
}

extension Image {
  /// Puts the image in order; see ``Relocation``. The image must have passed a ``RelocationCheck``.
  package func relocate(
    _ layout: TargetLayout, scope: RelocationScope = .everything,
    progress: (RelocationProgress) -> Void = { _ in }
  ) throws(ImageError) {
    let relocation = try Relocation(self, layout: layout, scope: scope)
    progress(relocation.progress)
    while try relocation.step() { progress(relocation.progress) }
    progress(relocation.progress)
  }
}
