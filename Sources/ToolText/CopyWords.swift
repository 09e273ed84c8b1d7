// The sentences of a copy that fails, or goes on without what it could not read.

package import Qcow

/// The words of `convert` for what happens on the way.
package enum CopyWords {
  /// Why a copy ended; `reason` says why in the words that the program has for it.
  package static func failure(_ failure: CopyFailure, reason: String) -> String {
    switch failure.step {
    case .lookup: "error while reading block status at offset \(failure.offset): \(reason)"
    case .read: "error while reading at byte \(failure.offset): \(reason)"
    case .write: "error while writing at byte \(failure.offset): \(reason)"
    }
  }

  /// What a copy that goes on regardless lost.
  package static func lost(_ failure: CopyFailure, reason: String) -> String {
    let what = failure.step == .lookup ? "block status at offset" : "offset"
    return "warning: error while reading \(what) \(failure.offset): \(reason)"
  }
}
