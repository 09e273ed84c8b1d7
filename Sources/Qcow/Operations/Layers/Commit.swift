// Writing what the layers above a base hold into that base, so that it reads as the topmost of them. The layers
// above are only read: whenever this is interrupted the disk reads as before, and doing it again finishes.

package import QcowFormat
import Storage

/// A commit under way: ``step()`` until it says that there is no more.
///
/// Zeroes go first, since they may free clusters for the data; both go in ascending order, so that the result is
/// the same every time.
package final class Commit {
  /// Bytes of a request for data at most.
  private static let largestRequest: UInt64 = 1 << 20
  /// Bytes of a request for zeroes at most.
  private static let largestZeroes: UInt64 = 1 << 30
  /// Bytes that are asked for at once.
  private static let largestQuestion: UInt64 = 0x7fff_fe00

  private enum Content {
    case data, zero
    /// The base answers already.
    case below
  }

  private let image: Image
  private let base: any GuestDisk
  /// Layers that count.
  private let layers: Int
  private var walk: ChainWalk
  private var rate: CopyRate?
  private let buffer = CopyBuffer(Int(largestRequest))
  private var isAtZeroes = true
  private var position: UInt64 = 0
  /// What is at ``knownStart``, up to ``knownEnd``.
  private var known = Content.below
  private var knownStart: UInt64 = 0
  private var knownEnd: UInt64 = 0

  /// Bytes of data to be written; known when the zeroes are done.
  package private(set) var total: UInt64 = 0
  /// Bytes of ``total`` that are done.
  package private(set) var done: UInt64 = 0

  /// Makes the base as large as the disk if it is smaller; `depth` is its place in the chain, 1 or more,
  /// and `perSecond` what is copied in a second at most.
  ///
  /// - Throws: ``ImageError`` for a base that cannot grow.
  package init(
    _ image: Image, into base: any GuestDisk, depth: Int, perSecond: ByteCount?
  ) throws(ImageError) {
    self.image = image
    self.base = base
    layers = depth
    walk = ChainWalk(Array(image.layers.prefix(depth)))
    rate = CopyRate(perSecond?.value)
    if base.virtualSize < image.virtualSize {
      try base.resize(to: ByteCount(image.virtualSize), preallocation: .off)
    }
  }

  private var size: UInt64 { image.virtualSize }
  /// How much of the work is done, 0 ... 1; the look for data and zeroes counts for a tenth.
  package var progress: Double {
    let share = size == 0 ? 1 : Double(position) / Double(size)
    return isAtZeroes ? share / 10 : 0.1 + share * 0.9
  }

  /// Deals with the next stretch.
  ///
  /// - Returns: whether there is more.
  /// - Throws: ``ImageError`` for what can be neither looked up, read nor written.
  package func step() throws(ImageError) -> Bool {
    if position >= size {
      guard isAtZeroes else { return false }
      isAtZeroes = false
      (position, knownStart, knownEnd) = (0, 0, 0)
      return size > 0
    }
    let (content, length) = try nextStretch()
    switch (content, isAtZeroes) {
    case (.zero, true):
      rate?.wait(for: ByteCount(length))
      try base.writeZeroes(at: GuestOffset(position), count: ByteCount(length), mayUnmap: true)
    case (.data, true): total += length
    case (.data, false):
      rate?.wait(for: ByteCount(length))
      try unsafe image.readLayer(at: GuestOffset(position), into: buffer.part(0, Int(length)))
      try unsafe base.write(
        UnsafeRawBufferPointer(buffer.part(0, Int(length))), at: GuestOffset(position))
      done += length
    default: break
    }
    position += length
    return true
  }

  /// What is at ``position``, and for how many bytes one request can deal with it.
  private func nextStretch() throws(ImageError) -> (content: Content, length: UInt64) {
    let content = try look(at: GuestOffset(position))
    let most: UInt64 =
      switch content {
      case .zero: Self.largestZeroes
      case .data: isAtZeroes ? size : Self.largestRequest
      case .below: size
      }
    let limit = most < size - position ? position + most : size
    var end = min(limit, knownEnd)
    while end < limit, try look(at: GuestOffset(end)) == content { end = min(limit, knownEnd) }
    return (content, end - position)
  }

  private func look(at guest: GuestOffset) throws(ImageError) -> Content {
    let offset = guest.value
    if offset >= knownStart, offset < knownEnd { return known }
    let extent = try walk.extent(at: offset, limit: min(size - offset, Self.largestQuestion))
    knownStart = offset
    knownEnd = offset + max(1, extent.length)
    if extent.isZero {
      // Behind the end of a layer in between its zeroes hide the base; behind that of the base it has grown.
      known = extent.isPresent || extent.depth < layers - 1 ? .zero : .below
    } else {
      known = extent.isData ? .data : .below
    }
    return known
  }
}
