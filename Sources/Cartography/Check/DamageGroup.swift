// What a check finds, by what is wrong: findings of one kind are one group, with what they have in common. The same
// values are the rows of the screen and the groups of the report.

package import Qcow
package import QcowFormat

/// What is wrong, the worst first.
package enum DamagePattern: Int, CaseIterable, Comparable, Sendable {
  /// A cluster with several owners, of which one at least must not share.
  case shared
  /// Something names a place behind the end of the file.
  case pastEnd
  /// An L1 entry is damaged, and all that it leads to.
  case table
  /// Entries of L2 tables are damaged.
  case entry
  /// Something cannot be read.
  case unreadable
  /// The refcount table or a block is damaged.
  case counts
  /// Clusters that are used more often than they are counted.
  case tooLow
  /// A cluster with more owners than a count can say.
  case tooMany
  case snapshots
  /// COPIED flags.
  case flags
  /// Clusters without an owner that hold data.
  case leakedData
  /// Clusters without an owner.
  case leaked
  /// Clusters that are counted more often than they are used.
  case overcounted
  /// Said besides, one note each.
  case note

  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  /// The pattern that a finding belongs to. Leaks are told apart once it is known what they hold.
  init(_ finding: CheckFinding) {
    switch finding.kind {
    case .snapshotTableTooLarge, .snapshotTableMisplaced, .snapshotTableUnreadable,
      .snapshotExtraDataTooLarge,
      .snapshotTableTooLong, .snapshotIncomplete, .snapshotsWithDataFile, .snapshotL1Unaligned,
      .snapshotL1TooLarge:
      self = .snapshots
    case .l1ReservedBits, .l2TableUnaligned: self = .table
    case .l1Unreadable, .l2Unreadable, .refcountUnreadable: self = .unreadable
    case .l2ReservedBits, .compressedCopied, .compressedWithDataFile, .compressedWithBitmap,
      .conflictingBitmap,
      .clusterUnaligned, .bitmapWithoutCluster:
      self = .entry
    case .beyondEnd: self = .pastEnd
    case .tooManyReferences: self = .tooMany
    case .refcountBlockReservedBits, .refcountBlockUnaligned, .refcountBlockOutside, .refcountBlockShared,
      .refcountBlockUnusable:
      self = .counts
    case .refcountWrong(_, let refcount, let references):
      self = refcount < references ? .tooLow : references == 0 ? .leaked : .overcounted
    case .copiedWrongL1, .copiedWrongL2: self = .flags
    }
  }

  init(_ note: CheckNote) {
    switch note {
    case .overlap, .moreOverlaps: self = .shared
    case .cutShort: self = .pastEnd
    case .leakedData: self = .leakedData
    default: self = .note
    }
  }
}

/// How a group counts.
package enum DamageSeverity: String, CaseIterable, Sendable {
  case error, checkError = "check error", leak, note

  /// 0 for the worst.
  var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// Ranges of which the first few are named, in the order in which they were found.
package struct RangeTally<Bound: Comparable & Sendable>: Equatable, Sendable {
  /// The first ones; neighbours are one.
  package private(set) var first: [Range<Bound>] = []
  /// There are others.
  package private(set) var isMore = false

  private static var limit: Int { 4 }

  mutating func add(_ range: Range<Bound>) {
    guard !range.isEmpty, !first.contains(where: { $0.contains(range.lowerBound) }) else { return }
    if let last = first.last, last.upperBound == range.lowerBound {
      first[first.count - 1] = last.lowerBound..<range.upperBound
    } else if first.count < Self.limit {
      first.append(range)
    } else {
      isMore = true
    }
  }
}

/// Findings and notes of one pattern.
package struct DamageGroup: Equatable, Sendable {
  /// The table that all findings of a group lie in.
  package enum Table: Equatable, Sendable {
    /// The L2 table of an entry of an L1 table: the active one, or that of a snapshot.
    case l2(l1Index: Int, snapshot: Int?)
    case refcountBlock(Int)
  }

  /// Findings that are kept; the others are counted.
  package static let limit = 256

  package let pattern: DamagePattern
  package internal(set) var severity: DamageSeverity
  /// Findings and notes in all; a note that adds up findings is none by itself.
  package internal(set) var count: UInt64 = 0
  /// The first ``limit`` of them.
  package internal(set) var findings: [CheckFinding] = []
  /// The same.
  package internal(set) var notes: [CheckNote] = []
  /// The parts of the disk that are concerned.
  package internal(set) var guests = RangeTally<GuestOffset>()
  /// The clusters of the file that are concerned.
  package internal(set) var hosts = RangeTally<HostOffset>()
  /// How many findings a repair of all sets right in each way.
  package internal(set) var remedies: [CheckFinding.Remedy: UInt64] = [:]
  /// The one table that all findings lie in; nil if there are several, or none.
  package var table: Table? { count > 1 && !isScattered ? common : nil }
  private var common: Table?
  private var isScattered = false

  init(_ pattern: DamagePattern, _ severity: DamageSeverity) {
    self.pattern = pattern
    self.severity = severity
  }

  /// Rows that can be gone through: findings first, then notes.
  package var rows: Int { findings.count + notes.count }

  mutating func add(_ finding: CheckFinding, _ geometry: Geometry) {
    count += 1
    remedies[finding.remedy, default: 0] += 1
    if findings.count < Self.limit { findings.append(finding) }
    if let guest = finding.guest { guests.add(guest) }
    if case .refcountWrong(let number, _, _) = finding.kind {
      let cluster = HostCluster(number)
      hosts.add(geometry.start(of: cluster)..<geometry.start(of: cluster + 1))
    }
    let table = Self.table(finding, geometry)
    if count == 1 { common = table } else if table == nil || table != common { isScattered = true }
  }

  mutating func add(_ note: CheckNote) {
    // What the findings add up to is not one more of them.
    if findings.isEmpty || pattern != .pastEnd { count += 1 }
    if notes.count < Self.limit { notes.append(note) }
    isScattered = true
  }

  private static func table(_ finding: CheckFinding, _ geometry: Geometry) -> Table? {
    if case .refcountWrong(let number, _, _) = finding.kind {
      return .refcountBlock(geometry.refcountTableIndex(of: HostCluster(number)))
    }
    if case .l2Entry(let l1Index, _, let snapshot) = finding.owners.first {
      return .l2(l1Index: l1Index, snapshot: snapshot)
    }
    return nil
  }
}
