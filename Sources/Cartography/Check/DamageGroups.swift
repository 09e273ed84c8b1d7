// Collects the findings and notes of a check into groups. What is kept of them is bounded; all are counted.

package import Qcow
package import QcowFormat

/// The groups of one check.
package struct DamageGroups: Sendable {
  private let geometry: Geometry
  private var groups: [DamagePattern: DamageGroup] = [:]
  private var others: [DamageGroup] = []
  /// What a repair would do, in the words of the check; nil if there is nothing to say.
  package private(set) var forecast: RepairForecast?
  /// What leaked clusters hold; nil if they hold nothing, or before that is known.
  package private(set) var leakedData: LeakedData?
  /// It is known what leaked clusters hold.
  package private(set) var knowsLeaks = false

  /// Groups of the findings on an image of this geometry.
  package init(_ geometry: Geometry) { self.geometry = geometry }

  /// The groups, the worst first: errors, then leaks, then what is only said besides.
  package var sorted: [DamageGroup] {
    groups.values.sorted { ($0.severity.rank, $0.pattern) < ($1.severity.rank, $1.pattern) } + others
  }

  /// Takes a finding.
  package mutating func add(_ finding: CheckFinding) {
    let severity: DamageSeverity =
      switch finding.severity {
      case .corruption: .error
      case .leak: .leak
      case .checkError: .checkError
      case .remark: .note
      }
    let pattern = DamagePattern(finding)
    var group = groups.removeValue(forKey: pattern) ?? DamageGroup(pattern, severity)
    if severity == .error { group.severity = .error }
    group.add(finding, geometry)
    groups[pattern] = group
  }

  /// Takes a note.
  package mutating func add(_ note: CheckNote) {
    if case .repair(let forecast) = note { return self.forecast = forecast }
    if case .leakedData(let data) = note { leakedData = data }
    let pattern = DamagePattern(note)
    guard pattern != .note else {
      var group = DamageGroup(.note, .note)
      group.add(note)
      return others.append(group)
    }
    // What leaked clusters hold is said of the leaks themselves.
    guard pattern != .leakedData else { return }
    var group = groups.removeValue(forKey: pattern) ?? DamageGroup(pattern, .note)
    group.add(note)
    groups[pattern] = group
  }

  /// Tells leaks that hold data apart from others, behind the last finding and note. `holdsData` says which do.
  package mutating func sortLeaks(_ holdsData: (HostCluster) -> Bool) {
    knowsLeaks = true
    guard let data = leakedData else { return }
    var (full, empty) = (DamageGroup(.leakedData, .leak), DamageGroup(.leaked, .leak))
    var streams = DamageGroup(.overcounted, .leak)
    let all = (groups[.leaked]?.count ?? 0, groups[.overcounted]?.count ?? 0)
    for pattern in [DamagePattern.leaked, .overcounted] {
      for finding in groups.removeValue(forKey: pattern)?.findings ?? [] {
        guard case .refcountWrong(let number, _, let references) = finding.kind else { continue }
        if holdsData(HostCluster(number)) {
          full.add(finding, geometry)
        } else if references == 0 {
          empty.add(finding, geometry)
        } else {
          streams.add(finding, geometry)
        }
      }
    }
    // Only some findings are kept; the numbers are those of all of them.
    let kept = min(data.clusters, all.0 + all.1)
    full.count = kept
    if all.1 > 0 { streams.count = min(all.1, all.0 + all.1 - kept) }
    empty.count = all.0 + all.1 - kept - streams.count
    for var group in [full, empty, streams] where group.count > 0 {
      group.remedies = [.freed: group.count]
      groups[group.pattern] = group
    }
  }
}
