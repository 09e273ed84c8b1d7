// Races on guest data: the headline case of subclusters, sequential transfers, and random reads on a
// fragmented image. Both sides get the same commands on standard input.

extension Race {
  private static let size: UInt64 = 1 << 30

  private static func writes(_ count: Int, seed: UInt64) -> [String] {
    var numbers = Numbers(seed: seed)
    return (0..<count).map { index in
      "write -q -P \(1 + index % 250) \(numbers.below(size / 4096) * 4096) 4k"
    }
  }

  /// 4 KiB random writes into an empty overlay over a full backing file.
  static func overlay(extended: Bool, cache: String, target: Double) -> Race {
    let count = cache == "writeback" ? 20_000 : 2_000
    let options = extended ? "extended_l2=on," : ""
    return Race(
      name: "overlay-\(extended ? "extended" : "standard")-\(cache)",
      purpose:
        "\(count) random 4 KiB writes into an empty overlay over a full 1 GiB backing file, -t \(cache)",
      target: target,
      prepare: { (lab) throws(BenchError) in
        try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("base.qcow2"), "1G"])
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", "-c", "write -q -P 170 0 1G", lab.path("base.qcow2")])
        try lab.run(
          "qemu-img",
          [
            "create", "-q", "-f", "qcow2", "-o", "\(options)backing_file=base.qcow2,backing_fmt=qcow2",
            lab.path("empty.qcow2"),
          ])
        try lab.script("commands", writes(count, seed: 7))
      },
      reset: { (lab) throws(BenchError) in
        try lab.copy("empty.qcow2", "genuine.qcow2")
        try lab.copy("empty.qcow2", "ours.qcow2")
      },
      genuine: { lab in
        Invocation(
          "qemu-io", ["-t", cache, "-f", "qcow2", lab.path("genuine.qcow2")], input: lab.path("commands"))
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-t", cache, lab.path("ours.qcow2")], input: lab.path("commands"))
      },
      compared: ("genuine.qcow2", "ours.qcow2"), countsFlushes: true)
  }

  private static func fullImage(_ lab: Lab) throws(BenchError) {
    try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("full.qcow2"), "1G"])
    try lab.run(
      "qemu-io", ["-t", "writeback", "-f", "qcow2", "-c", "write -q -P 85 0 1G", lab.path("full.qcow2")])
    try lab.run("sync", [lab.path("full.qcow2")])
  }

  /// Buffers of 2 MiB in 1 GiB but for the last, which the bench of QEMU 11.1 leaves alone and takes the first twice.
  private static let lastButOne = 511

  static var sequentialRead: Race {
    Race(
      name: "sequential-read",
      purpose: "1022 MiB of allocated clusters in 511 reads of 2 MiB, against qemu-img bench",
      target: 1.0,
      prepare: { (lab) throws(BenchError) in
        try fullImage(lab)
        try lab.script("commands", (0..<lastButOne).map { "read -q \($0 * 2)M 2M" })
      },
      genuine: { lab in
        Invocation(
          "qemu-img",
          ["bench", "-f", "qcow2", "-c", "\(lastButOne)", "-d", "1", "-s", "2M", lab.path("full.qcow2")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("full.qcow2")], input: lab.path("commands"))
      }
    )
  }

  static var sequentialWrite: Race {
    Race(
      name: "sequential-write",
      purpose:
        "1022 MiB over allocated clusters in 511 writes of 2 MiB, against qemu-img bench, one flush at the end",
      target: 1.0,
      prepare: { (lab) throws(BenchError) in
        try fullImage(lab)
        try lab.copy("full.qcow2", "ours.qcow2")
        try lab.script("commands", (0..<lastButOne).map { "write -q -P 0 \($0 * 2)M 2M" })
      },
      genuine: { lab in
        Invocation(
          "qemu-img",
          [
            "bench", "-w", "-t", "writeback", "-f", "qcow2", "-c", "\(lastButOne)", "-d", "1", "-s", "2M",
            lab.path("full.qcow2"),
          ])
      },
      ours: { lab in
        Invocation(
          lab.qatlas, ["io", "-t", "writeback", lab.path("ours.qcow2")], input: lab.path("commands"))
      },
      compared: ("full.qcow2", "ours.qcow2"))
  }

  static var randomRead: Race {
    Race(
      name: "random-read",
      purpose: "100,000 random 4 KiB reads on an image whose clusters lie in random order",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("frag.qcow2"), "1G"])
        var numbers = Numbers(seed: 3)
        var order = Array(0..<16384)
        for index in stride(from: order.count - 1, to: 0, by: -1) {
          order.swapAt(index, Int(numbers.below(UInt64(index + 1))))
        }
        try lab.script("fill", order.map { "write -q -P \(1 + $0 % 250) \($0 * 64)k 64k" })
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("frag.qcow2")], input: lab.path("fill"))
        try lab.script(
          "commands", (0..<100_000).map { _ in "read -q \(numbers.below(size / 4096) * 4096) 4k" })
      },
      genuine: { lab in
        Invocation("qemu-io", ["-r", "-f", "qcow2", lab.path("frag.qcow2")], input: lab.path("commands"))
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("frag.qcow2")], input: lab.path("commands"))
      }
    )
  }
}
