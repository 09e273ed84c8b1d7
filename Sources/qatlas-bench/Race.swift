// A race: the same work done by a genuine tool and by qatlas on files that start out equal, several
// times in turn, and the ratio of the medians.

import Glibc

/// What is raced.
struct Race {
  var name: String
  /// One line on what it shows.
  var purpose: String
  /// How many times as fast qatlas is meant to be.
  var target: Double
  /// Makes what the runs start from; called once.
  var prepare: (_ lab: Lab) throws(BenchError) -> Void
  /// Brings back the start of a run; not timed.
  var reset: (_ lab: Lab) throws(BenchError) -> Void = { (_: Lab) throws(BenchError) in }
  var genuine: (_ lab: Lab) -> Invocation
  var ours: (_ lab: Lab) -> Invocation
  /// Everything written is on the disk before each side begins.
  var rests = false
  /// MiB of new files that a run makes. So much of the host's memory is written and given back before each side
  /// begins: under a hypervisor the first use of memory can cost more than the copy.
  var newMebibytes = 0
  /// Files of the genuine tool and of qatlas that must hold the same bytes afterwards.
  var compared: (genuine: String, ours: String)?
  /// Output that must be the same, byte for byte.
  var comparesOutput = false
  /// The images `genuine` and `ours` must read the same, as the genuine tool sees it.
  var comparesDisks = false
  /// Flushes are counted as well, in a run of its own.
  var countsFlushes = false
}

/// The folder where races run, and the programs.
struct Lab {
  var folder: String
  var qatlas: String
  /// Whose tools run as `qemu-img` and `qemu-io`.
  var judge: Judge

  func path(_ name: String) -> String { folder + "/" + name }

  func run(_ program: String, _ arguments: [String], input: String? = nil) throws(BenchError) {
    try judge.invocation(Invocation(program, arguments, input: input)).run()
  }

  /// Removes the files of the race before.
  func clear() throws(BenchError) {
    try run("sh", ["-c", "rm -f '\(folder)'/*"])
  }

  /// A sparse copy, which starts on disk and not in the host's memory of things to write.
  func copy(_ from: String, _ to: String) throws(BenchError) {
    try run("cp", ["--sparse=always", path(from), path(to)])
    try run("sync", [path(to)])
  }

  /// Writes a file of that size and removes it.
  func warm(_ mebibytes: Int) throws(BenchError) {
    guard mebibytes > 0 else { return }
    let file = path("warm")
    try run("sh", ["-c", "head -c \(mebibytes)M /dev/zero > '\(file)' && rm '\(file)'"])
  }

  /// Lines of commands, for standard input.
  func script(_ name: String, _ lines: [String]) throws(BenchError) {
    let text = Array((lines.joined(separator: "\n") + "\n").utf8)
    let descriptor = unsafe open(path(name), O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    guard descriptor >= 0 else { throw BenchError("cannot write \(path(name))") }
    defer { close(descriptor) }
    var done = 0
    while done < text.count {
      let put = unsafe text.withUnsafeBytes {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: $0[done...])
        return unsafe write(descriptor, rest.baseAddress, rest.count)
      }
      guard put > 0 else { throw BenchError("cannot write \(path(name))") }
      done += put
    }
  }

  /// Bytes that the host keeps for a file.
  func allocated(_ name: String) -> Int {
    var status = Glibc.stat()
    return unsafe stat(path(name), &status) == 0 ? status.st_blocks * 512 : 0
  }
}

/// Numbers that look random and are the same every time.
struct Numbers {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func below(_ bound: UInt64) -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return (mixed ^ (mixed >> 31)) % bound
  }
}

/// What a race came to.
struct Result {
  var race: Race
  /// The judge's name.
  var judge: String
  var genuine: [Cost]
  var ours: [Cost]
  var notes: [String]

  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }

  /// How many times as fast qatlas was, pair by pair.
  var ratios: [Double] { zip(genuine, ours).map { $0.wall / $1.wall } }
  var ratio: Double { Self.median(genuine.map(\.wall)) / Self.median(ours.map(\.wall)) }
}

extension Race {
  func run(_ lab: Lab, pairs: Int) throws(BenchError) -> Result {
    try prepare(lab)
    var result = Result(race: self, judge: lab.judge.name, genuine: [], ours: [], notes: [])
    let genuine = { lab.judge.invocation(self.genuine(lab)) }
    // One pair that does not count, for what only the first run pays. The sides take turns in going first.
    for pair in 0...pairs {
      try reset(lab)
      for isOurs in pair % 2 == 0 ? [false, true] : [true, false] {
        if rests { try lab.run("sync", []) }
        try lab.warm(newMebibytes)
        let side = isOurs ? ours(lab) : genuine()
        let cost = try side.run(output: lab.path(isOurs ? "ours.out" : "genuine.out"))
        guard pair > 0 else { continue }
        if isOurs { result.ours.append(cost) } else { result.genuine.append(cost) }
      }
    }
    if comparesOutput {
      if !lab.judge.tellsCompressed {
        try lab.run("sed", ["-i", "s/, \"compressed\": [a-z]*//", lab.path("ours.out")])
      }
      try lab.run("cmp", [lab.path("genuine.out"), lab.path("ours.out")])
      result.notes.append("same output")
    }
    if let compared {
      try lab.run("cmp", [lab.path(compared.genuine), lab.path(compared.ours)])
      let kept = (lab.allocated(compared.genuine), lab.allocated(compared.ours))
      result.notes.append("same bytes; host blocks \(kept.0) and \(kept.1)")
    }
    if comparesDisks {
      try lab.run("qemu-img", ["compare", lab.path("genuine"), lab.path("ours")])
      let kept = (lab.allocated("genuine"), lab.allocated("ours"))
      result.notes.append("same disks; host blocks \(kept.0) and \(kept.1)")
    }
    if countsFlushes {
      try reset(lab)
      let counts = (try flushes(genuine(), lab), try flushes(ours(lab), lab))
      result.notes.append("flushes \(counts.0) and \(counts.1)")
    }
    return result
  }

  /// Calls of fdatasync that a run makes, counted by strace.
  private func flushes(_ invocation: Invocation, _ lab: Lab) throws(BenchError) -> String {
    let log = lab.path("strace.log")
    var traced = invocation
    traced.program = "strace"
    traced.arguments =
      ["-f", "-c", "-o", log, "-e", "trace=fdatasync,fsync", invocation.program] + invocation.arguments
    do throws(BenchError) { try traced.run() } catch { return "not counted (strace is needed)" }
    let counted = Invocation("awk", ["/fdatasync|fsync/ {n += $4} END {print n + 0}", log])
    try counted.run(output: lab.path("count.out"))
    return Self.firstLine(lab.path("count.out"))
  }

  static func firstLine(_ path: String) -> String {
    guard let file = unsafe fopen(path, "r") else { return "?" }
    defer { unsafe fclose(file) }
    var buffer = [CChar](repeating: 0, count: 64)
    guard unsafe fgets(&buffer, 64, file) != nil else { return "?" }
    let bytes = buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
    return String(decoding: bytes, as: UTF8.self)
  }
}
