// The words for what a check finds: what each kind of damage is, what it means for the guest's data, what a repair does
// about it. The screen and the reports say the same.

package import Cartography
import Qcow
import QcowFormat
import Storage

/// Words for groups of findings.
package enum DamageText {
  /// What is wrong, as a clause without a number.
  package static func title(_ group: DamageGroup, knowsLeaks: Bool = true) -> String {
    switch group.pattern {
    case .shared: "one cluster belongs to several"
    case .pastEnd: "points behind the end of the file"
    case .table: "damaged L1 entry"
    case .entry: "damaged L2 entry"
    case .unreadable: "cannot be read"
    case .counts: "refcount table or block is damaged"
    case .tooLow: "refcount too low"
    case .tooMany: "more owners than a refcount can count"
    case .snapshots: "snapshot table is damaged"
    case .flags: "COPIED flag is wrong"
    case .leakedData: "leaked, and holds data"
    case .leaked: knowsLeaks ? "leaked, and empty" : "leaked; not looked yet what it holds"
    case .overcounted: "refcount too high"
    case .note: group.notes.first.map { sentenceStart(CheckText.text(of: $0)) } ?? ""
    }
  }

  private static func sentenceStart(_ text: String) -> String {
    String(text.prefix { $0 != ":" && $0 != ";" })
  }

  /// What it means for the data of the guest, as sentences.
  package static func meaning(_ group: DamageGroup, _ groups: DamageGroups) -> String {
    switch group.pattern {
    case .shared:
      "Two structures use the same bytes, so that at least one of them has lost its own, and a write to one may "
        + "change the other. Do not write before one of them has been copied away."
    case .pastEnd:
      "The file ends before the place that is named: it was cut short, or the entry is damaged. What the guest reads "
        + "there are not its bytes."
    case .table:
      "An entry of an L1 table is damaged. All of its part of the disk may be mapped to wrong places."
    case .entry:
      "Entries of an L2 table are damaged. The guest gets errors or wrong bytes for these clusters."
    case .unreadable: "The check could not read it. Nothing is known of what lies behind it."
    case .counts:
      "A part of the refcounts cannot be trusted. If nothing was written since, all reads as before; the next write "
        + "may take clusters that are in use, and their data is lost."
    case .tooLow:
      "These clusters are used more often than they are counted. If nothing was written since, they read as before; "
        + "the next write may take their place, or change what a snapshot shares, and their data is lost."
    case .tooMany:
      "The cluster has more owners than its refcount can say. Taking one away may free it too early."
    case .snapshots:
      "The table of snapshots, or an entry of it, is damaged. The disk as it is now reads as before; snapshots may not."
    case .flags:
      "The flag that allows writing in place does not fit the refcount. Set where others share the cluster, a write "
        + "changes their data; not set, a write only copies."
    case .leakedData: lost(groups.leakedData)
    case .leaked:
      groups.knowsLeaks
        ? "Nothing points to these clusters and they hold no data: they only take room."
        : "Nothing points to these clusters. They are looked at last: they may be the last copy of lost data."
    case .overcounted:
      "These clusters are counted more often than they are used. Writes copy them without need, and they are never "
        + "given back; no data is concerned."
    case .note: group.notes.map { sentence(CheckText.text(of: $0)) }.joined(separator: " ")
    }
  }

  private static func sentence(_ clause: String) -> String {
    clause.prefix(1).uppercased() + clause.dropFirst() + "."
  }

  private static func lost(_ data: LeakedData?) -> String {
    guard let data else { return "Nothing points to these clusters, and they hold data." }
    return sentence(data.description)
  }

  /// What the findings of a group have in common, as a sentence; nil if that is nothing.
  package static func pattern(_ group: DamageGroup, _ groups: DamageGroups) -> String? {
    if group.pattern == .leakedData, let data = groups.leakedData {
      switch data.hint {
      case .missingTable:
        return
          "A lost L2 table: one of these clusters reads like one, and a part of the disk has none. This is no "
          + "litter of a crash. Giving them back would destroy the only copy."
      case .neighbours, .strayBits:
        return
          "Lost entries: the clusters lie between those of a part of the disk that has no entries for them, or damaged "
          + "ones."
      case .emptyTable:
        return
          "In front of them lies an L2 table that is in use and has no entry: many of them may be what it led to, a "
          + "single one may be a write that was cut off."
      case .noTable: return "A part of the disk has no L2 table, and these clusters may have been its data."
      case .unknown: return nil
      }
    }
    switch group.table {
    case .l2(let l1Index, let snapshot) where group.count > 8 && [.entry, .pastEnd].contains(group.pattern):
      let of = snapshot.map { " of snapshot \($0)" } ?? ""
      return "All \(group.count) lie in the L2 table of L1[\(l1Index)]\(of): it may have been overwritten."
    case .refcountBlock(let index) where group.count > 8:
      return "All \(group.count) are counted in refcount block \(index)."
    default: return nil
    }
  }

  /// The word of a repair that does something about a group: "leaks", "all", "(!)" for what it leaves alone because
  /// it may be data, "--" if it does nothing.
  package static func remedyWord(_ group: DamageGroup) -> String {
    if group.pattern == .leakedData { return "(!)" }
    if group.remedies[.freed, default: 0] > 0 { return RepairScope.leaks.rawValue }
    if group.remedies.contains(where: { $0.key != .stays && $0.value > 0 }) {
      return RepairScope.all.rawValue
    }
    return "--"
  }

  /// What a repair does about a group, as a sentence; nil for groups of notes.
  package static func remedy(_ group: DamageGroup) -> String? {
    guard group.findings.count > 0 else { return nil }
    if group.pattern == .leakedData {
      return "No repair touches them unless it is told to give them up: --drop-leaks, and the data is gone."
    }
    let count = group.remedies
    var parts: [String] = []
    if let set = count[.set] { parts.append("sets \(counted(set, "value")) to what the references say") }
    if let mended = count[.mended] { parts.append("writes \(counted(mended, "entry", "entries")) anew") }
    if let freed = count[.freed] {
      parts.append(
        group.pattern == .overcounted
          ? "lowers \(counted(freed, "count"))" : "gives \(counted(freed, "cluster")) back")
    }
    guard !parts.isEmpty else { return "No repair mends this." }
    let scope = count[.freed] == nil ? "A repair of all" : "A repair of leaks, and one of all,"
    let left = count[.stays].map { "; \(counted($0, "finding")) stay\($0 == 1 ? "s" : "") as before" } ?? ""
    return "\(scope) \(parts.joined(separator: " and "))\(left)."
  }

  /// "guest 0x30000 to 0x3ffff and more"; empty if no part of the disk is concerned.
  package static func guests(_ group: DamageGroup) -> String {
    words(
      group.guests.first.map { ($0.lowerBound.value, $0.upperBound.value) }, group.guests.isMore, "guest ")
  }

  /// The same for clusters of the file.
  package static func hosts(_ group: DamageGroup) -> String {
    words(group.hosts.first.map { ($0.lowerBound.value, $0.upperBound.value) }, group.hosts.isMore, "host ")
  }

  private static func words(_ ranges: [(UInt64, UInt64)], _ isMore: Bool, _ side: String) -> String {
    guard !ranges.isEmpty else { return "" }
    let parts = ranges.map { "0x\(Notation.hex($0.0)) to 0x\(Notation.hex($0.1 &- 1))" }
    return side + parts.joined(separator: ", ") + (isMore ? " and more" : "")
  }

  /// The same damage in the report for programs.
  package static func report(_ groups: DamageGroups) -> ReportValue {
    .array(
      groups.sorted.map { group in
        var members: [Field] = [
          .init("what", .string(title(group, knowsLeaks: groups.knowsLeaks))),
          .init("severity", .string(group.severity.rawValue)), .init("count", .number(group.count)),
          .init("meaning", .string(meaning(group, groups))),
        ]
        if let text = pattern(group, groups) { members.append(.init("pattern", .string(text))) }
        if let text = remedy(group) { members.append(.init("repair", .string(text))) }
        func ranges(_ name: String, _ list: [(UInt64, UInt64)], _ isMore: Bool) {
          guard !list.isEmpty else { return }
          members.append(
            .init(
              name,
              .array(
                list.map {
                  .object([.init("offset", .number($0.0)), .init("length", .number($0.1 - $0.0))])
                })))
          if isMore { members.append(.init("more-" + name, .bool(true))) }
        }
        ranges(
          "guest-ranges", group.guests.first.map { ($0.lowerBound.value, $0.upperBound.value) },
          group.guests.isMore)
        ranges(
          "host-ranges", group.hosts.first.map { ($0.lowerBound.value, $0.upperBound.value) },
          group.hosts.isMore)
        return .object(members)
      })
  }

  /// The groups as lines for people, one each; empty without any.
  package static func human(_ groups: DamageGroups) -> String {
    groups.sorted.filter { $0.pattern != .note }.map { group in
      let places = [hosts(group), guests(group)].filter { !$0.isEmpty }.joined(separator: ", ")
      let sentences = [pattern(group, groups), meaning(group, groups), remedy(group)].compactMap { $0 }
      return
        "group: \(group.severity.rawValue), \(group.count) x \(title(group, knowsLeaks: groups.knowsLeaks))"
        + (places.isEmpty ? "" : " (\(places))") + ". " + sentences.joined(separator: " ") + "\n"
    }.joined()
  }
}
