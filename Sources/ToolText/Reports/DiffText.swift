// What `qatlas diff` prints: where two states of an image, or two images, are mapped otherwise, one record per range.

package import Cartography
import QcowFormat

/// A difference as text or JSON.
package struct DiffText {
  private let difference: SceneDifference
  private let clusterSize: UInt64

  /// The difference of two scenes with clusters of so many bytes.
  package init(_ difference: SceneDifference, clusterSize: UInt64) {
    self.difference = difference
    self.clusterSize = clusterSize
  }

  /// Prints it, for people or as one JSON object.
  package func write(json: Bool, output: @escaping (String) -> Void) {
    var stream = ReportStream(json: json, output: output)
    stream.open("{")
    stream.open("[", "header")
    for field in difference.header {
      let record = ReportValue.object([
        Field("field", .string(field.name)), Field("before", .string(field.before)),
        Field("after", .string(field.after)),
      ])
      stream.add(nil, record)
      stream.line(
        "header  \(Escaping.human(field.name)): \(Escaping.human(field.before)) -> \(Escaping.human(field.after))"
      )
    }
    stream.close("]")
    ranges("guest", difference.guest, &stream)
    ranges("host", difference.host, &stream)
    indices("l1", difference.l1, &stream)
    indices("refcount-table", difference.refcountTable, &stream)
    if let reason = difference.partialReason {
      stream.add("partial", .string(reason))
      stream.line("note  there may be more: \(Escaping.human(reason))")
    }
    if difference.isEmpty { stream.line("nothing is mapped otherwise") }
    stream.close("}\n")
  }

  private func ranges(_ name: String, _ ranges: [Range<UInt64>], _ stream: inout ReportStream) {
    stream.open("[", name)
    for range in ranges {
      let record = ReportValue.object([
        Field("start", .offset(range.lowerBound &* clusterSize)),
        Field("bytes", .number(UInt64(range.count) &* clusterSize)),
        Field("clusters", .number(UInt64(range.count))),
      ])
      stream.add(nil, record)
      stream.line(name + "  " + record.humanLine)
    }
    stream.close("]")
  }

  private func indices(_ name: String, _ indices: [Int], _ stream: inout ReportStream) {
    stream.open("[", name)
    for index in indices {
      stream.add(nil, .number(UInt64(index)))
      stream.line("\(name)  entry \(index)")
    }
    stream.close("]")
  }
}
