// How an image is fragmented, as one value: figures with and without compressed clusters, free space, and
// the number that `qemu-img check` prints.

import QcowFormat
package import Qcow
import Storage

/// Free clusters of the file: refcount 0 and no use by the active disk or by tables.
package struct FreeSpace: Equatable, Sendable {
  /// How many there are.
  package internal(set) var clusters: UInt64 = 0
  /// Rows of free clusters.
  package internal(set) var runs: UInt64 = 0
  /// Clusters of the longest row of them.
  package internal(set) var largest: UInt64 = 0
  /// First cluster of the largest row.
  package internal(set) var largestStart: UInt64 = 0
  private var open: UInt64 = 0

  package init() {}

  /// Clusters per row; 0 if nothing is free.
  package var mean: Double { runs == 0 ? 0 : Double(clusters) / Double(runs) }

  /// Adds `count` free clusters from `first` on; `goesOn` if the cluster before is free.
  mutating func add(_ first: UInt64, _ count: UInt64, goesOn: Bool) {
    guard count > 0 else { return }
    clusters &+= count
    if !goesOn {
      runs &+= 1
      open = 0
    }
    open &+= count
    if open > largest { (largest, largestStart) = (open, first &+ count &- open) }
  }

  /// Adds all that was counted of clusters from `first` on, as if they had been added one by one;
  /// `piece` counts from 0.
  mutating func add(_ piece: FreePiece, at first: UInt64, goesOn: Bool) {
    if piece.prefix > 0 { add(first, piece.prefix, goesOn: goesOn) }
    guard piece.prefix < piece.length else { return }
    let rest = piece.space
    clusters &+= rest.clusters
    runs &+= rest.runs
    if rest.largest > largest { (largest, largestStart) = (rest.largest, first &+ rest.largestStart) }
    open = piece.suffix
  }
}

/// The free clusters of a piece of a refcount block. The same piece may count many parts of a file, which
/// then need not be looked at one by one.
struct FreePiece {
  var length: UInt64
  /// Free clusters at the start and at the end.
  var prefix: UInt64 = 0
  var suffix: UInt64 = 0
  /// What is free behind the prefix.
  var space = FreeSpace()

  /// Asks for each of `length` clusters.
  init(_ length: UInt64, isFree: (UInt64) -> Bool) {
    self.length = length
    var at: UInt64 = 0
    while at < length, isFree(at) { at += 1 }
    prefix = at
    var goesOn = false
    while at < length {
      let free = isFree(at)
      if free { space.add(at, 1, goesOn: goesOn) }
      suffix = free ? suffix + 1 : 0
      goesOn = free
      at += 1
    }
    if prefix == length { suffix = length }
  }
}

/// The fragmentation of the active disk of an image.
///
/// Clusters that only snapshots use, and what lies behind the end of the disk, have no part in the runs.
package struct Fragmentation: Equatable, Sendable {
  /// Bytes of a cluster.
  package let clusterSize: UInt64
  /// Bytes of the disk.
  package let virtualSize: UInt64
  /// Clusters of the image file, the last one possibly cut.
  package let fileClusters: UInt64
  /// Data lies in another file, which has no tables between the clusters.
  package let hasExternalData: Bool
  /// Clusters that data can lie in.
  let dataClusters: UInt64
  /// All allocated clusters; nil as long as none of them is compressed, then ``standard`` is all.
  var every: RunFigures?
  /// Without the compressed ones.
  package internal(set) var standard: RunFigures
  /// The compressed ones alone.
  package internal(set) var compressed: RunFigures
  /// The free clusters of the file.
  package internal(set) var free = FreeSpace()
  /// What `qemu-img check` counts.
  package internal(set) var tally = AllocationTally()
  /// How far the scan was, 0 ... 1.
  package internal(set) var progress = 0.0
  /// Everything has been counted.
  package internal(set) var isComplete = false
  /// The order in the file, and what tables cost, is known.
  package let knowsHostOrder: Bool
  /// Why some figures leave something out; nil if they do not.
  package internal(set) var partialReason: String?

  init(_ image: Image, _ extent: FragmentationScan.Extent = .everything) {
    let geometry = image.geometry
    clusterSize = geometry.clusterSize
    virtualSize = geometry.virtualSize
    fileClusters = geometry.clustersCovering(image.storage.length)
    hasExternalData = geometry.hasExternalData
    dataClusters = hasExternalData ? geometry.clusterCount : fileClusters
    knowsHostOrder = extent == .everything && dataClusters <= ClusterBits.maximumClusters
    standard = RunFigures(geometry, extent)
    compressed = standard
  }

  /// The figures of all clusters, compressed ones included.
  package var all: RunFigures { every ?? standard }
  /// There are compressed clusters, so that the choices differ.
  package var hasCompressed: Bool { every != nil }

  /// The figures of a choice of clusters.
  package func figures(_ choice: ClusterChoice) -> RunFigures {
    switch choice {
    case .all: all
    case .standard: standard
    case .compressed: compressed
    }
  }

  /// What rewriting a part of the disk in order would mean.
  package struct Rewrite: Equatable, Sendable {
    /// Guest clusters.
    package var range: Range<UInt64>
    /// Host clusters needed before the old ones can be given back.
    package var needed: UInt64
    /// Runs in the range now.
    package var runsBefore: UInt64
    /// Runs in the range afterwards.
    package var runsAfter: UInt64
    /// Clusters by which the file grows: none if a row of free clusters has room for all.
    package var growth: UInt64
  }

  /// The effect of rewriting `clusters` allocated clusters in `range`; a dry run, nothing is touched.
  package func rewrite(_ range: Range<UInt64>, clusters: UInt64, runs: UInt64, stretches: UInt64) -> Rewrite {
    // In order means in one row, so that only the largest row of free clusters is of use.
    let usable = hasExternalData ? 0 : free.largest
    return Rewrite(
      range: range, needed: clusters, runsBefore: runs, runsAfter: min(runs, stretches),
      growth: clusters <= usable ? 0 : clusters)
  }
}
