// What `qatlas ladder` prints: one record per size of an image, from what the guest sees down to what the host keeps.

package import Cartography

/// A ladder as text or JSON.
package struct LadderText {
  private let ladder: SizeLadder
  private let remarks: [String]

  /// The texts of the sizes that an atlas has counted.
  package init(_ ladder: SizeLadder, _ atlas: Atlas) {
    self.ladder = ladder
    remarks = [atlas.partialReason, atlas.staleness?.text].compactMap { $0 }
  }

  /// A line a size: its name, how much, what it is, what moves it.
  package var human: String {
    let lines = ladder.rungs.map { rung in
      "\(rung.kind.rawValue)  \(rung.bytes) (\(Notation.human(rung.bytes)))  \(rung.meaning)"
        + (rung.remedy.map { "; moved by: qatlas \($0.shell())" } ?? "")
    }
    return (lines + remarks.map { "note  " + Escaping.human($0) }).joined(separator: "\n") + "\n"
  }

  /// One object.
  package var json: String {
    let rungs = ladder.rungs.map { rung in
      ReportValue.object(
        [
          Field("name", .string(rung.kind.rawValue)), Field("bytes", .number(rung.bytes)),
          Field("part-of-file", .bool(rung.kind.isPart)),
          Field("meaning", .string(rung.meaning)),
        ] + (rung.remedy.map { [Field("remedy", .string($0.shell()))] } ?? []))
    }
    return ReportValue.object([
      Field("rungs", .array(rungs)), Field("notes", .array(remarks.map { .string($0) })),
    ]).json() + "\n"
  }
}
