// What a run of the lab is: a workload, a disk, the policies that are compared, and which image each of them
// runs on. Everything that can be wrong with it is said here.

package import Qcow
import QcowFormat

/// A run of the lab.
package struct LabConfiguration: Equatable, Sendable {
  /// What the guest does.
  package var workload: LabWorkload
  /// Bytes of the disk, whole sectors.
  package var size: UInt64 = 64 << 20
  /// Bytes, a power of two from 512 to 2 MiB.
  package var clusterSize: UInt64 = 65536
  /// The images have extended L2 entries.
  package var extendedL2 = false
  /// Below every image is a full backing file.
  package var hasBacking = false
  /// The policy `default` runs on a contiguous preallocated image too.
  package var isPreallocated = false
  /// What discards act on.
  package var discardGranularity = DiscardGranularity.cluster
  /// The policies, one image for each.
  package var policies: [MappingPolicy] = MappingPolicy.allCases
  /// Requests; nil for what the workload is usually run with.
  package var operations: Int?
  /// What the random numbers begin with.
  package var seed: UInt64 = 1
  /// Points of the curves, the first one before the first request.
  package var samples = 50
  /// The requests of ``LabWorkload/boot``.
  package var trace: [Request] = []

  package init(_ workload: LabWorkload) { self.workload = workload }

  /// Bytes of the largest disk, 1 TiB.
  package static let maximumSize: UInt64 = 1 << 40
  /// More requests are refused.
  package static let maximumOperations = 10_000_000
  /// More points of the curves are refused.
  package static let maximumSamples = 10_000

  /// Requests of the run; a trace ends where it ends.
  package var total: Int {
    let usual = workload.operations(size: size, trace: trace.count)
    let wanted = operations ?? usual
    return workload == .boot ? min(wanted, usual) : wanted
  }

  /// Whether the image of a policy has all its clusters at one shift from the start.
  package func isContiguous(_ policy: MappingPolicy) -> Bool {
    policy.keepsHost || isPreallocated || workload == .reorder
  }

  /// "64 MiB in 64 KiB clusters", and what else there is.
  package var diskText: String {
    "\(Notation.human(size)) in \(Notation.human(clusterSize)) clusters"
      + (extendedL2 ? " with subclusters" : "") + (hasBacking ? " over a full backing file" : "")
  }

  /// Throws for a run that cannot be.
  ///
  /// - Throws: ``CommandError`` that says what cannot be, and what may.
  package func check() throws(CommandError) {
    guard !policies.isEmpty else { throw CommandError("the lab needs at least one policy") }
    for (index, policy) in policies.enumerated() where policies[..<index].contains(policy) {
      throw CommandError("the policy '\(policy.rawValue)' is named twice")
    }
    guard clusterSize >= 512, clusterSize <= 2 << 20, clusterSize & (clusterSize - 1) == 0 else {
      throw CommandError("the cluster size must be a power of two between 512 and 2M")
    }
    guard size % 512 == 0, size >= 2 * clusterSize, size <= Self.maximumSize else {
      throw CommandError("the size must be whole sectors, at least two clusters and at most 1T")
    }
    guard size / clusterSize <= FileOrderMap.maximumClusters else {
      throw CommandError(
        "the disk has more than \(FileOrderMap.maximumClusters) clusters; use a larger cluster size")
    }
    guard operations ?? 1 > 0, operations ?? 1 <= Self.maximumOperations else {
      throw CommandError("the number of operations must be 1 to \(Self.maximumOperations)")
    }
    guard samples >= 2, samples <= Self.maximumSamples else {
      throw CommandError("the number of samples must be 2 to \(Self.maximumSamples)")
    }
    guard !hasBacking || extendedL2 || !policies.contains(where: isContiguous) else {
      throw CommandError(
        "a preallocated image over a backing file needs extended L2 entries: a standard one cannot be mapped and still show the backing file"
      )
    }
    guard workload != .boot || !trace.isEmpty else {
      throw CommandError("the workload 'boot' needs a trace with at least one request")
    }
    guard workload == .boot || trace.isEmpty else {
      throw CommandError("a trace is for the workload 'boot'")
    }
  }

  /// The policies of a list with commas.
  ///
  /// - Throws: ``CommandError`` for a word that is no policy.
  package static func policies(_ text: String) throws(CommandError) -> [MappingPolicy] {
    var policies: [MappingPolicy] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let policy = MappingPolicy(rawValue: String(word)) else {
        throw CommandError(
          "'\(Escaping.human(String(word)))' is not a policy; there are "
            + MappingPolicy.allCases.map(\.rawValue).joined(separator: ", "))
      }
      policies.append(policy)
    }
    return policies
  }

  /// The image of a policy, new.
  func create(_ policy: MappingPolicy, on storage: LabStorage) throws(ImageError) {
    var options = Image.CreateOptions(size: size)
    options.clusterSize = clusterSize
    options.extendedL2 = extendedL2
    if hasBacking {
      options.backingFile = "full"
      options.backingFormat = "raw"
    }
    if isContiguous(policy) {
      options.contiguous = true
      options.preallocation = .metadata
      options.pinned = policy == .pinned
    }
    try Image.create(on: storage, options)
  }

  /// How that image is opened.
  func openOptions(_ policy: MappingPolicy) -> Image.Options {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.policies = Policies(policy)
    options.policies.discardGranularity = discardGranularity
    if hasBacking { options.backing = FullLayer(size: size) }
    return options
  }
}
