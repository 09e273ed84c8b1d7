// The columns of a fleet: what each shows of a row, how rows are ordered by it, and how much room it needs.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

/// What rows are compared by. What is not known comes last, whichever way they are ordered.
enum FleetKey {
  case unknown
  case number(UInt64)
  case text([UInt8])

  init(_ value: UInt64?) { self = value.map { .number($0) } ?? .unknown }
}

/// A column of the list.
enum FleetColumn: String, CaseIterable, Sendable {
  case name, virtual, file, mapped, reclaimable, fragmentation, snapshots, chain, sharing, parent, check
  case features, changed

  /// What goes first where there is no room for all.
  static let byImportance: [FleetColumn] = [
    .name, .check, .virtual, .file, .reclaimable, .mapped, .fragmentation, .snapshots, .chain, .sharing,
    .parent,
    .changed, .features,
  ]

  /// The head of the column.
  var head: String {
    switch self {
    case .reclaimable: "reclaim"
    case .fragmentation: "frag."
    case .snapshots: "snaps"
    case .sharing: "shared"
    default: rawValue
    }
  }

  /// Columns of the screen; the name takes what is left.
  var width: Int {
    switch self {
    case .name: 0
    case .virtual, .file, .mapped, .reclaimable: 7
    case .fragmentation, .sharing: 6
    case .snapshots, .chain: 5
    case .check: 11
    case .parent, .features: 20
    case .changed: 16
    }
  }

  /// What it stands for, as a part of a sentence.
  var meaning: String {
    switch self {
    case .name: "name"
    case .virtual: "size of the disk"
    case .file: "bytes that the host keeps for the file"
    case .mapped: "bytes of the disk with a place in the file"
    case .reclaimable: "bytes that could be given back"
    case .fragmentation: "fragmentation"
    case .snapshots: "number of snapshots"
    case .chain: "number of layers below"
    case .sharing: "number of images with the same parent"
    case .parent: "backing file"
    case .check: "what a check says"
    case .features: "incompatible features"
    case .changed: "time of the last change"
    }
  }

  /// Its texts begin at the left, and the least of them comes first; of numbers the largest does.
  var isText: Bool { [.name, .parent, .features].contains(self) }
  private var isLeft: Bool { isText || self == .check || self == .changed }
  var alignment: TextWidth.Alignment { isLeft ? .left : .right }
  var role: Role { isLeft ? .text : .number }

  // MARK: What it is of a row

  /// A number that it shows or is ordered by; nil if it is not known, or if it is none.
  func number(_ row: FleetRow) -> UInt64? {
    switch self {
    case .virtual: row.virtualSize
    case .file: row.hostBytes
    case .mapped: row.mapped
    case .reclaimable: row.reclaimable
    // Those of numbers from 0 on are in the same order.
    case .fragmentation: row.fragmented.map { max(0, $0).bitPattern }
    case .snapshots: row.snapshots.map { UInt64($0) }
    case .chain: row.snapshots == nil ? nil : UInt64(row.chain.count)
    case .changed: row.modified.map { UInt64(max(0, $0)) }
    case .name, .sharing, .parent, .check, .features: nil
    }
  }

  func key(_ item: FleetList.Item, sharing: Int?) -> FleetKey {
    let row = item.row
    switch self {
    case .name: return .text(item.name)
    case .parent: return row.parent.map { .text(ByteText.bytes($0)) } ?? .unknown
    case .features:
      return row.version == nil ? .unknown : .text(ByteText.bytes(row.features.joined(separator: " ")))
    case .sharing: return sharing.map { .number(UInt64($0)) } ?? .unknown
    case .check:
      guard row.isImage || row.error != nil else { return .unknown }
      // The worst first: not readable, errors, leaks, not checked; more before less.
      let found = min((row.check?.corruptions ?? 0) &+ (row.check?.leaks ?? 0), 1 << 60 - 1)
      return .number(UInt64(Self.severity(row)) << 60 | found)
    default: return FleetKey(number(row))
    }
  }

  private static func severity(_ row: FleetRow) -> Int {
    switch row.verdict {
    case .clean: row.isBroken ? 3 : 0
    case .unchecked: row.error == nil ? 1 : 4
    case .leaks: 2
    case .errors: 3
    }
  }

  /// What stands in the list. What does not apply to a file is "-", what could not be found out is "?".
  func text(_ row: FleetRow, sharing: Int?) -> String {
    let nothing = row.format != nil && !row.isImage ? "-" : "?"
    switch self {
    case .name: return Escaping.human(row.path)
    case .virtual, .file, .mapped, .reclaimable: return number(row).map(Notation.compact) ?? nothing
    case .fragmentation: return row.fragmented.map { Notation.decimals($0, 1) + "%" } ?? nothing
    case .snapshots: return number(row).map(Notation.count) ?? nothing
    // Of a layer that is not open nobody knows what is below it.
    case .chain:
      return number(row).map { Notation.count($0) + (row.chainProblem == nil ? "" : "?") } ?? nothing
    case .sharing: return row.snapshots == nil ? nothing : sharing.map { Notation.count(UInt64($0)) } ?? "-"
    case .parent:
      guard let parent = row.parent else { return row.snapshots == nil ? nothing : "-" }
      return Escaping.human(ByteText.lastPart(of: parent))
    case .check: return Self.verdict(row)
    case .features: return row.version == nil ? nothing : row.features.joined(separator: " ")
    case .changed: return row.modified.map { String(Self.time($0).prefix(16)) } ?? nothing
    }
  }

  /// Local time of nanoseconds since 1970.
  static func time(_ nanoseconds: Int64) -> String {
    InfoText.date(UInt32(clamping: nanoseconds / 1_000_000_000))
  }

  /// What the check says, in a word or two.
  static func verdict(_ row: FleetRow) -> String {
    switch row.verdict {
    case .clean where row.isCorrupt == true: return "corrupt"
    case .clean where row.lacksFile: return "lacks a file"
    case .clean: return "clean"
    case .leaks: return found(row.check?.leaks ?? 0, "leak")
    case .errors: return found(row.check?.corruptions ?? 0, "error")
    case .unchecked:
      if row.error != nil { return row.format != nil && !row.isImage ? "no image" : "unreadable" }
      return row.isLocked ? "in use" : row.isImage ? FleetRow.Verdict.unchecked.rawValue : "-"
    }
  }

  private static func found(_ count: UInt64, _ one: String) -> String {
    Notation.count(count) + " " + worded(count, one)
  }

  /// The role of what stands there; nil for that of the column.
  func role(of row: FleetRow) -> Role? {
    guard self == .check else { return nil }
    switch row.verdict {
    case .clean: return row.isBroken ? .error : .ok
    case .leaks: return .warning
    case .errors: return .error
    case .unchecked: return row.error == nil ? .muted : .error
    }
  }
}
