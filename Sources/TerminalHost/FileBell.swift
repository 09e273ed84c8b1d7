// Hears when another program writes to a file, so that nobody has to ask again and again. Not every write is heard:
// memory that is mapped, other hosts and some ways of writing past the host's memory ring no bell, so the time stamp
// is looked at as well, less often.

internal import Glibc

/// A bell on one file.
package final class FileBell {
  let descriptor: Int32

  /// Nil if the host has none for it.
  package init?(path: String) {
    descriptor = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    guard descriptor >= 0 else { return nil }
    let events = UInt32(IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF)
    guard unsafe inotify_add_watch(descriptor, path, events) >= 0 else {
      close(descriptor)
      return nil
    }
  }

  deinit { close(descriptor) }

  /// Waits until the bell rings or the time is over; without a bell until the time is over.
  package static func wait(_ bell: FileBell?, milliseconds: Int) {
    var watched = pollfd(fd: bell?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&watched, 1, Int32(clamping: milliseconds))
    bell?.silence()
  }

  /// Forgets what was heard.
  func silence() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while unsafe buffer.withUnsafeMutableBytes({ unsafe read(descriptor, $0.baseAddress, $0.count) }) > 0 {}
  }
}
