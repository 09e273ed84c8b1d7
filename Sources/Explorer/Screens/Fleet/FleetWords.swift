// What is said of one image of a fleet, in sentences: everything that its row knows, the worst first.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

struct FleetWords {
  let row: FleetRow
  /// Images with the same parent.
  let sharing: Int?

  /// Paragraphs, the most important ones first.
  var paragraphs: [(text: String, role: Role)] {
    var all: [(text: String, role: Role)] = []
    if let error = row.error { all.append((Escaping.human(error), .error)) }
    if let problem = row.chainProblem {
      all.append(("a layer is not open: " + Escaping.human(problem), .warning))
    }
    all += row.notes.map { (Escaping.human($0), .warning) }
    all += [health, disk, layers, file, space, end].compactMap { parts in
      let text = parts.compactMap { $0 }.joined(separator: "; ")
      return text.isEmpty ? nil : (text, .text)
    }
    return all
  }

  private func bytes(_ value: UInt64?) -> String { value.map(Notation.compact) ?? "?" }

  private var health: [String?] {
    [check] + [
      row.isDirty == true ? "marked as dirty" : nil, row.isCorrupt == true ? "marked as corrupt" : nil,
      row.isLocked ? "another program writes it" : nil, row.isEncrypted == true ? "encrypted" : nil,
    ]
  }

  private var check: String? {
    guard row.isImage else {
      return row.format.map { "format " + Escaping.human($0) + ", which has no check" }
    }
    guard row.verdict != .unchecked else {
      let reason = FleetText(row).reason
      // What is wrong stands in front already.
      return "not checked" + (reason.map { $0 == row.error ? "" : ": " + Escaping.human($0) } ?? "")
    }
    let found = [(row.check?.corruptions ?? 0, "error"), (row.check?.leaks ?? 0, "leak")].filter { $0.0 > 0 }
    return "check: "
      + (found.isEmpty
        ? "clean"
        : found.map { "\(Notation.grouped($0.0)) \(worded($0.0, $0.1))" }.joined(separator: ", "))
  }

  private var disk: [String?] {
    guard let size = row.virtualSize else { return [] }
    let parts = [
      row.mapped.map { bytes($0) + " mapped" }, row.zero.flatMap { $0 > 0 ? bytes($0) + " zero" : nil },
      row.compressed.flatMap { $0 > 0 ? bytes($0) + " compressed" : nil },
    ].compactMap { $0 }
    let form = row.version.map {
      "qcow2 v\($0), \(bytes(row.clusterSize)) clusters"
        + row.features.map { ", " + Escaping.human($0) }.joined()
    }
    return ["disk of \(bytes(size))" + (parts.isEmpty ? "" : ": " + parts.joined(separator: ", ")), form]
  }

  private var file: [String?] {
    [
      row.bytes.map { "file of \(bytes($0)), \(bytes(row.hostBytes)) on the host" },
      row.dataFile.map { "its data in \(Escaping.human($0)), \(bytes(row.dataHostBytes)) on the host" },
    ]
  }

  private var space: [String?] {
    let back = row.reclaimable.map { all in
      "could be given back: " + bytes(all)
        + (all == 0
          ? ""
          : " (\(bytes(row.leaked)) leaked, \(bytes(row.freeInside)) free inside, \(bytes(row.freeAtEnd)) at the end)")
    }
    let order = row.fragmented.map { percent in
      "fragmentation \(Notation.decimals(percent, 2))%"
        + (row.runs.map { ", \(counted($0, "run")), \(row.bestRuns.map { "\($0)" } ?? "?") at best" } ?? "")
    }
    return [back, order]
  }

  private var layers: [String?] {
    let parent = row.parent.map { path in
      let others =
        sharing.map { $0 > 1 ? ", the parent of \(Notation.grouped(UInt64($0))) of these" : "" } ?? ""
      return "above \(Escaping.human(path))\(others)"
        + (row.chain.count > 1 ? ", \(counted(row.chain.count, "layer")) below" : "")
    }
    let snapshots = row.snapshots.flatMap { count in
      count > 0
        ? "\(counted(count, "snapshot")), which \(count == 1 ? "has" : "have") \(bytes(row.snapshotBytes)) alone"
        : nil
    }
    return [parent, snapshots]
  }

  private var end: [String?] {
    [
      row.modified.map { "changed \(FleetColumn.time($0))" },
      row.format == nil ? nil : "looked at in \(Notation.decimals(row.seconds, 3)) s",
    ]
  }
}
