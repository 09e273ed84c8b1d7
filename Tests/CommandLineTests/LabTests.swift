// The lab: the same seed gives the same figures, the case of the two clusters is exact, kept images never grow,
// and an image that holds no data is laid out like one that does.

import Cartography
import Explorer
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing
import ToolText

@Suite("The lab", .tags(.genuine)) struct LabTests {
  private func run(_ configuration: LabConfiguration) throws -> Lab {
    let lab = try Lab(configuration)
    while try !lab.advance(to: lab.total, budgetNanoseconds: 100_000_000) {}
    return lab
  }

  private func program(_ arguments: [String]) throws -> (output: String, errors: String, status: Int32) {
    let result = try TestSupport.run(try builtProduct("qatlas"), ["lab"] + arguments, timeout: 120)
    return (result.stdout, result.stderr, result.status)
  }

  @Test("the same seed gives the same lines, another one gives others", arguments: LabWorkload.allCases)
  func determinism(_ workload: LabWorkload) throws {
    var configuration = LabConfiguration(workload)
    configuration.size = 16 << 20
    configuration.samples = 6
    if workload != .reorder { configuration.operations = 300 }
    if workload == .boot {
      configuration.trace = [
        Request(.write(pattern: 1), at: 1 << 20, length: 8192), Request(.discard, at: 0, length: 1 << 20),
      ]
    }
    let first = LabText(try run(configuration))
    let second = LabText(try run(configuration))
    #expect(first.csv == second.csv && first.json == second.json && first.human == second.human)
    configuration.seed = 2
    let isRandom = [.random4k, .churn, .database].contains(workload)
    #expect((LabText(try run(configuration)).csv != first.csv) == isRandom)
  }

  @Test("how often and in which slices it is looked at changes nothing")
  func slices() throws {
    var configuration = LabConfiguration(.churn)
    configuration.operations = 60
    configuration.size = 8 << 20
    let whole = try run(configuration)
    configuration.samples = 7
    let lab = try Lab(configuration)
    for limit in 1...60 {
      while try !lab.advance(to: limit, budgetNanoseconds: 1) {}
      #expect(lab.operation == limit && lab.isMeasured)
    }
    #expect(lab.runs.map(\.latest) == whole.runs.map(\.latest))
    #expect(lab.runs.allSatisfy { $0.samples.count == 7 && $0.samples.last == $0.latest })
    #expect(lab.runs[0].samples.map(\.operation) == [0, 10, 20, 30, 40, 50, 60])
    #expect(whole.runs[0].samples.count == 50)
  }

  @Test("two clusters: the default swaps them, the others keep them", arguments: [false, true])
  func reorder(_ subclusters: Bool) throws {
    var configuration = LabConfiguration(.reorder)
    configuration.extendedL2 = subclusters
    configuration.hasBacking = subclusters
    let lab = try run(configuration)
    #expect(lab.runs.map(\.policy) == [.qemu, .keepMapping, .pinned])
    #expect(lab.runs.map(\.latest.away) == [2, 0, 0])
    #expect(lab.runs.map(\.latest.runs) == [3, 1, 1])
    #expect(lab.runs.map(\.latest.bestPossible) == [1, 1, 1])
    #expect(lab.runs.map(\.latest.jumps) == [2, 0, 0])
    let moved = lab.runs[0]
    let shift = try #require(moved.map.shift)
    #expect(
      try moved.image.places(shift: ByteCount(shift)).runs == [
        PlacesReport.Run(guest: GuestOffset(0), host: HostOffset(shift + 65536), clusters: 1),
        PlacesReport.Run(guest: GuestOffset(65536), host: HostOffset(shift), clusters: 1),
      ])
    // Both are drawn where they are.
    let first = shift >> 16
    #expect(moved.map.cell(first, bits: 0).guest == 1)
    #expect(moved.map.cell(first + 1, bits: 0).guest == 0)
    #expect(moved.map.cell(first + 1, bits: 0).counts[.outOfOrder] == 1)
    #expect(lab.runs[2].map.cell(first, bits: 0).guest == 0)
    #expect((0...first + 1023).allSatisfy { lab.runs[2].map.cell($0, bits: 0).counts[.outOfOrder] == 0 })
  }

  @Test("kept images never become longer than the disk and their tables", arguments: [false, true])
  func churn(_ subclusters: Bool) throws {
    var configuration = LabConfiguration(.churn)
    configuration.extendedL2 = subclusters
    configuration.hasBacking = subclusters
    if subclusters { configuration.discardGranularity = .subcluster }
    let lab = try run(configuration)
    for run in lab.runs where run.policy != .qemu {
      for sample in run.samples {
        #expect(sample.fileLength <= configuration.size + sample.tableBytes)
        #expect(sample.away == 0 && sample.runs == 1 && sample.avoidableReads == 0)
        #expect(sample.taken == 0 && sample.freed == 0)
        #expect(sample.hostBytes <= sample.fileLength)
      }
    }
    let other = lab.runs[0]
    #expect(other.latest.runs > other.latest.bestPossible && other.latest.away > 0)
    #expect(other.latest.taken > other.latest.freed && other.latest.freed > 0)
  }

  @Test("figures that are followed are those of a look at all tables", arguments: [false, true])
  func counting(_ isPreallocated: Bool) throws {
    var configuration = LabConfiguration(.churn)
    configuration.isPreallocated = isPreallocated
    configuration.clusterSize = 16384
    configuration.size = 24 << 20
    configuration.operations = 500
    let lab = try run(configuration)
    for run in lab.runs {
      let image = run.image
      if let shift = run.map.shift {
        let report = try image.places(shift: ByteCount(shift))
        #expect(report.moved == run.map.away && report.mapped == run.map.mapped)
      }
      #expect(run.latest.clusters == run.map.mapped)
      var used: UInt64 = 0
      for cluster in 0..<(run.latest.fileLength + 16383) / 16384
      where try image.refcount(of: HostCluster(cluster)) > 0 { used += 1 }
      #expect(run.map.used == used)
      #expect(run.latest.tableBytes == (used - run.map.mapped) * 16384)
      var complaints = 0
      let check = try ImageCheck(image.storage) { _ in complaints += 1 }.run()
      #expect(complaints == 0 && check.failure == nil)
      // A map that is made now draws the same.
      let fresh = try FileOrderMap(image, shift: run.map.shift)
      #expect(fresh.mapped == run.map.mapped && fresh.used == run.map.used && fresh.away == run.map.away)
      for bits in [0, 3, 6] {
        for index in 0..<(run.map.end >> UInt64(bits)) + 1 {
          #expect(fresh.cell(index, bits: bits) == run.map.cell(index, bits: bits))
        }
      }
    }
  }

  /// The same requests on storage that keeps everything.
  @Test("an image without data is laid out like one with data", arguments: MappingPolicy.allCases)
  func layout(_ policy: MappingPolicy) throws {
    var configuration = LabConfiguration(.database)
    configuration.size = 16 << 20
    configuration.clusterSize = 4096
    configuration.operations = 300
    configuration.policies = [policy]
    let lab = try Lab(configuration)
    let storage = MemoryStorage()
    var create = Image.CreateOptions(size: configuration.size)
    create.clusterSize = configuration.clusterSize
    if policy != .qemu {
      create.contiguous = true
      create.preallocation = .metadata
      create.pinned = policy == .pinned
    }
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.policies.mapping = policy
    let image = try Image(storage, options: options)
    for operation in 1...lab.total {
      while try !lab.advance(to: operation, budgetNanoseconds: 100_000_000) {}
      let request = try #require(lab.request)
      if request.kind == .discard {
        try image.discard(at: GuestOffset(request.offset), count: ByteCount(request.length))
      } else {
        let bytes = [UInt8](repeating: 7, count: Int(request.length))
        try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(request.offset)) }
      }
    }
    let ours = lab.runs[0].image
    for cluster in 0..<configuration.size / configuration.clusterSize {
      let guest = GuestOffset(cluster * configuration.clusterSize)
      #expect(try ours.l2Entry(at: guest) == image.l2Entry(at: guest))
    }
    #expect(ours.storage.length == storage.length)
  }

  @Test("a large disk takes little memory")
  func memory() throws {
    var configuration = LabConfiguration(.random4k)
    configuration.size = 4 << 30
    configuration.samples = 3
    configuration.operations = 300
    let lab = try run(configuration)
    for run in lab.runs {
      let storage = try #require(run.image.storage as? LabStorage)
      #expect(storage.keptBytes < 2 << 20)
      #expect(storage.allocatedBytes >= 300 * 4096)
    }
  }

  // MARK: Storage

  @Test("data is forgotten, its place is not")
  func storage() throws {
    let storage = LabStorage(name: "s")
    try storage.write([1, 2, 3], at: 0, tag: WriteTag(.header, .create))
    try storage.write([UInt8](repeating: 9, count: 10000), at: 65536, tag: WriteTag(.data, .guestData))
    #expect(storage.length == 75536 && storage.allocatedBytes == 4 * 4096)
    #expect(try storage.bytes(at: 0, count: 4) == [1, 2, 3, 0])
    #expect(try storage.bytes(at: 65536, count: 4) == [0, 0, 0, 0])
    // Only whole blocks go back, but for the last one of the file.
    try storage.punch(at: 65536 + 100, count: 8192, tag: .untagged)
    #expect(storage.allocatedBytes == 3 * 4096)
    try storage.punch(at: 65536, count: 1 << 20, tag: .untagged)
    #expect(storage.allocatedBytes == 4096 && storage.length == 75536)
    try storage.truncate(to: 1 << 20, tag: .untagged)
    #expect(storage.allocatedBytes == 4096)
    try storage.writeZeroes(at: 8192, count: 4096, tag: WriteTag(.data, .copyOnWrite))
    #expect(storage.allocatedBytes == 2 * 4096)
    try storage.truncate(to: 4096, tag: .untagged)
    #expect(storage.allocatedBytes == 4096 && storage.length == 4096)
    // A place that held a table and holds data now keeps no bytes.
    try storage.write([5], at: 7, tag: WriteTag(.data, .guestData))
    #expect(try storage.bytes(at: 7, count: 1) == [0])
    #expect(throws: StorageError.self) { try storage.write([1], at: 1 << 46, tag: .untagged) }
    #expect(throws: StorageError.self) { try storage.writeZeroes(at: .max, count: 2, tag: .untagged) }
  }

  @Test("tables are kept as other storage keeps them, data as zeroes", arguments: 0..<8)
  func model(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let storage = LabStorage(name: "s", pieceSize: seed % 2 == 0 ? 4096 : 65536)
    let model = MemoryStorage()
    let table = WriteTag(.l2Table, .writeBack)
    for _ in 0..<400 {
      let offset = random.below(1 << 18)
      let count = 1 + random.below(random.below(4) == 0 ? 70000 : 6000)
      switch random.below(6) {
      case 0...1:
        let byte = random.below(3) == 0 ? 0 : UInt8(truncatingIfNeeded: random.next())
        let bytes = [UInt8](repeating: byte, count: Int(count))
        try storage.write(bytes, at: offset, tag: table)
        try model.write(bytes, at: offset, tag: table)
      case 2:
        let bytes = [UInt8](repeating: 9, count: Int(count))
        try storage.write(bytes, at: offset, tag: WriteTag(.data, .guestData))
        try model.writeZeroes(at: offset, count: count, tag: table)
      case 3:
        try storage.writeZeroes(at: offset, count: count, tag: table)
        try model.writeZeroes(at: offset, count: count, tag: table)
      case 4:
        try storage.punch(at: offset, count: count, tag: table)
        try model.punch(at: offset, count: count, tag: table)
      default:
        let length = random.below(2) == 0 ? offset : storage.length + count
        try storage.truncate(to: length, tag: table)
        try model.truncate(to: length, tag: table)
      }
      #expect(storage.length == model.length)
      let start = random.below(1 << 18)
      let length = Int(random.below(80000))
      let kept = try storage.bytes(at: start, count: length)
      #expect(sameBytes(kept, try model.bytes(at: start, count: length)))
    }
    #expect(try storage.bytes(at: .max - 10, count: 10) == [UInt8](repeating: 0, count: 10))
  }

  // MARK: The program

  @Test("one line per point and policy, and JSON with the same figures")
  func forms() throws {
    let options = [
      "--workload", "churn", "--operations", "100", "--samples", "5", "--policy", "pinned,default",
    ]
    let csv = try program(options + ["--csv"])
    #expect(csv.status == 0 && csv.errors.isEmpty)
    let lines = csv.output.split(separator: "\n").map { $0.split(separator: ",").map(String.init) }
    #expect(
      lines.first == [
        "policy", "operation", "clusters", "runs", "best-possible", "at-common-shift", "away", "jumps",
        "extra-reads",
        "avoidable-reads", "file-length", "host-bytes", "table-bytes", "taken", "freed",
      ])
    #expect(lines.count == 11 && lines.allSatisfy { $0.count == 15 })
    #expect(lines.dropFirst().map { $0[0] } == (0..<5).flatMap { _ in ["pinned", "default"] })
    #expect(lines.dropFirst().map { $0[1] } == ["0", "0", "25", "25", "50", "50", "75", "75", "100", "100"])
    let json = try program(options + ["--json"])
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    let run = try #require(object["run"] as? [String: Any])
    #expect(
      run["workload"] as? String == "churn" && run["operations"] as? Int == 100 && run["seed"] as? Int == 1)
    let policies = try #require(object["policies"] as? [[String: Any]])
    #expect(policies.count == 2)
    for (index, policy) in policies.enumerated() {
      let samples = try #require(policy["samples"] as? [[String: Any]])
      for (point, sample) in samples.enumerated() {
        let line = lines[1 + point * 2 + index]
        for (name, value) in zip(lines[0], line).dropFirst() { #expect(sample[name] as? Int == Int(value)) }
      }
      #expect((policy["end"] as? [String: Any])?["runs"] as? Int == samples.last?["runs"] as? Int)
      #expect((policy["image"] as? [String: Any])?["contiguous"] as? Bool == (index == 0))
    }
    let table = try program(options)
    let rows = table.output.split(separator: "\n")
    #expect(rows.first == "churn, seed 1, 100 operations, 64 MiB in 64 KiB clusters")
    #expect(rows.dropFirst().allSatisfy { $0.count == rows[1].count })
    #expect(rows.contains { $0.hasPrefix("clusters away from guest + shift") && $0.contains(" 0 ") })
  }

  @Test("a trace is replayed; reads are skipped")
  func trace() throws {
    let folder = try TemporaryDirectory()
    try """
    # a guest starts
    read 0 4k
    discard 0 128k

    w -P 0x11 64k 64k\r
    flush
    write -q 0 64k
    write -z -u 1M 64k
    aio_flush
    """.replacingOccurrences(of: "\naio_flush", with: "\nquit\nnothing here is read")
      .write(toFile: folder.path("trace"), atomically: true, encoding: .utf8)
    let result = try program(["--trace", folder.path("trace"), "--preallocated"])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.hasPrefix("boot, 4 operations, 64 MiB"))
    #expect(
      result.output.contains("clusters away from guest + shift           2             0           0\n"))
  }

  @Test("the recorded guest runs without a file, on disks that are not smaller")
  func example() throws {
    let requests = LabTrace.example
    #expect(LabTrace.exampleSize == 256 << 20)
    let discards = requests.filter { $0.kind == .discard }
    #expect(!discards.isEmpty)
    let end = requests.map { $0.offset + $0.length }.max()
    #expect(end.map { $0 <= LabTrace.exampleSize } == true)
    let result = try program(["--workload", "boot", "--policy", "default", "--cluster-size", "2M"])
    #expect(
      result.status == 0 && result.output.hasPrefix("boot, \(requests.count) operations, 256 MiB in 2 MiB"))
  }

  @Test("what is recorded can be read again, and what is missing or failed is a note")
  func recordedLines() throws {
    var text = LabTrace.head("a\nb", size: 8 << 30)
    text += LabTrace.timeNote(milliseconds: 61_007, client: 2)
    for kind in LabTrace.Kind.allCases { text += LabTrace.lines(kind, 4096, 8192, failed: false) }
    text += LabTrace.lines(.write, 0, 512, failed: true) + LabTrace.lossNote(9)
    text += LabTrace.lines(.discard, 0, 5 << 30, failed: false)
    #expect(text.contains("# at 61.007 client 2\n") && text.contains("# failed: write 0 512\n# lost 9\n"))
    #expect(LabTrace.size(of: text) == 8 << 30 && LabTrace.size(of: "write 0 1\n# size 5\n") == nil)
    let requests = try LabTrace.requests(text, size: 8 << 30)
    #expect(requests.count == 9)
    #expect(requests.first == Request(.write(pattern: 0), at: 4096, length: 8192))
    #expect(requests[1] == Request(.zero(mayUnmap: false), at: 4096, length: 8192))
    #expect(requests[2] == Request(.zero(mayUnmap: true), at: 4096, length: 8192))
    #expect(requests[3] == Request(.discard, at: 4096, length: 8192))
    #expect(requests.last == Request(.discard, at: 4 << 30, length: 1 << 30))
  }

  @Test(
    "a bad line of a trace is named",
    arguments: [
      ("write 0 4k\n\nwrit 0 4k\n", "line 3: command \"writ\" not found"),
      ("write 0\n", "line 1: write needs an offset and a length, not 1 numbers"),
      ("discard 0 x\n", "line 1: 'x' is not a number; write 4096, 64k, 1.5G or 0x10000"),
      ("read 0 4k\nwrite -y 0 4k\n", "line 2: invalid option -- 'y'"),
      ("write -u 0 4k\n", "line 1: -u requires -z to be specified"),
      ("write -c 0 64k\n", "line 1: write -c cannot be replayed"),
      ("#\n#\ndiscard 64M 1\n", "line 3: the request reaches behind the end of the disk (67108864 bytes)"),
      ("write 0xffffffffffffffff 1\n", "line 1: '0xffffffffffffffff' is too large"),
      ("write 0 3G\n", "line 1: length cannot exceed 2147483136"),
      ("\u{1b}[1m\n", "line 1: command \"\\x1b[1m\" not found"),
    ])
  func badTraces(_ text: String, _ message: String) throws {
    let folder = try TemporaryDirectory()
    try text.write(toFile: folder.path("t"), atomically: true, encoding: .utf8)
    let result = try program(["--trace", folder.path("t")])
    #expect(result.status == 1 && result.output.isEmpty)
    #expect(result.errors.contains("t', " + message), "\(result.errors)")
  }

  @Test(
    "runs that cannot be are refused",
    arguments: [
      ([], 1, "--workload is missing; there are sequential, random4k, churn, database, boot, reorder"),
      (["--workload", "x"], 1, "--workload"),
      (["--workload", "churn", "--csv", "--json"], 1, "--csv and --json cannot be used together"),
      (
        ["--workload", "churn", "--policy", "default,x"], 1,
        "'x' is not a policy; there are default, keep-mapping"
      ),
      (["--workload", "churn", "--policy", "pinned,pinned"], 1, "the policy 'pinned' is named twice"),
      (["--workload", "churn", "--policy", ""], 1, "'' is not a policy"),
      (["--workload", "churn", "--size", "2T"], 1, "at most 1T"),
      (["--workload", "churn", "--size", "64k"], 1, "at least two clusters"),
      (["--workload", "churn", "--size", "1000000"], 1, "whole sectors"),
      (["--workload", "churn", "--size", "64G", "--cluster-size", "512"], 1, "more than 16777216 clusters"),
      (["--workload", "churn", "--cluster-size", "1000"], 1, "power of two"),
      (["--workload", "churn", "--cluster-size", "4k", "--extended-l2"], 1, "policy default: Extended L2"),
      (["--workload", "churn", "--operations", "0"], 1, "the number of operations must be 1 to 10000000"),
      (["--workload", "churn", "--samples", "1"], 1, "the number of samples must be 2 to 10000"),
      (["--workload", "churn", "--backing"], 1, "needs extended L2 entries"),
      (["--workload", "boot", "--size", "64M"], 1, "needs a disk of 256 MiB"),
      (["--workload", "churn", "--trace", "/dev/null"], 1, ""),
      (["--trace", "/nonexistent"], 1, "trace '/nonexistent', "),
    ] as [([String], Int32, String)])
  func refusals(_ arguments: [String], _ status: Int32, _ message: String) throws {
    let result = try program(arguments)
    if message.isEmpty {
      // An empty trace is none.
      #expect(result.status == 0 || result.errors.hasPrefix("qatlas: "))
      return
    }
    #expect(result.status == status && result.output.isEmpty)
    #expect(result.errors.contains(message), "\(result.errors)")
  }

  @Test("disks of every small size", arguments: LabWorkload.allCases)
  func small(_ workload: LabWorkload) throws {
    for clusterSize: UInt64 in [512, 4096, 65536] {
      for size in [2 * clusterSize, 3 * clusterSize + 512, 17 * clusterSize] {
        var configuration = LabConfiguration(workload)
        configuration.clusterSize = clusterSize
        configuration.size = size
        configuration.samples = 2
        if workload == .boot { configuration.trace = [Request(.discard, at: 0, length: size)] }
        if workload != .boot { configuration.operations = 150 }
        let lab = try run(configuration)
        #expect(lab.isDone && lab.operation == lab.total)
      }
    }
  }
}
