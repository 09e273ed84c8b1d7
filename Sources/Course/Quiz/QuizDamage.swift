// Damage that is done to an image with one poke: twelve shapes of it.

import QcowFormat
import Storage

/// A poke, and what it does in words.
struct QuizDamage {
  /// The operation: `poke ADDRESS DIGITS`, or `cut LENGTH`.
  var poke: String
  /// What puts it right; nil for a file that was cut.
  var inverse: String?
  var words: String

  private init(_ address: UInt64, old: UInt64, new: UInt64, bytes: Int, words: String) {
    func digits(_ value: UInt64) -> String { String(QueryValue.digits(of: value).suffix(2 * bytes)) }
    poke = "poke \(QuizText.hex(address)) \(digits(new))"
    // The bytes that differ are put right, each run of them at once.
    var parts: [String] = []
    var open = ""
    var start = 0
    for index in 0...bytes {
      let shift = 8 * UInt64(bytes - 1 - index < 0 ? 0 : bytes - 1 - index)
      let differs = index < bytes && (old ^ new) >> shift & 0xff != 0
      if differs {
        if open.isEmpty { start = index }
        open += String(QueryValue.digits(of: old >> shift & 0xff).suffix(2))
      } else if !open.isEmpty {
        parts.append("\(QuizText.hex(address + UInt64(start))) \(open)")
        open = ""
      }
    }
    inverse = parts.joined(separator: " ; ")
    self.words = "\(words) (at \(QuizText.hex(address))): \(digits(old)) becomes \(digits(new))"
  }

  private init(cut: UInt64) {
    poke = "cut \(cut)"
    words = "the file is cut to \(cut) bytes"
  }

  /// Damage for an image; nil if the shape that was drawn does not fit. `isSmall`: in one byte that can be found.
  static func draw(_ random: inout QuizRandom, _ image: ImageBytes, _ clusters: UInt64, isSmall: Bool)
    -> QuizDamage?
  {
    let tables = QuizTables(image)
    let used = (0..<clusters).filter { tables.entry($0).descriptor & ~L2Entry.zeroFlag != 0 }
    let plain = used.filter { !L2Entry(descriptor: tables.entry($0).descriptor).isCompressed }
    let size = image.geometry.clusterSize
    func count(_ cluster: UInt64, _ new: UInt64) -> QuizDamage? {
      guard let place = image.refcountOffset(HostCluster(cluster)) else { return nil }
      let old = image.refcount(HostCluster(cluster))
      guard old != new else { return nil }
      return QuizDamage(place, old: old, new: new, bytes: 2, words: "the count of cluster \(cluster)")
    }
    func entry(_ cluster: UInt64, _ change: (UInt64) -> UInt64) -> QuizDamage? {
      guard let place = image.entryOffset(GuestCluster(cluster), image.active) else { return nil }
      let old = tables.entry(cluster).descriptor
      let new = change(old)
      guard old != new else { return nil }
      return QuizDamage(place, old: old, new: new, bytes: 8, words: "L2[\(cluster)]")
    }
    func host(_ cluster: UInt64) -> UInt64 {
      L2Entry(descriptor: tables.entry(cluster).descriptor).offsetBits
    }
    let one = random.pick(plain)
    let shape = random.below(isSmall ? 7 : 12)
    switch shape {
    case 0: return one.flatMap { host($0) == 0 ? nil : count(host($0) / size, 0) }
    case 1: return one.flatMap { host($0) == 0 ? nil : count(host($0) / size, 2 + random.below(3)) }
    case 2:
      let free = tables.counts.indices.filter { tables.counts[$0] == 0 }
      return random.pick(free).flatMap { count(UInt64($0), 1) }
    case 3: return one.flatMap { entry($0) { $0 ^ L2Entry.copiedFlag } }
    case 4:
      let old = tables.tables[0].l1Entry
      guard old != 0 else { return nil }
      return QuizDamage(
        tables.tables[0].l1Address, old: old, new: old ^ L2Entry.copiedFlag, bytes: 8, words: "L1[0]")
    case 5:
      guard size > 512 else { return nil }
      return one.flatMap { host($0) == 0 ? nil : entry($0) { $0 ^ 0x200 } }
    case 6:
      let table = tables.tables[0].l1Entry & 0x00ff_ffff_ffff_fe00
      return table == 0 ? nil : count(table / size, random.below(2) * 2)
    case 7:
      guard plain.count > 1, let other = random.pick(plain), let one, other != one, host(other) != 0 else {
        return nil
      }
      return entry(one) { _ in tables.entry(other).descriptor }
    case 8: return random.pick(used).flatMap { entry($0) { _ in 0 } }
    case 9:
      let end = (tables.length + size - 1) / size
      return one.flatMap {
        host($0) == 0 ? nil : entry($0) { _ in L2Entry.copiedFlag | (end + 2 + random.below(4)) * size }
      }
    case 10:
      guard image.geometry.hasExtendedL2, let one,
        let place = image.entryOffset(GuestCluster(one), image.active)
      else { return nil }
      let old = tables.entry(one).bitmap
      let bit = random.below(32)
      let new = old | 1 << bit | 1 << (bit + 32)
      guard old != new else { return nil }
      return QuizDamage(place + 8, old: old, new: new, bytes: 8, words: "the bitmap of L2[\(one)]")
    default:
      guard let last = plain.map(host).max(), last > 0, last < tables.length else { return nil }
      return QuizDamage(cut: last)
    }
  }
}
