// The rows of one L2 table: entries in use, and runs of unused ones folded into one row. Rows are
// made when they are asked for, so that a table of 262144 entries costs no strings.

package import QcowFormat
package import Qcow

/// One L2 table as rows.
package struct L2View: Sendable {
  /// One entry.
  package struct EntryRow: Equatable, Sendable {
    package var index: Int
    package var guest: GuestOffset
    package var entry: L2Entry
    package var mapping: ClusterMapping
    /// Host cluster, or start of the compressed stream.
    package var host: HostOffset?
    /// State of every subcluster, 1 or 32 of them.
    package var subclusters: [GuestState]
    /// Three letters: C COPIED, z compressed stream, ! invalid; dots where nothing is.
    package var flags: String
    package var meaning: String
    package var allocatedCount: Int
    package var zeroCount: Int
  }

  package enum Row: Equatable, Sendable {
    case entry(EntryRow)
    /// Entries that are not in use.
    case unused(first: Int, count: Int)
    /// Entries that map nothing because the disk ends before.
    case pastEnd(first: Int, count: Int)
  }

  package let l1Index: Int
  /// Nil if the L1 entry is empty.
  package let table: HostOffset?
  package let entryCount = 0
  package let usedCount = 0
  package let geometry: Geometry
  /// The guest range the table maps.
  package var guestRange: Range<GuestOffset> { GuestOffset(0)..<GuestOffset(0) }
  /// Unused entries are folded.
  package var isFolded = true

  /// Reads the table of an L1 entry.
  package init(_ atlas: Atlas, l1Index: Int) throws(ImageError) {
    self.l1Index = l1Index
    table = nil
    geometry = atlas.image.geometry
  }

  package var rowCount: Int { 0 }
  package func row(_ number: Int) -> Row? { nil }
  /// The row that shows entry `index`, alone or in a run.
  package func rowNumber(ofEntry index: Int) -> Int { 0 }
  /// The nearest entry in use behind (or before) `index`.
  package func nextUsed(from index: Int, forward: Bool) -> Int? { nil }
  /// The words for a folded row.
  package func text(of row: Row) -> String { "" }
  package func entry(_ index: Int) -> L2Entry { .empty }
  /// The entry bit by bit; `subcluster` is what the cost sentence is about.
  package func detail(of index: Int, subcluster: Int) -> EntryDetail { EntryDetail(title: "", lines: []) }
}

/// An entry bit by bit.
package struct EntryDetail: Equatable, Sendable {
  package struct Line: Equatable, Sendable {
    /// "descriptor", "alloc bits", "zero bits", "cost".
    package var label: String
    /// The value in hexadecimal, or empty.
    package var value: String
    package var text: String
  }
  package var title: String
  package var lines: [Line]
}
