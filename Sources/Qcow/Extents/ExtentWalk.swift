// Turns runs of the engine into extents as block status sees them, with the look into the host file
// that tells data never written from data, in images whose metadata was allocated in advance.

import QcowFormat
import Storage

/// Answers "what is here?" for one pass over an image and the layers below it.
package struct ChainWalk {
  /// A layer that has neither is missing. An image's walk is changed where it stands, for every extent.
  private struct Layer {
    var image: ExtentWalk?
    var raw: (any GuestLayer)?
  }

  private var layers: [Layer]
  /// The files that offsets are places in, by the depth of their layers, as they are named.
  package private(set) var fileNames: [String]

  /// A pass over layers, the disk itself first.
  package init(_ all: [any GuestLayer]) {
    layers = []
    fileNames = []
    for layer in all {
      var name = layer.layerName
      if let image = layer as? Image {
        layers.append(Layer(image: ExtentWalk(image)))
        // With an external data file the offsets are places in that file.
        if image.hasExternalData { name = image.dataStorage?.name ?? image.extensions.dataFileName ?? name }
      } else {
        layers.append(Layer(raw: layer.isMissing ? nil : layer))
      }
      fileNames.append(name)
    }
  }

  /// The extent at a guest offset, at most `limit` bytes: what the first layer says that says anything.
  ///
  /// - Throws: ``ImageError`` for a table or a host file that cannot be read.
  package mutating func extent(at start: UInt64, limit: UInt64) throws(ImageError) -> Extent {
    var extent = Extent(start: start, length: limit)
    for depth in layers.indices {
      if let found = try layers[depth].image?.extent(at: start, limit: extent.length) {
        extent = found
      } else if let layer = layers[depth].raw {
        let found = try layer.layerExtent(at: GuestOffset(start), limit: ByteCount(extent.length))
        extent.length = found.length.value
        extent.isPresent = true
        extent.isZero = found.kind == .zero
        extent.isData = found.kind == .data
        extent.offset = found.offset?.value
      } else {
        extent.isMissing = true
      }
      extent.depth = depth
      if extent.isData || extent.isZero || extent.isMissing { break }
    }
    return extent
  }
}

extension ChainWalk {
  /// Asks the host again where the holes of its files are; they may have been filled since.
  package mutating func forgetFiles() {
    for depth in layers.indices { layers[depth].image?.forgetFile() }
  }

  /// Calls `body` with one extent after the other, from `start` on, `length` bytes of the disk at most. What
  /// follows in the same state and at the next place in the same file is one extent.
  ///
  /// At the end of the disk, or for no bytes at all, there is one extent of length 0.
  ///
  /// - Throws: ``ImageError`` for a table or a host file that cannot be read, and what `body` throws.
  package mutating func each(
    from start: UInt64, to end: UInt64, _ body: (Extent, _ isLast: Bool) throws(ImageError) -> Void
  ) throws(ImageError) {
    var current = Extent(start: start, length: 0)
    while current.start + current.length < end {
      let at = current.start + current.length
      let next = try extent(at: at, limit: end - at)
      guard next.length > 0 else {
        throw ImageError(.corrupt, "no mapping found at guest offset \(hex(at))", at: .l2Table)
      }
      if current.isContinued(by: next) {
        current.length += next.length
        continue
      }
      if current.length > 0 { try body(current, false) }
      current = next
    }
    try body(current, true)
  }
}

/// The same for one image, without what is below.
struct ExtentWalk {
  private let image: Image
  /// Nil until the first question decides it, as the genuine driver does.
  private var isPreallocated: Bool?
  /// What the host keeps of the file; made with the first question.
  private var stretches: HostStretches?
  /// Where the offsets of extents are places in; nil if that file is not open.
  private let file: (any Storage)?
  /// Where the layer below ends; there is none if 0.
  private let sizeBelow: UInt64

  init(_ image: Image) {
    self.image = image
    file = image.hasExternalData ? image.dataStorage : image.storage
    sizeBelow = image.backing?.virtualSize ?? 0
  }

  /// The extent at a guest offset, at most `limit` bytes; neither data nor zero where the layer below
  /// has to answer.
  mutating func extent(at start: UInt64, limit: UInt64) throws(ImageError) -> Extent {
    let mapping: Mapping
    do throws(ImageError) {
      mapping = try image.mapping(at: GuestOffset(start), limit: ByteCount(limit))
    } catch {
      // Looking marks no image.
      if error.marksImage { image.health.tellCorruption(error.description) }
      throw error
    }
    var extent = Extent(start: start, length: mapping.length.value)
    // The bytes at an offset of an encrypted image are not those of the guest.
    if let host = mapping.host, image.header.cryptMethod == 0 { extent.offset = host.value }
    switch mapping.state {
    case .unallocated, .unallocatedMapped:
      extent.isZero = start >= sizeBelow
      if !extent.isZero { extent.offset = nil }
    case .zero, .zeroMapped:
      extent.isPresent = true
      extent.isZero = true
    case .data, .invalid:
      extent.isPresent = true
      extent.isData = true
      lookIntoFile(&extent)
    case .compressed:
      extent.isPresent = true
      extent.isData = true
      extent.isCompressed = true
    }
    return extent
  }

  mutating func forgetFile() { stretches = nil }

  /// Data clusters that lie in a hole of the host file read as zeroes.
  private mutating func lookIntoFile(_ extent: inout Extent) {
    guard let offset = extent.offset, let file else { return }
    let preallocated = isPreallocated ?? Self.detectPreallocation(image)
    isPreallocated = preallocated
    guard preallocated else { return }
    let length = file.length
    guard offset < length else {
      extent.isZero = true
      return
    }
    if stretches == nil { stretches = HostStretches(file) }
    guard let host = stretches?.extent(at: HostOffset(offset)) else { return }
    if host.isHole && host.end >= length {
      // What lies behind the end of the file reads as zeroes like the hole before it.
      extent.isZero = true
    } else {
      extent.length = min(extent.length, max(1, host.end - min(host.end, offset)))
      extent.isZero = host.isHole
    }
  }

  /// True if far more clusters are in use than the host keeps bytes for: the data clusters were
  /// allocated in advance and never written. The image itself decides that for a data file, too.
  static func detectPreallocation(_ image: Image) -> Bool {
    let geometry = image.geometry
    let kept = image.storage.allocatedBytes / geometry.clusterSize
    let cutoff = max(kept / 9 * 10 + kept % 9 * 10 / 9, kept + 2)
    let clusters = geometry.clustersCovering(image.storage.length)
    guard clusters >= cutoff else { return false }
    var used: UInt64 = 0
    var cluster: UInt64 = 0
    while cluster < clusters && used < cutoff && clusters - cluster >= cutoff - used {
      let block = geometry.refcountTableIndex(of: HostCluster(cluster))
      guard image.refcountTableEntry(block).block != nil else {
        // A whole block of free clusters.
        cluster = geometry.firstCluster(ofBlock: block + 1).value
        continue
      }
      guard let count = try? image.refcount(of: HostCluster(cluster)) else { return false }
      if count != 0 { used += 1 }
      cluster += 1
    }
    return used >= cutoff
  }
}
