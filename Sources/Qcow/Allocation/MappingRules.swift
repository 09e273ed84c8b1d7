// The policies in force: who may change where a guest cluster lies, which places belong to guest clusters, and
// what a discard leaves. They may change while an image is open.

import QcowFormat

/// What the user and the image have chosen, as the operations ask for it.
final class MappingRules {
  private let tables: TableWriter
  private let options: Image.Options
  private let hasExternalData: Bool
  /// Who may change the mapping now.
  var policy = MappingPolicy.qemu
  var discardGranularity: DiscardGranularity
  var discardReads: DiscardReads
  /// See ``WrongOrder/switchOn(_:in:)``.
  var wrongOrders: Set<WrongOrder> = []
  /// The shift that all clusters were found to have, for a pinned policy that the image does not ask for.
  var measuredPin: PinExtension?
  /// The size that the disk is about to have, while it grows.
  var plannedSize: UInt64 = 0

  init(_ tables: TableWriter, _ options: Image.Options, hasExternalData: Bool) {
    self.tables = tables
    self.options = options
    self.hasExternalData = hasExternalData
    discardGranularity = options.policies.discardGranularity
    discardReads = options.policies.discardReads
  }

  private var geometry: Geometry { tables.geometry }

  /// A layer below answers where the image says nothing.
  var hasBacking: Bool { tables.backingFileName != nil && !options.standsAlone }

  /// Discards and unmapping zero-writes keep the host cluster.
  var keepsHost: Bool { options.discardNoUnref || policy.keepsHost }

  /// What is discarded shows the backing file again, instead of zeroes.
  var fallsThrough: Bool {
    discardGranularity == .subcluster && discardReads == .backing && geometry.hasExtendedL2
  }

  /// Where the clusters have their places: as the image says, or as it was found to be mapped.
  var pin: PinExtension? {
    guard tables.header.version >= 3, !hasExternalData else { return nil }
    return tables.extensions.pin ?? measuredPin
  }

  /// The pin, if the policy in force gives every guest cluster its own place.
  var activePin: PinExtension? { policy == .pinned ? pin : nil }

  /// Host clusters that belong to guest clusters: those of the disk, of what it is about to grow to, or of the
  /// reserve; nil if nothing is pinned.
  var pinnedClusters: Range<HostCluster>? {
    guard let pin = activePin else { return nil }
    let bytes = geometry.roundUp(max(geometry.virtualSize, plannedSize, pin.reserve))
    let first = geometry.cluster(of: HostOffset(pin.shift))
    return first..<first + ClusterCount(geometry.wholeClusters(bytes))
  }
}
