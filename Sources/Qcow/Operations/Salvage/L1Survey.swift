// What an L1 table is worth: every entry with what the cluster looks like that it leads to. Each cluster is looked
// at once, in the order of the file, however many entries name it.

import QcowFormat
import Storage

/// The entries of an L1 table, judged.
struct L1Survey {
  /// What an entry is worth.
  enum Verdict: UInt8 {
    case empty
    /// The table has good entries only, or hardly others.
    case good
    /// A part of the entries cannot be any.
    case damaged
    /// The table is nothing but zeroes.
    case zeroed
    /// What lies there is no table.
    case lost
    /// The entry cannot be one, or leads where another one leads.
    case invalid
  }

  private(set) var words: [UInt64]
  private(set) var verdicts: [Verdict]
  private(set) var counts: [Verdict: Int] = [:]

  /// Looks at all that `words` lead to. `reach` are the limits of the file before it was cut short; nil if it was not,
  /// or nothing tells. Throws what the host says.
  init(
    _ words: [UInt64], _ limits: ShapeLimits, reach: ShapeLimits?, _ storage: any Storage
  ) throws(StorageError) {
    self.words = words
    verdicts = Array(repeating: .empty, count: words.count)
    let geometry = limits.geometry
    let window = ReadWindow(storage, longest: Int(geometry.clusterSize))
    var order = words.indices.filter { words[$0] != 0 }
    order.sort { words[$0] & L1Entry.offsetMask < words[$1] & L1Entry.offsetMask }
    var last: UInt64 = 0
    for index in order {
      let offset = words[index] & L1Entry.offsetMask
      guard words[index] & L1Entry.reservedMask == 0, limits.isPlace(offset), offset != last else {
        verdicts[index] = .invalid
        continue
      }
      last = offset
      if let end = window.endOfHole(at: offset), end - offset >= geometry.clusterSize {
        verdicts[index] = .zeroed
        continue
      }
      let bytes = unsafe try window.bytes(at: offset, count: Int(geometry.clusterSize))
      let fit = unsafe ShapeFit(bytes, limits)
      verdicts[index] = Self.verdict(fit)
      // The table of a file that was cut short leads behind its end with many entries, and is a table all the same.
      if verdicts[index] == .lost, let reach {
        let whole = unsafe ShapeFit(bytes, reach)
        if whole.hasDistinctPlaces, Self.verdict(whole) == .good { verdicts[index] = .damaged }
      }
    }
    for verdict in verdicts { counts[verdict, default: 0] += 1 }
  }

  private static func verdict(_ fit: ShapeFit) -> Verdict {
    if fit.isZero { return .zeroed }
    if fit.named != nil || fit.isUniform { return .lost }
    let score = fit.score(.l2Table)
    // A table that was cut in two has half of its entries left.
    return score == 100 ? .good : score >= 30 ? .damaged : .lost
  }

  func count(_ verdict: Verdict) -> Int { counts[verdict] ?? 0 }

  /// Entries that are not empty.
  var used: Int { words.count - count(.empty) }
  /// More entries are wrong than right.
  var isDestroyed: Bool {
    let right = count(.good) + count(.damaged) + count(.zeroed)
    return used == 0 || count(.invalid) + count(.lost) > right && count(.invalid) * 4 > used
  }
}
