// Compressed streams lie packed behind the data, in guest order. Those that are not in place step aside
// first, so that a place is never written while the stream that lies there is still in use.

import QcowFormat
import Storage

extension Relocation {
  private var dataEnd: UInt64 { places.data.upperBound }

  /// Clusters that a stream touches.
  private func clusters(_ descriptor: UInt64) -> ClosedRange<UInt64> {
    let extent = image.geometry.compressedExtent(of: descriptor)
    let geometry = image.geometry
    let last = HostOffset(extent.offset.value &+ extent.byteCount &- 1)
    return geometry.cluster(of: extent.offset).value...geometry.cluster(of: last).value
  }

  /// A batch of streams that `wants` from where the walk is; `wants` gets the stream with the place where
  /// it belongs.
  private func collect(
    _ wants: (StreamMove) throws(ImageError) -> Bool
  ) throws(ImageError) -> [StreamMove] {
    var moves: [StreamMove] = []
    var bytes: UInt64 = 0
    _ = try image.l2.walkEntries(&position) { (guest, entry) throws(ImageError) in
      guard case .stream(let descriptor) = entry, self.streamIndex < self.inventory.streamLengths.count else {
        return true
      }
      let length = UInt64(self.inventory.streamLengths[self.streamIndex])
      self.streamIndex += 1
      let move = StreamMove(
        guest: guest, descriptor: descriptor, to: self.streamPlaces.next(ByteCount(length)).value,
        length: length)
      guard try wants(move) else { return true }
      moves.append(move)
      bytes += length
      return self.image.geometry.wholeClusters(bytes) < self.batch && moves.count < 1 << 14
    }
    return moves
  }

  /// Streams that lie in front of the end of the data get out of its way.
  func moveStreamsOut() throws(ImageError) -> Bool {
    let end = scope == .dataOnly ? 0 : dataEnd
    return try setAside(
      collect { (move) throws(ImageError) in
        if scope == .everything { return self.clusters(move.descriptor).lowerBound < end }
        for cluster in self.clusters(move.descriptor) where try self.isSlot(cluster) { return true }
        return false
      })
  }

  /// A place of a mapped data cluster.
  func isSlot(_ cluster: UInt64) throws(ImageError) -> Bool {
    guard places.data.contains(cluster) else { return false }
    return places.rule == .packed ? true : try mover.host(of: cluster - places.base) != nil
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
    progress.done += moves.reduce(0) { $0 + $1.length }
    return !moves.isEmpty
  }

  /// Moves streams behind everything, packed.
  private func setAside(_ moves: [StreamMove]) throws(ImageError) -> Bool {
    guard !moves.isEmpty else { return false }
    var measure = StreamPlaces(image.geometry, from: HostCluster(0))
    for move in moves { _ = measure.next(ByteCount(move.length)) }
    // Claimed and given back: nothing but these streams will take the place, and its refcount blocks
    // are there.
    let count = measure.endCluster
    let first = try mover.claimBeyond(count)
    try mover.allocator.free(mover.start(first), mover.size(count), .never)
    guard mover.start(first + count).value <= image.geometry.compressedOffsetLimit else {
      throw ImageError(.noSpace, "no free cluster that a compressed entry can address")
    }
    var aside = StreamPlaces(image.geometry, from: HostCluster(first))
    let targets = moves.map { move in
      StreamMove(
        guest: move.guest, descriptor: move.descriptor, to: aside.next(ByteCount(move.length)).value,
        length: move.length)
    }
    try mover.move(targets)
    return true
  }
}
