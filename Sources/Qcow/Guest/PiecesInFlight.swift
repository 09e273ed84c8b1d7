// The pieces of one write request that are on their way: written, and not linked yet. Several are at the same time,
// as in the genuine tools, so that a piece finds its place before the old places of those in front of it are free.

/// Says when the pieces of a request are linked, and with that when what they replace becomes free.
///
/// Up to eight are on their way together. Which of them ends first is a matter of chance in the genuine tools if there
/// are more; here it is what happens there on a host that writes at once and takes its time to flush.
struct PiecesInFlight {
  /// Pieces that are on their way together.
  static let most = 8

  /// The links of each piece, in the order of the pieces. A piece that was written in place may have none.
  private var started: [[ClusterLink]] = []
  /// Those that had been written when there was no room for another; the last of them ends first.
  private var ending: [[ClusterLink]] = []
  /// One that ended gave clusters back, which waited for the disk; by then all the others have come to their end.
  private var hasWaited = false

  /// A piece is written.
  mutating func start(_ links: [ClusterLink]) { started.append(links) }

  /// Makes room for one more piece, before its place is looked for. `link` links the clusters of a piece and says
  /// whether others were given back for them. Throws what it throws.
  mutating func makeRoom(_ link: (ClusterLink) throws(ImageError) -> Bool) throws(ImageError) {
    if hasWaited {
      hasWaited = false
      let ended = ending
      ending = []
      try Self.end(ended, link)
    }
    guard started.count + ending.count >= Self.most else { return }
    if ending.isEmpty { swap(&ending, &started) }
    hasWaited = try Self.end(ending.removeLast(), link)
  }

  /// Links all that are on their way. Throws what `link` throws, and has tried all by then.
  mutating func end(_ link: (ClusterLink) throws(ImageError) -> Bool) throws(ImageError) {
    let ended = ending + started
    self = PiecesInFlight()
    try Self.end(ended, link)
  }

  private static func end(
    _ pieces: [[ClusterLink]], _ link: (ClusterLink) throws(ImageError) -> Bool
  ) throws(ImageError) {
    var problem: ImageError?
    for links in pieces {
      do throws(ImageError) { _ = try end(links, link) } catch { problem = problem ?? error }
    }
    if let problem { throw problem }
  }

  /// Ends a piece; true if clusters were given back.
  private static func end(
    _ links: [ClusterLink], _ link: (ClusterLink) throws(ImageError) -> Bool
  ) throws(ImageError) -> Bool {
    var hasFreed = false
    for part in links.reversed() where try link(part) { hasFreed = true }
    return hasFreed
  }
}
