// Where a finding is: address, owners, guest range; and the notes. None of it is printed by the genuine
// tool, so it stands in lines of its own.

import Cartography
package import Qcow
import QcowFormat
import Storage

extension CheckText {
  /// Place, owners and guest range of a finding, one indented line; empty if nothing is known.
  package static func details(of finding: CheckFinding) -> String {
    var parts: [String] = []
    if let place = finding.place { parts.append("host 0x\(Notation.hex(place.value))") }
    if !finding.owners.isEmpty { parts.append(finding.owners.map(name).joined(separator: " and ")) }
    if case .refcountWrong(_, _, 0) = finding.kind { parts.append("no owner") }
    if let guest = finding.guest {
      parts.append(
        "guest 0x\(Notation.hex(guest.lowerBound.value)) to 0x\(Notation.hex(guest.upperBound.value &- 1))")
    }
    return parts.isEmpty ? "" : "  " + parts.joined(separator: ", ") + "\n"
  }

  /// A finding with its place, its owners and its guest range.
  package static func report(of finding: CheckFinding) -> ReportValue {
    var members: [ReportValue.Member] = []
    let severity =
      switch finding.severity {
      case .corruption: "corruption"
      case .leak: "leak"
      case .checkError: "check-error"
      case .remark: "remark"
      }
    members.append(.init("severity", .string(severity)))
    let lines = lines(of: finding, program: "qatlas").split(separator: "\n")
    members.append(.init("text", .string(lines.joined(separator: " "))))
    if let place = finding.place { members.append(.init("host-offset", .number(place.value))) }
    members.append(.init("owners", .array(finding.owners.map { .string(name($0)) })))
    if let guest = finding.guest {
      members.append(.init("guest-offset", .number(guest.lowerBound.value)))
      members.append(.init("guest-length", .number(guest.upperBound - guest.lowerBound)))
    }
    return .object(members)
  }

  /// What a cluster or an entry belongs to.
  package static func name(_ owner: CheckOwner) -> String {
    func of(_ snapshot: Int?) -> String { snapshot.map { " of snapshot \($0)" } ?? "" }
    switch owner {
    case .header: return "header"
    case .l1Table(let snapshot): return "L1 table" + of(snapshot)
    case .l1Entry(let index, let snapshot): return "L1[\(index)]" + of(snapshot)
    case .l2Table(let index, let snapshot): return "L2 table of L1[\(index)]" + of(snapshot)
    case .l2Entry(let l1, let l2, let snapshot): return "L1[\(l1)] L2[\(l2)]" + of(snapshot)
    case .snapshotTable: return "snapshot table"
    case .snapshotEntry(let index): return "snapshot table entry \(index)"
    case .refcountTable: return "refcount table"
    case .refcountTableEntry(let index): return "refcount table[\(index)]"
    case .refcountBlock(let index): return "refcount block \(index)"
    case .encryptionHeader: return "encryption header"
    case .bitmapDirectory: return "bitmap directory"
    case .bitmapTable(let index): return "table of bitmap \(index)"
    case .bitmapData(let index, let entry): return "data \(entry) of bitmap \(index)"
    }
  }

  /// A note in one sentence.
  package static func text(of note: CheckNote) -> String {
    func place(_ guest: GuestOffset, _ count: UInt64) -> String {
      "\(counted(count, "entry", "entries")), the first for guest offset 0x\(Notation.hex(guest.value))"
    }
    switch note {
    case .overlap(let cluster, let owners):
      return "host cluster \(cluster.value) has several owners, of which one must not share: "
        + owners.map(name).joined(separator: " and ")
    case .moreOverlaps: return "there are more clusters with several owners"
    case .refcountsBehindEnd(let clusters):
      let (first, end) = (clusters.lowerBound.value, clusters.upperBound.value)
      let which = worded(end - first, "cluster \(first)", "clusters \(first) to \(end - 1)")
      return "the refcounts of host \(which) are not 0, but the file ends before"
    case .dirty: return "the dirty bit is set: refcounts may be too low until the image has been repaired"
    case .corrupt: return "the corrupt bit is set: nothing but a repair may write to the image"
    case .bitmapsBitWithoutExtension: return "the header says that bitmaps are valid, but there are none"
    case .unknownAutoclearBits(let bits):
      return "unknown autoclear feature bits 0x\(Notation.hex(bits)); the next writer clears them"
    case .headerLengthUnaligned(let length): return "the header length \(length) is not a multiple of 8"
    case .zeroFlagInVersion2(let guest, let count):
      return "version 2 has no zero flag, but it is set in \(place(guest, count)); reading there fails"
    case .reservedBitInExtendedEntry(let guest, let count):
      return "the reserved bit 0 is set in \(place(guest, count))"
    case .dataFileOffset(let guest, let count):
      return "the external data file is not mapped one to one in \(place(guest, count)); reading there fails"
    case .leakedData(let data): return data.description
    case .cutShort(let cut): return cut.description
    case .repair(let forecast): return forecast.description
    case .bitmapInUse(let name):
      return
        "bitmap '\(Escaping.human(name))' was in use when the image was left; its contents cannot be relied on"
    }
  }
}
