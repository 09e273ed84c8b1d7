// Races on guest data: the headline case of subclusters, sequential transfers, and random reads on a
// fragmented image. Both sides get the same commands on standard input.

extension Race {
  /// MiB of the disks here.
  private static let size = 1024

  private static func writes(_ count: Int, over mebibytes: Int, seed: UInt64) -> [String] {
    var numbers = Numbers(seed: seed)
    return (0..<count).map { index in
      "write -q -P \(1 + index % 250) \(numbers.below(UInt64(mebibytes) * 256) * 4096) 4k"
    }
  }

  /// 4 KiB random writes into an empty overlay over a full backing file.
  static func overlay(extended: Bool, cache: String, target: Double, _ scale: Scale) -> Race {
    let count = scale(cache == "writeback" ? 20_000 : 2_000)
    let mebibytes = scale(size)
    let options = extended ? "extended_l2=on," : ""
    return Race(
      name: "overlay-\(extended ? "extended" : "standard")-\(cache)",
      purpose:
        "\(count) random 4 KiB writes into an empty overlay over a full backing file of \(mebibytes) MiB, -t \(cache)",
      target: target,
      prepare: { (lab) throws(BenchError) in
        try lab.full("base.qcow2", mebibytes: mebibytes)
        try lab.run(
          "qemu-img",
          [
            "create", "-q", "-f", "qcow2", "-o", "\(options)backing_file=base.qcow2,backing_fmt=qcow2",
            lab.path("empty.qcow2"),
          ])
        try lab.script("commands", writes(count, over: mebibytes, seed: 7))
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

  /// The bench of QEMU 11.1 leaves the last buffer of an image alone and takes the first twice.
  private static func buffers(_ scale: Scale) -> Int { max(2, scale(size) / 2) - 1 }

  static func sequentialRead(_ scale: Scale) -> Race {
    let count = buffers(scale)
    return Race(
      name: "sequential-read",
      purpose: "\(count * 2) MiB of allocated clusters in \(count) reads of 2 MiB, against qemu-img bench",
      target: 1.3,
      limit: Limit(name: "raw file", least: 0.95) { lab in
        lab.judge.invocation(
          Invocation(
            "qemu-img", ["bench", "-f", "raw", "-c", "\(count)", "-d", "1", "-s", "2M", lab.path("full.raw")])
        )
      },
      prepare: { (lab) throws(BenchError) in
        try lab.full("full.qcow2", mebibytes: count * 2 + 2)
        try lab.run(
          "qemu-img", ["convert", "-f", "qcow2", "-O", "raw", lab.path("full.qcow2"), lab.path("full.raw")])
        try lab.script("commands", (0..<count).map { "read -q \($0 * 2)M 2M" })
      },
      genuine: { lab in
        Invocation(
          "qemu-img",
          ["bench", "-f", "qcow2", "-c", "\(count)", "-d", "1", "-s", "2M", lab.path("full.qcow2")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("full.qcow2")], input: lab.path("commands"))
      })
  }

  static func sequentialWrite(_ scale: Scale) -> Race {
    let count = buffers(scale)
    return Race(
      name: "sequential-write",
      purpose:
        "\(count * 2) MiB over allocated clusters in \(count) writes of 2 MiB, against qemu-img bench, one flush at the end",
      target: 1.1,
      limit: Limit(name: "raw file", least: 0.95) { lab in
        lab.judge.invocation(
          Invocation(
            "qemu-img",
            [
              "bench", "-w", "-t", "writeback", "-f", "raw", "-c", "\(count)", "-d", "1", "-s", "2M",
              lab.path("full.raw"),
            ]))
      },
      prepare: { (lab) throws(BenchError) in
        try lab.full("full.qcow2", mebibytes: count * 2 + 2)
        try lab.copy("full.qcow2", "ours.qcow2")
        try lab.run(
          "qemu-img", ["convert", "-f", "qcow2", "-O", "raw", lab.path("full.qcow2"), lab.path("full.raw")])
        try lab.script("commands", (0..<count).map { "write -q -P 0 \($0 * 2)M 2M" })
      },
      genuine: { lab in
        Invocation(
          "qemu-img",
          [
            "bench", "-w", "-t", "writeback", "-f", "qcow2", "-c", "\(count)", "-d", "1", "-s", "2M",
            lab.path("full.qcow2"),
          ])
      },
      ours: { lab in
        Invocation(
          lab.qatlas, ["io", "-t", "writeback", lab.path("ours.qcow2")], input: lab.path("commands"))
      },
      compared: ("full.qcow2", "ours.qcow2"))
  }

  /// A discard of all of an image whose clusters are on the disk, in one request.
  static func discardLarge(_ scale: Scale) -> Race {
    let mebibytes = min(scale(512), 2047)
    let words = ["-t", "writeback", "-d", "unmap", "-f", "qcow2", "-c", "discard -q 0 \(mebibytes)M"]
    return Race(
      name: "discard-large", purpose: "discard of \(mebibytes) MiB allocated in one request, -t writeback",
      target: 1.0,
      prepare: { (lab) throws(BenchError) in try lab.full("full.qcow2", mebibytes: mebibytes) },
      reset: { (lab) throws(BenchError) in
        try lab.copy("full.qcow2", "genuine.qcow2")
        try lab.copy("full.qcow2", "ours.qcow2")
      },
      genuine: { lab in Invocation("qemu-io", words + [lab.path("genuine.qcow2")]) },
      ours: { lab in Invocation(lab.qatlas, ["io"] + words + [lab.path("ours.qcow2")]) },
      rests: true, compared: ("genuine.qcow2", "ours.qcow2"), countsFlushes: true)
  }

  /// Clusters in random order, half of the disk, one request each. The files have tables for everything and no bytes,
  /// so that it is the tables that are raced.
  static func discardScattered(keepsMapping: Bool, _ scale: Scale) -> Race {
    let count = scale(131_072)
    return Race(
      name: "discard-scattered-\(keepsMapping ? "keep" : "default")",
      purpose:
        "discard of \(count) scattered clusters, one request each, \(keepsMapping ? "which stay mapped" : "which are freed"), -t writeback",
      target: 2.0,
      prepare: { (lab) throws(BenchError) in
        try lab.run(
          "qemu-img",
          [
            "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", lab.path("full.qcow2"),
            "\(count * 128)k",
          ])
        var numbers = Numbers(seed: 11)
        try lab.script(
          "commands", numbers.order(count * 2).prefix(count).map { "discard -q \($0 * 64)k 64k" })
      },
      reset: { (lab) throws(BenchError) in
        for name in ["genuine.qcow2", "ours.qcow2"] {
          try lab.run("cp", ["--sparse=always", lab.path("full.qcow2"), lab.path(name)])
        }
      },
      genuine: { lab in
        let options = "driver=qcow2,file.filename=\(lab.path("genuine.qcow2")),discard=unmap"
        return Invocation(
          "qemu-io",
          ["-t", "writeback", "--image-opts", options + (keepsMapping ? ",discard-no-unref=on" : "")],
          input: lab.path("commands"))
      },
      ours: { lab in
        Invocation(
          lab.qatlas,
          [
            "io", "-t", "writeback", "--policy", keepsMapping ? "keep-mapping" : "default",
            lab.path("ours.qcow2"),
          ],
          input: lab.path("commands"))
      },
      compared: ("genuine.qcow2", "ours.qcow2"), countsFlushes: true)
  }

  static func randomRead(_ scale: Scale) -> Race {
    let clusters = scale(16384)
    let count = scale(100_000)
    return Race(
      name: "random-read",
      purpose: "\(count) random 4 KiB reads on an image whose clusters lie in random order",
      target: 1.5,
      prepare: { (lab) throws(BenchError) in
        try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("frag.qcow2"), "\(clusters * 64)k"])
        var numbers = Numbers(seed: 3)
        try lab.script(
          "fill", numbers.order(clusters).map { "write -q -P \(1 + $0 % 250) \($0 * 64)k 64k" })
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("frag.qcow2")], input: lab.path("fill"))
        try lab.script(
          "commands", (0..<count).map { _ in "read -q \(numbers.below(UInt64(clusters) * 16) * 4096) 4k" })
      },
      genuine: { lab in
        Invocation("qemu-io", ["-r", "-f", "qcow2", lab.path("frag.qcow2")], input: lab.path("commands"))
      },
      ours: { lab in
        Invocation(lab.qatlas, ["io", "-r", lab.path("frag.qcow2")], input: lab.path("commands"))
      })
  }
}

extension Lab {
  /// An image of which every cluster is written, and on the disk.
  func full(_ name: String, mebibytes: Int) throws(BenchError) {
    try run("qemu-img", ["create", "-q", "-f", "qcow2", path(name), "\(mebibytes)M"])
    try fill(name, mebibytes: mebibytes)
    try run("sync", [path(name)])
  }
}
