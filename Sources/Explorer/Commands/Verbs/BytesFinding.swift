// Finding bytes: on the guest map in the disk as the guest reads it, on the host map and on the hex page in the file.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

enum BytesFinding {
  /// Goes to the next match; keeps the place if there is none.
  ///
  /// - Throws: `CommandError` if there is none, if it was given up, and where bytes cannot be looked for.
  static func find(_ pattern: BytePattern, _ text: String, forward: Bool, _ desk: Desk) throws(CommandError) {
    let image = desk.scene.image
    guard let place = desk.current.searched else {
      throw CommandError("bytes are looked for on the maps and on the hex page")
    }
    let isGuest = place.side == .guest
    if isGuest, !image.isUnlocked {
      throw CommandError("the disk is encrypted, and its passphrase is not known")
    }
    let file = place.file == .data ? image.dataStorage ?? image.storage : image.storage
    let start = place.offset
    var search = ByteSearch(pattern, in: isGuest ? SearchedBytes(image) : SearchedBytes(file))
    let clock = ContinuousClock()
    var asked = clock.now
    let files = desk.files
    let outcome = search.next(from: start, forward: forward) { done in
      guard asked.duration(to: clock.now) >= .milliseconds(20) else { return false }
      asked = clock.now
      return files.shouldCancel(done)
    }
    let unread =
      search.unreadable > 0
      ? "; \(counted(UInt64(search.unreadable), "piece")) could not be read and \(worded(UInt64(search.unreadable), "was", "were")) passed"
      : ""
    switch outcome {
    case .stopped: throw CommandError("given up; the cursor stays")
    case .none:
      throw CommandError("'\(TextWidth.sanitized(text))' was not found; the cursor stays" + unread)
    case .found(let offset, let wrapped):
      if isGuest || !desk.current.go(toHost: offset) {
        desk.remember()
        desk.setCursor(place.side, offset)
      }
      desk.tell(
        "found at \(isGuest ? "guest" : "host") 0x\(Notation.hex(offset))"
          + (wrapped ? forward ? ", round the end" : ", round the beginning" : "") + unread)
    }
  }
}
