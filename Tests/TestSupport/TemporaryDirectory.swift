// A folder that vanishes with its owner, for images, sockets and whatever a test writes.
// Each is new, so that tests run side by side.

import Foundation

/// A new empty folder, removed with everything in it when the object goes away.
package final class TemporaryDirectory {
  package let path: String

  package init() throws {
    var template = Array((NSTemporaryDirectory() + "/qatlas-XXXXXX").utf8CString)
    guard mkdtemp(&template) != nil else {
      throw TestFailure("no temporary folder: \(String(cString: strerror(errno)))")
    }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of a file in the folder.
  package func path(_ name: String) -> String { path + "/" + name }
}
