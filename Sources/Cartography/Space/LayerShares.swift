// What each layer of a chain holds: its tables, the data of the disk that is read from it, and the data that layers
// above it hide. In slices, a layer after the other, so that one map at a time is kept.

package import Qcow
import QcowFormat
import Storage

/// One layer of a chain.
package struct LayerShare: Equatable, Sendable {
  /// 0 for the image itself.
  package let depth: Int
  /// The name of its file.
  package let name: String
  /// It is not open; nothing is known of it.
  package let isMissing: Bool
  /// Bytes of headers and tables; nil for a raw file, which has none, and until they are counted.
  package internal(set) var metadata: UInt64?
  /// Bytes of data that it holds for the disk, wherever they can be read from.
  package internal(set) var data: UInt64?
  /// Bytes of these that the disk reads.
  package internal(set) var read: UInt64 = 0
  /// Bytes of the disk that it answers with zeroes without data.
  package internal(set) var zeroes: UInt64 = 0

  /// Bytes of data that layers above hide, or that lie behind the end of the disk; nil until both are counted.
  package var hidden: UInt64? { data.map { $0 - min($0, read) } }
}

/// The count of all layers.
package final class LayerShares: Work {
  /// The image first.
  package private(set) var layers: [LayerShare]
  /// Bytes of the disk that no layer answers, so that they read as zeroes.
  package private(set) var unanswered: UInt64 = 0
  /// Bytes of the disk that only a missing layer could answer, or that cannot be read.
  package private(set) var unknown: UInt64 = 0
  /// ``LayerShare/read`` and what follows it is counted to its end.
  package var isDone: Bool { position >= size && depth >= files.count }

  private let files: [any GuestLayer]
  private var walk: ChainWalk
  private let size: UInt64
  private let tableSpan: UInt64
  private var position: UInt64 = 0
  private var depth = 0
  private var atlas: Atlas?
  /// The stretch of a raw layer that is asked for next.
  private var rawPosition: UInt64 = 0

  /// Begins nothing yet.
  package init(_ image: Image) {
    files = image.layers
    walk = ChainWalk(image.layers)
    size = image.virtualSize
    tableSpan = image.geometry.guestOffset(l1Index: 1, l2Index: 0).value
    layers = files.enumerated().map { depth, file in
      LayerShare(depth: depth, name: file.layerName, isMissing: file.isMissing)
    }
  }

  package var progress: Double {
    let walked = size == 0 ? 1 : Double(position) / Double(size)
    return isDone ? 1 : (walked + Double(depth)) / Double(files.count + 1)
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      if depth < files.count {
        count(budgetNanoseconds)
      } else {
        for _ in 0..<64 where position < size { look() }
      }
    } while !isDone && clock.now < end
    return isDone
  }

  /// What a layer holds, whoever reads it.
  private func count(_ budget: UInt64) {
    if let image = files[depth] as? Image {
      let map = atlas ?? Atlas(image)
      atlas = map
      guard map.step(budgetNanoseconds: budget) else { return }
      layers[depth].metadata = map.totals.metadata
      layers[depth].data = map.isPartial ? nil : map.totals.guestData
      atlas = nil
      depth += 1
      return
    }
    guard !files[depth].isMissing, rawPosition < files[depth].virtualSize else {
      if !files[depth].isMissing, layers[depth].data == nil { layers[depth].data = 0 }
      (depth, rawPosition) = (depth + 1, 0)
      return
    }
    var single = ChainWalk([files[depth]])
    for _ in 0..<64 where rawPosition < files[depth].virtualSize {
      guard
        let extent = try? single.extent(at: rawPosition, limit: files[depth].virtualSize - rawPosition),
        extent.length > 0
      else {
        rawPosition = files[depth].virtualSize
        return
      }
      if extent.isData, !extent.isZero { layers[depth].data = (layers[depth].data ?? 0) &+ extent.length }
      rawPosition += extent.length
    }
  }

  /// The next stretch of the disk; what cannot be read reaches up to the next table.
  private func look() {
    let extent: Extent
    do throws(ImageError) { extent = try walk.extent(at: position, limit: size - position) } catch {
      let next = min(size, (position / tableSpan &+ 1) &* tableSpan)
      unknown &+= next - position
      position = next
      return
    }
    let length = max(1, min(size - position, extent.length))
    position += length
    if extent.isMissing {
      unknown &+= length
    } else if !extent.isPresent || !layers.indices.contains(extent.depth) {
      unanswered &+= length
    } else if extent.isCompressed || extent.isData && !(extent.isZero && !(files[extent.depth] is Image)) {
      layers[extent.depth].read &+= length
    } else {
      layers[extent.depth].zeroes &+= length
    }
  }
}
