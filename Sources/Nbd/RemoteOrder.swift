// Tables of an image in the order in which walks go over them, so that those to come can be fetched while one is
// looked at, whoever walks.

/// A row of tables and where in it somebody is.
struct RemoteOrder {
  /// Tables that are asked for in front of a walk. They are more than requests can be under way: whenever an answer
  /// comes the next request is there, also while the walk is busy with what has come.
  private static let most = 128
  /// So many for the first table of a walk: it may be the only one.
  private static let first = 16
  /// Bytes of the tables in front of a walk, so that they stay until it has come to them.
  private static let mostBytes: UInt64 = 32 << 20
  /// A walk may pass so many tables that it knows from elsewhere.
  private static let gap = 8

  /// Where they begin, in the order of the walk; those that there are.
  private let offsets: [UInt64]
  /// Bytes of each.
  private let size: UInt64
  /// Tables of this size that are asked for in front of a walk.
  private let ahead: Int
  /// The numbers of tables by where they begin.
  private let places: [Int]
  /// The table that was read last.
  private var now = -1
  /// The first table that was not announced yet.
  private var next = 0

  /// Those at 0 are none.
  init(_ offsets: [UInt64], size: UInt64) {
    let known = offsets.filter { $0 != 0 }
    self.offsets = known
    self.size = size
    ahead = Int(min(UInt64(Self.most), max(2, Self.mostBytes / max(1, size))))
    places = known.indices.sorted { (known[$0], $0) < (known[$1], $1) }
  }

  /// The table that a byte is in, the first if several begin there; nil if it is in none.
  private func table(at offset: UInt64) -> Int? {
    var (low, high) = (0, places.count)
    while low < high {
      let middle = (low + high) / 2
      if offsets[places[middle]] > offset { high = middle } else { low = middle + 1 }
    }
    guard low > 0, offset - offsets[places[low - 1]] < size else { return nil }
    var found = low - 1
    // The next one of those that begin there, as a walk comes to it; of very many any.
    var steps = 0
    while found > 0, steps < Self.most, offsets[places[found - 1]] == offsets[places[low - 1]],
      places[found] > now + 1
    {
      (found, steps) = (found - 1, steps + 1)
    }
    return places[found]
  }

  /// A byte is about to be read: the ranges that a walk which came to it reads next. None for who jumps about.
  mutating func pass(_ offset: UInt64) -> [(offset: UInt64, count: UInt64)] {
    guard let table = table(at: offset), table != now else { return [] }
    let goesOn = table > now && table <= now + Self.gap
    if !goesOn || table >= next { next = table }
    let isWalk = now >= 0
    now = table
    guard goesOn else { return [] }
    let end = min(offsets.count, table + 1 + (isWalk ? ahead : min(ahead, Self.first)))
    defer { next = max(next, end) }
    return next < end ? offsets[next..<end].map { ($0, size) } : []
  }
}
