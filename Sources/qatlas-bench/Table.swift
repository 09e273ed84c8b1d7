// The table that a run prints.

import Glibc

enum Table {
  /// Prints a line at once, so that whoever waits sees it.
  static func show(_ line: String) {
    print(line)
    fflush(nil)
  }

  static let heading =
    padded("race", 30) + padded("against", 19) + padded("theirs s", 11) + padded("qatlas s", 11)
    + padded("ratio", 8) + padded("(pairs)", 16) + "processor"

  static func line(_ result: Result) -> String {
    let measure = result.race.measure
    let ratios = result.ratios(measure)
    return padded(result.race.name, 30) + padded(result.opponent.name, 19)
      + padded(number(Result.median(result.theirs.map { $0[measure] })), 11)
      + padded(number(Result.median(result.ours.map { $0[measure] })), 11)
      + padded(number(result.ratio(measure)), 8)
      + padded("(\(number(ratios.min() ?? 0))-\(number(ratios.max() ?? 0)))", 16)
      + number(result.ratio(.processor))
  }

  /// What the results of a race say of each target; one version of the genuine tool alone says nothing about QEMU.
  static func verdicts(_ results: [Result]) -> [String] {
    guard let race = results.first?.race else { return [] }
    var lines: [String] = []
    let judges = results.filter { $0.opponent.kind == .judge }
    if let target = race.target,
      let least = judges.min(by: { $0.ratio(race.measure) < $1.ratio(race.measure) })
    {
      if Set(judges.map(\.opponent.name)).count > 1 {
        let word = least.ratio(race.measure) >= target ? "met" : "MISSED"
        lines.append(
          "target \(target) in \(race.measure.rawValue) \(word): the least ratio is "
            + "\(number(least.ratio(race.measure))), over \(least.opponent.name)")
      } else {
        lines.append("target \(target): no verdict over one version; give another with --judge")
      }
    }
    for result in results where result.opponent.kind != .judge {
      guard let target = result.opponent.target else { continue }
      let word = result.ratio(race.measure) >= target ? "met" : "MISSED"
      lines.append(
        "target \(target) in \(race.measure.rawValue) \(word): \(number(result.ratio(race.measure))) against "
          + result.opponent.name)
    }
    if let most = race.mostMemory, let memory = results.compactMap(\.memory).max() {
      lines.append("at most \(most) KiB \(memory <= most ? "met" : "MISSED"): \(memory) KiB")
    }
    return lines
  }

  /// Three digits behind the point.
  static func number(_ value: Double) -> String {
    guard value.isFinite else { return "?" }
    let thousandths = Int((value * 1000).rounded())
    let rest = String(thousandths % 1000)
    return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
  }

  /// One digit behind the point, with its sign.
  static func signed(_ value: Double) -> String {
    let tenths = Int((abs(value) * 10).rounded())
    return (value < 0 ? "-" : "+") + "\(tenths / 10).\(tenths % 10)"
  }

  static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }
}
