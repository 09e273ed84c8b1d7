// Races on tables: 1 TiB with every L2 table present, 128 MiB of tables and nothing else, in order or scattered.

extension Race {
  static func map(_ scale: Scale) -> Race {
    let gibibytes = scale(1024)
    return Race(
      name: "map", purpose: "map --output=json of \(gibibytes) GiB with every L2 table present", target: 15,
      prepare: { (lab) throws(BenchError) in try lab.tables(lab.path("terabyte.qcow2"), gibibytes: gibibytes)
      },
      genuine: { lab in
        Invocation("qemu-img", ["map", "-f", "qcow2", "--output=json", lab.path("terabyte.qcow2")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["map", "-f", "qcow2", "--output", "json", lab.path("terabyte.qcow2")])
      },
      comparesOutput: true)
  }

  static func mapScattered(_ scale: Scale) -> Race {
    let count = scale(40_000)
    return Race(
      name: "map-scattered", purpose: "map --output=json of \(count) scattered clusters", target: 4,
      prepare: { (lab) throws(BenchError) in
        try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("scattered.qcow2"), "64G"])
        var numbers = Numbers(seed: 41)
        try lab.script(
          "fill", (0..<count).map { "write -q -P \(1 + $0 % 250) \(numbers.below(1 << 20) * 64)k 4k" })
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("scattered.qcow2")], input: lab.path("fill"))
      },
      genuine: { lab in
        Invocation("qemu-img", ["map", "-f", "qcow2", "--output=json", lab.path("scattered.qcow2")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["map", "-f", "qcow2", "--output", "json", lab.path("scattered.qcow2")])
      },
      comparesOutput: true)
  }

  static func check(_ scale: Scale) -> Race {
    let gibibytes = scale(1024)
    return Race(
      name: "check", purpose: "check of \(gibibytes) GiB with every L2 table present", target: 15,
      // L2 entries of 8 bytes and refcounts of 2 for each cluster.
      limit: Limit(name: "cat of the tables", least: 0.5) { lab in Invocation("cat", [lab.path("tables")]) },
      prepare: { (lab) throws(BenchError) in
        try lab.tables(lab.path("terabyte.qcow2"), gibibytes: gibibytes)
        try lab.run(
          "sh", ["-c", "head -c \(gibibytes * 16384 * 10) /dev/urandom > '\(lab.path("tables"))'"])
      },
      genuine: { lab in Invocation("qemu-img", ["check", "-f", "qcow2", lab.path("terabyte.qcow2")]) },
      ours: { lab in Invocation(lab.qatlas, ["check", "-f", "qcow2", lab.path("terabyte.qcow2")]) },
      comparesOutput: true)
  }

  /// One command on an image whose clusters lie in random order. The genuine check needs minutes for a TiB, so that
  /// these run against the build before alone.
  private static func scattered(
    _ name: String, _ purpose: String, gain: Double?, limit: Limit? = nil, mostMemory: Int? = nil,
    _ scale: Scale, _ words: [String]
  ) -> Race {
    let tables = scale(2048)
    return Race(
      name: name, purpose: "\(purpose), \(tables * 8192) clusters in random order", gain: gain, limit: limit,
      measure: .processor, mostMemory: mostMemory,
      prepare: { (lab) throws(BenchError) in
        try ScatteredImage(tables: tables).write(lab.path("random.qcow2"))
      },
      ours: { lab in Invocation(lab.qatlas, words + [lab.path("random.qcow2")]) },
      comparesOutput: true)
  }

  static func scatteredRaces(_ scale: Scale) -> [Race] {
    [
      scattered("check-scattered", "check", gain: 2.8, mostMemory: 65536, scale, ["check", "-f", "qcow2"]),
      scattered("frag-scattered", "frag", gain: 3.5, scale, ["frag"]),
      scattered(
        "layout-scattered", "layout --json with owners", gain: nil,
        limit: Limit(name: "frag", least: 0.333) { lab in
          Invocation(lab.qatlas, ["frag", lab.path("random.qcow2")])
        }, scale, ["layout", "--json"]),
    ]
  }
}
