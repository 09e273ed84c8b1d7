// What happens when an operation meets a damaged structure. A writable image is marked as corrupt in
// its header and takes no more requests, so that the damage cannot spread.

import QcowFormat
import Storage

/// Whether an open image still takes requests, and what was told of its damage.
final class Health {
  private let tables: TableWriter
  /// Damage ends the session and is written into the header; without it requests only fail.
  private let marksDamage: Bool
  /// The external data file; nil without one.
  private let dataFile: (any Storage)?
  /// Takes lines about damage, complete sentences.
  var report: ((String) -> Void)?
  /// Damage was met and the image marked: no request is served any more.
  private(set) var isOutOfService = false
  private var hasToldCorruption = false

  init(_ tables: TableWriter, dataFile: (any Storage)?, marksDamage: Bool) {
    self.tables = tables
    self.dataFile = dataFile
    self.marksDamage = marksDamage
  }

  /// Throws ``ImageError/Code/outOfService`` after damage has been met.
  func requireService() throws(ImageError) {
    guard isOutOfService else { return }
    throw ImageError(
      .outOfService, "the image was marked as corrupt and takes no more requests", at: .header, HostOffset(0))
  }

  /// Runs a request of a caller. Damage that it meets is told, and ends the session if it could write.
  /// Throws what the request throws, and as ``requireService()``.
  func guarded<T>(_ request: () throws(ImageError) -> T) throws(ImageError) -> T {
    try requireService()
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
    guard marksDamage else { return tellCorruption(what) }
    report?("qcow2: Marking image as corrupt: \(what); further corruption events will be suppressed")
    isOutOfService = true
    // What the caches hold is lost on purpose: nothing may be written after the mark.
    try? tables.rewriteHeader(.corrupt) { $0.header.incompatible.insert(.corrupt) }
    try? flushStorage()
  }

  /// Tells of damage that harms nothing further; only once.
  func tellCorruption(_ what: String) {
    guard !hasToldCorruption else { return }
    hasToldCorruption = true
    report?("qcow2: Image is corrupt: \(what); further non-fatal corruption events will be suppressed")
  }

  /// Waits until all that was written is on disk, guest data included. Throws what the host says.
  func flushStorage() throws(ImageError) {
    do throws(StorageError) { try dataFile?.flush() } catch { throw ImageError(error) }
    try tables.flush()
  }
}

extension ImageError {
  /// A structure of the image is in doubt, so that nothing more may be written to it.
  var marksImage: Bool { code == .corrupt || code == .overlap }
}
