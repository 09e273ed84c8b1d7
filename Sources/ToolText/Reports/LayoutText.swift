// The whole file as `qatlas layout` prints it: runs of clusters alike in role, health, users and refcount
// with the owner of the first one, then the totals and the legends of both maps. Memory does not grow
// with the runs.

package import Cartography
import Qcow
import QcowFormat
import Storage

/// Prints the host side of an image whose atlas is complete.
package struct LayoutText {
  private let atlas: Atlas
  /// Looks up owners; for badly scattered images that costs time.
  private let showsOwners: Bool
  private let showsRuns: Bool
  private let owners: Owners
  private let figures: FileLayout
  private var stream: ReportStream

  /// Prints to `output`, in pieces; the atlas is complete. Without `showsRuns` only what all of them add up to.
  package init(
    _ atlas: Atlas, json: Bool, showsOwners: Bool, showsRuns: Bool = true, output: @escaping (String) -> Void
  ) {
    self.atlas = atlas
    self.showsOwners = showsOwners
    self.showsRuns = showsRuns
    figures = FileLayout(atlas)
    stream = ReportStream(json: json, output: output)
    owners = Owners(atlas)
  }

  /// Prints everything.
  package mutating func write() {
    stream.open("{")
    if showsRuns { writeRuns() }
    writeTotals()
    let guest = atlas.totals.guest
    writeLegend("guest", GuestState.allCases.map { (Legend.guest($0), guest[$0]) }, "subclusters")
    writeParts()
    writeFreeRuns()
    writeEnd()
    stream.close("}\n")
  }

  // MARK: Runs

  private mutating func writeRuns() {
    stream.open("[", "runs")
    atlas.hostRuns { first, count, facts in
      guard facts.state == .bitmap else { return stream.record(record(first, count, facts)) }
      // Directory, tables and bits are different things in one row.
      var start = first
      for cluster in first..<first &+ count where cluster + 1 == first &+ count || !areAlike(cluster) {
        stream.record(record(start, cluster + 1 - start, facts))
        start = cluster + 1
      }
    }
    stream.close("]")
  }

  /// A cluster of the bitmaps and the next are the same part of the same bitmap.
  private func areAlike(_ cluster: UInt64) -> Bool {
    let parts = [cluster, cluster + 1].map { owners.bitmapPart(of: HostCluster($0)) }
    if case .bits(let one, _) = parts[0], case .bits(let other, _) = parts[1] { return one == other }
    return parts[0] == parts[1]
  }

  /// One run: clusters alike in role, health, users and refcount.
  private func record(_ first: UInt64, _ count: UInt64, _ facts: HostFacts) -> [Field] {
    let geometry = atlas.image.geometry
    let bits = UInt64(geometry.clusterBits)
    var fields = [
      Field("host", .offset(first << bits)), Field("length", .number(count << bits)),
      Field("clusters", .number(count)), Field("state", .string(Legend.host(facts.state).name)),
    ]
    guard facts.state != .free else { return fields }
    if facts.health != .sound { fields.append(Field("health", .string(facts.health.name))) }
    if facts.state == .vmState && facts.users == .disk {
      fields.append(Field("users", .string("left over")))
    } else if facts.users != .none, atlas.image.snapshots.count > 0 {
      fields.append(Field("users", .string(facts.users.name)))
    }
    fields.append(Field("refcount", .number(facts.refcount)))
    guard facts.state.isMetadata || showsOwners else { return fields }
    let list = owners.owners(of: HostCluster(first))
    if let guest = list.owners.lazy.compactMap(\.guest).first {
      fields.append(Field("guest", .offset(guest.value)))
    }
    if let owner = list.owners.first {
      let more = list.owners.count > 1 ? " and \(list.owners.count - 1) more" : ""
      fields.append(Field("text", .string(owner.text(snapshots: atlas.image.snapshots) + more)))
    }
    return fields
  }

  // MARK: Totals and legends

  private mutating func writeTotals() {
    let totals = atlas.totals
    let values: [(String, UInt64, isBytes: Bool)] =
      [
        ("file length", totals.fileLength, true), ("clusters", totals.fileClusters, false),
        ("host blocks", totals.hostBlocks, true), ("guest data", totals.guestData, true),
        ("data clusters", totals.dataClusterBytes, true), ("metadata", totals.metadata, true),
        ("free clusters", totals.freeClusters, false), ("free at the tail", totals.freeAtTail, false),
        ("largest free run", totals.largestFreeRun, false), ("image end", totals.imageEnd, true),
        ("leaked clusters", totals.leaked, false), ("bad clusters", totals.wrong, false),
        ("bad subclusters", totals.bad, false), ("uncounted clusters", totals.uncounted, false),
        ("clusters of the disk alone", totals.diskClusters, false),
        ("clusters shared with snapshots", totals.sharedClusters, false),
        ("clusters of snapshots alone", totals.snapshotClusters, false),
        ("VM state clusters", totals.host[.vmState], false),
        ("VM state clusters left over", totals.leftOverState, false),
      ]
      + [
        ("could be cut", figures.couldCut), ("could be freed", figures.couldFree),
        ("could be compacted", figures.couldCompact),
      ].compactMap { name, bytes in bytes.map { (name, $0, true) } }
    stream.add("totals", .object(values.map { Field($0.0, .number($0.1)) }))
    for value in values {
      stream.line("total  \(value.0) \(value.1)\(value.isBytes ? " (\(Notation.human(value.1)))" : "")")
    }
    for note in LayoutText.notes(totals) { stream.line("note  \(note)") }
    if let reason = atlas.partialReason { stream.line("note  \(Escaping.human(reason))") }
  }

  /// What the figures do not say by themselves.
  static func notes(_ totals: Totals) -> [String] {
    var notes: [String] = []
    if let staleness = totals.staleness { notes.append(staleness.text) }
    if totals.leftOverState > 0 {
      notes.append(
        "no snapshot has the VM state that is left over; the next snapshot with VM state frees it, and so does going back to a snapshot"
      )
    }
    return notes
  }

  /// What fills the file, by kind.
  private mutating func writeParts() {
    stream.open("[", "host")
    for part in figures.parts {
      let entry = Legend.host(part.state)
      let percent = figures.percent(part.bytes)
      stream.add(
        nil,
        .object([
          Field("glyph", .string(String(entry.letter))), Field("state", .string(entry.name)),
          Field("clusters", .number(part.clusters)), Field("bytes", .number(part.bytes)),
          Field("percent", .decimal(percent, places: 3)),
        ]))
      stream.line(
        "host  \(entry.letter)  \(entry.name)  \(part.clusters) clusters  \(part.bytes) bytes  "
          + Notation.decimals(percent, 1) + "%")
    }
    stream.close("]")
  }

  // MARK: Free rows and the end

  private mutating func writeFreeRuns() {
    let search = FreeRunSearch(atlas)
    Scheduler.finish(search)
    let geometry = atlas.image.geometry
    stream.open("[", "free runs")
    for run in search.runs {
      let start = geometry.start(of: HostCluster(run.lowerBound)).value
      let clusters = UInt64(run.count)
      stream.add(
        nil,
        .object([
          Field("host", .offset(start)), Field("clusters", .number(clusters)),
          Field("length", .number(clusters &* geometry.clusterSize)),
        ]))
      stream.line(
        "free run  host 0x\(Notation.hex(start))  \(clusters) clusters  "
          + Notation.human(clusters &* geometry.clusterSize))
    }
    stream.close("]")
  }

  /// Why the file ends where it does, and where it goes on.
  private mutating func writeEnd() {
    let geometry = atlas.image.geometry
    let last = figures.lastInUse(geometry)
    let owner = last.flatMap { owners.owners(of: $0).owners.first }?.text(snapshots: atlas.image.snapshots)
    let text = figures.endSentence(geometry, owner: owner)
    var fields: [Field] = []
    if let last { fields.append(Field("last in use", .offset(geometry.start(of: last).value))) }
    fields.append(Field("text", .string(text)))
    stream.add("end", .object(fields))
    stream.line("end  \(Escaping.human(text))")
    guard let next = atlas.nextCluster else { return }
    stream.add(
      "next cluster",
      .object([
        Field("host", .offset(geometry.start(of: next.cluster).value)),
        Field("behind the end", .bool(next.isBehindEnd)),
        Field("needs a refcount block", .bool(next.needsBlock)),
      ]))
    stream.line("next  \(next.sentence(geometry))")
  }

  private mutating func writeLegend(_ map: String, _ entries: [(LegendEntry, UInt64)], _ unit: String) {
    stream.open("[", map)
    for (entry, count) in entries where count > 0 {
      stream.add(
        nil,
        .object([
          Field("glyph", .string(String(entry.letter))), Field("state", .string(entry.name)),
          Field(unit, .number(count)),
        ]))
      stream.line("\(map)  \(entry.letter)  \(entry.name)  \(count) \(unit)")
    }
    stream.close("]")
  }
}
