// The image of a question: its sizes and features, and what was done to it before.

/// An image that is drawn.
struct QuizScene {
  /// What can be done to an image.
  enum Deed {
    case write, zero, unmap, discard, compress, snapshot, drop
  }

  /// What stands in front of the requests of a session.
  static let requests = "io disk: "

  let clusterSize: UInt64
  let clusters: UInt64
  private(set) var isExtended = false
  /// Counts are written last, behind a mark in the header.
  private(set) var isLazy = false
  /// "raw" or "qcow2"; nil for an image on its own.
  private(set) var backing: String?
  private(set) var image: [String] = []
  private(set) var sessions: [String] = []
  var pokes: [String] = []
  private var snapshots: [String] = []
  private var nextByte: UInt64 = 0x11

  /// An empty image. `mayPreallocate`: or one with all tables; `mayBeLazy`: or one whose counts come last.
  init(
    _ random: inout QuizRandom, level: Int, most: UInt64 = 40, mayExtend: Bool = true,
    mayPreallocate: Bool = true, mayBeLazy: Bool = false
  ) {
    clusterSize = random.pick(level == 1 ? [4096, 65536] : [512, 4096, 65536]) ?? 65536
    clusters = random.pick([4, 8, 12, 16, 24, 32, 40].filter { $0 <= most }) ?? 4
    if level > 1, mayExtend, clusterSize == 65536 { isExtended = random.isOne(of: 2) }
    var options = "cluster_size=\(QuizText.size(clusterSize))"
    if isExtended { options += ",extended_l2=on" }
    if mayBeLazy, random.isOne(of: 3) {
      isLazy = true
      options += ",lazy_refcounts=on"
    }
    let size = QuizText.size(clusters * clusterSize)
    switch random.below(level == 1 ? 4 : 8) {
    case 0, 1:
      backing = "raw"
      image = ["img create -q -f raw base \(size)", "io -f raw base: write -P 0xbb 0 \(size)"]
    case 2:
      backing = "qcow2"
      let half = QuizText.size(clusters / 2 * clusterSize)
      image = [
        "img create -q -f qcow2 -o cluster_size=\(QuizText.size(clusterSize)) base \(size)",
        "io base: write -P 0xbb 0 \(half)",
      ]
    case 3 where level > 1 && mayPreallocate && clusters <= 16:
      options += ",preallocation=metadata"
    default: break
    }
    let names = backing.map { " -b base -F \($0)" } ?? ""
    image.append("img create -q -f qcow2 -o \(options)\(names) disk \(size)")
  }

  /// A scene that somebody else has made.
  init(files: [String], lines: [String], clusterSize: UInt64, clusters: UInt64) {
    self.clusterSize = clusterSize
    self.clusters = clusters
    image = files
    sessions = lines
  }

  var size: UInt64 { clusters * clusterSize }

  /// A line that says what the image is.
  var title: String {
    var words = "disk: \(clusters) guest clusters of \(QuizText.size(clusterSize))"
    if isExtended { words += ", extended entries (32 subclusters of 2k)" }
    if isLazy { words += ", lazy_refcounts=on" }
    switch backing {
    case "raw": words += "; below it base, all bb"
    case "qcow2": words += "; below it base, first half bb"
    default: break
    }
    return words
  }

  /// What is drawn at a level.
  static func pool(_ level: Int) -> [Deed] {
    switch level {
    case 1: [.write, .write, .zero, .discard]
    case 2: [.write, .write, .write, .zero, .unmap, .discard, .compress, .snapshot]
    default: [.write, .write, .write, .zero, .unmap, .discard, .compress, .snapshot, .drop]
    }
  }

  /// Does what a level says should have been done before the question.
  mutating func work(_ random: inout QuizRandom, level: Int, _ pool: [Deed]? = nil) {
    let count =
      switch level {
      case 1: random.below(2)
      case 2: 1 + random.below(3)
      default: 4 + random.below(4)
      }
    for _ in 0..<count { add(deed(&random, pool ?? Self.pool(level)), joins: random.isOne(of: 3)) }
  }

  /// Does an operation: as a session of its own, or joined to the one before.
  mutating func add(_ operation: String, joins: Bool = false) {
    let verb = operation.prefix { $0 != " " }
    if verb == "snapshot" {
      sessions.append("img \(operation) disk")
    } else if verb == "bitmap" {
      sessions.append("img \(operation)")
    } else if joins, let last = sessions.last, last.hasPrefix(Self.requests), Self.mayJoin(last, operation) {
      sessions[sessions.count - 1] = last + " ; " + operation
    } else {
      sessions.append(Self.requests + operation)
    }
  }

  /// Where compressed data is freed and more of it written in one session, genuine tools pack the new behind the old,
  /// even if the cluster is somebody else's by then. Nothing is asked about that.
  private static func mayJoin(_ session: String, _ operation: String) -> Bool {
    let packs = "write -c"
    guard operation.hasPrefix(packs) else { return true }
    let requests = (session.dropFirst(requests.count).split(separator: ";").map { String($0).trimmedBlanks })
    let behind = requests.drop { !$0.hasPrefix(packs) } + [operation]
    func place(_ request: String) -> String {
      request.split(separator: " ").suffix(2).joined(separator: " ")
    }
    return behind.allSatisfy { $0.hasPrefix(packs) } && Set(behind.map(place)).count == behind.count
  }

  /// An operation of the pool.
  mutating func deed(_ random: inout QuizRandom, _ pool: [Deed]) -> String {
    switch random.pick(pool) ?? .write {
    case .zero: return "write -z \(words(range(&random)))"
    case .unmap: return "write -z -u \(words(range(&random)))"
    case .discard: return "discard \(words(range(&random)))"
    case .compress:
      let cluster = random.below(min(clusters, 8))
      return "write -c -P \(byte()) \(words((cluster * clusterSize, clusterSize)))"
    case .snapshot where snapshots.count < 2:
      let name = snapshots.contains("s") ? "t" : "s"
      snapshots.append(name)
      return "snapshot -c \(name)"
    case .drop where !snapshots.isEmpty:
      return "snapshot -d \(snapshots.removeLast())"
    default: return "write -P \(byte()) \(words(range(&random)))"
    }
  }

  mutating func byte() -> String {
    defer { nextByte += 0x11 }
    return QuizText.byte(nextByte & 0xff == 0 ? 0x12 : nextByte & 0xff)
  }

  func words(_ range: (start: UInt64, count: UInt64)) -> String {
    "\(QuizText.size(range.start)) \(QuizText.size(range.count))"
  }

  /// A range of the disk: a cluster, some of them, a part of one, or a part that crosses a boundary.
  func range(_ random: inout QuizRandom) -> (start: UInt64, count: UInt64) {
    let cluster = random.below(min(clusters, 8))
    let start = cluster * clusterSize
    let unit = isExtended ? (random.isOne(of: 4) ? 1024 : 2048) : max(512, clusterSize / 8)
    let perCluster = clusterSize / unit
    switch random.below(clusterSize == 512 ? 2 : 4) {
    case 0: return (start, clusterSize)
    case 1: return (start, min(1 + random.below(3), clusters - cluster) * clusterSize)
    case 2:
      let first = random.below(perCluster)
      return (start + first * unit, (1 + random.below(perCluster - first)) * unit)
    default:
      let first = start + random.below(perCluster) * unit
      return (first, min((1 + random.below(2 * perCluster)) * unit, size - first))
    }
  }
}
