// Races of verbs that change an image or look through all of it: commit, rebase, check, snapshot, measure.

import Glibc

extension Race {
  /// Guest clusters of 4 KiB that overlays hold: 100,000 of the 262,144 of a GiB, in random order.
  private static func scattered(pattern: Int) -> [String] {
    var numbers = Numbers(seed: 29)
    var order = Array(0..<262_144)
    for index in stride(from: order.count - 1, to: 0, by: -1) {
      order.swapAt(index, Int(numbers.below(UInt64(index + 1))))
    }
    return order.prefix(100_000).map { "write -q -P \(1 + ($0 + pattern) % 250) \($0 * 4)k 4k" }
  }

  /// A full GiB in clusters of 4 KiB.
  private static func small(_ lab: Lab, _ name: String, below: String? = nil) throws(BenchError) {
    let backing = below.map { ["-b", $0, "-F", "qcow2"] } ?? []
    try lab.run(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k"] + backing + [lab.path(name), "1G"])
    guard below == nil else { return }
    try lab.run("qemu-io", ["-t", "writeback", "-f", "qcow2", "-c", "write -q -P 170 0 1G", lab.path(name)])
  }

  static var commit: Race {
    Race(
      name: "commit", purpose: "commit of 100,000 scattered clusters of 4 KiB into a full base of 1 GiB",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        for side in ["genuine", "ours"] {
          try small(lab, "base-\(side)")
          try small(lab, "filled-\(side)", below: "base-\(side)")
          try lab.script("writes", scattered(pattern: 0))
          try lab.run(
            "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("filled-\(side)")],
            input: lab.path("writes"))
        }
      },
      reset: { (lab) throws(BenchError) in
        for side in ["genuine", "ours"] { try lab.copy("filled-\(side)", side) }
      },
      genuine: { lab in Invocation("qemu-img", ["commit", "-q", "-f", "qcow2", lab.path("genuine")]) },
      ours: { lab in Invocation(lab.qatlas, ["commit", "-q", "-f", "qcow2", lab.path("ours")]) },
      rests: true, compared: ("base-genuine", "base-ours"))
  }

  static var rebase: Race {
    Race(
      name: "rebase",
      purpose:
        "rebase of an empty overlay of 1 GiB onto a base that differs in 100,000 scattered clusters of 4 KiB",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try small(lab, "old.qcow2")
        try lab.run("cp", [lab.path("old.qcow2"), lab.path("new.qcow2")])
        try lab.script("writes", scattered(pattern: 0))
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("new.qcow2")], input: lab.path("writes"))
        try small(lab, "empty", below: "old.qcow2")
      },
      reset: { (lab) throws(BenchError) in for side in ["genuine", "ours"] { try lab.copy("empty", side) } },
      genuine: { lab in
        Invocation(
          "qemu-img", ["rebase", "-f", "qcow2", "-b", "new.qcow2", "-F", "qcow2", lab.path("genuine")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["rebase", "-f", "qcow2", "-b", "new.qcow2", "-F", "qcow2", lab.path("ours")])
      },
      rests: true, compared: ("genuine", "ours"))
  }

  /// 2 million clusters, none behind the one before it, with snapshots.
  private static func shuffled(_ lab: Lab, snapshots: Int) throws(BenchError) {
    try lab.clear()
    try lab.run(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", lab.path("shuffled"), "125G"])
    // Snapshots first: they share the tables, and counting scattered clusters takes minutes.
    for number in 0..<snapshots {
      try lab.run("qemu-img", ["snapshot", "-c", "\(number)", lab.path("shuffled")])
    }
    try lab.shuffleClusters("shuffled")
  }

  static var checkSnapshots: Race {
    Race(
      name: "check-snapshots", purpose: "check of 2,048,000 scattered clusters with 3 snapshots", target: 8,
      prepare: { (lab) throws(BenchError) in try shuffled(lab, snapshots: 3) },
      genuine: { lab in Invocation("qemu-img", ["check", "-f", "qcow2", lab.path("shuffled")]) },
      ours: { lab in Invocation(lab.qatlas, ["check", "-f", "qcow2", lab.path("shuffled")]) },
      comparesOutput: true)
  }

  static var measure: Race {
    Race(
      name: "measure", purpose: "measure of 2,048,000 scattered clusters", target: 5,
      prepare: { (lab) throws(BenchError) in try shuffled(lab, snapshots: 0) },
      genuine: { lab in
        Invocation("qemu-img", ["measure", "-f", "qcow2", "-O", "qcow2", lab.path("shuffled")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["measure", "-f", "qcow2", "-O", "qcow2", lab.path("shuffled")])
      },
      comparesOutput: true)
  }

  static func snapshot(_ verb: String, _ name: String) -> Race {
    Race(
      name: "snapshot-\(name)", purpose: "snapshot -\(verb) on 1 TiB with every cluster allocated", target: 3,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try lab.run(
          "qemu-img",
          ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", lab.path("terabyte"), "1T"])
        if verb == "d" { try lab.run("qemu-img", ["snapshot", "-c", "one", lab.path("terabyte")]) }
      },
      reset: { (lab) throws(BenchError) in
        for side in ["genuine", "ours"] { try lab.copy("terabyte", side) }
      },
      genuine: { lab in Invocation("qemu-img", ["snapshot", "-\(verb)", "one", lab.path("genuine")]) },
      ours: { lab in Invocation(lab.qatlas, ["snapshot", "-\(verb)", "one", lab.path("ours")]) }, rests: true)
  }
}

extension Lab {
  /// Gives the data clusters of an image with all of them each other's places.
  func shuffleClusters(_ name: String) throws(BenchError) {
    let descriptor = unsafe open(path(name), O_RDWR)
    guard descriptor >= 0 else { throw BenchError("cannot open \(path(name))") }
    defer { close(descriptor) }
    let header = try words(descriptor, at: 40, 1)
    let entries = try words(descriptor, at: 36, 1)[0] >> 32
    let address: UInt64 = 0x00ff_ffff_ffff_fe00
    let tables = try words(descriptor, at: header[0], Int(entries)).map { $0 & address }.filter { $0 != 0 }
    var all: [UInt64] = []
    for table in tables { all += try words(descriptor, at: table, 8192) }
    var numbers = Numbers(seed: 31)
    let used = all.indices.filter { all[$0] & address != 0 }
    for index in stride(from: used.count - 1, to: 0, by: -1) {
      all.swapAt(used[index], used[Int(numbers.below(UInt64(index + 1)))])
    }
    for (index, table) in tables.enumerated() {
      let part = all[index * 8192..<(index + 1) * 8192].map(\.bigEndian)
      guard unsafe pwrite(descriptor, part, 65536, off_t(table)) == 65536 else {
        throw BenchError("cannot write \(path(name))")
      }
    }
  }

  private func words(_ descriptor: Int32, at offset: UInt64, _ count: Int) throws(BenchError) -> [UInt64] {
    var result = [UInt64](repeating: 0, count: count)
    guard unsafe pread(descriptor, &result, count * 8, off_t(offset)) == count * 8 else {
      throw BenchError("cannot read the tables of an image")
    }
    return result.map(UInt64.init(bigEndian:))
  }
}
