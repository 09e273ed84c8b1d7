// One cell of a map as the screens draw it: what it shows, what it hides, how full it is. A cell
// stands for a power of two of clusters, or for a part of one.

/// The summary of one cell.
package struct MapCell<State: MapState>: Equatable, Sendable {
  /// The most important state inside.
  package var state: State
  /// Another state is inside that the picture of ``state`` does not tell.
  package var hasMinority: Bool
  /// Bit n: the state with raw value n is inside.
  package var present: UInt32
  /// Share of the cell that keeps bytes, 0 ... 1.
  package var fill: Float
  /// Smallest and largest refcount of the host clusters; 65535 stands for that and more.
  ///
  /// On the guest map they follow from the entries: 0 for no host cluster, 1 for COPIED ones, 2
  /// for those that are shared.
  package var refcountMin: UInt16
  /// The highest refcount in the cell; higher ones than fit count as the highest that fits.
  package var refcountMax: UInt16
  /// The scan has been here; otherwise the cell says nothing yet.
  package var isKnown: Bool
  /// The cell lies on the disk or in the file, at least in part.
  package var isInside: Bool
  /// How much of each state is inside.
  package private(set) var counts = StateCounts<State>()

  /// A cell of which nothing is known, or outside.
  static func blank(_ state: State, isKnown: Bool, isInside: Bool) -> Self {
    Self(
      state: state, hasMinority: false, present: 0, fill: 0, refcountMin: 0, refcountMax: 0, isKnown: isKnown,
      isInside: isInside)
  }

  init(
    state: State, hasMinority: Bool, present: UInt32, fill: Float, refcountMin: UInt16, refcountMax: UInt16,
    isKnown: Bool, isInside: Bool
  ) {
    self.state = state
    self.hasMinority = hasMinority
    self.present = present
    self.fill = fill
    self.refcountMin = refcountMin
    self.refcountMax = refcountMax
    self.isKnown = isKnown
    self.isInside = isInside
  }

  /// The cell that stands for `counts`.
  init(_ counts: StateCounts<State>, empty: State, refcounts: (UInt16, UInt16), isKnown: Bool) {
    var present: UInt32 = 0
    for state in State.allCases where counts[state] > 0 { present |= 1 << UInt32(state.rawValue) }
    let leading = counts.dominant
    // A role in conflict is there twice: as what it is and as what is wrong with it.
    if let leading { present |= 1 << UInt32(leading.rawValue) }
    self.init(
      state: leading ?? empty, hasMinority: counts.hasMinority, present: present,
      fill: Float(counts.fill),
      refcountMin: refcounts.0, refcountMax: refcounts.1, isKnown: isKnown, isInside: present != 0)
    self.counts = counts
  }

  /// True if some place inside is in `state`.
  package func contains(_ state: State) -> Bool { present & 1 << UInt32(state.rawValue) != 0 }
}

/// A cell of a strip that shows a whole file in one row: cells of nearly the same size, whatever that is.
package struct HostStripCell: Equatable, Sendable {
  /// The host clusters it stands for.
  package let clusters: Range<UInt64>
  /// What is in them.
  package let cell: MapCell<HostState>

  /// At most `columns` cells over so many clusters, none of which cuts a leaf of 2^`leafBits` clusters.
  static func cells(
    _ clusters: UInt64, leafBits: UInt64, columns: Int,
    _ cell: (_ clusters: Range<UInt64>, _ leaves: Range<Int>) -> MapCell<HostState>
  ) -> [HostStripCell] {
    guard clusters > 0, columns > 0 else { return [] }
    let leaves = (clusters - 1) >> leafBits + 1
    let count = min(UInt64(columns), leaves)
    return (0..<count).map { column in
      // At most 2^44 clusters and a few hundred columns.
      let (first, end) = (leaves * column / count, leaves * (column + 1) / count)
      let range = first << leafBits..<min(clusters, end << leafBits)
      return HostStripCell(clusters: range, cell: cell(range, Int(first)..<Int(end)))
    }
  }

  /// The same where nothing is known yet.
  static func unknown(_ clusters: UInt64, columns: Int) -> [HostStripCell] {
    cells(clusters, leafBits: 0, columns: columns) { _, _ in .blank(.free, isKnown: false, isInside: true) }
  }
}
