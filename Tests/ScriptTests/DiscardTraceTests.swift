// A trace of discards says what really happens: its figures are those of the requests done on copies, by the engine
// under every policy and by the genuine tool.

import Explorer
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.genuine)) struct DiscardTraceTests {
  /// How an image is made: options, and lines behind it.
  struct Kind: CustomTestStringConvertible, Sendable {
    var options: String
    var script = ""
    var policies = 2
    var testDescription: String { options + (script.isEmpty ? "" : ", ") + script }
  }

  static let size = 8 << 20

  static let kinds = [
    Kind(options: "cluster_size=64k"),
    Kind(options: "cluster_size=4k,refcount_bits=8", script: "snapshot"),
    Kind(options: "compat=0.10", policies: 1),
    Kind(options: "compat=0.10", script: "backing", policies: 1),
    Kind(options: "cluster_size=64k", script: "backing"),
    Kind(options: "extended_l2=on,cluster_size=64k", policies: 4),
    Kind(options: "extended_l2=on,cluster_size=64k", script: "backing", policies: 6),
    Kind(options: "extended_l2=on,cluster_size=16k", script: "snapshot", policies: 4),
    Kind(options: "cluster_size=64k", script: "compressed"),
    Kind(options: "cluster_size=2M,preallocation=metadata"),
    Kind(options: "cluster_size=64k,data_file=data.raw,data_file_raw=on"),
  ]

  /// Lines in all forms of numbers, some of them half in clusters.
  private static func lines(_ count: Int, _ seed: UInt64) -> [String] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in
      let unit = [512, 2048, 4096, 65536].randomElement(using: &random) ?? 512
      let offset = Int.random(in: 0..<size / unit, using: &random) * unit
      let length = min(size - offset, Int.random(in: 1...(600_000 / unit), using: &random) * unit)
      let text =
        [
          "\(offset) \(length)", "0x\(String(offset, radix: 16)) \(length)",
          "\(offset / 512 * 512)b \(length)",
        ].randomElement(using: &random) ?? ""
      return switch Int.random(in: 0..<8, using: &random) {
      case 0: "write -P \(Int.random(in: 1..<250, using: &random)) \(text)"
      case 1: "write -z -u \(text)"
      case 2: "write -z \(text)"
      default: "discard \(text)"
      }
    }
  }

  private func make(_ kind: Kind, _ judge: Judge) throws {
    var options = ["create", "-q", "-f", "qcow2", "-o", kind.options]
    if kind.script == "backing" {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "base.qcow2", "\(Self.size)"])
      try judge.must("qemu-io", ["-c", "write -P 9 1M 3M", "-c", "write -z 6M 1M", "base.qcow2"])
      options += ["-b", "base.qcow2", "-F", "qcow2"]
    }
    try judge.must("qemu-img", options + ["a.qcow2", "\(Self.size)"])
    let fill = ["-c", "write -P 7 512k 3M", "-c", "write -P 8 5M 100k", "-c", "write -z 6M 300k"]
    try judge.must("qemu-io", ["-f", "qcow2"] + fill + ["a.qcow2"])
    if kind.script == "snapshot" {
      try judge.must("qemu-img", ["snapshot", "-c", "one", "a.qcow2"])
      try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -P 3 1M 1M", "a.qcow2"])
    }
    if kind.script == "compressed" {
      try judge.must("qemu-img", ["convert", "-c", "-O", "qcow2", "a.qcow2", "b.qcow2"])
      try judge.must("mv", ["b.qcow2", "a.qcow2"])
    }
  }

  /// What every guest cluster is, and which host clusters are in use.
  private struct Picture {
    var entries: [L2Entry] = []
    var used: Set<UInt64> = []

    init(_ image: Image) throws {
      try image.flush()
      for cluster in 0..<image.geometry.clusterCount {
        entries.append(try image.l2Entry(at: image.geometry.start(of: GuestCluster(cluster))))
      }
      for cluster in 0..<image.geometry.clustersCovering(image.storage.length) {
        if try image.refcount(of: HostCluster(cluster)) > 0 { used.insert(cluster) }
      }
    }

    /// Subclusters of every cluster that hold data.
    func held(_ index: Int, _ geometry: Geometry, _ version: UInt32) -> UInt64 {
      let states = (0..<geometry.subclustersPerCluster).map {
        geometry.state(of: entries[index], SubclusterIndex($0), version: version)
      }
      return states.enumerated().reduce(0) { bits, item in
        item.element == .data || item.element == .compressed ? bits | 1 << UInt64(item.offset) : bits
      }
    }

    func isMapped(_ index: Int, _ geometry: Geometry) -> Bool {
      entries[index].isCompressed || geometry.hasHost(entries[index])
    }
  }

  /// Does the requests on a copy, and counts by looking at all tables before and after every discard.
  private func really(_ policy: DiscardPolicy, _ lines: [String], _ judge: Judge) throws -> DiscardOutcome {
    try judge.must("cp", ["a.qcow2", "copy.qcow2"])
    if FileManager.default.fileExists(atPath: judge.path("data.raw")) {
      try judge.must("cp", ["data.raw", "data.copy"])
    }
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.policies = policy.policies
    let file = try FileStorage(path: judge.path("copy.qcow2"), mode: .readWrite)
    if FileManager.default.fileExists(atPath: judge.path("base.qcow2")) {
      options.backing = try Image(FileStorage(path: judge.path("base.qcow2"), mode: .readOnly))
    }
    if FileManager.default.fileExists(atPath: judge.path("data.copy")) {
      options.dataFile = try FileStorage(path: judge.path("data.copy"), mode: .readWrite)
    }
    let image = try Image(file, options: options)
    let geometry = image.geometry
    var outcome = DiscardOutcome()
    let first = try Picture(image)
    var before = first
    for line in lines {
      let request = try CommandParser.request(try #require(try CommandParser.parse(line)))
      let (offset, count) = (GuestOffset(request.offset), ByteCount(request.length))
      switch request.kind {
      case .write(let byte): try Self.write(byte, Int(request.length), at: offset, on: image)
      case .zero(let mayUnmap): try image.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
      case .discard: try image.discard(at: offset, count: count)
      case .read: break
      }
      let after = try Picture(image)
      defer { before = after }
      guard request.kind == .discard else { continue }
      outcome.freed += UInt64(before.used.subtracting(after.used).count)
      for index in before.entries.indices where before.entries[index] != after.entries[index] {
        let old = before.held(index, geometry, image.header.version)
        let new = after.held(index, geometry, image.header.version)
        outcome.dataBytes.value += UInt64((old & ~new).nonzeroBitCount) * geometry.subclusterSize
        switch (before.isMapped(index, geometry), after.isMapped(index, geometry)) {
        case (true, false): outcome.unmapped += 1
        case (true, true) where old != 0 && new == 0: outcome.kept += 1
        default: break
        }
      }
    }
    func mapped(_ picture: Picture) -> Int64 {
      Int64(picture.entries.indices.count { picture.isMapped($0, geometry) })
    }
    outcome.mappedChange = mapped(before) - mapped(first)
    try image.close()
    return outcome
  }

  private static func write(_ byte: UInt8, _ count: Int, at offset: GuestOffset, on image: Image) throws {
    try unsafe [UInt8](repeating: byte, count: count).withUnsafeBytes {
      try unsafe image.write($0, at: offset)
    }
  }

  private func trace(
    _ judge: Judge, _ lines: [String], tableBytes: UInt64 = DiscardTrace.tableBytes
  ) throws -> DiscardTrace {
    var options = Image.Options()
    if FileManager.default.fileExists(atPath: judge.path("base.qcow2")) {
      options.backing = try Image(FileStorage(path: judge.path("base.qcow2"), mode: .readOnly))
    }
    if FileManager.default.fileExists(atPath: judge.path("data.raw")) {
      options.dataFile = try FileStorage(path: judge.path("data.raw"), mode: .readOnly)
    }
    let image = try Image(FileStorage(path: judge.path("a.qcow2"), mode: .readOnly), options: options)
    let file = MemoryStorage(name: "lines", bytes: Array((lines.joined(separator: "\n") + "\n").utf8))
    let trace = DiscardTrace(image, file, tableBytes: tableBytes)
    // In slices as short as they can be.
    while !trace.step(budgetNanoseconds: 1) {}
    return trace
  }

  @Test("the figures are those of the requests really done", arguments: kinds)
  func figures(_ kind: Kind) throws {
    let judge = try Judge()
    try make(kind, judge)
    let lines = Self.lines(60, UInt64(kind.testDescription.utf8.count))
    let trace = try trace(judge, lines)
    #expect(trace.failure == nil && trace.refusal == nil && trace.counts.notUnderstood == 0)
    #expect(trace.policies.count == kind.policies)
    for (policy, outcome) in zip(trace.policies, trace.outcomes) {
      #expect(try really(policy, lines, judge) == outcome, "\(policy.name)")
    }
    // A disk that is played part by part comes to the same; a stream shares its cluster with those of other parts.
    if kind.script != "compressed" {
      let parts = try self.trace(judge, lines, tableBytes: 1)
      #expect(parts.outcomes == trace.outcomes && parts.counts == trace.counts)
    }
  }

  @Test("what is mapped and in use afterwards is what the genuine tool leaves", arguments: kinds)
  func genuine(_ kind: Kind) throws {
    let judge = try Judge()
    try make(kind, judge)
    let lines = Self.lines(60, 77).map { $0.replacingOccurrences(of: "b ", with: " ") }
    let trace = try trace(judge, lines)
    func mapped() throws -> Int64 {
      let image = try Image(
        FileStorage(path: judge.path("a.qcow2"), mode: .readOnly), options: Self.alone(kind))
      let picture = try Picture(image)
      return Int64(picture.entries.indices.count { picture.isMapped($0, image.geometry) })
    }
    let before = try mapped()
    try judge.must("qemu-io", ["-d", "unmap", "-f", "qcow2"] + lines.flatMap { ["-c", $0] } + ["a.qcow2"])
    #expect(try mapped() - before == trace.outcomes.first?.mappedChange)
  }

  private static func alone(_ kind: Kind) -> Image.Options {
    var options = Image.Options()
    options.standsAlone = true
    if kind.options.contains("data_file") { options.dataFile = MemoryStorage() }
    return options
  }

  @Test("alignment drops what the arithmetic says, to the byte")
  func alignment() throws {
    let judge = try Judge()
    try judge.must(
      "qemu-img",
      ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=64k", "a.qcow2", "1000000"])
    var heard: [DiscardLoss] = []
    let lines = [
      "discard 0 64k", "discard 1 64k", "discard 0 2k", "discard 65536 4097",
      "discard 0x20000 \(1000448 - 0x20000)",
      "discard 1000000 448", "discard 1000000 449", "9223372036854775807 9223372036854775807", "60k 8k",
    ]
    let trace = try trace(judge, lines)
    // The last line but one ends behind the disk of 1000448 bytes; the one of two numbers does as well.
    #expect(trace.counts.outside == 2 && trace.counts.discards == 7)
    for loss in trace.losses { heard.append(loss) }
    let expected: [(UInt64, UInt64, UInt64)] = [
      (2, 65536, 2048), (9, 8192, 0), (4, 4097, 1), (3, 2048, 0), (6, 448, 448),
    ]
    #expect(heard.map(\.line) == expected.map(\.0))
    #expect(heard.map(\.byClusters) == expected.map(\.1))
    #expect(heard.map(\.bySubclusters) == expected.map(\.2))
    #expect(trace.counts.lostByClusters == expected.reduce(0) { $0 + $1.1 })
    #expect(trace.lost.reduce(0, +) == trace.counts.lostByClusters)
    #expect(trace.asked.reduce(0, +) == trace.counts.asked)
    #expect(trace.counts.losingAll == 5 && trace.counts.losingAllBySubclusters == 1)
  }

  @Test("of more losses than are kept the worst are kept")
  func worst() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    var random = SplitMix64(seed: 3)
    let lengths = (0..<3000).map { _ in Int.random(in: 1..<60000, using: &random) }
    let trace = try trace(judge, lengths.map { "discard 1 \($0)" })
    let expected = lengths.enumerated().sorted { ($1.element, $0.offset) < ($0.element, $1.offset) }
    #expect(trace.losses.map(\.line) == expected.prefix(1000).map { UInt64($0.offset + 1) })
  }

  @Test("a command means here what it means in the explorer")
  func commands() throws {
    for line in [
      "discard 0x1000 4k", "write 1.5M 64k", "write -P 0x55 0 512", "write -z -u 4096 1G", "zero 0 1T",
      "zero -u 0x10000 0x10000", ":discard 12 13", "  discard\t1 2", "write -z 7 9",
    ] {
      let request = try CommandParser.request(
        try #require(try CommandParser.parse(line.replacing("\t", with: " "))))
      var parser = TraceParser()
      #expect(parser.read(ArraySlice(line.utf8)) == .request(request), "\(line)")
    }
  }

  @Test(
    "lines of other programs",
    arguments: [
      ("4096 8192", Request(.discard, at: 4096, length: 8192)),
      (
        "  8,0    3       11     0.009507758   697  D  DS 223490 + 56 [kjournald]",
        Request(.discard, at: 223490 * 512, length: 56 * 512)
      ),
      (
        "fallocate(3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 4096, 8192) = 0",
        Request(.discard, at: 4096, length: 8192)
      ),
      ("[pid 7] ioctl(5, BLKDISCARD, [1048576, 4096]) = 0", Request(.discard, at: 1 << 20, length: 4096)),
      (
        "pwrite64(3, \"a, (b)\"..., 4096, 8192) = 4096",
        Request(.write(pattern: 0xcd), at: 8192, length: 4096)
      ),
    ])
  func otherPrograms(_ line: String, _ request: Request) {
    var parser = TraceParser()
    #expect(parser.read(ArraySlice(line.utf8)) == .request(request))
    // The next station of the same request is no other request.
    let next = line.replacing("  D  DS", with: "  C  DS")
    if next != line { #expect(parser.read(ArraySlice(next.utf8)) == .nothing) }
  }

  @Test("no line is taken for what it is not")
  func strangeLines() {
    for line in [
      "", "   ", "# discard 0 4k", "read 0 4k", "flush", "fallocate(3, 0, 0, 5) = 0", "openat(3, 4, 5, 6)",
      "ioctl(3, BLKDISCARD, [0, 4096]) = -1 EPERM",
    ] {
      var parser = TraceParser()
      #expect(parser.read(ArraySlice(line.utf8)) == .nothing, "\(line)")
    }
    for line in [
      "discard", "discard 0", "discard 0 0", "discard -q 0 4k 5", "discard x 4k", "\u{1b}[31m 0 4k",
      "write -c 0 64k", "write -s file 0 4k", "99999999999999999999 1", "1 2 3", "fallocate(", "discard 0 -1",
    ] {
      var parser = TraceParser()
      guard case .notUnderstood(let reason) = parser.read(ArraySlice(line.utf8)) else {
        Issue.record("\(line) was understood")
        continue
      }
      #expect(!reason.isEmpty)
    }
  }
}

extension DiscardTraceTests {
  @Test("the program prints the same figures, and more losses than one screen has where all are asked for")
  func program() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 4M", "a.qcow2"])
    let lines = (0..<3000).map { "discard \($0)k 1k" } + ["discard 3M 64k", "nonsense"]
    try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: judge.path("lines")))
    let before = judge.bytes("a.qcow2")
    for (options, count) in [([], 1000), (["--all"], 3000)] {
      let printed = try judge.ours(["discards", "--json"] + options + ["a.qcow2", "lines"])
      let report = try #require(
        try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? [String: Any], "\(printed)")
      #expect((report["losses"] as? [Any])?.count == count)
      let counts = try #require(report["counts"] as? [String: Any])
      #expect(counts["dropped"] as? Int == 3000 << 10 && counts["losing-all"] as? Int == 3000)
      let policies = try #require(report["policies"] as? [[String: Any]])
      #expect(policies.map { $0["clusters-freed"] as? Int } == [1, 0])
      #expect(policies.map { $0["clusters-kept"] as? Int } == [0, 1])
      #expect((report["notes"] as? [String])?.first?.contains("line 3002") == true)
    }
    let text = try judge.ours(["discards", "a.qcow2", "lines"])
    #expect(text.status == 0 && text.output.contains("and 2980 more; --all prints them"), "\(text)")
    #expect(judge.bytes("a.qcow2") == before)
    #expect(try judge.ours(["discards", "a.qcow2", "missing"]).status == 1)
  }
}
