// Giving an image another file below it without a change of what its guest reads: where the image says nothing and
// the two files below differ, it gets the bytes of the old one first. Whenever this is interrupted the disk reads
// as before, and doing it again finishes.

import QcowFormat
import Storage

/// How a rebase ends when it cannot go on.
package struct RebaseFailure: Error, Sendable {
  /// What was being done.
  package enum Step: Sendable {
    /// Asking the tables of the image, or of a layer below, what they hold.
    case lookup
    case readOld, readNew
    case write
  }

  /// What was being done.
  package var step: Step
  /// Why it failed.
  package var error: ImageError

  static func at<T>(_ step: Step, _ body: () throws(ImageError) -> T) throws(RebaseFailure) -> T {
    do throws(ImageError) { return try body() } catch { throw RebaseFailure(step: step, error: error) }
  }
}

/// A rebase under way: ``step()`` until it says that there is no more, then
/// ``NewBacking/install(in:)``.
///
/// Its requests are those of the genuine tool, because they decide where clusters lie: areas of one state, at most
/// 2 MiB, compared in units of which each is written whole.
package final class Rebase {
  private static let largestStep: UInt64 = 2 << 20

  /// A part of the disk that starts and ends at whole units.
  private struct Area {
    var start: UInt64
    var end: UInt64
    /// Units are clusters, and what differs becomes compressed.
    var packs: Bool
  }

  private let image: Image
  private let old: (any GuestLayer)?
  private let new: (any GuestLayer)?
  /// The layers between the image and the new one, if that lies below already: nothing else differs.
  private let between: [any GuestLayer]?
  private let compresses: Bool
  private let oldBytes = CopyBuffer(Int(largestStep))
  private let newBytes = CopyBuffer(Int(largestStep))
  private var oldWalk: ChainWalk
  private var newWalk: ChainWalk
  private var position: UInt64 = 0

  /// Hears of every area that was compared.
  package var tells: (() -> Void)?

  /// `new` is nil for no layer at all.
  package init(_ image: Image, onto new: (any GuestLayer)?, compresses: Bool) {
    self.image = image
    self.new = new
    self.compresses = compresses
    let below = image.layers.dropFirst()
    old = below.first
    between = new.flatMap { new in below.firstIndex { $0 === new } }.map { Array(below[..<$0]) }
    oldWalk = ChainWalk(Array(below))
    newWalk = ChainWalk(new?.chain ?? [])
  }

  private var geometry: Geometry { image.geometry }
  private var size: UInt64 { image.virtualSize }

  /// Areas of the largest size that the disk has, at least 1.
  package var areas: UInt64 { size == 0 ? 1 : size / min(size, Self.largestStep) }

  /// Looks at one area, and writes what differs.
  ///
  /// - Returns: whether there is more.
  /// - Throws: ``RebaseFailure``.
  package func step() throws(RebaseFailure) -> Bool {
    guard position < size else { return false }
    guard let area = try RebaseFailure.at(.lookup, nextArea) else { return position < size }
    position = area.end
    var start = area.start
    while start < area.end {
      let end = min(area.end, start + Self.largestStep)
      try compare(Area(start: start, end: end, packs: area.packs))
      start = end
    }
    tells?()
    return position < size
  }

  // MARK: Areas

  /// The next area that may differ; nil if ``position`` has moved behind one that does not.
  private func nextArea() throws(ImageError) -> Area? {
    let run = try image.mapping(
      at: GuestOffset(position), limit: ByteCount(min(Self.largestStep, size - position)))
    var length = run.length.value
    guard run.state.isUnallocated else {
      position += length
      return nil
    }
    let cluster = geometry.roundDown(position)
    var packs = false
    if compresses {
      packs = try isEmpty(GuestOffset(cluster))
      if packs, position + length < size {
        // The first subclusters of the next cluster may belong to the run; that is looked at by itself.
        length = geometry.roundDown(position + length) - position
      } else if !packs {
        length = min(length, cluster + geometry.clusterSize - position)
      }
    }
    var asked = ByteCount(length)
    let differs = try mayDiffer(&asked)
    length = asked.value
    guard differs else {
      position += length
      return nil
    }
    let end = position + length
    return Area(
      start: packs ? cluster : geometry.roundDownToSubcluster(position),
      end: min(size, packs ? geometry.roundUp(end) : geometry.roundUpToSubcluster(end)), packs: packs)
  }

  /// Nothing of a cluster has a place in the file or a meaning of its own.
  private func isEmpty(_ cluster: GuestOffset) throws(ImageError) -> Bool {
    let whole = ByteCount(min(geometry.clusterSize, size - cluster.value))
    let run = try image.mapping(at: cluster, limit: whole)
    return run.state == .unallocated && run.length >= whole
  }

  /// Whether layers above the new one say anything of the area at ``position``; makes it as short as the answer
  /// is. Behind the end of a layer its zeroes count.
  private func mayDiffer(_ length: inout ByteCount) throws(ImageError) -> Bool {
    guard let between else { return true }
    for layer in between {
      guard position < layer.virtualSize else { return true }
      let found = try layer.layerExtent(
        at: GuestOffset(position), limit: min(length, ByteCount(layer.virtualSize - position)))
      length = found.length
      if found.kind != .unallocated { return true }
    }
    return false
  }

  // MARK: Bytes

  private func compare(_ area: Area) throws(RebaseFailure) {
    if try RebaseFailure.at(.lookup, { () throws(ImageError) in try readAsZero(area) }) { return }
    let count = Int(area.end - area.start)
    try RebaseFailure.at(.readOld) { () throws(ImageError) in try read(old, area, into: oldBytes) }
    try RebaseFailure.at(.readNew) { () throws(ImageError) in try read(new, area, into: newBytes) }
    let oldSize = old?.virtualSize ?? 0
    let unit = Int(area.packs ? geometry.clusterSize : geometry.subclusterSize)
    // From where on what differs is known to be zeroes, and needs no bytes.
    var isBehindOld = area.start >= oldSize
    var done = 0
    while done < count {
      let (differs, length) = stretch(from: done, to: count, unit: unit)
      if differs {
        try RebaseFailure.at(.write) { () throws(ImageError) in
          let offset = GuestOffset(area.start + UInt64(done))
          if isBehindOld {
            try image.writeZeroes(at: offset, count: ByteCount(length), mayUnmap: false)
          } else {
            try write(done, length, at: offset, packs: area.packs)
          }
        }
      }
      done += length
      if area.start + UInt64(done) >= oldSize { isBehindOld = true }
    }
  }

  private func write(_ start: Int, _ length: Int, at offset: GuestOffset, packs: Bool) throws(ImageError) {
    let bytes = unsafe UnsafeRawBufferPointer(oldBytes.part(start, start + length))
    if packs {
      unsafe try image.writeCompressed(bytes, at: offset)
    } else {
      unsafe try image.write(bytes, at: offset)
    }
  }

  /// Units from `start` on that differ, or that do not, and their bytes.
  private func stretch(from start: Int, to count: Int, unit: Int) -> (differs: Bool, length: Int) {
    let first = differs(start, min(count, start + unit))
    var end = min(count, start + unit)
    while end < count, differs(end, min(count, end + unit)) == first { end = min(count, end + unit) }
    return (first, end - start)
  }

  private func differs(_ start: Int, _ end: Int) -> Bool {
    unsafe !UnsafeRawBufferPointer(oldBytes.part(start, end)).elementsEqual(
      UnsafeRawBufferPointer(newBytes.part(start, end)))
  }

  /// Fills the start of a buffer; behind the end of the layer there are zeroes.
  private func read(_ layer: (any GuestLayer)?, _ area: Area, into buffer: CopyBuffer) throws(ImageError) {
    let count = Int(area.end - area.start)
    let end = min(area.end, max(area.start, layer?.virtualSize ?? 0))
    let there = Int(end - area.start)
    if let layer, there > 0 {
      unsafe try layer.readLayer(at: GuestOffset(area.start), into: buffer.part(0, there))
    }
    if there < count { unsafe buffer.part(there, count).initializeMemory(as: UInt8.self, repeating: 0) }
  }

  /// The tables say that both disks read as zeroes, so that there is nothing to be read.
  private func readAsZero(_ area: Area) throws(ImageError) -> Bool {
    guard try Self.isZero(&oldWalk, area, until: old) else { return false }
    return try Self.isZero(&newWalk, area, until: new)
  }

  private static func isZero(
    _ walk: inout ChainWalk, _ area: Area, until layer: (any GuestLayer)?
  ) throws(ImageError) -> Bool {
    var at = area.start
    let end = min(area.end, layer?.virtualSize ?? 0)
    while at < end {
      let extent = try walk.extent(at: at, limit: end - at)
      guard extent.isZero, extent.length > 0 else { return false }
      at += extent.length
    }
    return true
  }
}
