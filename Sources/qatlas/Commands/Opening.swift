// Opens image files for the command line tools, with the sentences of the genuine tools for what
// can go wrong.

import Explorer
import Qcow
import QcowFormat
import Storage

/// Files and images by name.
enum Opening {
  /// Why a file cannot be opened, in one sentence that names it.
  struct Refusal: Error {
    var text: String
  }

  static func file(_ path: String, writable: Bool = false) throws(Refusal) -> FileStorage {
    do throws(StorageError) {
      return try FileStorage(path: path, mode: writable ? .readWrite : .readOnly)
    } catch {
      let name = Escaping.human(path)
      throw Refusal(text: "Could not open '\(name)': \(error.detail)")
    }
  }

  static func image(_ storage: any Storage, _ options: Image.Options) throws(Refusal) -> Image {
    do throws(ImageError) {
      return try Image(storage, options: options)
    } catch {
      throw Refusal(text: Escaping.human(error.description))
    }
  }

  /// True if the error says that the file is something else than an image.
  static func isForeign(_ storage: any Storage) -> Bool {
    guard let first = try? storage.bytes(at: 0, count: 4) else { return false }
    return BigEndian.u32(first, 0) != Header.magic
  }

  /// Checks the value of `-f`; nil stands for looking at the file.
  static func check(format: String?, _ path: String, raw: Bool = false) throws(Refusal) {
    guard let format, format != "qcow2", !(raw && format == "raw") else { return }
    if format == "raw" { throw Refusal(text: "the format 'raw' is not supported by this command, only qcow2") }
    throw Refusal(text: "Unknown driver '\(Escaping.human(format))'")
  }
}
