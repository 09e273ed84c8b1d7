// The figures of fragmentation as records: the lines of `qatlas frag`, its JSON, and the words and numbers
// of the fragmentation screen all come from here.

package import Cartography
import QcowFormat
import Qcow
import Storage

/// The texts of one image's fragmentation.
package struct FragText {
  private let words: FragmentationWords
  private var fragmentation: Fragmentation { words.fragmentation }

  /// The texts of complete figures.
  package init(_ fragmentation: Fragmentation) { words = FragmentationWords(fragmentation) }

  /// One line, or one object of JSON.
  struct Record {
    /// "all", "standard", "compressed"; empty for what has nothing to do with the choice.
    var section = ""
    var name: String
    var fields: [Field]
    /// Several records have this name; in JSON they make a list.
    var isListed = false
  }

  // MARK: Records

  /// The choices that say something different from each other.
  var choices: [ClusterChoice] { fragmentation.hasCompressed ? ClusterChoice.allCases : [.all] }

  private func records(_ choices: [ClusterChoice]) -> [Record] {
    var records = [disk]
    for choice in choices { records += self.records(choice) }
    records += [free, check]
    if let reason = fragmentation.partialReason {
      records.append(Record(name: "note", fields: [Field("text", .string(reason))], isListed: true))
    }
    if fragmentation.hasCompressed {
      records.append(
        Record(name: "note", fields: [Field("text", .string(Self.compressedNote))], isListed: true))
    }
    return records
  }

  /// What has to be said of the percentage of `qemu-img check`.
  static let compressedNote =
    "compressed clusters always count as fragmented in qemu-img check; that part is not a problem"

  private var disk: Record {
    Record(
      name: "disk",
      fields: [
        Field("size", .number(fragmentation.virtualSize)),
        Field("cluster size", .number(fragmentation.clusterSize)),
        Field("allocated", .number(fragmentation.all.clusters)),
        Field("standard", .number(fragmentation.standard.clusters)),
        Field("compressed", .number(fragmentation.compressed.clusters)),
      ])
  }

  private func records(_ choice: ClusterChoice) -> [Record] {
    let figures = fragmentation.figures(choice)
    func record(_ name: String, _ fields: [Field], listed: Bool = false) -> Record {
      Record(section: choice.rawValue, name: name, fields: fields, isListed: listed)
    }
    func runs(_ lengths: RunLengths) -> [Field] {
      [
        Field("runs", .number(lengths.count)), Field("best possible", .number(figures.bestPossible)),
        Field("mean", .decimal(lengths.mean, places: 1)),
        Field("median", .decimal(lengths.median, places: 1)),
        Field("longest", .number(lengths.longest)),
      ]
    }
    func jumps(_ jumps: Jumps) -> [Field] {
      [
        Field("count", .number(jumps.count)),
        Field("mean distance", .number(FragmentationWords.bytes(jumps.mean))),
      ]
    }
    var records = [record("guest order", runs(figures.runs))]
    if fragmentation.knowsHostOrder { records.append(record("host order", runs(figures.hostRuns))) }
    for bucket in figures.runs.buckets {
      records.append(
        record(
          "run lengths",
          [
            Field("length", .string(bucket.label)), Field("runs", .number(bucket.runs)),
            Field("clusters", .number(bucket.clusters)),
            Field(
              "percent",
              .decimal(FragmentationWords.percent(bucket.clusters, of: figures.clusters), places: 1)),
          ], listed: true))
    }
    records.append(
      record(
        "shifts",
        [
          Field("runs", .number(figures.shiftRuns)), Field("different", .number(figures.shifts.distinct)),
          Field("exact", .bool(figures.shifts.isExact)),
        ]))
    for entry in figures.shifts.top(FragmentationWords.shownShifts) {
      records.append(
        record(
          "most common shifts",
          [
            Field("shift", .signed(entry.shift)), Field("clusters", .number(entry.clusters)),
            Field(
              "percent", .decimal(FragmentationWords.percent(entry.clusters, of: figures.clusters), places: 1)
            ),
          ] + (entry.error > 0 ? [Field("too high by up to", .number(entry.error))] : []), listed: true))
    }
    records.append(record("jumps forward", jumps(figures.forward)))
    records.append(record("jumps backward", jumps(figures.backward)))
    if fragmentation.knowsHostOrder && !fragmentation.hasExternalData {
      records.append(record("jumps over tables", jumps(figures.overMetadata)))
    }
    for cost in figures.reads {
      records.append(
        record(
          "sequential reads",
          [
            Field("request", .number(cost.requestSize)), Field("requests", .number(cost.requests)),
            Field("host reads", .number(cost.hostReads)), Field("extra", .number(cost.extra)),
            Field("avoidable", .number(cost.avoidable)),
          ], listed: true))
    }
    for group in words.worst(choice, limit: FragmentationWords.shownRegions) {
      let rewrite = words.rewrite(group)
      records.append(
        record(
          "worst regions",
          [
            Field("guest", .offset(group.range.lowerBound * fragmentation.clusterSize)),
            Field("length", .number(UInt64(group.range.count) * fragmentation.clusterSize)),
            Field("clusters", .number(group.total.clusters)), Field("runs", .number(rewrite.runsBefore)),
            Field("best possible", .number(rewrite.runsAfter)),
            Field("rewriting needs", .number(rewrite.needed * fragmentation.clusterSize)),
            Field("file grows by", .number(rewrite.growth * fragmentation.clusterSize)),
          ], listed: true))
    }
    return records
  }

  private var free: Record {
    let free = fragmentation.free
    return Record(
      name: "free space",
      fields: [
        Field("clusters", .number(free.clusters)), Field("runs", .number(free.runs)),
        Field("mean", .decimal(free.mean, places: 1)), Field("largest", .number(free.largest)),
        Field("largest at host", .offset(free.largestStart * fragmentation.clusterSize)),
      ])
  }

  private var check: Record {
    let tally = fragmentation.tally
    return Record(
      name: "qemu-img check",
      fields: [
        Field("allocated", .number(tally.allocated)), Field("fragmented", .number(tally.fragmented)),
        Field("compressed", .number(tally.compressed)),
        Field("percent fragmented", .decimal(tally.percentage, places: 2)),
        Field("without compressed", .decimal(tally.percentageWithoutCompressed, places: 2)),
      ])
  }

  // MARK: Printing

  /// One record per line.
  package var human: String {
    records(choices).map { record in
      let head = record.section.isEmpty ? record.name : record.section + "  " + record.name
      return head + "  " + ReportValue.object(record.fields).humanLine + "\n"
    }.joined()
  }

  /// One object with a member for every section; the choices are always all there.
  package var json: String {
    var sections: [(name: String, members: [(name: String, objects: [ReportValue], isListed: Bool)])] = []
    for record in records(ClusterChoice.allCases) {
      let object = ReportValue.object(record.fields.map { Field(Self.key($0.name), $0.value) })
      // What stands outside of the choices is a section of its own.
      let section = sections.firstIndex { $0.name == record.section } ?? sections.count
      if section == sections.count { sections.append((record.section, [])) }
      let key = Self.key(record.name)
      if let member = sections[section].members.firstIndex(where: { $0.name == key }) {
        sections[section].members[member].objects.append(object)
      } else {
        sections[section].members.append((key, [object], record.isListed))
      }
    }
    var text = ""
    var stream = ReportStream(json: true) { text += $0 }
    stream.open("{")
    for section in sections {
      if !section.name.isEmpty { stream.open("{\n  ", section.name, between: ",\n  ") }
      for member in section.members {
        stream.add(member.name, member.isListed ? .array(member.objects) : member.objects[0])
      }
      if !section.name.isEmpty { stream.close("}") }
    }
    stream.close("}\n")
    return text
  }

  /// Names of JSON members have hyphens where those for people have blanks.
  private static func key(_ name: String) -> String { String(name.map { $0 == " " ? "-" : $0 }) }

}
