// Races that are over in milliseconds: what a script pays for every call, and a person for the first frame.

extension Race {
  private static func small(_ lab: Lab) throws(BenchError) {
    try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("small.qcow2"), "1G"])
    try lab.run("qemu-io", ["-f", "qcow2", "-c", "write -q -P 85 1M 1M", lab.path("small.qcow2")])
  }

  /// From the start of the process to its end, fifty times.
  static func start(_ verb: String) -> Race {
    let words = [verb, "-f", "qcow2"]
    return Race(
      name: "start-\(verb)", purpose: "\(verb) of a small image, 50 processes from start to end", target: 1.3,
      mostMemory: 8192, repeats: 50, prepare: { (lab) throws(BenchError) in try small(lab) },
      genuine: { lab in Invocation("qemu-img", words + [lab.path("small.qcow2")]) },
      ours: { lab in Invocation(lab.qatlas, words + [lab.path("small.qcow2")]) })
  }

  /// An image of so many GiB with all tables in the explorer, in a terminal.
  private static func explorer(
    _ name: String, _ purpose: String, gain: Double, gibibytes: Int, clusterSize: String, repeats: Int = 1,
    _ keys: Keys
  ) -> Race {
    Race(
      name: name, purpose: purpose, gain: gain, measure: .processor, repeats: repeats,
      prepare: { (lab) throws(BenchError) in
        try lab.tables(lab.sparse("large.qcow2"), gibibytes: gibibytes, clusterSize: clusterSize)
      },
      ours: { lab in Invocation(lab.qatlas, ["--no-config", lab.sparse("large.qcow2")], keys: keys) })
  }

  static func explorerRaces(_ scale: Scale) -> [Race] {
    let terabyte = scale(1024)
    let large = scale(65536)
    var numbers = Numbers(seed: 47)
    let moves = (0..<200).map { _ in String(Array("hjkl")[Int(numbers.below(4))]) }
    // The name of a pane is drawn with the first frame.
    let first = Keys(strokes: [":q!\r"], shown: "Guest", quiet: 0)
    return [
      explorer(
        "first-frame", "the explorer's first frame, \(terabyte) GiB with all tables, and its end, 5 times",
        gain: 1.5, gibibytes: terabyte, clusterSize: "64k", repeats: 5, first),
      explorer(
        "first-frame-large", "the same with \(large) GiB and clusters of 2 MiB", gain: 1.5, gibibytes: large,
        clusterSize: "2M", repeats: 5, first),
      explorer(
        "keys", "the scan of \(terabyte) GiB and 200 moves of the cursor in the explorer", gain: 1,
        gibibytes: terabyte, clusterSize: "64k", Keys(strokes: moves + [":q!\r"], shown: "Guest", quiet: 20)),
    ]
  }

  /// Large changes in the explorer against the same by `qatlas io` on a file: what a person waits for is the engine.
  private static func explorerChange(
    _ name: String, _ purpose: String, gibibytes: Int, least: Double, _ strokes: [String]
  ) -> Race {
    Race(
      name: name, purpose: "\(purpose) of \(gibibytes) GiB in the explorer, against qatlas io", gain: 4,
      limit: Limit(name: "qatlas io", least: least) { lab in
        Invocation(
          lab.qatlas,
          // One command discards less than 2 GiB.
          ["io", "-t", "writeback"] + (0..<gibibytes).flatMap { ["-c", "discard -q \($0)G 1G"] }
            + [lab.sparse("changed.qcow2")])
      },
      measure: .processor,
      prepare: { (lab) throws(BenchError) in
        try lab.tables(lab.sparse("large.qcow2"), gibibytes: gibibytes)
      },
      reset: { (lab) throws(BenchError) in
        try lab.run("cp", ["--sparse=always", lab.sparse("large.qcow2"), lab.sparse("changed.qcow2")])
      },
      ours: { lab in
        Invocation(
          lab.qatlas, ["--no-config", lab.sparse("large.qcow2")],
          keys: Keys(strokes: strokes + [":q!\r"], shown: "Guest", quiet: 100))
      })
  }

  static func explorerChanges(_ scale: Scale) -> [Race] {
    let gibibytes = scale(20)
    let discard = ":discard 0 \(gibibytes)G\r"
    return [
      // Two thirds for one change, and for each of three.
      explorerChange("explorer-discard", "discard", gibibytes: gibibytes, least: 0.667, [discard]),
      explorerChange(
        "explorer-undo", "discard, taken back and done again,", gibibytes: gibibytes, least: 0.222,
        [discard, "u", "\u{12}"]),
    ]
  }

  /// The lab of the mail's question, at its usual three policies.
  static func laboratory(_ scale: Scale) -> Race {
    let count = scale(20_000)
    return Race(
      name: "lab", purpose: "lab, \(count) operations of churn on 4 GiB, three policies", gain: 2.8,
      measure: .processor, prepare: { (_: Lab) throws(BenchError) in },
      ours: { lab in
        Invocation(
          lab.qatlas,
          ["lab", "--workload", "churn", "--size", "4G", "--operations", "\(count)", "--seed", "3", "--json"])
      },
      comparesOutput: true)
  }
}
