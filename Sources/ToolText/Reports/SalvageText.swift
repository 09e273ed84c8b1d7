// What `qatlas salvage` prints: where header and tables come from, which L2 tables were given which place and why,
// and what of the disk is lost.

import Cartography
package import Qcow
import QcowFormat
import Storage

/// Prints what a salvage found.
package struct SalvageText {
  private let report: SalvageReport
  private var stream: ReportStream

  /// Prints to `output`, in pieces.
  package init(_ report: SalvageReport, json: Bool, output: @escaping (String) -> Void) {
    self.report = report
    stream = ReportStream(json: json, output: output)
  }

  /// Prints the report; `firstBytes` are those of the header to be shown, none to leave them out.
  package mutating func write(firstBytes: [UInt8]) {
    stream.open("{")
    add("header", header)
    for (name, source) in [
      ("L1 table", report.l1Source), ("snapshots", report.snapshotSource),
      ("refcounts", report.refcountSource),
    ] { add(name, Self.source(source)) }
    writeSizes()
    writeCandidates()
    writeTables()
    writeLost()
    if !firstBytes.isEmpty { write(bytes: firstBytes) }
    stream.open("[", "notes")
    for note in report.notes {
      stream.add(nil, .string(note))
      stream.line("note  \(Escaping.human(note))")
    }
    stream.close("]")
    stream.close("}\n")
  }

  private mutating func add(_ name: String, _ fields: [Field]) {
    let value = ReportValue.object(fields)
    stream.add(name, value)
    stream.line("\(name)  \(value.humanLine)")
  }

  private static func source(_ source: SalvageReport.Source) -> [Field] {
    var fields = [Field("source", .string(source.name))]
    if case .candidate(let place) = source { fields.append(Field("host", .offset(place.value))) }
    return fields
  }

  private var header: [Field] {
    let header = report.header
    return Self.source(report.headerSource) + [
      Field("version", .number(UInt64(header.version))),
      Field("size", .number(header.size)),
      Field("cluster size", .number(header.geometry.clusterSize)),
      Field("extended L2", .bool(header.incompatible.contains(.extendedL2))),
      Field("refcount bits", .number(UInt64(header.geometry.refcountBits))),
      Field("compression", .string(header.compressionType == 0 ? "zlib" : "zstd")),
      Field("L1 table", .offset(header.l1TableOffset)), Field("L1 entries", .number(UInt64(header.l1Size))),
      Field("refcount table", .offset(header.refcountTableOffset)),
      Field("snapshots", .number(UInt64(header.snapshotCount))),
    ]
  }

  private mutating func writeSizes() {
    stream.open("[", "cluster sizes")
    for size in report.sizes.prefix(3) {
      let fields = [
        Field("bytes", .number(1 << UInt64(size.clusterBits))), Field("score", .number(UInt64(size.score))),
        Field("aligned", .number(UInt64(size.aligned))), Field("following", .number(UInt64(size.following))),
      ]
      stream.add(nil, .object(fields))
      stream.line("cluster size  \(ReportValue.object(fields).humanLine)")
    }
    stream.close("]")
  }

  private mutating func writeCandidates() {
    stream.open("[", "candidates")
    for candidate in report.candidates {
      let fields = Self.fields(candidate)
      stream.add(nil, .object(fields))
      stream.line("candidate  \(ReportValue.object(fields).humanLine)")
    }
    stream.close("]")
  }

  private static func fields(_ candidate: SalvageReport.Candidate) -> [Field] {
    var fields = [
      Field("kind", .string(candidate.kind.rawValue)), Field("host", .offset(candidate.place.value)),
    ]
    if candidate.kind == .l1Table {
      fields.append(Field("entries", .number(UInt64(candidate.entries))))
      fields.append(Field("leading", .number(UInt64(candidate.leading))))
    }
    return fields + [Field("taken", .bool(candidate.isTaken))]
  }

  private mutating func writeTables() {
    var fields: [Field] = []
    for evidence in TableEvidence.allCases {
      guard let count = report.tables[evidence] else { continue }
      fields.append(Field(evidence.name, .number(UInt64(count))))
    }
    if report.unplaced > 0 { fields.append(Field("without a place", .number(UInt64(report.unplaced)))) }
    add("L2 tables", fields)
    stream.open("[", "placed")
    for table in report.placed {
      let fields = [
        Field("l1", .number(UInt64(table.l1Index))),
        Field("guest", .offset(report.header.geometry.guestRange(l1Index: table.l1Index).lowerBound.value)),
        Field("host", .offset(table.table.value)), Field("by", .string(table.evidence.name)),
        Field("confidence", .string(table.evidence.confidence)),
      ]
      stream.add(nil, .object(fields))
      stream.line("placed  \(ReportValue.object(fields).humanLine)")
    }
    stream.close("]")
  }

  private mutating func writeLost() {
    stream.open("[", "lost")
    for (range, why) in report.lost {
      let fields = [
        Field("guest", .offset(range.lowerBound.value)),
        Field("length", .number(range.upperBound - range.lowerBound)), Field("text", .string(why.name)),
      ]
      stream.add(nil, .object(fields))
      stream.line("lost  \(ReportValue.object(fields).humanLine)")
    }
    stream.close("]")
    stream.add("lost bytes", .number(report.lostBytes))
    if report.lostBytes > 0 {
      stream.line("lost bytes  \(report.lostBytes) (\(Notation.human(report.lostBytes)))")
    }
  }

  /// The bytes of the header, sixteen in a line; rows of zeroes are left out.
  private mutating func write(bytes: [UInt8]) {
    let bytes = bytes[..<((bytes.lastIndex { $0 != 0 } ?? -1) + 1)]
    stream.add("bytes", .string(bytes.map { Notation.hex(UInt64($0), width: 2) }.joined()))
    for start in stride(from: 0, to: bytes.count, by: 16) {
      let row = bytes[start..<min(bytes.count, start + 16)]
      guard row.contains(where: { $0 != 0 }) else { continue }
      let digits = row.map { Notation.hex(UInt64($0), width: 2) }.joined(separator: " ")
      stream.line("bytes  0x\(Notation.hex(UInt64(start), width: 4))  \(digits)")
    }
  }
}
