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

  /// Writes that fill a disk of so many MiB, which is a multiple of four: each quarter has bytes of its own.
  private static func quarters(_ mebibytes: Int) -> [String] {
    (0..<4).flatMap {
      ["-c", "write -q -P \(85 + $0) \($0 * mebibytes / 4)M \(mebibytes / 4)M"]
    }
  }

  /// A copy of `source`, made anew in every run; both sides get the same words.
  private static func copy(
    _ name: String, _ purpose: String, target: Double, from source: String, _ words: [String],
    genuine: [String] = [], ours: [String] = [], isExact: Bool = true, newMebibytes: Int,
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

  static func toImage(_ scale: Scale) -> Race {
    let mebibytes = scale(4096)
    return copy(
      "convert-raw-qcow2", "\(mebibytes) MiB of data, raw to qcow2", target: 1.2, from: "disk.raw",
      ["-f", "raw", "-O", "qcow2"], newMebibytes: mebibytes
    ) { (lab) throws(BenchError) in
      try lab.run("qemu-img", ["create", "-q", "-f", "raw", lab.path("disk.raw"), "\(mebibytes)M"])
      try lab.run("qemu-io", ["-t", "writeback", "-f", "raw"] + quarters(mebibytes) + [lab.path("disk.raw")])
    }
  }

  static func toRaw(_ scale: Scale) -> Race {
    let mebibytes = scale(4096)
    return copy(
      "convert-qcow2-raw", "\(mebibytes) MiB of data, qcow2 to raw", target: 1.2, from: "disk.qcow2",
      ["-f", "qcow2", "-O", "raw"], newMebibytes: mebibytes
    ) { (lab) throws(BenchError) in
      try lab.run("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("disk.qcow2"), "\(mebibytes)M"])
      try lab.run(
        "qemu-io", ["-t", "writeback", "-f", "qcow2"] + quarters(mebibytes) + [lab.path("disk.qcow2")])
    }
  }

  static func chain(_ scale: Scale) -> Race {
    let mebibytes = scale(4096)
    return copy(
      "convert-chain",
      "a chain of \(mebibytes) MiB and two overlays, each with a quarter of its clusters, to one qcow2",
      target: 1.2, from: "layer2", ["-f", "qcow2", "-O", "qcow2"], newMebibytes: mebibytes
    ) { (lab) throws(BenchError) in
      var numbers = Numbers(seed: 17)
      for layer in 0..<3 {
        let below = layer == 0 ? [] : ["-b", "layer\(layer - 1)", "-F", "qcow2"]
        try lab.run(
          "qemu-img", ["create", "-q", "-f", "qcow2"] + below + [lab.path("layer\(layer)"), "\(mebibytes)M"])
        guard layer > 0 else {
          try lab.run(
            "qemu-io", ["-t", "writeback", "-f", "qcow2"] + quarters(mebibytes) + [lab.path("layer0")])
          continue
        }
        try lab.script(
          "writes",
          (0..<mebibytes).map {
            "write -q -P \(1 + ($0 + layer) % 250) \(numbers.below(UInt64(mebibytes) * 4) * 256)k 256k"
          })
        try lab.run(
          "qemu-io", ["-t", "writeback", "-f", "qcow2", lab.path("layer\(layer)")], input: lab.path("writes"))
      }
    }
  }

  /// The same stream for the same cluster on both sides, or with `isFast` one of ours that takes less time;
  /// `type` is nil for what each side does by itself.
  static func compression(_ type: String?, isFast: Bool, _ scale: Scale) -> Race {
    let mebibytes = scale(256)
    let options = type.map { ["-o", "compression_type=\($0)"] } ?? []
    return copy(
      "convert-" + (type ?? "c") + (isFast ? "-fast" : ""),
      "\(mebibytes) MiB of programs and texts, raw to qcow2 with -c" + (type.map { " and \($0)" } ?? "")
        + (isFast ? ", against --compress-fast" : ""),
      target: isFast ? 6 : 1, from: "files.raw",
      ["-f", "raw", "-O", "qcow2"] + options, genuine: ["-c"], ours: [isFast ? "--compress-fast" : "-c"],
      // The library of zstd makes the frames, and the genuine tool may have another version of it.
      isExact: !isFast && type == "zlib", newMebibytes: mebibytes
    ) { (lab) throws(BenchError) in try fill(lab, "files.raw", mebibytes: mebibytes) }
  }

  /// One request after the other, so that nobody decompresses ahead.
  static func compressedRead(
    _ name: String, _ purpose: String, target: Double, mebibytes: Int, _ reads: [String]
  ) -> Race {
    Race(
      name: name, purpose: purpose, target: target,
      prepare: { (lab) throws(BenchError) in
        try lab.clear()
        try fill(lab, "files.raw", mebibytes: mebibytes)
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

  static func compressedReads(_ scale: Scale) -> [Race] {
    var numbers = Numbers(seed: 23)
    let mebibytes = scale(256)
    let size = "\(mebibytes) MiB in zlib clusters"
    return [
      compressedRead(
        "compressed-random-read", "\(mebibytes * 16) random 4 KiB reads of \(size)", target: 2,
        mebibytes: mebibytes,
        (0..<mebibytes * 16).map { _ in "read -q \(numbers.below(UInt64(mebibytes) * 256) * 4)k 4k" }),
      compressedRead(
        "compressed-cluster-read", "\(size), cluster by cluster", target: 2, mebibytes: mebibytes,
        (0..<mebibytes * 16).map { "read -q \($0 * 64)k 64k" }),
      compressedRead(
        "compressed-large-read",
        "\(size) in reads of 2 MiB, of which the genuine tool expands four clusters at a time", target: 2,
        mebibytes: mebibytes, (0..<mebibytes / 2).map { "read -q \($0 * 2)M 2M" }),
    ]
  }
}
