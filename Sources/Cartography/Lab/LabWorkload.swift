// What the guest of the lab does: six workloads as rows of requests that follow from a seed alone, so that a
// run can be repeated and every policy gets the same ones.

/// Random numbers that are the same everywhere and in every version of the program (SplitMix64).
struct SeededNumbers {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// A number below `limit`; 0 if the limit is 0.
  mutating func below(_ limit: UInt64) -> UInt64 { next().multipliedFullWidth(by: limit).high }
}

/// The names of the workloads.
package enum LabWorkload: String, CaseIterable, Sendable {
  case sequential, random4k, churn, database, boot, reorder

  /// One sentence for help.
  package var help: String {
    switch self {
    case .sequential: "fills the disk from its start, 64 KiB at a time, and begins again"
    case .random4k: "writes 4 KiB at random places"
    case .churn: "writes and discards of random sizes up to 1 MiB at random places"
    case .database: "pages of 8 and 16 KiB in a hot region, a log that wraps, discards of its old segments"
    case .boot:
      "a guest that formats, fills, trims and fills its disk, as recorded; or the requests of a trace"
    case .reorder: "discards clusters 0 and 1, writes cluster 1, then cluster 0"
    }
  }

  /// Requests if nobody says how many; a trace has its own number.
  package func operations(size: UInt64, trace: Int) -> Int {
    switch self {
    case .sequential: Int(clamping: max(1, min((size + 65535) >> 16, 100_000)))
    case .random4k, .churn, .database: 2000
    case .boot: trace
    case .reorder: 3
    }
  }
}

/// The requests of a workload, one after the other.
struct LabRequests {
  private let workload: LabWorkload
  private let size: UInt64
  private let clusterSize: UInt64
  private let trace: [Request]
  private var random: SeededNumbers
  private var number = 0
  /// Where the sequential fill or the log goes on.
  private var head: UInt64 = 0
  /// Segments of the log that wait to be discarded.
  private var stale: [UInt64] = []

  /// `size` is at least two clusters, the trace lies on the disk.
  init(_ configuration: LabConfiguration) {
    workload = configuration.workload
    size = configuration.size
    clusterSize = configuration.clusterSize
    trace = configuration.trace
    random = SeededNumbers(seed: configuration.seed)
  }

  /// The next request, which lies on the disk; nil when a trace has ended.
  mutating func next() -> Request? {
    defer { number += 1 }
    switch workload {
    case .sequential: return sequential()
    case .random4k: return write(at: random.below(size / 4096) * 4096, 4096)
    case .churn: return churn()
    case .database: return database()
    case .boot: return number < trace.count ? trace[number] : nil
    case .reorder:
      switch number % 3 {
      case 0: return Request(.discard, at: 0, length: 2 * clusterSize)
      case 1: return write(at: clusterSize, clusterSize)
      default: return write(at: 0, clusterSize)
      }
    }
  }

  private func write(at offset: UInt64, _ length: UInt64) -> Request {
    Request(.write(pattern: 0), at: offset, length: min(length, size - min(offset, size - 1)))
  }

  private mutating func sequential() -> Request {
    let request = write(at: head, 65536)
    head = head + request.length >= size ? 0 : head + request.length
    return request
  }

  /// Three writes for every two discards. All powers of two between 4 KiB and 1 MiB are equally frequent.
  private mutating func churn() -> Request {
    let isDiscard = random.below(5) < 2
    let power = UInt64(12) + random.below(9)
    let length = (1 << power) + random.below(1 << (power - 12)) * 4096
    let offset = random.below(max(1, size / 4096)) * 4096
    let request = write(at: offset, length)
    return isDiscard ? Request(.discard, at: request.offset, length: request.length) : request
  }

  /// The log has the last eighth of the disk, the pages a quarter of it behind the first eighth.
  private mutating func database() -> Request {
    let eighth = max(clusterSize, size / 8 / clusterSize * clusterSize)
    let log = (start: size - eighth, length: eighth)
    let segment = max(clusterSize, min(1 << 20, eighth / 4 / clusterSize * clusterSize))
    if let old = stale.popLast() {
      return Request(.discard, at: log.start + old, length: min(segment, log.length - old))
    }
    guard random.below(4) == 0 else {
      let pages = max(1, min(eighth * 2, size - eighth - 1) / 8192)
      let first = min(eighth, log.start) / 8192 * 8192
      let page = random.below(pages)
      return write(
        at: first < log.start ? first + page * 8192 : page * 8192, random.below(2) == 0 ? 8192 : 16384)
    }
    let length = min((1 + random.below(8)) * 8192, log.length - head)
    let request = write(at: log.start + head, length)
    let next = head + length
    // A full segment is given up when the one behind it is full too.
    if next / segment != head / segment, head >= segment { stale.append(head / segment * segment - segment) }
    head = next >= log.length ? 0 : next
    return request
  }
}
