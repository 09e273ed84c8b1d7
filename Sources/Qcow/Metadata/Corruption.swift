// What happens when an operation meets a damaged structure. A writable image is marked as corrupt in
// its header and takes no more requests, so that the damage cannot spread.

import QcowFormat
import Storage

extension Image {
  /// Runs a request of a caller. Damage that it meets is told, and ends the session if it could write.
  func guarded<T>(_ request: () throws(ImageError) -> T) throws(ImageError) -> T {
    if isOutOfService {
      throw ImageError(.outOfService, "the image was marked as corrupt and takes no more requests")
    }
    do throws(ImageError) {
      return try request()
    } catch {
      if error.marksImage { signalCorruption(error.description) }
      throw error
    }
  }

  /// Tells of damage that ends the request, and marks a writable image.
  func signalCorruption(_ what: String) {
    guard !isOutOfService else { return }
    guard isWritable && options.marksCorruption else { return tellCorruption(what) }
    report?("qcow2: Marking image as corrupt: \(what); further corruption events will be suppressed")
    isOutOfService = true
    // What the caches hold is lost on purpose: nothing may be written after the mark.
    try? tables.rewriteHeader { $0.header.incompatible.insert(.corrupt) }
    try? flushStorage()
  }

  /// Tells of damage that harms nothing further; only once.
  func tellCorruption(_ what: String) {
    guard !hasToldCorruption else { return }
    hasToldCorruption = true
    report?("qcow2: Image is corrupt: \(what); further non-fatal corruption events will be suppressed")
  }
}

extension ImageError {
  /// A structure of the image is in doubt, so that nothing more may be written to it.
  var marksImage: Bool { code == .corrupt || code == .overlap }
}
