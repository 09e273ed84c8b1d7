// Races of whole copies: convert from and to each format, with and without compression, and reading what is
// compressed. Neither side waits for the disk, as convert does not; the disk is brought to rest before each.

extension Race {
  /// Bytes that a disk may have: what is installed here, programs and texts.
  private static func fill(_ lab: Lab, _ name: String, mebibytes: Int) throws(BenchError) {
    try lab.run(
      "sh",
      [
        "-c",
        "tar -C / -cf - usr/lib usr/share usr/bin 2>/dev/null | head -c \(mebibytes)M > '\(lab.path(name))'",
      ])
    try lab.run("truncate", ["-s", "\(mebibytes)M", lab.path(name)])
  }

  private static let fourGiB = (0..<4).flatMap { ["-c", "write -q -P \(85 + $0) \($0)G 1G"] }

  /// A copy of `source`, made anew in every run; both sides get the same words.
  private static func copy(
    _ name: String, _ purpose: String, target: Double, from source: String, _ words: [String],
    genuine: [String] = [], ours: [String] = [], isExact: Bool = true, newMebibytes: Int = 4096,
    prepare: @escaping (Lab) throws(BenchError) -> Void
  ) -> Race {
    Race(
      name: name, purpose: purpose, target: target,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try prepare(lab)
      },
      reset: { (lab) throws(BenchError) in try lab.run("rm", ["-f", lab.path("genuine"), lab.path("ours")]) },
      genuine: { lab in
        Invocation("qemu-img", ["convert"] + genuine + words + [lab.path(source), lab.path("genuine")])
      },
      ours: { lab in
        Invocation(lab.qatlas, ["convert"] + ours + words + [lab.path(source), lab.path("ours")])
      },
      rests: true, newMebibytes: newMebibytes, compared: isExact ? ("genuine", "ours") : nil,
      comparesDisks: !isExact)
  }

  static var toImage: Race {
    copy(
      "convert-raw-qcow2", "4 GiB of data, raw to qcow2", target: 1.2, from: "disk.raw",
      ["-f", "raw", "-O", "qcow2"]
    ) { (lab) throws(BenchError) in
      try lab.run("qemu-img", ["create", "-q", "-f", "raw", lab.path("disk.raw"), "4G"])
      try lab.run("qemu-io", ["-t", "writeback", "-f", "raw"] + fourGiB + [lab.path("disk.raw")])
    }
  }

  static var toRaw: Race {
    copy(
      "convert-qcow2-raw", "4 GiB of data, qcow2 to raw", target: 1.2, from: "disk.qcow2",
      ["-f", "qcow2", "-O", "raw"]
    ) { (lab) throws(BenchError) in
      try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("disk.qcow2"), "4G"])
      try lab.run("qemu-io", ["-t", "writeback", "-f", "qcow2"] + fourGiB + [lab.path("disk.qcow2")])
    }
  }

  static var chain: Race {
    copy(
      "convert-chain", "a chain of 4 GiB and two overlays, each with a quarter of its clusters, to one qcow2",
      target: 1.2, from: "layer2", ["-f", "qcow2", "-O", "qcow2"]
    ) { (lab) throws(BenchError) in
      var numbers = Numbers(seed: 17)
      for layer in 0..<3 {
        let below = layer == 0 ? [] : ["-b", "layer\(layer - 1)", "-F", "qcow2"]
        try lab.run("qemu-img", ["create", "-q", "-f", "qcow2"] + below + [lab.path("layer\(layer)"), "4G"])
        guard layer > 0 else {
          try lab.run("qemu-io", ["-t", "writeback", "-f", "qcow2"] + fourGiB + [lab.path("layer0")])
          continue
        }
        try lab.script(
          "writes",
          (0..<4096).map { "write -q -P \(1 + ($0 + layer) % 250) \(numbers.below(16384) * 256)k 256k" })
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("layer\(layer)")], input: lab.path("writes"))
      }
    }
  }

  /// The same stream for the same cluster on both sides, or with `isFast` one of ours that takes less time;
  /// `type` is nil for what each side does by itself.
  static func compression(_ type: String?, isFast: Bool) -> Race {
    let options = type.map { ["-o", "compression_type=\($0)"] } ?? []
    return copy(
      "convert-" + (type ?? "c") + (isFast ? "-fast" : ""),
      "256 MiB of programs and texts, raw to qcow2 with -c" + (type.map { " and \($0)" } ?? "")
        + (isFast ? ", against --compress-fast" : ""),
      target: isFast ? 6 : 1, from: "files.raw",
      ["-f", "raw", "-O", "qcow2"] + options, genuine: ["-c"], ours: [isFast ? "--compress-fast" : "-c"],
      // The library of zstd makes the frames, and the genuine tool may have another version of it.
      isExact: !isFast && type == "zlib", newMebibytes: 256
    ) { (lab) throws(BenchError) in try fill(lab, "files.raw", mebibytes: 256) }
  }

  /// One request after the other, so that nobody decompresses ahead.
  static func compressedRead(_ name: String, _ purpose: String, target: Double, _ reads: [String]) -> Race {
    Race(
      name: name, purpose: purpose, target: target,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try fill(lab, "files.raw", mebibytes: 256)
        try lab.run(
          "qemu-img",
          ["convert", "-f", "raw", "-O", "qcow2", "-c", lab.path("files.raw"), lab.path("files.qcow2")])
        try lab.script("reads", reads)
      },
      genuine: { lab in
        Invocation("qemu-io", ["-r", "-f", "qcow2", lab.path("files.qcow2")], input: lab.path("reads"))
      },
      ours: { lab in Invocation(lab.qatlas, ["io", "-r", lab.path("files.qcow2")], input: lab.path("reads")) }
    )
  }

  static var compressedReads: [Race] {
    var numbers = Numbers(seed: 23)
    return [
      compressedRead(
        "compressed-random-read", "4096 random 4 KiB reads of 256 MiB in zlib clusters", target: 2,
        (0..<4096).map { _ in "read -q \(numbers.below(65536) * 4)k 4k" }),
      compressedRead(
        "compressed-cluster-read", "256 MiB in zlib clusters, cluster by cluster", target: 2,
        (0..<4096).map { "read -q \($0 * 64)k 64k" }),
      compressedRead(
        "compressed-large-read",
        "256 MiB in zlib clusters in reads of 2 MiB, of which the genuine tool "
          + "expands four clusters at a time", target: 2, (0..<128).map { "read -q \($0 * 2)M 2M" }),
    ]
  }
}
