// Compressed streams lie packed behind the data, in guest order. Those that are not in place step aside
// first, so that a place is never written while the stream that lies there is still in use.

import QcowFormat
import Storage

extension Relocation {
  private var dataEnd: HostCluster { places.data.upperBound }

  /// Clusters that a stream touches.
  private func clusters(_ descriptor: UInt64) -> ClosedRange<HostCluster> {
    let extent = image.geometry.compressedExtent(of: descriptor)
    let geometry = image.geometry
    let last = HostOffset(extent.offset.value &+ extent.byteCount &- 1)
    return geometry.cluster(of: extent.offset)...geometry.cluster(of: last)
  }

  /// A batch of streams that `wants` from where the walk is; `wants` gets the stream with the place where
  /// it belongs.
  private func collect(
    _ wants: (StreamMove) throws(ImageError) -> Bool
  ) throws(ImageError) -> [StreamMove] {
    var moves: [StreamMove] = []
    var bytes: ByteCount = 0
    _ = try image.l2.walkEntries(&position) { (guest, entry) throws(ImageError) in
      guard case .stream(let descriptor) = entry, self.streamIndex < self.inventory.streamLengths.count else {
        return true
      }
      let length = ByteCount(UInt64(self.inventory.streamLengths[self.streamIndex]))
      self.streamIndex += 1
      let move = StreamMove(
        guest: guest, descriptor: descriptor, to: self.streamPlaces.next(length), length: length)
      guard try wants(move) else { return true }
      moves.append(move)
      bytes += length
      return self.image.geometry.wholeClusters(bytes.value) < self.batch.value && moves.count < 1 << 14
    }
    return moves
  }

  /// Streams that lie in front of the end of the data get out of its way.
  func moveStreamsOut() throws(ImageError) -> Bool {
    let end = scope == .dataOnly ? HostCluster(0) : dataEnd
    return try setAside(
      collect { (move) throws(ImageError) in
        if scope == .everything { return self.clusters(move.descriptor).lowerBound < end }
        for cluster in self.clusters(move.descriptor) where try self.isSlot(cluster) { return true }
        return false
      })
  }

  /// A place of a mapped data cluster.
  func isSlot(_ cluster: HostCluster) throws(ImageError) -> Bool {
    guard places.data.contains(cluster) else { return false }
    if places.rule == .packed { return true }
    return try mover.host(of: GuestCluster((cluster - places.base).value)) != nil
  }

  /// Streams at places of other streams step aside.
  func moveStreamsAside() throws(ImageError) -> Bool {
    try setAside(
      collect { (move) in
        self.mover.descriptor(move) != move.descriptor
          && self.clusters(move.descriptor).lowerBound < self.places.end
      })
  }

  /// Streams go to their places.
  func placeStreams() throws(ImageError) -> Bool {
    let moves = try collect { self.mover.descriptor($0) != $0.descriptor }
    try mover.move(moves)
    progress.done += moves.reduce(0) { $0 + $1.length.value }
    return !moves.isEmpty
  }

  /// Moves streams behind everything, packed.
  private func setAside(_ moves: [StreamMove]) throws(ImageError) -> Bool {
    guard !moves.isEmpty else { return false }
    var measure = StreamPlaces(image.geometry, from: HostCluster(0))
    for move in moves { _ = measure.next(move.length) }
    // Claimed and given back: nothing but these streams will take the place, and its refcount blocks
    // are there.
    let count = measure.endCluster - HostCluster(0)
    let first = try mover.claimBeyond(count)
    try mover.allocator.free(mover.start(first), image.geometry.bytes(count), .never)
    guard mover.start(first + count).value <= image.geometry.compressedOffsetLimit else {
      throw ImageError(.noSpace, "no free cluster that a compressed entry can address")
    }
    var aside = StreamPlaces(image.geometry, from: first)
    let targets = moves.map { move in
      StreamMove(
        guest: move.guest, descriptor: move.descriptor, to: aside.next(move.length), length: move.length)
    }
    try mover.move(targets)
    return true
  }
}
