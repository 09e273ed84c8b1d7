// Races on pinned overlays: whether the fixed places cost anything while writing, and what they give back
// when the disk is read in order afterwards.

extension Race {
  /// MiB of the disks.
  private static let pinnedSize = 256

  /// Every 4 KiB block of the disk once, in random order.
  private static func everyBlock(_ mebibytes: Int) -> [String] {
    var numbers = Numbers(seed: 11)
    return numbers.order(mebibytes * 256).map { "write -q -P \(1 + $0 % 250) \($0 * 4)k 4k" }
  }

  /// A full backing file, and what creates the overlays over it.
  private static func overlays(
    _ lab: Lab, genuine: String, mebibytes: Int
  ) throws(BenchError) {
    try lab.full("base.qcow2", mebibytes: mebibytes)
    let backing = "backing_file=base.qcow2,backing_fmt=qcow2"
    try lab.run(
      "qemu-img",
      [
        "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,\(genuine)\(backing)",
        lab.path("unpinned.qcow2"),
      ])
    try lab.run(
      lab.qatlas,
      [
        "create", "-q", "-o", "extended_l2=on,preallocation=metadata,contiguous=on,pinned=on,\(backing)",
        lab.path("pinned.qcow2"),
      ])
    try lab.script("writes", everyBlock(mebibytes))
  }

  static func pinnedWrites(_ scale: Scale) -> Race {
    let mebibytes = scale(pinnedSize)
    return Race(
      name: "pinned-writes",
      purpose:
        "\(mebibytes * 256) random 4 KiB writes over a full backing file: QEMU's preallocation=metadata against a pinned image",
      target: 1.0,
      prepare: { (lab) throws(BenchError) in
        try overlays(lab, genuine: "preallocation=metadata,", mebibytes: mebibytes)
      },
      reset: { (lab) throws(BenchError) in
        try lab.copy("unpinned.qcow2", "genuine.qcow2")
        try lab.copy("pinned.qcow2", "ours.qcow2")
      },
      genuine: { lab in
        Invocation(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("genuine.qcow2")], input: lab.path("writes"))
      },
      ours: { lab in
        Invocation(
          lab.qatlas, ["io", "-t", "writeback", lab.path("ours.qcow2")], input: lab.path("writes"))
      })
  }

  /// Both images are read by qatlas, so that only their layout differs.
  static func pinnedRead(_ scale: Scale) -> Race {
    let mebibytes = scale(pinnedSize)
    return Race(
      name: "pinned-read",
      purpose:
        "the disk read in order from a cold cache after random 4 KiB writes: unpinned overlay against pinned (needs root)",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try overlays(lab, genuine: "", mebibytes: mebibytes)
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("unpinned.qcow2")], input: lab.path("writes")
        )
        try lab.run(
          lab.qatlas, ["io", "-t", "writeback", lab.path("pinned.qcow2")], input: lab.path("writes"))
        try lab.script("reads", (0..<mebibytes).map { "read -q \($0)M 1M" })
      },
      reset: { (lab) throws(BenchError) in
        try lab.run("sh", ["-c", "sync; echo 3 > /proc/sys/vm/drop_caches"])
      },
      genuine: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("unpinned.qcow2")], input: lab.path("reads"))
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("pinned.qcow2")], input: lab.path("reads"))
      })
  }

  /// A fifth of the clusters is out of place: moving those against copying everything. Defrag ends on the disk;
  /// without `-t writeback` convert leaves its file in the host's memory.
  static func defrag(isFlushed: Bool, _ scale: Scale) -> Race {
    let mebibytes = scale(2048)
    let clusters = mebibytes * 16
    return Race(
      name: isFlushed ? "defrag-flushed" : "defrag",
      purpose: "\(mebibytes) MiB with a fifth of its clusters out of place: qemu-img convert to a new file, "
        + (isFlushed ? "flushed" : "not flushed") + ", against defrag",
      target: isFlushed ? 1.6 : 1.0,
      prepare: { (lab) throws(BenchError) in
        try lab.run(
          "qemu-img",
          [
            "create", "-q", "-f", "qcow2", "-o", "preallocation=falloc", lab.path("order.qcow2"),
            "\(mebibytes)M",
          ])
        try lab.fill("order.qcow2", mebibytes: mebibytes, pattern: 85)
        var numbers = Numbers(seed: 5)
        var lines: [String] = []
        // Freed and written again in another order.
        let chosen = (0..<clusters / 10).map { _ in Int(numbers.below(UInt64(clusters / 2))) * 2 }
        lines += chosen.map { "discard -q \($0 * 64)k 128k" }
        lines += chosen.reversed().map { "write -q -P \(1 + $0 % 250) \($0 * 64)k 128k" }
        try lab.script("scatter", lines)
        try lab.run(
          "qemu-io", ["-t", "writeback", "-d", "unmap", "-f", "qcow2", lab.path("order.qcow2")],
          input: lab.path("scatter"))
      },
      reset: { (lab) throws(BenchError) in
        try lab.copy("order.qcow2", "ours.qcow2")
        try lab.run("rm", ["-f", lab.path("converted.qcow2")])
        try lab.run("cat", [lab.path("order.qcow2"), lab.path("ours.qcow2")])
      },
      genuine: { lab in
        Invocation(
          "qemu-img",
          ["convert"] + (isFlushed ? ["-t", "writeback"] : [])
            + ["-O", "qcow2", lab.path("order.qcow2"), lab.path("converted.qcow2")])
      },
      ours: { lab in Invocation(lab.qatlas, ["defrag", "-q", lab.path("ours.qcow2")]) })
  }
}
