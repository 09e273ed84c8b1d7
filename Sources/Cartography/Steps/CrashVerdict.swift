// What a power cut at one moment would leave: what a check would say, and what the guest would read.

package import Qcow
import Storage

/// What is left if the power fails at some moment.
package struct CrashVerdict: Equatable, Sendable {
  /// What the guest reads of the bytes that the operation is about.
  package enum Guest: Equatable, Sendable {
    /// The operation is about no bytes of the disk, or about more than are looked at.
    case notLookedAt
    /// As before the operation; all of it.
    case before
    /// As after it.
    case after
    /// Before and after read the same.
    case same
    /// So many sectors of 512 bytes as before, and so many as after.
    case mixed(before: UInt64, after: UInt64)
    /// So many sectors hold what they held neither before nor after.
    case other(UInt64)
    /// A read fails.
    case unreadable
  }

  /// What a check of all files concerned says.
  package var errors: UInt64 = 0
  package var leaks: UInt64 = 0
  /// Why the check does not come to its end; nil if it does.
  package var failure: String?
  /// The first error; nil without one.
  package var firstError: CheckFinding?
  package var guest = Guest.notLookedAt

  package init() {}

  /// A check would find nothing.
  package var isClean: Bool { errors == 0 && leaks == 0 && failure == nil }
  /// More than leaks.
  package var isHarm: Bool {
    if errors > 0 || failure != nil { return true }
    switch guest {
    case .other, .unreadable: return true
    default: return false
    }
  }

  /// "clean", "1 leak", "2 errors, 1 leak".
  package var words: String {
    if let failure { return "no check: " + failure }
    if isClean { return "clean" }
    let parts = [errors > 0 ? counted(errors, "error") : nil, leaks > 0 ? counted(leaks, "leak") : nil]
    return parts.compactMap { $0 }.joined(separator: ", ")
  }

  /// What the guest reads, as a clause; empty if nobody looked.
  package var guestWords: String {
    switch guest {
    case .notLookedAt: ""
    case .before: "the guest reads the old bytes"
    case .after: "the guest reads the new bytes"
    case .same: "the guest reads the same as before and after"
    case .mixed(let old, let new):
      "the guest reads \(counted(old, "sector")) old and \(counted(new, "sector")) new"
    case .other(let count): "the guest reads \(counted(count, "sector")) that were never written so"
    case .unreadable: "the guest gets an error"
    }
  }

  /// How bad it is, for comparing: errors, then wrong bytes, then leaks.
  var badness: (UInt64, UInt64, UInt64) {
    let wrong: UInt64 =
      switch guest {
      case .other(let count): count
      case .unreadable: .max
      default: 0
      }
    return (failure == nil ? errors : .max, wrong, leaks)
  }

  /// Adds what a check of one file says.
  mutating func check(_ storage: any Storage) {
    do throws(ImageError) {
      var first: CheckFinding?
      let check = try ImageCheck(storage) { finding in
        if first == nil, finding.severity == .corruption || finding.severity == .checkError {
          first = finding
        }
      }
      let result = check.run()
      errors += result.corruptions + result.checkErrors
      leaks += result.leaks
      firstError = firstError ?? first
      if let stop = result.failure { failure = failure ?? stop.detail ?? "it stops half-way" }
    } catch {
      failure = failure ?? error.description
    }
  }
}
