// A session whose file another program writes: what that one wrote becomes an operation of the history, like those
// that are done here.

import Cartography
import Qcow
import Storage

extension Session {
  /// What of a followed image is shown as it was when it was opened; nil if that is nothing, or if none is followed.
  package var unfollowed: String? {
    guard follower != nil else { return nil }
    var parts: [String] = []
    if image.backing != nil { parts.append("the backing file") }
    if image.hasExternalData { parts.append("the data file") }
    guard !parts.isEmpty else { return nil }
    return parts.joined(separator: " and ") + (parts.count == 1 ? " is" : " are") + " not followed"
  }

  /// Takes over what a look at the file found.
  ///
  /// - Returns: false if some count does not fit its users, which is taken only with `evenIfDoubtful`; then nothing
  ///   has changed.
  /// - Throws: ``ImageError`` if the file is no image that can be read now.
  func adopt(_ found: Observation, title: String, evenIfDoubtful: Bool) throws(ImageError) -> Bool {
    let before = image.session
    overlays.begin(title)
    let record: Observation.Record
    do throws(ImageError) {
      do throws(StorageError) { record = try found.record(on: overlay, of: image) } catch {
        throw ImageError(error)
      }
      try image.reload()
    } catch {
      try rollback(to: before)
      throw error
    }
    if !evenIfDoubtful, atlas.doubts(record, image) {
      try rollback(to: before)
      return false
    }
    let told = overlay.pending.map { Narration($0, geometry: geometry) }
    guard let operations = overlays.commit(), let told else { return true }
    follower?.keepTables()
    // Tables at new places were read before they were kept.
    if record.isDeep { try image.reload() }
    done.append(
      Step(
        operations: operations, title: title, range: nil, before: before, after: image.session,
        narration: told, circumstances: Circumstances(image, nil)))
    if !record.isDeep, let operation = operations[.image] {
      atlas.update(with: operation, undone: false)
    } else {
      atlas.restart()
    }
    revision += 1
    return true
  }
}
