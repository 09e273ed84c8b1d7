// Lesson files of the host: a teacher's folder, or that of the user.

import Cartography
import Course
import Glibc
import Qcow
import Storage

/// A folder with files NAME.lesson, and perhaps a file `path` with their order.
struct LessonFolder {
  /// Files of a folder that are looked at; more are none of a teacher.
  private static let most = 1000
  private static let ending = ".lesson"
  /// Bytes of a file; larger ones are no lessons.
  private static let largest: UInt64 = 1 << 18

  let path: String
  /// Names without the ending, in the order of `path`, then by name.
  let names: [String]

  /// Where the lessons of the user are; nil without a home.
  static var ofUser: String? { UserFolders.data.map { $0 + "/lessons" } }

  /// Nil if there is no such folder.
  init?(_ path: String) {
    guard let directory = unsafe ByteText.withCString(path, { unsafe opendir($0) }) else { return nil }
    defer { unsafe closedir(directory) }
    var found: [String] = []
    while found.count < Self.most, let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      if name.hasSuffix(Self.ending) { found.append(String(name.dropLast(Self.ending.count))) }
    }
    self.path = path
    let listed = LessonLibrary.parts(of: UserFolders.bytes(of: path + "/path")).flatMap(\.lessons)
    names = listed.filter(found.contains) + found.filter { !listed.contains($0) }.sorted()
  }

  /// The bytes of a lesson; the name is one of ``names``.
  ///
  /// - Throws: ``StorageError`` if the file cannot be read.
  func text(_ name: String) throws(StorageError) -> [UInt8] {
    let file = try FileOpener().open(path + "/" + name + Self.ending, for: .text)
    guard file.length <= Self.largest else {
      throw StorageError(.read, name: file.name, detail: "the file is larger than 256 KiB")
    }
    return try file.bytes(at: 0, count: Int(file.length))
  }
}
