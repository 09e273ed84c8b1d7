// Finding bytes: on the guest map in the disk as the guest reads it, on the host map and on the hex page in the file.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

enum BytesFinding {
  /// Where else the same bytes may be: the disk of now is a part of the file, and the file has compressed bytes only
  /// in their own form.
  private static func elsewhere(_ isGuest: Bool, _ desk: Desk) -> String {
    let other = String((isGuest ? PaneNumber.hostMap : .guestMap).rawValue)
    // Where a key leads to the other map.
    guard let key = desk.keys.keys(for: .focus, [other], in: desk.current.context).first?.notation else {
      return ""
    }
    let search = desk.key(.search)
    return isGuest
      ? ". On the host map (\(key)) \(search) searches the whole file, with what only snapshots hold"
      : ". On the guest map (\(key)) \(search) searches the disk, with what is compressed in the file"
  }

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
      let scope = isGuest ? desk.diskWords : file === image.storage ? "in the file" : "in the data file"
      throw CommandError(Searching.notFound(text, scope) + unread + elsewhere(isGuest, desk))
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
