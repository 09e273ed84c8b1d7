// The whole file as `qatlas layout` prints it: runs of clusters in the same state with the owner of
// the first one, then the totals and the legends of both maps. Memory does not grow with the runs.

package import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// Prints the host side of an image whose atlas is complete.
package struct LayoutText {
  let atlas: Atlas
  let isJSON: Bool
  /// Looks up owners; for badly scattered images that costs time.
  let showsOwners: Bool
  let output: (String) -> Void
  private let owners: Owners

  package init(_ atlas: Atlas, json: Bool, showsOwners: Bool, output: @escaping (String) -> Void) {
    self.atlas = atlas
    isJSON = json
    self.showsOwners = showsOwners
    self.output = output
    owners = Owners(atlas)
  }

  package func write() {
    if isJSON { output("{\"runs\": [") }
    var isFirst = true
    runs { first, count, state in
      let fields = record(first, count, state)
      if isJSON {
        output((isFirst ? "" : ",\n") + Field.json(fields))
      } else {
        output(Field.human(fields) + "\n")
      }
      isFirst = false
    }
    if isJSON { output("],\n\"totals\": ") }
    writeTotals()
    if isJSON { output(",\n\"guest\": [") }
    let guest = atlas.totals.guest
    writeLegend("guest", GuestState.allCases.map { (Legend.guest($0), guest[$0]) }, "subclusters")
    if isJSON { output("],\n\"host\": [") }
    let host = atlas.totals.host
    writeLegend("host", HostState.allCases.map { (Legend.host($0), host[$0]) }, "clusters")
    if isJSON { output("]}\n") }
  }

  // MARK: Runs

  /// Clusters asked for in one step.
  private static let stride: UInt64 = 1 << 16

  /// Calls `body` for every run of the file, and for damage behind its end.
  private func runs(_ body: (_ first: UInt64, _ count: UInt64, _ state: HostState) -> Void) {
    var current: (first: UInt64, count: UInt64, state: HostState)?
    func add(_ first: UInt64, _ count: UInt64, _ state: HostState) {
      if let run = current, run.state == state, run.first + run.count == first {
        current = (run.first, run.count + count, state)
        return
      }
      if let run = current { body(run.first, run.count, run.state) }
      current = (first, count, state)
    }
    let end = atlas.fileClusters
    var at: UInt64 = 0
    while at < end {
      let count = min(Self.stride, end - at)
      let counts = atlas.hostCounts(clusters: at..<at + count)
      if let state = counts.dominant, counts[state] == count {
        add(at, count, state)
      } else {
        for (number, cell) in atlas.hostCells(first: at, cellClustersLog2: 0, count: Int(count)).enumerated()
        {
          add(at + UInt64(number), 1, cell.state)
        }
      }
      at += count
    }
    addDamage(behind: end, add)
    if let run = current { body(run.first, run.count, run.state) }
  }

  /// Wrong clusters behind the end of the file, up to a bound.
  private func addDamage(behind end: UInt64, _ add: (UInt64, UInt64, HostState) -> Void) {
    var at = end
    for _ in 0..<4096 {
      guard at > 0, let next = atlas.nextHost(.wrong, from: at - 1, forward: true), next >= at else { return }
      add(next, 1, .wrong)
      at = next + 1
    }
  }

  private func record(_ first: UInt64, _ count: UInt64, _ state: HostState) -> [Field] {
    let geometry = atlas.image.geometry
    let bits = UInt64(geometry.clusterBits)
    var fields = [
      Field("host", .offset(first << bits)), Field("length", .number(count << bits)),
      Field("clusters", .number(count)), Field("state", .text(Legend.host(state).name)),
    ]
    guard state != .free, state != .pastEnd else { return fields }
    let isFew = state.isMetadata || showsOwners
    guard isFew else { return fields }
    let list = owners.owners(of: HostCluster(first))
    if let refcount = list.refcount { fields.append(Field("refcount", .number(refcount))) }
    if let guest = list.owners.lazy.compactMap(\.guest).first {
      fields.append(Field("guest", .offset(guest.value)))
    }
    if let owner = list.owners.first {
      let more = list.owners.count > 1 ? " and \(list.owners.count - 1) more" : ""
      fields.append(Field("text", .text(owner.text(snapshots: atlas.image.snapshots) + more)))
    }
    return fields
  }

  // MARK: Totals and legends

  private func writeTotals() {
    let totals = atlas.totals
    let values: [(String, UInt64, isBytes: Bool)] = [
      ("file length", totals.fileLength, true), ("clusters", totals.fileClusters, false),
      ("host blocks", totals.hostBlocks, true), ("guest data", totals.guestData, true),
      ("data clusters", totals.dataClusterBytes, true), ("metadata", totals.metadata, true),
      ("free clusters", totals.freeClusters, false), ("free at the tail", totals.freeAtTail, false),
      ("largest free run", totals.largestFreeRun, false), ("image end", totals.imageEnd, true),
      ("leaked clusters", totals.leaked, false), ("bad clusters", totals.wrong, false),
      ("bad subclusters", totals.bad, false),
    ]
    if isJSON {
      output(Field.json(values.map { Field($0.0, .number($0.1)) }))
    } else {
      for value in values {
        output("total  \(value.0) \(value.1)\(value.isBytes ? " (\(Notation.human(value.1)))" : "")\n")
      }
      if let reason = atlas.partialReason { output("note  \(Escaping.human(reason))\n") }
    }
  }

  private func writeLegend(_ map: String, _ entries: [(LegendEntry, UInt64)], _ unit: String) {
    var isFirst = true
    for (entry, count) in entries where count > 0 {
      if isJSON {
        let fields = [
          Field("glyph", .text(String(entry.glyph.ascii))), Field("state", .text(entry.name)),
          Field(unit, .number(count)),
        ]
        output((isFirst ? "" : ",\n") + Field.json(fields))
        isFirst = false
      } else {
        output("\(map)  \(entry.glyph.ascii)  \(entry.name)  \(count) \(unit)\n")
      }
    }
  }
}
