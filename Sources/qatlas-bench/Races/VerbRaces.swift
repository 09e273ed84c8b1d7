// Races of verbs that change an image or look through all of it: commit, rebase, check, snapshot, measure.

import Glibc

extension Race {
  /// Writes of clusters of 4 KiB that overlays hold: 100 of 256 of a disk, in random order.
  private static func scattered(_ mebibytes: Int) -> [String] {
    var numbers = Numbers(seed: 29)
    return numbers.order(mebibytes * 256).prefix(mebibytes * 100)
      .map { "write -q -P \(1 + $0 % 250) \($0 * 4)k 4k" }
  }

  /// A full disk in clusters of 4 KiB, or an empty one over another.
  private static func small(
    _ lab: Lab, _ name: String, mebibytes: Int, below: String? = nil
  ) throws(BenchError) {
    let backing = below.map { ["-b", $0, "-F", "qcow2"] } ?? []
    try lab.run(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k"] + backing + [lab.path(name), "\(mebibytes)M"])
    guard below == nil else { return }
    try lab.fill(name, mebibytes: mebibytes)
  }

  static func commit(_ scale: Scale) -> Race {
    let mebibytes = scale(1024)
    return Race(
      name: "commit",
      purpose:
        "commit of \(mebibytes * 100) scattered clusters of 4 KiB into a full base of \(mebibytes) MiB",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        for side in ["genuine", "ours"] {
          try small(lab, "base-\(side)", mebibytes: mebibytes)
          try small(lab, "filled-\(side)", mebibytes: mebibytes, below: "base-\(side)")
          try lab.script("writes", scattered(mebibytes))
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

  static func rebase(_ scale: Scale) -> Race {
    let mebibytes = scale(1024)
    return Race(
      name: "rebase",
      purpose:
        "rebase of an empty overlay of \(mebibytes) MiB onto a base that differs in \(mebibytes * 100) scattered clusters of 4 KiB",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try small(lab, "old.qcow2", mebibytes: mebibytes)
        try lab.run("cp", [lab.path("old.qcow2"), lab.path("new.qcow2")])
        try lab.script("writes", scattered(mebibytes))
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("new.qcow2")], input: lab.path("writes"))
        try small(lab, "empty", mebibytes: mebibytes, below: "old.qcow2")
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

  /// Clusters, none behind the one before it, with snapshots.
  private static func shuffled(_ lab: Lab, snapshots: Int, gibibytes: Int) throws(BenchError) {
    try lab.clear()
    try lab.tables(lab.path("shuffled"), gibibytes: gibibytes)
    // Snapshots first: they share the tables, and counting scattered clusters takes minutes.
    for number in 0..<snapshots {
      try lab.run("qemu-img", ["snapshot", "-c", "\(number)", lab.path("shuffled")])
    }
    try lab.shuffleClusters("shuffled")
  }

  static func checkSnapshots(_ scale: Scale) -> Race {
    let gibibytes = scale(125)
    return Race(
      name: "check-snapshots", purpose: "check of \(gibibytes * 16384) scattered clusters with 3 snapshots",
      target: 8, measure: .processor,
      prepare: { (lab) throws(BenchError) in try shuffled(lab, snapshots: 3, gibibytes: gibibytes) },
      genuine: { lab in Invocation("qemu-img", ["check", "-f", "qcow2", lab.path("shuffled")]) },
      ours: { lab in Invocation(lab.qatlas, ["check", "-f", "qcow2", lab.path("shuffled")]) },
      comparesOutput: true)
  }

  static func measure(_ scale: Scale) -> Race {
    let gibibytes = scale(125)
    return Race(
      name: "measure", purpose: "measure of \(gibibytes * 16384) scattered clusters", target: 5,
      measure: .processor,
      prepare: { (lab) throws(BenchError) in try shuffled(lab, snapshots: 0, gibibytes: gibibytes) },
      genuine: { lab in
        Invocation("qemu-img", ["measure", "-f", "qcow2", "-O", "qcow2", lab.path("shuffled")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["measure", "-f", "qcow2", "-O", "qcow2", lab.path("shuffled")])
      },
      comparesOutput: true)
  }

  static func snapshot(_ verb: String, _ name: String, _ scale: Scale) -> Race {
    let gibibytes = scale(1024)
    return Race(
      name: "snapshot-\(name)",
      purpose: "snapshot -\(verb) on \(gibibytes) GiB with every cluster allocated", target: 3,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try lab.tables(lab.path("terabyte"), gibibytes: gibibytes)
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
