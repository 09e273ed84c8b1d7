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

  /// What stands in front of the names, with a "/" between, so that no lesson hides one of the program's.
  let title: String

  /// The folders of the user: those of $QATLAS_LESSONS, with ':' between, then that below the data of the user.
  static var ofUser: [LessonFolder] {
    let named = (UserFolders.environment("QATLAS_LESSONS") ?? "").split(separator: ":").map(String.init)
    let paths = named.prefix(16) + [UserFolders.data.map { $0 + "/lessons" }].compactMap { $0 }
    return paths.compactMap { LessonFolder($0) }
  }

  /// Where a lesson of the user is: its folder, and its name there; nil if there is none.
  static func find(_ name: String, in folders: [LessonFolder] = ofUser) -> (
    folder: LessonFolder, name: String
  )? {
    for folder in folders where name.hasPrefix(folder.title + "/") {
      let own = String(name.dropFirst(folder.title.count + 1))
      if folder.names.contains(own) { return (folder, own) }
    }
    return nil
  }

  /// The lessons with their folder in front, read.
  var shelf: LessonShelf {
    LessonShelf(
      title: title,
      lessons: names.map { name in
        let full = "\(title)/\(name)"
        do throws(LessonProblem) { return .lesson(try lesson(name), digest: try digest(name)) } catch {
          return .unreadable(full, error)
        }
      })
  }

  /// A lesson by its name in this folder.
  ///
  /// - Throws: ``LessonProblem`` with the line for one that cannot be read.
  func lesson(_ name: String) throws(LessonProblem) -> Course.Lesson {
    try LessonParser.read(try bytes(name), name: "\(title)/\(name)")
  }

  /// Tells versions of its file from each other. Throws as ``lesson(_:)``.
  func digest(_ name: String) throws(LessonProblem) -> String { LearnRecord.digest(of: try bytes(name)) }

  private func bytes(_ name: String) throws(LessonProblem) -> [UInt8] {
    do throws(StorageError) { return try text(name) } catch { throw LessonProblem(error.description) }
  }

  /// A name as lessons have it: letters, digits, '-' and '_', beginning with a letter.
  static func isName(_ name: String) -> Bool {
    name.first?.isLetter == true
      && name.utf8.allSatisfy { byte in
        byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
          || (byte < 0x80 && Character(Unicode.Scalar(byte)).isLetter)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      }
  }

  /// Nil if there is no such folder.
  init?(_ path: String) {
    guard let directory = unsafe ByteText.withCString(path, { unsafe opendir($0) }) else { return nil }
    defer { unsafe closedir(directory) }
    var found: [String] = []
    while found.count < Self.most, let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      guard name.hasSuffix(Self.ending) else { continue }
      let plain = String(name.dropLast(Self.ending.count))
      if Self.isName(plain) { found.append(plain) }
    }
    self.path = path
    // "." and ".." have names as well.
    let parts = ((try? HostFile.find(path)).map { ByteText.text($0.path) } ?? path).split(separator: "/")
    let last = String(parts.last ?? "").map { Self.isName("a\($0)") ? $0 : "-" }
    title = last.isEmpty ? "lessons" : String(last)
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
