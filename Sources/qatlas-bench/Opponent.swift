// Whom qatlas runs against, and a run against it: pairs in turn, then whether both did the same.

/// Whom qatlas runs against.
struct Opponent {
  enum Kind { case judge, limit, before }
  var kind: Kind
  var name: String
  var target: Double?
  var invocation: (_ lab: Lab) -> Invocation
}

/// What a race against one opponent came to.
struct Result {
  var race: Race
  var opponent: Opponent
  var theirs: [Cost] = []
  var ours: [Cost] = []
  var notes: [String] = []

  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }

  /// How many times as fast qatlas was, pair by pair.
  func ratios(_ measure: Measure) -> [Double] {
    zip(theirs, ours).map { $0[measure] / $1[measure] }
  }

  /// The ratio of the medians.
  func ratio(_ measure: Measure) -> Double {
    Self.median(theirs.map { $0[measure] }) / Self.median(ours.map { $0[measure] })
  }

  /// KiB of qatlas at its largest, where the race has a target for it.
  var memory: Int?
}

extension Opponent {
  /// Runs a race against it; `prepare` was called.
  func run(_ race: Race, _ lab: Lab, pairs: Int) throws(BenchError) -> Result {
    var result = Result(race: race, opponent: self)
    // One pair that does not count, for what only the first run pays. The sides take turns in going first.
    for pair in 0...pairs {
      try race.reset(lab)
      let oursFirst = pair % 2 == 1
      for isOurs in [oursFirst, !oursFirst] {
        // Two builds of qatlas change the same file.
        if kind == .before, isOurs != oursFirst { try race.reset(lab) }
        if race.rests { try lab.run("sync", []) }
        try lab.warm(race.newMebibytes)
        let side = isOurs ? race.ours(lab) : invocation(lab)
        let cost = try side.run(output: lab.path(isOurs ? "ours.out" : "theirs.out"), repeats: race.repeats)
        guard pair > 0 else { continue }
        if isOurs { result.ours.append(cost) } else { result.theirs.append(cost) }
      }
    }
    if kind == .before, race.comparesOutput {
      try lab.run("cmp", [lab.path("theirs.out"), lab.path("ours.out")])
    }
    if kind == .judge { result.notes = try comparisons(race, lab) }
    if race.mostMemory != nil {
      try race.reset(lab)
      result.memory = try race.ours(lab).peak()
    }
    return result
  }

  /// Whether both sides did the same, in words.
  private func comparisons(_ race: Race, _ lab: Lab) throws(BenchError) -> [String] {
    var notes: [String] = []
    if race.comparesOutput {
      if !lab.judge.tellsCompressed {
        try lab.run("sed", ["-i", "s/, \"compressed\": [a-z]*//", lab.path("ours.out")])
      }
      try lab.run("cmp", [lab.path("theirs.out"), lab.path("ours.out")])
      notes.append("same output")
    }
    if let compared = race.compared {
      try lab.run("cmp", [lab.path(compared.genuine), lab.path(compared.ours)])
      let kept = (lab.allocated(compared.genuine), lab.allocated(compared.ours))
      notes.append("same bytes; host blocks \(kept.0) and \(kept.1)")
    }
    if race.comparesDisks {
      try lab.run("qemu-img", ["compare", lab.path("genuine"), lab.path("ours")])
      let kept = (lab.allocated("genuine"), lab.allocated("ours"))
      notes.append("same disks; host blocks \(kept.0) and \(kept.1)")
    }
    if race.countsFlushes {
      try race.reset(lab)
      let counts = (try flushes(invocation(lab), lab), try flushes(race.ours(lab), lab))
      notes.append("flushes \(counts.0) and \(counts.1)")
    }
    return notes
  }

  /// Calls of fdatasync that a run makes, counted by strace.
  private func flushes(_ invocation: Invocation, _ lab: Lab) throws(BenchError) -> String {
    let log = lab.path("strace.log")
    var traced = invocation
    traced.program = "strace"
    traced.arguments =
      ["-f", "--seccomp-bpf", "-c", "-o", log, "-e", "trace=fdatasync,fsync", invocation.program]
      + invocation.arguments
    do throws(BenchError) { try traced.run() } catch { return "not counted (strace is needed)" }
    let counted = Invocation("awk", ["/fdatasync|fsync/ {n += $4} END {print n + 0}", log])
    try counted.run(output: lab.path("count.out"))
    return Lab.firstLine(lab.path("count.out"))
  }
}
