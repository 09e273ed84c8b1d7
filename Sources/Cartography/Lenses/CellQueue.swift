// Cells that take too long to answer while a picture is drawn: what a picture asks for is worked on in slices, and
// the next picture shows what has come of it.

/// The answers that are known, and the cells that the newest picture waits for.
struct CellQueue {
  /// A cell of one of the maps.
  enum Cell: Hashable {
    /// Bytes of the disk.
    case disk(Range<UInt64>)
    /// Clusters of the image file, and of the external data file.
    case file(Range<UInt64>)
    case dataFile(Range<UInt64>)
  }

  private static let maximum = 1 << 16

  private var known: [Cell: LensCell] = [:]
  private var wanted: [Cell] = []
  private var next = 0
  private var asked: Set<Cell> = []
  private var hasStepped = false

  /// Nothing is waited for.
  var isEmpty: Bool { next >= wanted.count }
  /// The share of the cells of the picture that are known, 0 ... 1.
  var progress: Double { wanted.isEmpty ? 1 : Double(next) / Double(wanted.count) }

  /// The answer if it is known; else the cell is waited for.
  mutating func answer(_ cell: Cell) -> LensCell {
    if let found = known[cell] { return found }
    // Work lies between two pictures: what the old one waited for counts no more.
    if hasStepped { (wanted, next, asked, hasStepped) = ([], 0, [], false) }
    if wanted.count < Self.maximum, asked.insert(cell).inserted { wanted.append(cell) }
    return .unknown
  }

  /// Finds the next answers until the time is over; true when nothing is waited for.
  mutating func step(until end: ContinuousClock.Instant, _ find: (Cell) -> LensCell) -> Bool {
    hasStepped = true
    let clock = ContinuousClock()
    while !isEmpty {
      if known.count >= Self.maximum { known = [:] }
      known[wanted[next]] = find(wanted[next])
      next += 1
      if clock.now >= end { break }
    }
    return isEmpty
  }
}
