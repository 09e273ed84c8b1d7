// What the options of a new image lead to, a sentence for each, and how large its file will be.

package import Qcow
import QcowFormat
import Storage

/// What an image with some options would be like.
package struct NewImageOutlook {
  /// What a sentence is about.
  package enum Topic: Hashable, Sendable, CaseIterable {
    case size, clusterSize, extendedL2, version, preallocation, contiguous, pinned, dataFile, backingFile
    case encryption
  }

  private let options: CreateOptions
  private let geometry: Geometry
  /// Bytes that the file needs at once, and with every cluster allocated.
  package let measure: Measure

  /// - Throws: ``ImageError/Code/option`` for options and sizes that cannot be.
  package init(_ options: CreateOptions) throws(ImageError) {
    try options.checkClusters()
    self.options = options
    geometry = options.geometry
    measure = try Measure(options, size: ByteCount(options.size))
  }

  /// Bytes of tables, refcounts and header if every cluster is allocated.
  package var metadata: UInt64 {
    let clusters = geometry.clustersCovering(options.size)
    let (data, overflow) = clusters.multipliedReportingOverflow(by: geometry.clusterSize)
    return overflow ? 0 : measure.fullyAllocated - min(measure.fullyAllocated, data)
  }

  /// What an option leads to.
  package func sentence(_ topic: Topic) -> String {
    switch topic {
    case .size:
      return "\(counted(geometry.clustersCovering(options.size), "cluster", "clusters")), "
        + counted(geometry.l1Entries(for: options.size), "L2 table", "L2 tables") + " at most"
    case .clusterSize:
      let least = geometry.hasExtendedL2 ? geometry.subclusterSize : geometry.clusterSize
      return "an L2 table covers \(Notation.compact(geometry.bytesPerL2Table)); the first byte takes "
        + Notation.compact(least)
    case .extendedL2:
      return geometry.hasExtendedL2
        ? "each of 32 subclusters of \(Notation.compact(geometry.subclusterSize)) is data or not"
        : "a cluster is data or not as a whole"
    case .version:
      return options.version >= 3
        ? "zero clusters, bitmaps, extended L2: QEMU 1.1"
        : "no zero clusters, bitmaps or extended L2"
    case .preallocation: return preallocation
    case .contiguous:
      return options.contiguous
        ? "all data in one run behind the tables" : "clusters lie in the order of first writes"
    case .pinned:
      return options.pinned
        ? "every cluster stays at guest offset + one shift"
        : "what is written anew may move"
    case .dataFile:
      return options.dataFile == nil
        ? "the data of the guest are in this file" : "the data go there, this file has the tables only"
    case .backingFile:
      return options.backingFile == nil
        ? "what was never written reads as zeroes" : "what was never written is read from there"
    case .encryption: return encryption
    }
  }

  private var preallocation: String {
    let all = Notation.compact(measure.fullyAllocated)
    return switch options.preallocation {
    case .off:
      "the file grows with the data"
    case .metadata: "all tables now, \(Notation.compact(metadata)); the file is \(all) long and sparse"
    case .falloc: "\(all) are taken from the host now, and not written"
    case .full: "\(all) are written now"
    }
  }

  private var encryption: String {
    guard let encryption = options.encryption else { return "anybody who has the file can read it" }
    switch encryption.method {
    case .luks:
      return
        "a LUKS header of \(Notation.compact(encryption.headerSize)); without the passphrase nothing can be read"
    case .aes: return "the old method, which is weak: for images that must be opened by old programs"
    }
  }

  /// The size of the file, in a line.
  package var total: String {
    let tables = metadata
    let share = options.size == 0 ? 0 : Double(tables) * 100 / Double(options.size)
    return "the file: \(Notation.compact(measure.required)) at most while it is empty, "
      + "\(Notation.compact(measure.fullyAllocated)) with every cluster, "
      + "\(Notation.compact(tables)) of that for tables (\(Notation.decimals(share, 3)) %)"
  }
}
