// The history is bounded: the oldest steps that are saved go when memory is needed. That is said once when it happens,
// and to everybody who asks for such a step.

import Cartography
import Qcow
import Storage

/// The oldest steps of a session, of which nothing is kept any more but their titles.
package struct ForgottenSteps {
  private var told = 0

  /// "step 1 is saved and was dropped from the history".
  private func words(_ count: Int) -> String {
    (count == 1 ? "step 1 is saved and was" : "steps 1 to \(count) are saved and were")
      + " dropped from the history"
  }

  /// Why such a step cannot be taken back or looked at.
  func refusal(_ history: FileSet) -> ImageError {
    ImageError(.invalidRequest, words(history.forgotten) + "; what was before is no longer known")
  }

  /// What has to be said now, as the end of a sentence; empty if there is nothing new.
  mutating func news(_ history: FileSet) -> String {
    let count = history.forgotten
    guard count > told else { return "" }
    told = count
    return "; \(words(count)), which may keep \(Notation.compact(UInt64(history.files[0].memoryLimit)))"
  }
}
