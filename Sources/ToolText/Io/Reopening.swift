// What `reopen` asks for: the disk that is open, with other options.

import Cartography
import Qcow

/// The words of one `reopen`, checked before anything is closed.
package struct Reopening {
  /// The disk is to be open for reading alone.
  package var isReadOnly: Bool
  /// A cache mode, as behind `-t`; nil for the one that is in force.
  package var cache: String?
  /// An option string with what changes.
  package var options: String?

  /// Options of an image that can change while it is open; the others came with the file.
  private static let changeable: Set<String> = [
    "lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "discard",
    "discard-no-unref", "overlap-check", "overlap-check.template", "l2-cache-size", "l2-cache-entry-size",
    "refcount-cache-size", "cache-size", "cache-clean-interval", "detect-zeroes", "read-only", "cache.direct",
    "cache.no-flush", "force-share", "auto-read-only",
  ]

  /// How options begin that a raw file has not.
  private static let ofImages = [
    "lazy", "pass-discard", "discard-no", "overlap", "l2-", "refcount", "cache-",
  ]

  /// What is wrong with the words; nil if nothing is.
  func refusal(isRaw: Bool) -> String? {
    do throws(OpenRequest.Refusal) {
      _ = try OpenRequest(file: "", readOnly: isReadOnly, cache: cache, discard: nil)
      guard let options else { return nil }
      for item in try CreateRequest.items(of: options) {
        let name = CreateRequest.sides(of: item).name
        let isKnown = Self.changeable.contains(name) || name.utf8.starts(with: "overlap-check.".utf8)
        guard isKnown && !(isRaw && Self.ofImages.contains(where: { name.utf8.starts(with: $0.utf8) })) else {
          return "Cannot change the option '\(Escaping.human(name))'"
        }
      }
      return nil
    } catch { return error.description }
  }
}
