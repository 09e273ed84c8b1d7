// What stops a guest: a property of its next request, or of what that would change.

import Cartography
import Live
import Qcow
import QcowFormat
import Storage

/// Why a request is held up before it is done.
package enum Breakpoint: Hashable, Sendable {
  /// Whatever comes next.
  case next
  /// Bytes are copied around what is written.
  case copies
  /// A new L2 table is needed.
  case takesTable
  /// The refcount structure grows.
  case growsRefcounts
  /// Bytes of the disk are touched.
  case guest(Range<UInt64>)
  /// Bytes of the file are written, freed or given away.
  case host(Range<UInt64>)
  /// Some of a discard is not done, as it covers parts of clusters only.
  case roundedAway

  /// Only what the request would change tells.
  package var needsTrial: Bool {
    switch self {
    case .copies, .takesTable, .growsRefcounts, .host: true
    case .next, .guest, .roundedAway: false
    }
  }

  /// As it is typed behind `:break`.
  package var words: String {
    switch self {
    case .next: "next"
    case .copies: "copy"
    case .takesTable: "table"
    case .growsRefcounts: "refcounts"
    case .guest(let range): "guest 0x\(Notation.hex(range.lowerBound)) +\(Self.length(range))"
    case .host(let range): "host 0x\(Notation.hex(range.lowerBound)) +\(Self.length(range))"
    case .roundedAway: "rounded"
    }
  }

  private static func length(_ range: Range<UInt64>) -> String {
    Notation.compact(range.upperBound - range.lowerBound)
  }

  /// What it stops, as the end of a sentence.
  package var meaning: String {
    switch self {
    case .next: "the next request"
    case .copies: "a write that has to copy bytes"
    case .takesTable: "a request that needs a new L2 table"
    case .growsRefcounts: "a request for which the refcount structure grows"
    case .guest(let range): "a request for guest \(Self.place(range))"
    case .host(let range): "a request that changes host \(Self.place(range))"
    case .roundedAway: "a discard of which some is rounded away"
    }
  }

  private static func place(_ range: Range<UInt64>) -> String {
    "0x\(Notation.hex(range.lowerBound))..0x\(Notation.hex(range.upperBound - 1))"
  }

  /// Whether a request is stopped by what it asks for.
  func stops(_ request: ServedRequest, _ image: Image) -> Bool {
    switch self {
    case .next: return true
    case .guest(let range):
      return request.length > 0 && request.offset < range.upperBound
        && request.offset &+ request.length > range.lowerBound
    case .roundedAway:
      let geometry = image.geometry
      let unit =
        image.discardGranularity == .subcluster && geometry.hasExtendedL2
        ? geometry.subclusterSize : geometry.clusterSize
      let end = request.offset &+ request.length
      return request.kind == .discard
        && (request.offset % unit != 0 || end % unit != 0 && end != geometry.virtualSize)
    case .copies, .takesTable, .growsRefcounts, .host: return false
    }
  }

  /// Whether it is stopped by an event of what it would do.
  func stops(_ event: StorageEvent, _ geometry: Geometry) -> Bool {
    let tag = event.tag
    switch self {
    case .next, .guest, .roundedAway: return false
    case .copies: return event.kind == .write && tag.written == .copy
    case .takesTable:
      return event.kind == .note && tag.target == .l1Table
        && L1Entry(raw: tag.after.0).table.map { L1Entry(raw: tag.before.0).table != $0 } ?? false
    case .growsRefcounts:
      return event.kind == .note && tag.target == .refcountTable && tag.before.0 != tag.after.0
    case .host(let range):
      switch event.kind {
      case .write, .zero, .punch:
        return event.offset < range.upperBound && event.offset &+ event.count > range.lowerBound
      case .note where tag.target == .refcountBlock:
        let start = geometry.start(of: HostCluster(tag.index)).value
        return start < range.upperBound && start &+ geometry.clusterSize > range.lowerBound
      case .note, .truncate, .flush: return false
      }
    }
  }
}
