// Giving an image another file below it without a change of what its guest reads: where the image says nothing and
// the two files below differ, it gets the bytes of the old one first. Whenever this is interrupted the disk reads
// as before, and doing it again finishes.

import Glibc
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

  /// One of the two files below.
  private struct Below {
    let layer: (any GuestLayer)?
    private var walk: ChainWalk
    /// What its tables said last: up to here, zeroes or not.
    private var known = (start: UInt64(0), end: UInt64(0), isZero: false)

    init(_ layer: (any GuestLayer)?) {
      self.layer = layer
      walk = ChainWalk(layer?.chain ?? [])
    }

    var size: UInt64 { layer?.virtualSize ?? 0 }

    /// The end of the zeroes that are known to begin at an offset; the offset itself if none are.
    mutating func zeroes(from start: GuestOffset) throws(ImageError) -> UInt64 {
      let start = start.value
      guard start < size else { return .max }
      if start < known.start || start >= known.end {
        let extent = try walk.extent(at: start, limit: size - start)
        known = (start, start + extent.length, extent.isZero)
      }
      guard known.isZero else { return start }
      return known.end == size ? .max : known.end
    }

    /// Fills a buffer; behind the end there are zeroes.
    func read(at start: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
      let there = Int(min(UInt64(buffer.count), max(size, start.value) - start.value))
      if let layer, there > 0 {
        unsafe try layer.readLayer(at: start, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<there]))
      }
      if there < buffer.count {
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[there...])
          .initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
  }

  private let image: Image
  private var old: Below
  private var new: Below
  /// The layers between the image and the new one, if that lies below already: nothing else differs.
  private let between: [any GuestLayer]?
  private let compresses: Bool
  private let oldBytes = CopyBuffer(Int(largestStep))
  private let newBytes = CopyBuffer(Int(largestStep))
  private var position: UInt64 = 0

  /// Hears of every area that was compared.
  package var tells: (() -> Void)?

  /// `new` is nil for no layer at all.
  package init(_ image: Image, onto new: (any GuestLayer)?, compresses: Bool) {
    self.image = image
    self.compresses = compresses
    let below = image.layers.dropFirst()
    old = Below(below.first)
    self.new = Below(new)
    between = new.flatMap { new in below.firstIndex { $0 === new } }.map { Array(below[..<$0]) }
  }

  /// What the genuine tool does without a word: snapshots read from the new layer as well. Nil if there are none, or
  /// if they may.
  package static func harm(
    to image: Image, onto new: (any GuestLayer)?, snapshotsFollow: Bool
  ) -> String? {
    let isSame = new.map { $0 === image.backing } ?? (image.backing == nil)
    guard !image.snapshots.isEmpty, !isSame, !snapshotsFollow else { return nil }
    return
      "the image has \(counted(UInt64(image.snapshots.count), "snapshot", "snapshots")), which would read from "
      + "the new backing file; --snapshots-follow allows it"
  }

  private var geometry: Geometry { image.geometry }
  private var size: UInt64 { image.virtualSize }

  /// Areas of the largest size that the disk has, at least 1.
  package var areas: UInt64 { size == 0 ? 1 : size / min(size, Self.largestStep) }

  /// How much of the disk has been looked at, 0 ... 1.
  package var progress: Double { size == 0 ? 1 : Double(position) / Double(size) }

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
    let unit = area.packs ? geometry.clusterSize : geometry.subclusterSize
    var start = area.start
    while start < area.end {
      var end = try alikeEnd(GuestOffset(start), area, ByteCount(unit))
      guard end == start else {
        start = end
        continue
      }
      var isAlike = false
      while end < area.end, !isAlike {
        end = min(area.end, end + unit)
        isAlike = try alikeEnd(GuestOffset(end), area, ByteCount(unit)) > end
      }
      try compare(Area(start: start, end: end, packs: area.packs), unit: Int(unit))
      start = end
    }
  }

  /// Where units end that are zeroes in both files, as far as their tables tell.
  private func alikeEnd(
    _ guest: GuestOffset, _ area: Area, _ length: ByteCount
  ) throws(RebaseFailure) -> UInt64 {
    let (start, unit) = (guest.value, length.value)
    let oldEnd = try RebaseFailure.at(.readOld) { () throws(ImageError) in
      try old.zeroes(from: guest)
    }
    guard oldEnd > start else { return start }
    let newEnd = try RebaseFailure.at(.readNew) { () throws(ImageError) in
      try new.zeroes(from: guest)
    }
    let end = min(oldEnd, newEnd)
    return end >= area.end ? area.end : end - end % unit > start ? end - end % unit : start
  }

  /// Reads both, and writes what differs.
  private func compare(_ area: Area, unit: Int) throws(RebaseFailure) {
    let (start, count) = (GuestOffset(area.start), Int(area.end - area.start))
    try RebaseFailure.at(.readOld) { () throws(ImageError) in
      unsafe try old.read(at: start, into: oldBytes.part(0, count))
    }
    try RebaseFailure.at(.readNew) { () throws(ImageError) in
      unsafe try new.read(at: start, into: newBytes.part(0, count))
    }
    var done = 0
    while done < count {
      let (differs, length) = stretch(from: done, to: count, unit: unit)
      if differs {
        try RebaseFailure.at(.write) { () throws(ImageError) in
          try write(done, length, at: start + UInt64(done), packs: area.packs)
        }
      }
      done += length
    }
  }

  private func write(_ start: Int, _ length: Int, at guest: GuestOffset, packs: Bool) throws(ImageError) {
    guard guest.value < old.size || image.header.version < 3 else {
      // Behind the end of the old file there are zeroes, which need no bytes. Version 2 has no entry for them: one
      // without a cluster would show the new file.
      return try image.writeZeroes(at: guest, count: ByteCount(length), mayUnmap: false)
    }
    let bytes = unsafe UnsafeRawBufferPointer(oldBytes.part(start, start + length))
    if packs {
      unsafe try image.writeCompressed(bytes, at: guest)
    } else {
      unsafe try image.write(bytes, at: guest)
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
    let (old, new) = unsafe (oldBytes.part(start, end), newBytes.part(start, end))
    guard let old = old.baseAddress, let new = new.baseAddress else { return false }
    return unsafe memcmp(old, new, end - start) != 0
  }
}
