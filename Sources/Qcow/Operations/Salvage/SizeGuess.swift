// The sizes of an image whose header is gone: what the entries of its tables have in common tells the cluster size
// and the kind of its L2 entries.

import QcowFormat
import Storage

/// How well one cluster size explains the words of a file that look like entries.
package struct SizeScore: Equatable, Sendable {
  /// As a power of two.
  package var clusterBits: Int
  /// 0 ... 100: entries that are aligned, and entries that follow the one before them by exactly this size.
  package var aligned: Int
  package var following: Int
  /// What decides, higher is better.
  package var score: Int
}

/// Collects words that look like entries.
struct SizeGuess {
  /// Entries that are enough.
  private static let enough = 1 << 20

  /// Entries by the number of zero bits at the end of their places, from 2^9 on.
  private var alignments = [Int](repeating: 0, count: 64)
  /// Steps from one entry to the next, where they are powers of two.
  private var steps = [Int](repeating: 0, count: 64)
  private(set) var entries = 0
  /// Sectors of entries of one word, and of entries with a bitmap of subclusters.
  private(set) var plainSectors = 0
  private(set) var extendedSectors = 0
  /// Zero flags, which version 2 does not have.
  private(set) var hasZeroFlags = false
  private let end: UInt64

  init(fileLength: ByteCount) { end = min(fileLength.value, Geometry.hostOffsetLimit) }

  /// Nothing more is to be learnt.
  var isDone: Bool { entries >= Self.enough }

  /// Looks at a sector of the file.
  mutating func look(_ sector: UnsafeRawBufferPointer) {
    var (plain, strange, pairs, strangePairs) = (0, 0, 0, 0)
    var isEven = true
    var last: UInt64 = 0
    for at in stride(from: 0, to: sector.count - 7, by: 8) {
      let word = unsafe UInt64(bigEndian: sector.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      let isEntry = isEntry(L1Entry(raw: word))
      if word != 0 { if isEntry { plain += 1 } else { strange += 1 } }
      if isEven {
        last = word
      } else if last | word != 0 {
        let bits = SubclusterBitmap(raw: word)
        let isPair =
          (last == 0 || isCopied(L1Entry(raw: last))) && bits.allocated & bits.zero == 0 && bits.raw != 0
          && (last != 0 || bits.allocated == 0)
        if isPair { pairs += 1 } else { strangePairs += 1 }
      }
      isEven.toggle()
    }
    if plain > 0, strange == 0 {
      plainSectors += 1
      unsafe count(sector, step: 8)
    } else if pairs > 0, strangePairs == 0, plain > 0 {
      extendedSectors += 1
      unsafe count(sector, step: 16)
    }
  }

  /// An entry with the COPIED flag, and without a zero flag.
  private func isCopied(_ entry: L1Entry) -> Bool { entry.isCopied && entry.raw & 1 == 0 && isEntry(entry) }

  /// An entry with the COPIED flag, or a cluster of zeroes, of an image of any cluster size.
  private func isEntry(_ entry: L1Entry) -> Bool {
    guard entry.reservedBits & ~1 == 0, entry.table?.value ?? 0 < end else { return false }
    return entry.table == nil ? entry.raw == 1 : entry.isCopied
  }

  private mutating func count(_ sector: UnsafeRawBufferPointer, step: Int) {
    var last: UInt64 = 0
    for at in stride(from: 0, to: sector.count - 7, by: step) {
      let word = unsafe UInt64(bigEndian: sector.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      if word & 1 != 0 { hasZeroFlags = true }
      let offset = word & L1Entry.offsetMask
      guard offset != 0 else { continue }
      entries += 1
      alignments[offset.trailingZeroBitCount] += 1
      if last != 0, offset > last, (offset - last).nonzeroBitCount == 1 {
        steps[(offset - last).trailingZeroBitCount] += 1
      }
      last = offset
    }
  }

  /// All cluster sizes that there are, the best first.
  var scores: [SizeScore] {
    let allSteps = max(1, steps.reduce(0, +))
    return (9...21).map { bits in
      let aligned = entries == 0 ? 0 : alignments[bits...].reduce(0, +) * 100 / entries
      let exactly = entries == 0 ? 0 : alignments[bits] * 100 / entries
      let following = steps[bits] * 100 / allSteps
      // A size that most entries are aligned to, that half of them are aligned to no more, and by which they grow.
      return SizeScore(
        clusterBits: bits, aligned: aligned, following: following,
        score: aligned < 90 ? aligned / 4 : aligned + following + min(exactly, 50))
    }.sorted { $0.score > $1.score }
  }

  var isExtended: Bool { extendedSectors > plainSectors / 2 && extendedSectors > 0 }
}
