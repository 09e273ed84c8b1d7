// A folder that vanishes with its owner, for images, sockets and whatever a test writes.
// Each is new, so that tests run side by side.

import Foundation

/// A new empty folder, removed with everything in it when the object goes away.
package final class TemporaryDirectory {
  package let path: String

  /// With `inMemory` the folder lies in a file system without a disk, if the host has one: for tests
  /// whose flushes would wait for the disk and prove nothing by it.
  package init(inMemory: Bool = false) throws {
    let memory = "/dev/shm"
    let parent =
      inMemory && FileManager.default.isWritableFile(atPath: memory) ? memory : NSTemporaryDirectory()
    var template = Array((parent + "/qatlas-XXXXXX").utf8CString)
    guard mkdtemp(&template) != nil else {
      throw TestFailure("no temporary folder: \(String(cString: strerror(errno)))")
    }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of a file in the folder.
  package func path(_ name: String) -> String { path + "/" + name }
}
