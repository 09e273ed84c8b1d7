// One policy in the lab: an image of its own, the map that follows it, and what it was like at the points of
// the curve.

package import Qcow
import QcowFormat
import Storage

/// What an image was like between two requests.
package struct LabSample: Equatable, Sendable {
  /// Requests before.
  package var operation = 0
  /// Guest clusters with a host cluster.
  package var clusters: UInt64 = 0
  /// Runs in the order of the disk, and how many there would be if all lay in order.
  package var runs: UInt64 = 0
  /// Runs if all clusters lay in order.
  package var bestPossible: UInt64 = 0
  /// Clusters at the shift that most have.
  package var atCommonShift: UInt64 = 0
  /// Clusters away from guest + shift: the image's own shift, or the one that most have.
  package var away: UInt64 = 0
  /// Places where the next cluster lies neither behind nor at the same shift.
  package var jumps: UInt64 = 0
  /// Host reads beyond one per request in a sequential read of 1 MiB requests.
  package var extraReads: UInt64 = 0
  /// Those of them that the order of the clusters costs; the others are for gaps on the disk.
  package var avoidableReads: UInt64 = 0
  /// Bytes.
  package var fileLength: UInt64 = 0
  /// Bytes the host keeps.
  package var hostBytes: UInt64 = 0
  /// Bytes of tables.
  package var tableBytes: UInt64 = 0
  /// Host clusters taken and given back since the start.
  package var taken: UInt64 = 0
  /// Clusters given back since the start.
  package var freed: UInt64 = 0

  package init(operation: Int = 0) { self.operation = operation }
}

/// The run of one policy.
package final class LabRun {
  /// Who may change the mapping.
  package let policy: MappingPolicy
  /// The image began with every cluster at its place.
  package let isContiguous: Bool
  /// The order of the clusters in the file, now.
  package let map: FileOrderMap
  /// Oldest first; the points of the curve.
  package private(set) var samples: [LabSample] = []
  /// The newest measurement, also between two points.
  package private(set) var latest = LabSample()
  /// The image itself.
  package let image: Image
  private let storage: LabStorage
  private var scan: FragmentationScan?

  init(_ policy: MappingPolicy, _ configuration: LabConfiguration) throws(ImageError) {
    self.policy = policy
    isContiguous = configuration.isContiguous(policy)
    // Tables are whole clusters.
    storage = LabStorage(
      name: policy.rawValue, pieceSize: min(1 << 16, max(LabStorage.blockSize, configuration.clusterSize)))
    try configuration.create(policy, on: storage)
    image = try Image(storage, options: configuration.openOptions(policy))
    // The layout of a contiguous image gives cluster 0 its place.
    let first = isContiguous ? try image.l2Entry(at: GuestOffset(0)).offsetBits : nil
    let map = try FileOrderMap(image, shift: first)
    self.map = map
    storage.follow = { map.follow($0) }
  }

  /// Does a request; `zeroes` has room for its bytes.
  func perform(_ request: Request, _ zeroes: UntouchedZeroes) throws(ImageError) {
    let offset = GuestOffset(request.offset)
    switch request.kind {
    case .write:
      try unsafe zeroes.withBytes(Int(request.length)) { (bytes) throws(ImageError) in
        try unsafe image.write(bytes, at: offset)
      }
    case .zero(let mayUnmap):
      try image.writeZeroes(at: offset, count: ByteCount(request.length), mayUnmap: mayUnmap)
    case .discard: try image.discard(at: offset, count: ByteCount(request.length))
    case .read: break
    }
  }

  /// Measures on for about the given time; true when ``latest`` is about `operation`.
  func measure(_ operation: Int, budgetNanoseconds: UInt64) throws(ImageError) -> Bool {
    let running: FragmentationScan
    if let scan {
      running = scan
    } else {
      // The scan reads the file.
      try image.flush()
      running = FragmentationScan(image, .diskOrder)
      scan = running
    }
    guard running.step(budgetNanoseconds: budgetNanoseconds) else { return false }
    scan = nil
    let figures = running.result.all
    var sample = LabSample(operation: operation)
    sample.clusters = figures.clusters
    sample.runs = figures.runs.count
    sample.bestPossible = figures.bestPossible
    let common = figures.shifts.top(1).first
    sample.atCommonShift = common.map { $0.clusters - min($0.error, $0.clusters) } ?? 0
    sample.away = map.shift == nil ? sample.clusters - min(sample.clusters, sample.atCommonShift) : map.away
    sample.jumps = figures.jumps
    let reads = figures.reads.first { $0.requestSize == 1 << 20 }
    sample.extraReads = reads?.extra ?? 0
    sample.avoidableReads = reads?.avoidable ?? 0
    sample.fileLength = storage.length
    sample.hostBytes = storage.allocatedBytes
    sample.tableBytes = map.tableBytes
    sample.taken = map.taken
    sample.freed = map.freed
    latest = sample
    return true
  }

  /// Makes the newest measurement a point of the curve.
  func keepSample() { samples.append(latest) }
}
