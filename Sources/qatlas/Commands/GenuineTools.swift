// Runs qemu-img and qemu-io in a folder that is made for them and taken away again.

import Course
import Glibc
import Qcow
import QcowFormat
import Storage

/// The genuine tools of a folder.
struct GenuineTools {
  private let folder: String

  /// Nil if one of them is missing there.
  init?(_ folder: String) {
    for name in ["qemu-img", "qemu-io"] {
      guard unsafe ByteText.withCString(folder + "/" + name, { unsafe access($0, X_OK) }) == 0 else {
        return nil
      }
    }
    // They are started elsewhere.
    guard let found = try? HostFile.find(folder) else { return nil }
    self.folder = ByteText.text(found.path)
  }

  /// The first place where what the tools make of files is not what the engine made; nil if all bytes are the same,
  /// but for the dates of snapshots.
  func difference(of after: Workbench, _ work: ToolWork) -> String? {
    guard let place = UserFolders.newFolder(in: UserFolders.environment("TMPDIR") ?? "/tmp") else {
      return "there is no place for the files of the tools"
    }
    defer { Self.remove(place) }
    do throws(StorageError) {
      for (name, file) in work.start.files { try Self.put(file, at: place + "/" + name) }
      for command in work.commands { run(command, in: place) }
      var files: [String: any Storage] = [:]
      for name in Self.names(in: place) {
        files[name] = try FileOpener().open(place + "/" + name, for: .text)
      }
      return after.difference(from: files)
    } catch { return error.description }
  }

  // MARK: A folder

  private static func remove(_ folder: String) {
    for name in names(in: folder) {
      _ = unsafe ByteText.withCString(folder + "/" + name) { unsafe unlink($0) }
    }
    _ = unsafe ByteText.withCString(folder) { unsafe rmdir($0) }
  }

  private static func names(in folder: String) -> [String] {
    guard let directory = unsafe ByteText.withCString(folder, { unsafe opendir($0) }) else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  // MARK: Files

  private static let piece: UInt64 = 1 << 20

  /// Writes what a file holds; what is zeroes becomes a hole.
  private static func put(_ file: MemoryStorage, at path: String) throws(StorageError) {
    let target = try FileOpener().open(path, for: .newText)
    try target.truncate(to: file.length, tag: .untagged)
    for row in file.written {
      let end = min(row.upperBound, file.length)
      for at in stride(from: row.lowerBound, to: end, by: UInt64.Stride(piece)) {
        try target.write(try file.bytes(at: at, count: Int(min(piece, end - at))), at: at)
      }
    }
  }

  // MARK: Programs

  /// Runs a tool to its end, whatever it says.
  private func run(_ command: ToolWork.Command, in place: String) {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    // One that is killed on purpose leaves nothing behind.
    var limit = rlimit(rlim_cur: 0, rlim_max: 0)
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    // The headers keep to themselves how a program is started elsewhere.
    let shell = "/bin/sh"
    let words = [
      shell, "-c", "cd \"$1\" && shift && exec \"$@\"", "sh", place, folder + "/" + command.program,
    ]
    var argv: [UnsafeMutablePointer<CChar>?] = unsafe (words + command.arguments).map { unsafe strdup($0) }
    unsafe argv.append(nil)
    defer { for index in unsafe argv.indices { unsafe free(argv[index]) } }
    var pid: pid_t = 0
    guard unsafe posix_spawn(&pid, shell, &actions, nil, argv, environ) == 0 else { return }
    var status: Int32 = 0
    while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
  }
}
