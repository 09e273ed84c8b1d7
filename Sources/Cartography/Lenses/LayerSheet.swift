// Which layer of the chain answers for each part of the disk: the extents of the whole chain, summed up per leaf of the
// guest map, and looked at again for cells that are smaller.

import Qcow
import QcowFormat
import Storage

/// The layers, found extent by extent.
package final class LayerSheet: LensSheet {
  /// Layers that are told from each other; deeper ones count as the last.
  private static let layers = 10
  /// Behind them: nobody answers, a missing layer would, the tables cannot be read.
  private static let slots = layers + 3
  /// Extents that one cell looks at at most.
  private static let patience = 1 << 16

  private let atlas: Atlas
  private var walk: ChainWalk
  private let size: UInt64
  private let leafBits: UInt64
  /// Bytes per leaf and slot, those of one leaf side by side.
  private var sums: [UInt64]
  private var position: UInt64 = 0
  private var memo = CellMemo()

  /// Begins nothing yet.
  package init(_ atlas: Atlas) {
    self.atlas = atlas
    let image = atlas.image
    walk = ChainWalk(image.layers)
    size = image.geometry.virtualSize
    leafBits = UInt64(image.geometry.clusterBits) + atlas.survey.guest.leafBits
    let count = size == 0 ? 0 : Int(clamping: (size - 1) >> leafBits + 1)
    sums = Array(repeating: 0, count: count * Self.slots)
  }

  package var subject: String { counted(atlas.image.layers.count, "layer") }
  package var progress: Double { size == 0 ? 1 : Double(position) / Double(size) }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    // Cells that were too dear for one picture are asked for again by the next.
    let isBehind = memo.isBehind
    memo.replenish()
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while position < size {
      for _ in 0..<64 where position < size {
        let leaf = position >> leafBits
        let stop = min(size, (leaf + 1) << leafBits)
        let (length, slot) = look(position, stop - position)
        sums[Int(leaf) * Self.slots + slot] &+= length
        position += length
      }
      if clock.now >= end { break }
    }
    return position >= size && !isBehind
  }

  /// The next stretch and its slot; what cannot be read reaches up to the next table.
  private func look(_ start: UInt64, _ limit: UInt64) -> (length: UInt64, slot: Int) {
    let extent: Extent
    do throws(ImageError) { extent = try walk.extent(at: start, limit: limit) } catch {
      let span = atlas.image.geometry.guestOffset(l1Index: 1, l2Index: 0).value
      let next = (start / span &+ 1) &* span
      return (max(1, min(limit, next > start ? next - start : limit)), Self.layers + 2)
    }
    let length = max(1, min(limit, extent.length))
    if extent.isMissing { return (length, Self.layers + 1) }
    return (length, extent.isPresent ? min(extent.depth, Self.layers - 1) : Self.layers)
  }

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    let range = bytes.clamped(to: 0..<size)
    guard !range.isEmpty, range.upperBound <= position else { return .unknown }
    if UInt64(range.count) >= 1 << leafBits {
      var found = Array(repeating: UInt64(0), count: Self.slots)
      for leaf in range.lowerBound >> leafBits...(range.upperBound - 1) >> leafBits {
        for slot in 0..<Self.slots { found[slot] &+= sums[Int(leaf) * Self.slots + slot] }
      }
      return cell(found)
    }
    // A leaf of one answer has it everywhere.
    let first = Int(range.lowerBound >> leafBits) * Self.slots
    let leaf = Array(sums[first..<first + Self.slots])
    if leaf.count(where: { $0 > 0 }) == 1 { return cell(leaf) }
    return memo.cell(range, cost: 4096) {
      var found = Array(repeating: UInt64(0), count: Self.slots)
      var at = range.lowerBound
      var left = Self.patience
      while at < range.upperBound {
        guard left > 0 else { return .unknown }
        left -= 1
        let (length, slot) = look(at, range.upperBound - at)
        found[slot] &+= length
        at += length
      }
      return cell(found)
    }
  }

  /// What there is most of, but what is wrong before all else.
  private func cell(_ found: [UInt64]) -> LensCell {
    let there = found.indices.filter { found[$0] > 0 }
    let isMixed = there.count > 1
    if found[Self.layers + 2] > 0 { return LensCell(.unreadable, isMixed: isMixed) }
    if found[Self.layers + 1] > 0 { return LensCell(.missing, isMixed: isMixed) }
    let answering = there.filter { $0 < Self.layers }
    // Where some of it answers, that is more to see than nothing.
    guard let most = answering.max(by: { (found[$0], $1) < (found[$1], $0) }) else {
      return LensCell(.noLayer)
    }
    return LensCell(.layer(most), isMixed: isMixed)
  }

  /// All that the disk uses of the file is of layer 0.
  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell { .nothing }
}
