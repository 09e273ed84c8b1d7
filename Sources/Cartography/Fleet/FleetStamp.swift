// Whether files are still what they were when they were looked at: size and time of the last change of each.

import Glibc
package import Qcow
import Storage

/// The state of an image and of the files below it as a text: one word a file, the image first.
package enum FleetStamp {
  /// The word of a file that is not there or was not opened.
  static let closed = "-"
  /// A file that was changed so shortly before may be changed again without another time, in nanoseconds.
  private static let grain: Int64 = 20_000_000

  /// The word of a file that is there.
  static func word(of file: FileIdentity) -> String { "\(file.size):\(modified(file))" }

  /// When a file was last changed, in nanoseconds since 1970.
  static func modified(_ file: FileIdentity) -> Int64 {
    Int64(file.modifiedSeconds) &* 1_000_000_000 &+ Int64(file.modifiedNanoseconds)
  }

  /// A change from now on gives the file another time.
  static func isSettled(_ file: FileIdentity) -> Bool {
    var now = timespec()
    guard unsafe clock_gettime(CLOCK_REALTIME, &now) == 0 else { return false }
    return Int64(now.tv_sec) &* 1_000_000_000 &+ Int64(now.tv_nsec) &- modified(file) > grain
  }

  /// The file is a regular one, of which the host says when it was changed.
  static func regular(_ path: String) -> FileIdentity? {
    guard let found = try? HostFile.find(path), found.kind == .regular else { return nil }
    return FileStorage.identity(path: path)
  }

  /// Whether a text of an earlier run still holds. `chain` and `dataFile` are as ``FleetRow`` has them; what was closed
  /// counts as the same for as long as it is not there or `policy` keeps it closed.
  package static func holds(
    _ stamp: String, of path: String, chain: [String], dataFile: String?, _ policy: ChainPolicy
  ) -> Bool {
    let words = stamp.split(separator: " ")
    let files = [path] + chain + (dataFile.map { [$0] } ?? [])
    guard !stamp.isEmpty, words.count == files.count else { return false }
    let gate = Gate(imagePaths: [path], allowsOutside: policy.allowsOutside, trust: policy.trust)
    for (index, (file, before)) in zip(files, words).enumerated() {
      guard before == closed else {
        guard let now = regular(file), before == word(of: now) else { return false }
        continue
      }
      // Whether an address answers is not known before it is asked.
      guard let found = LayerPlace(file) else { continue }
      let isLayer = index <= chain.count
      if gate.admits(found, namedBy: isLayer ? files[max(0, index - 1)] : path) { return false }
    }
    return true
  }
}
