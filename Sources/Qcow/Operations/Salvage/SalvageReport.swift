// What a salvage found and what it made of it: the header, the tables with the reasons for their places, and the
// parts of the disk that are lost.

package import QcowFormat
import Storage

/// What became of a damaged image.
package struct SalvageReport: Sendable {
  /// Why a part of the disk is lost.
  package enum Loss: UInt8, Sendable {
    /// The L2 table that maps it has other bytes.
    case table
    /// The L2 table is nothing but zeroes, which may be right.
    case zeroed
    /// Single entries of the L2 table have bits that mean nothing.
    case entries
    /// No L2 table was found for it although it had one.
    case entry
    /// Its clusters lay where the file does not reach any more.
    case behindEnd

    /// The words for it.
    package var name: String {
      switch self {
      case .table: "its L2 table was overwritten"
      case .zeroed: "its L2 table is all zeroes"
      case .entries: "entries of its L2 table were overwritten"
      case .entry: "its L2 table was not found"
      case .behindEnd: "its clusters lay behind the end of the file"
      }
    }
  }

  /// Where a structure comes from.
  package enum Source: Sendable, Equatable {
    /// It is in the file, where it should be.
    case found
    /// Another one of its kind in the file.
    case candidate(HostOffset)
    /// Made anew.
    case rebuilt
    /// Left out.
    case missing

    /// The words for it.
    package var name: String {
      switch self {
      case .found: "as in the file"
      case .candidate: "another one of the file"
      case .rebuilt: "rebuilt"
      case .missing: "left out"
      }
    }
  }

  /// Something in the file that looks like a structure of an image.
  package struct Candidate: Equatable, Sendable {
    /// What it looks like.
    package enum Kind: String, Sendable, CaseIterable {
      case l1Table = "L1 table"
      case snapshotTable = "snapshot table"
      case encryptionHeader = "encryption header"
    }

    package let kind: Kind
    /// Where it begins.
    package let place: HostOffset
    /// Entries up to the last one in use, and those of them that lead to what looks like an L2 table; 0 for others
    /// than L1 tables.
    package let entries: Int
    package let leading: Int
    /// The image is opened with it.
    package let isTaken: Bool
  }

  /// Candidates of a kind that are listed.
  package static let maximumCandidates = 64

  /// Structures that were found by their shape, the best of each kind first; empty if nothing had to be looked for.
  package var candidates: [Candidate] = []

  /// More ranges and tables are not listed.
  package static let maximumListed = 1 << 16

  /// The header that the image is opened with.
  package var header = Header()
  package var headerSource = Source.found
  /// How well each cluster size explains the file, the best first; empty if the header tells it.
  package var sizes: [SizeScore] = []
  package var l1Source = Source.found
  package var snapshotSource = Source.found
  package var refcountSource = Source.found
  /// L2 tables by the reason for their places.
  package var tables: [TableEvidence: Int] = [:]
  /// Those that no L1 entry of the file leads to.
  package var placed: [PlacedTable] = []
  /// L2 tables without a place.
  package var unplaced = 0
  /// Parts of the disk that cannot be read.
  package private(set) var lost: [(range: Range<GuestOffset>, why: Loss)] = []
  /// Bytes of all of them.
  package private(set) var lostBytes: UInt64 = 0
  /// Sentences besides.
  package var notes: [String] = []

  package init() {}

  mutating func lose(_ range: Range<GuestOffset>, _ why: Loss) {
    let range = range.clamped(to: GuestOffset(0)..<GuestOffset(header.geometry.virtualSize))
    guard !range.isEmpty else { return }
    lostBytes &+= range.upperBound - range.lowerBound
    if let last = lost.last, last.range.upperBound == range.lowerBound, last.why == why {
      lost[lost.count - 1].range = last.range.lowerBound..<range.upperBound
    } else if lost.count < Self.maximumListed {
      lost.append((range, why))
    }
  }

  /// The image opens as it is.
  package var isWhole: Bool {
    headerSource == .found && l1Source == .found && snapshotSource == .found && refcountSource == .found
      && placed.isEmpty && lost.isEmpty
  }
}
