// Tab in the command line: candidates for the word before the cursor, from the command table.
// Words that only the image or the host knows come in through one closure.

import Cartography
package import CellScreen
import Qcow

package enum CommandCompletion {
  /// Completes the word before `cursor` of a line.
  ///
  /// `files` lists the names that begin with a prefix; it is asked only for file arguments.
  package static func complete(
    _ line: String, cursor: Int, files: (String) -> [String]
  ) -> Completion? {
    let before = line.prefix(cursor)
    let parts = before.split(separator: " ", omittingEmptySubsequences: false)
    guard let current = parts.last else { return nil }
    let prefix = String(current)
    let words = parts.dropLast().filter { !$0.isEmpty }.map(String.init)
    let candidates: [String]
    if let name = words.first {
      guard let spec = try? CommandTable.named(name.hasSuffix("!") ? String(name.dropLast()) : name) else {
        return nil
      }
      candidates = argumentCandidates(spec, Array(words.dropFirst()), prefix, files)
    } else {
      candidates = CommandTable.all.flatMap { [$0.name] + $0.aliases }.filter { $0.count > 1 || $0 == prefix }
    }
    let matching = Set(candidates.filter { $0.hasPrefix(prefix) }).sorted()
    return matching.isEmpty ? nil : Completion(replaces: prefix.count, candidates: matching)
  }

  private static func argumentCandidates(
    _ spec: CommandSpec, _ words: [String], _ prefix: String, _ files: (String) -> [String]
  ) -> [String] {
    if prefix.hasPrefix("-") { return spec.options.map(\.flag) }
    // Options and their values do not take the place of an argument.
    var position = 0
    var index = 0
    while index < words.count {
      if let option = spec.options.first(where: { $0.flag == words[index] }) {
        index += option.value == nil ? 0 : 1
      } else {
        position += 1
      }
      index += 1
    }
    guard let argument = position < spec.arguments.count ? spec.arguments[position] : nil else { return [] }
    switch argument.kind {
    case .target: return position == 0 ? ["guest", "host", "L1", "L2", "start", "end"] : []
    case .lens: return Lens.allCases.map(\.rawValue) + ClusterChoice.allCases.map(\.rawValue)
    case .zoom: return ["in", "out", "fit"]
    case .topic: return CommandTable.all.map(\.name)
    case .setting: return Setting.allCases.map(\.rawValue)
    case .lesson: return ["next", "back"]
    case .policy: return MappingPolicy.allCases.map(\.rawValue)
    case .pane: return ["1", "2", "3", "4"]
    // A trace is a file, and only the command line names one.
    case .workload: return LabWorkload.allCases.filter { $0 != .boot }.map(\.rawValue)
    case .policies:
      let chosen = prefix.split(separator: ",", omittingEmptySubsequences: false).dropLast().map(String.init)
      let head = chosen.map { $0 + "," }.joined()
      return MappingPolicy.allCases.map(\.rawValue).filter { !chosen.contains($0) }.map { head + $0 }
    case .file: return files(prefix)
    case .offset, .length, .count, .text: return []
    }
  }
}

/// What map cells show.
package enum Lens: String, CaseIterable, Sendable {
  case kind, fill, refcount

  package var next: Lens {
    switch self {
    case .kind: .fill
    case .fill: .refcount
    case .refcount: .kind
    }
  }

  /// One sentence for the list of lenses.
  package var help: String {
    switch self {
    case .kind: "what is there: data, zeroes, tables, nothing"
    case .fill: "how much of the cell holds data, in tenths"
    case .refcount: "how many users the host cluster has"
    }
  }
}

/// What `:set` knows.
package enum Setting: String, CaseIterable, Sendable {
  case ascii, unicode, mouse, nomouse
  /// What discards act on.
  case discardCluster = "discard-cluster"
  case discardSubcluster = "discard-subcluster"
}
