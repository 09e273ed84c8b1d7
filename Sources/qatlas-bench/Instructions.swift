// Instructions of the hottest paths, counted by valgrind and compared with what they were. Counts are the same in
// every run of the same program, whatever else the machine does.

struct Instructions {
  /// Races that are counted, and at which scale: large enough to be mostly the path and not the start.
  static let paths: [(race: String, scale: Scale)] = [
    ("start-info", Scale(parts: 64)),
    ("map-scattered", Scale(parts: 16)),
    ("map", Scale(parts: 16)),
    ("check", Scale(parts: 8)),
    ("check-scattered", Scale(parts: 2)),
    ("frag-scattered", Scale(parts: 2)),
    ("layout-scattered", Scale(parts: 1)),
    ("overlay-standard-writeback", Scale(parts: 8)),
    ("overlay-extended-writeback", Scale(parts: 8)),
    ("random-read", Scale(parts: 8)),
    ("sequential-read", Scale(parts: 8)),
    ("compressed-random-read", Scale(parts: 2)),
    ("defrag", Scale(parts: 4)),
    ("lab", Scale(parts: 4)),
    ("first-frame", Scale(parts: 8)),
  ]
  /// A change of more than this share is shown.
  static let tolerance = 0.03

  /// Instructions of one run of the race.
  static func count(_ race: Race, _ lab: Lab) throws(BenchError) -> Int {
    try lab.clear()
    try race.prepare(lab)
    try race.reset(lab)
    let log = lab.path("valgrind.log")
    // valgrind takes the debug information of the static library for damaged.
    var bare = lab
    bare.qatlas = lab.path("qatlas-bare")
    try lab.run("strip", ["-g", "-o", bare.qatlas, lab.qatlas])
    var counted = race.ours(bare)
    counted.arguments =
      ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=\(log)", counted.program]
      + counted.arguments
    counted.program = "valgrind"
    try counted.run()
    for line in Lab.lines(log) {
      // "==123== Collected : 456"
      let words = line.split(separator: " ")
      if words.count > 3, words[1] == "Collected", let number = Int(words[3]) { return number }
    }
    throw BenchError("valgrind told no count of \(race.name)")
  }

  /// The budgets of a file: a name and a number in each line.
  static func budgets(_ path: String) -> [String: Int] {
    var result: [String: Int] = [:]
    for line in Lab.lines(path) where !line.hasPrefix("#") {
      let words = line.split(separator: " ")
      if words.count == 2, let number = Int(words[1]) { result[String(words[0])] = number }
    }
    return result
  }

  /// Counts every path, prints each beside its budget, and says whether all are within the tolerance. With `records`
  /// the file gets the counts instead.
  static func compare(
    _ lab: Lab, with path: String, names: [String], records: Bool
  ) throws(BenchError) -> Bool {
    var budgets = budgets(path)
    var isWithin = true
    for (name, scale) in paths where names.isEmpty || names.contains(name) {
      guard let race = RaceList.all(scale).first(where: { $0.name == name }) else { continue }
      let count = try count(race, lab)
      var line = Table.padded(name, 30) + Table.padded("\(count)", 14)
      if records {
        budgets[name] = count
      } else if let budget = budgets[name] {
        let change = Double(count) / Double(budget) - 1
        line += Table.padded("budget \(budget)", 22) + Table.signed(change * 100) + " %"
        if abs(change) > Self.tolerance {
          isWithin = false
          line += change > 0 ? "  MORE than the budget allows" : "  less: record the new budget"
        }
      } else {
        isWithin = false
        line += "has no budget"
      }
      Table.show(line)
    }
    if records {
      let lines = paths.compactMap { path in budgets[path.race].map { "\(path.race) \($0)" } }
      let text =
        "# Instructions of the hottest paths, of the release build with the static Swift library.\n"
        + "# Tests/budgets compares; Tests/budgets --record writes this file.\n"
        + lines.joined(separator: "\n") + "\n"
      try Lab.write(Array(text.utf8), to: path)
    }
    return isWithin
  }
}
