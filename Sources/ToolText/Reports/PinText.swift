// What `qatlas pin` says: where the clusters of a pinned image have their places, and exactly which of
// them are elsewhere.

import Cartography
package import Qcow
package import QcowFormat
import Storage

/// A look at the places of an image's clusters, for people and for programs.
package struct PinText {
  private let name: String
  private let report: PlacesReport
  private let geometry: Geometry

  package init(_ name: String, _ report: PlacesReport, _ geometry: Geometry) {
    self.name = name
    self.report = report
    self.geometry = geometry
  }

  private func hex(_ value: UInt64) -> String { "0x" + Notation.hex(value) }

  private func clusters(_ count: UInt64) -> String { counted(count, "cluster") }

  /// Lines for people: where the places are, and what is elsewhere.
  package var human: String {
    var text = "places: guest offset + \(hex(report.shift))\n"
    if report.mapped == 0 {
      text += "no cluster is mapped yet\n"
    } else if report.moved == 0 {
      text += worded(
        report.mapped, "the one mapped cluster is at its place\n",
        "all \(report.mapped) mapped clusters are at their places\n")
    } else {
      text +=
        "\(report.moved) of \(counted(report.mapped, "mapped cluster")) \(worded(report.moved, "is", "are")) elsewhere:\n"
      for run in report.runs {
        text +=
          "  guest \(hex(run.guest.value)), \(clusters(run.clusters.value)) at host \(hex(run.host.value))"
          + " instead of \(hex(run.guest.value &+ report.shift))\n"
      }
      if report.runCount > UInt64(report.runs.count) {
        text += "  and \(counted(report.runCount - UInt64(report.runs.count), "more run"))\n"
      }
      text += "'qatlas pin --restore \(Escaping.human(name))' puts them back\n"
    }
    if report.compressed > 0 { text += "\(clusters(report.compressed)) compressed, without a place\n" }
    if report.taken > 0 {
      text += "\(clusters(report.taken)) not mapped yet cannot get their places, somebody else is there\n"
    }
    return text
  }

  /// The same as one object.
  package var json: String {
    let runs = report.runs.map { run in
      ReportValue.object([
        .init("guest", .number(run.guest.value)), .init("host", .number(run.host.value)),
        .init("place", .number(run.guest.value &+ report.shift)),
        .init("clusters", .number(run.clusters.value)),
      ])
    }
    return ReportValue.object([
      .init("shift", .number(report.shift)), .init("cluster-size", .number(geometry.clusterSize)),
      .init("in-place", .number(report.inPlace)), .init("moved", .number(report.moved)),
      .init("moved-run-count", .number(report.runCount)), .init("moved-runs", .array(runs)),
      .init("compressed", .number(report.compressed)), .init("taken", .number(report.taken)),
    ]).json() + "\n"
  }

  /// What a writer should know before it writes to an image that another program has written to.
  package static func warning(_ image: Image, _ name: String) -> String? {
    guard case .unverified = image.pinState, image.policy == .pinned else { return nil }
    return
      "qatlas: warning: another program has written to this pinned image; 'qatlas pin \(Escaping.human(name))' says which clusters moved\n"
  }
}
