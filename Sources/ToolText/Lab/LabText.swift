// What the lab found, as a table with one column per policy, as lines for spreadsheets, and as JSON.

package import Cartography
import Qcow

/// A finished run of the lab as text.
package struct LabText {
  private let lab: Lab

  package init(_ lab: Lab) { self.lab = lab }

  // MARK: For people

  /// A heading and one row per figure.
  package var human: String {
    let configuration = lab.configuration
    let seed =
      [.sequential, .boot, .reorder].contains(configuration.workload) ? "" : ", seed \(configuration.seed)"
    var rows = [[""] + lab.runs.map(\.policy.rawValue)]
    func add(_ name: String, _ value: (LabRun, LabSample) -> String) {
      rows.append([name] + lab.runs.map { value($0, $0.latest) })
    }
    add("image") { run, _ in run.isContiguous ? "contiguous" : "plain" }
    add("operations") { "\($1.operation)" }
    add("file length") { "\($1.fileLength)" }
    add("file length - virtual size") { Self.signed($1.fileLength, minus: configuration.size) }
    add("host bytes") { "\($1.hostBytes)" }
    add("table bytes") { "\($1.tableBytes)" }
    add("allocated clusters") { "\($1.clusters)" }
    add("runs") { "\($1.runs)" }
    add("best possible runs") { "\($1.bestPossible)" }
    add("clusters away from guest + shift") { "\($1.away)" }
    add("jumps") { "\($1.jumps)" }
    add("extra reads, sequential 1 MiB") { "\($1.extraReads)" }
    add("of them for lack of order") { "\($1.avoidableReads)" }
    add("clusters taken") { "\($1.taken)" }
    add("clusters given back") { "\($1.freed)" }
    let first = rows.map { $0[0].utf8.count }.max() ?? 0
    let widths = lab.runs.indices.map { column in rows.map { $0[column + 1].utf8.count }.max() ?? 0 }
    var text =
      "\(configuration.workload.rawValue)\(seed), \(lab.operation) operations, \(configuration.diskText)\n"
    for row in rows {
      text += row[0] + String(repeating: " ", count: first - row[0].utf8.count)
      for (cell, width) in zip(row.dropFirst(), widths) {
        text += "  " + String(repeating: " ", count: width - cell.utf8.count) + cell
      }
      text += "\n"
    }
    return text
  }

  /// "+131072", "-4096", "0".
  static func signed(_ value: UInt64, minus other: UInt64) -> String {
    value > other ? "+\(value - other)" : value < other ? "-\(other - value)" : "0"
  }

  // MARK: For programs

  /// The figures of one point, in the order of the columns.
  private static func fields(_ sample: LabSample) -> [Field] {
    [
      Field("operation", .number(UInt64(sample.operation))), Field("clusters", .number(sample.clusters)),
      Field("runs", .number(sample.runs)), Field("best-possible", .number(sample.bestPossible)),
      Field("at-common-shift", .number(sample.atCommonShift)), Field("away", .number(sample.away)),
      Field("jumps", .number(sample.jumps)), Field("extra-reads", .number(sample.extraReads)),
      Field("avoidable-reads", .number(sample.avoidableReads)),
      Field("file-length", .number(sample.fileLength)), Field("host-bytes", .number(sample.hostBytes)),
      Field("table-bytes", .number(sample.tableBytes)), Field("taken", .number(sample.taken)),
      Field("freed", .number(sample.freed)),
    ]
  }

  /// A line of names, then one line per point and policy; points of one time stand together.
  package var csv: String {
    var text = "policy," + Self.fields(LabSample()).map(\.name).joined(separator: ",") + "\n"
    for point in lab.runs.first?.samples.indices ?? 0..<0 {
      for run in lab.runs where point < run.samples.count {
        text += run.policy.rawValue
        for field in Self.fields(run.samples[point]) {
          if case .number(let value) = field.value { text += ",\(value)" }
        }
        text += "\n"
      }
    }
    return text
  }

  /// One object: what was run, and per policy all points and the figures at the end.
  package var json: String {
    let configuration = lab.configuration
    let head = [
      Field("workload", .string(configuration.workload.rawValue)), Field("seed", .number(configuration.seed)),
      Field("operations", .number(UInt64(lab.operation))), Field("size", .number(configuration.size)),
      Field("cluster-size", .number(configuration.clusterSize)),
      Field("extended-l2", .bool(configuration.extendedL2)),
      Field("backing", .bool(configuration.hasBacking)),
      Field("discard-granularity", .string(configuration.discardGranularity.rawValue)),
    ]
    var text = ""
    var stream = ReportStream(json: true) { text += $0 }
    stream.open("{")
    stream.add("run", .object(head))
    stream.open("[\n", "policies")
    for run in lab.runs {
      var about = [
        Field("policy", .string(run.policy.rawValue)), Field("contiguous", .bool(run.isContiguous)),
      ]
      if let shift = run.map.shift { about.append(Field("shift", .number(shift))) }
      stream.open("{")
      stream.add("image", .object(about))
      stream.add("end", .object(Self.fields(run.latest)))
      stream.open("[\n", "samples")
      for sample in run.samples { stream.record(Self.fields(sample)) }
      stream.close("]")
      stream.close("}")
    }
    stream.close("]")
    stream.close("}\n")
    return text
  }
}
